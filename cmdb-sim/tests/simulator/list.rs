//! Lists of process templates, service templates and categories.

use serde_json::{Value, json};

use crate::esb::{CREATE, LIST, Server, batch, invalid, process, refusal, service_template, undecodable};

#[tokio::test]
async fn a_list_joins_its_filters_with_the_business() {
    let server = Server::start().await;
    server.created(vec![process("a"), process("b"), process("c")]).await;
    server.call("create_service_template", service_template("other")).await;
    let mut body = batch(vec![process("d")]);
    body["service_template_id"] = json!(2);
    server.call(CREATE, body).await;
    let ids = async |mut body: Value| -> (i64, Vec<i64>) {
        body.as_object_mut().unwrap().entry("bk_biz_id").or_insert(json!(2));
        let reply = server.call(LIST, body).await;
        let info = reply["data"]["info"].as_array().unwrap().clone();
        (reply["data"]["count"].as_i64().unwrap(), info.iter().map(|one| one["id"].as_i64().unwrap()).collect())
    };
    let page = |page: Value| json!({"service_template_id": 1, "page": page});
    assert_eq!(ids(json!({"service_template_id": 1})).await, (3, vec![3, 2, 1]));
    assert_eq!(ids(json!({"process_template_ids": [1, 4, 9, 1]})).await, (2, vec![4, 1]));
    assert_eq!(ids(json!({"service_template_id": 1, "process_template_ids": [4, 2]})).await, (1, vec![2]));
    assert_eq!(ids(json!({"service_template_id": 1, "process_template_ids": []})).await, (3, vec![3, 2, 1]));
    assert_eq!(ids(json!({"bk_biz_id": 3, "service_template_id": 1})).await, (0, vec![]));
    assert_eq!(ids(page(json!({"sort": "id"}))).await, (3, vec![1, 2, 3]));
    assert_eq!(ids(page(json!({"start": 1, "limit": 1, "sort": "bk_process_name:1"}))).await, (3, vec![2]));
    assert_eq!(ids(page(json!({"start": 9}))).await, (3, vec![]));
}

#[tokio::test]
async fn a_list_without_a_filter_is_refused() {
    let server = Server::start().await;
    let refused = async |body: Value| refusal(&server.call(LIST, body).await);
    let many: Vec<i64> = (1..=201).collect();
    let neither = invalid("service_template_id and process_template_ids can't be empty at the same time");
    assert_eq!(refused(json!({})).await, invalid("bk_biz_id"));
    assert_eq!(refused(json!({"bk_biz_id": -1, "process_template_ids": many})).await, invalid("bk_biz_id"));
    assert_eq!(refused(json!({"bk_biz_id": 2})).await, neither);
    assert_eq!(refused(json!({"bk_biz_id": 2, "process_template_ids": []})).await, neither);
    let (code, message) = refused(json!({"bk_biz_id": 2, "process_template_ids": many})).await;
    assert!(code == 1_199_089 && message.starts_with("bk_process_ids "), "{code} {message}");
    assert_eq!(refused(json!({"bk_biz_id": 2, "process_template_ids": ["1"]})).await, undecodable());
    let reply = server.call(LIST, json!({"bk_biz_id": 2, "process_template_ids": many[1..]})).await;
    assert_eq!(reply["data"], json!({"count": 0, "info": []}));
}

#[tokio::test]
async fn a_page_before_the_first_is_an_error_of_the_database() {
    let server = Server::start().await;
    let failed = (1_199_017, "Failed to query data".to_owned());
    let page = json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"start": -1, "limit": 10}});
    for call in [LIST, "list_service_template"] {
        assert_eq!(refusal(&server.call(call, page.clone()).await), failed, "{call}");
    }
    let without_filter = json!({"bk_biz_id": 2, "page": {"start": -1}});
    assert_eq!(refusal(&server.call(LIST, without_filter).await).0, 1_199_006);
}

#[tokio::test]
async fn templates_of_a_deleted_service_template_stay_listable() {
    let server = Server::start().await;
    server.created(vec![process("a")]).await;
    server.simulator.update_state(|state| state.service_templates.clear());
    assert_eq!(server.names().await, ["a"]);
    assert_eq!(server.refused(vec![process("b")]).await, invalid("service_template_id"));
}

