//! Lists that do not tell the truth.

use cmdb_sim::{Business, DataStatus, Effect, Fault, ForeignScope, Transport};
use serde_json::{Value, json};

use crate::client::{CREATE, LIST, Server, TRANSPORTS, batch, everything, keys};

const SERVICE_TEMPLATES: &str = "list_service_template";

/// A server with three templates in the service template 1, one in 2, and one in 3, which is of business 7.
async fn start() -> Server {
    let server = Server::start().await;
    let business = Business { bk_biz_id: 7, bk_biz_name: String::new(), bk_data_status: DataStatus::Enable };
    server.simulator.update_state(|state| state.businesses.push(business));
    for (bk_biz_id, name) in [(2, "db"), (7, "web")] {
        let body = json!({"bk_biz_id": bk_biz_id, "name": name, "service_category_id": 2});
        server.call(Transport::Direct, "create_service_template", body).await;
    }
    for (bk_biz_id, service_template_id, names) in [(2, 1, &["a", "b", "c"][..]), (2, 2, &["d"]), (7, 3, &["e"])] {
        let mut body = batch(names);
        body["bk_biz_id"] = json!(bk_biz_id);
        body["service_template_id"] = json!(service_template_id);
        assert_eq!(server.call(Transport::Direct, CREATE, body).await["bk_error_code"], 0);
    }
    server
}

/// Count and IDs of a list.
async fn listed(server: &Server, transport: Transport, call: &str, body: Value) -> (i64, Vec<i64>) {
    let reply = server.call(transport, call, body).await;
    let ids = reply["data"]["info"].as_array().unwrap().iter().map(|item| item["id"].as_i64().unwrap());
    (reply["data"]["count"].as_i64().unwrap(), ids.collect())
}

fn every(effect: Effect) -> Fault {
    Fault::every("*", effect)
}

#[tokio::test]
async fn a_count_is_wrong_on_demand() {
    let server = start().await;
    for (off, count) in [(2, 5), (-3, 0), (-5, -2)] {
        server.simulator.clear_faults();
        server.simulator.add_fault(every(Effect::count_off(off)));
        for transport in TRANSPORTS {
            assert_eq!(listed(&server, transport, LIST, everything()).await, (count, vec![3, 2, 1]));
        }
    }
    // What is no list and what is refused stays as it is.
    let reply = server.call(Transport::Direct, CREATE, batch(&["new"])).await;
    assert_eq!(reply["data"], json!([6]));
    let reply = server.call(Transport::Direct, LIST, json!({"bk_biz_id": 2})).await;
    assert_eq!(reply["bk_error_code"], 1_199_006);
}

#[tokio::test]
async fn items_of_another_scope_are_mixed_in_on_demand() {
    let server = start().await;
    let services = json!({"bk_biz_id": 2, "search": "web", "is_exact": true, "page": {"limit": 10}});
    for (scope, most, templates, service_templates) in [
        (ForeignScope::Business, 9, (4, vec![3, 2, 1, 5]), (2, vec![1, 3])),
        (ForeignScope::ServiceTemplate, 9, (4, vec![3, 2, 1, 4]), (2, vec![1, 2])),
        (ForeignScope::Business, 0, (3, vec![3, 2, 1]), (1, vec![1])),
    ] {
        server.simulator.clear_faults();
        server.simulator.add_fault(every(Effect::foreign_items(most, scope)));
        assert_eq!(listed(&server, Transport::Gateway, LIST, everything()).await, templates, "{scope:?}");
        let found = listed(&server, Transport::Esb, SERVICE_TEMPLATES, services.clone()).await;
        assert_eq!(found, service_templates, "{scope:?}");
    }
    server.fault(json!({"foreign_items": 1})).await;
    let reply = server.call(Transport::Direct, LIST, everything()).await;
    assert_eq!(reply["data"]["info"][3]["bk_biz_id"], 7, "they say whose they are");
}

#[tokio::test]
async fn a_page_is_cut_below_its_count_on_demand() {
    let server = start().await;
    server.simulator.add_fault(every(Effect::cut_page(2)));
    assert_eq!(listed(&server, Transport::Direct, LIST, everything()).await, (3, vec![3, 2]));
    let page = |start: i64| json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"start": start, "limit": 500}});
    assert_eq!(listed(&server, Transport::Direct, LIST, page(2)).await, (3, vec![1]));
    let body = json!({"bk_biz_id": 2, "page": {"limit": 1000}});
    server.simulator.clear_faults();
    server.simulator.add_fault(every(Effect::cut_page(1)));
    assert_eq!(listed(&server, Transport::Direct, SERVICE_TEMPLATES, body).await, (2, vec![2]));
}

#[tokio::test]
async fn a_page_above_the_limit_is_refused_with_a_suggestion_on_demand() {
    let server = start().await;
    server.simulator.add_fault(every(Effect::refuse_page(2)));
    let page = |page: Value| json!({"bk_biz_id": 2, "service_template_id": 1, "page": page});
    for transport in TRANSPORTS {
        let (code, message) = keys(transport);
        for page in [page(Value::Null), page(json!({"limit": 0})), page(json!({"limit": 3}))] {
            for call in [LIST, SERVICE_TEMPLATES] {
                let reply = server.call(transport, call, page.clone()).await;
                let expected = (&json!(1_199_059), &json!("page limit is exceeded. suggestion 2"));
                assert_eq!((&reply[code], &reply[message]), expected, "{page} {call}");
            }
        }
        assert_eq!(listed(&server, transport, LIST, page(json!({"limit": 2}))).await, (3, vec![3, 2]));
        assert_eq!(server.call(transport, CREATE, batch(&[])).await[code], 0);
    }
}