#[tokio::test]
async fn service_templates_are_found_by_name_id_and_category() {
    let server = Server::start().await;
    for name in ["web-frontend", "WEBSITE", "db"] {
        assert_eq!(server.call("create_service_template", service_template(name)).await["code"], 0);
    }
    let found = async |mut body: Value| -> Vec<String> {
        let object = body.as_object_mut().unwrap();
        object.entry("bk_biz_id").or_insert(json!(2));
        object.entry("page").or_insert(json!({"limit": 1000}));
        let reply = server.call("list_service_template", body).await;
        let info = reply["data"]["info"].as_array().unwrap_or_else(|| panic!("{reply}")).clone();
        info.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(json!({})).await, ["db", "WEBSITE", "web-frontend", "web"]);
    assert_eq!(found(json!({"search": "Web"})).await, ["WEBSITE", "web-frontend", "web"]);
    assert_eq!(found(json!({"search": "web", "is_exact": true})).await, ["web"]);
    assert_eq!(found(json!({"search": "Web", "is_exact": true})).await, [""; 0]);
    assert_eq!(found(json!({"service_template_ids": [1, 4]})).await, ["db", "web"]);
    assert_eq!(found(json!({"service_category_id": 1, "search": "db"})).await, ["db"]);
    assert_eq!(found(json!({"service_category_id": 3})).await, [""; 0]);
    assert_eq!(found(json!({"bk_biz_id": 3})).await, [""; 0]);
    assert_eq!(found(json!({"page": {"limit": 999_999_999, "sort": "name"}})).await[0], "WEBSITE");
    for page in [json!({}), json!({"limit": 0}), json!({"limit": 1001}), json!({"limit": -1}), Value::Null] {
        let reply = server.call("list_service_template", json!({"bk_biz_id": 2, "page": page})).await;
        assert_eq!(refusal(&reply), (1_199_059, "page limit is exceeded. suggestion 200".to_owned()));
    }
    let reply = server.call("list_service_template", json!({"bk_biz_id": 2, "page": {"limit": 1, "start": 1}})).await;
    assert_eq!((&reply["data"]["count"], &reply["data"]["info"][0]["id"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn a_service_template_has_a_trimmed_unique_name_and_a_leaf_category() {
    let server = Server::start().await;
    let create = async |body: Value| server.call("create_service_template", body).await;
    let reply = create(service_template("  db  ")).await;
    let template = &reply["data"];
    let time = &template["create_time"];
    let expected = json!({"id": 2, "bk_biz_id": 2, "name": "db", "service_category_id": 2, "creator": "ann",
        "modifier": "ann", "create_time": time, "last_time": time, "bk_supplier_account": "0",
        "host_apply_enabled": false});
    assert_eq!(template, &expected);
    let category = |id: i64| json!({"bk_biz_id": 2, "name": "x", "service_category_id": id});
    let taken = (1_199_014, "duplicated instances exist, fields [name] duplicated".to_owned());
    let table = [
        (service_template(&"x".repeat(257)), invalid("name")),
        (service_template("  "), invalid("name")),
        (service_template("a/b"), invalid("name")),
        (json!({"bk_biz_id": 9, "name": "x", "service_category_id": 2}), invalid("bk_biz_id")),
        (category(99), invalid("service_category_id")),
        (category(1), (1_113_032, "only leaf node available".to_owned())),
        (service_template("db"), taken),
        (json!({"name": 1}), undecodable()),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(&create(body.clone()).await), expected, "{body}");
    }
    assert_eq!(create(service_template(&"中".repeat(256))).await["code"], 0);
}

#[tokio::test]
async fn the_built_in_categories_are_listed_by_name_with_those_of_the_business() {
    let server = Server::start().await;
    let category = |id: i64, parent: i64| {
        json!({"bk_biz_id": 0, "id": id, "name": "Default", "bk_root_id": 1, "bk_parent_id": parent,
            "bk_supplier_account": "0", "is_built_in": true})
    };
    let reply = server.call("list_service_category", json!({"bk_biz_id": 2})).await;
    let listed = reply["data"]["info"].as_array().unwrap();
    let defaults: Vec<&Value> = listed.iter().filter(|one| one["name"] == "Default").collect();
    assert_eq!(defaults, [&category(1, 0), &category(2, 1)]);
    assert!(listed.iter().map(|one| one["name"].as_str()).is_sorted());
    assert_eq!(reply["data"]["count"], listed.len());
}
