//! Routes that the operator does not call: to get one template, to delete a service template.

use cmdb_sim::{Effect, Fault, Transport};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{
    DELETE_SERVICE_TEMPLATE, LIST, Server, TRANSPORTS, authorization, batch, credentials, everything, keys, trusted,
};

const CREATE: &str = "batch_create_proc_template";

async fn get(server: &Server, method: Method, path: &str) -> Value {
    let response = server.send(method, &format!("/api/v3/find/proc/{path}"), trusted(), &json!({})).await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    let text = response.text().await.unwrap();
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}

#[tokio::test]
async fn one_template_is_got_by_its_id_whatever_business_it_is_of() {
    let server = Server::start().await;
    server.call(Transport::Direct, CREATE, batch(&["a", "b"])).await;
    let listed = server.call(Transport::Direct, LIST, everything()).await;
    for (path, id) in [("proc_template/id/1", 1), ("proc_template/id/2/", 0)] {
        let got = get(&server, Method::POST, path).await;
        assert_eq!((&got["bk_error_code"], &got["data"]), (&json!(0), &listed["data"]["info"][id]), "{path}");
    }
    for path in ["service_template/1", "service_template/1/"] {
        let got = get(&server, Method::GET, path).await;
        assert_eq!((&got["data"]["id"], &got["data"]["name"]), (&json!(1), &json!("web")), "{path}");
    }
    for (method, path, code) in [
        (Method::POST, "proc_template/id/9", 1_199_019),
        (Method::POST, "proc_template/id/x", 1_199_006),
        (Method::GET, "service_template/9", 1_199_019),
        (Method::GET, "service_template/x", 1_199_006),
    ] {
        assert_eq!(get(&server, method, path).await["bk_error_code"], code, "{path}");
    }
    for (method, path, text) in [
        (Method::GET, "proc_template/id/1", "405: Method Not Allowed"),
        (Method::POST, "service_template/1", "405: Method Not Allowed"),
        (Method::POST, "proc_template/id", "404: Page Not Found"),
        (Method::POST, "proc_template/id/1/2", "404: Page Not Found"),
        (Method::GET, "service_template/", "404: Page Not Found"),
    ] {
        assert_eq!(get(&server, method, path).await, text, "{path}");
    }
    let calls = server.simulator.requests().into_iter().map(|request| request.call).filter(|call| !call.is_empty());
    let calls: Vec<String> = calls.skip(2).collect();
    let (processes, services) = ("get_proc_template", "get_service_template");
    assert_eq!(calls, [processes, processes, services, services, processes, processes, services, services]);
    // Behind the gateway they are resources, in the ESB they are none.
    let path = "/api/bk-cmdb/prod/api/v3/find/proc/service_template/1/";
    let reply = server.send(Method::GET, path, authorization(credentials()), &json!({})).await.unwrap();
    assert_eq!(reply.json::<Value>().await.unwrap()["data"]["name"], "web");
    let reply = server.call(Transport::Esb, processes, json!({"bk_biz_id": 2, "process_template_id": 1})).await;
    assert_eq!(reply["code"], 1_306_404);
}

#[tokio::test]
async fn a_slash_at_the_end_of_a_path_means_nothing() {
    let server = Server::start().await;
    server.call(Transport::Direct, CREATE, batch(&["a"])).await;
    for slash in ["", "/"] {
        let path = format!("/api/v3/findmany/proc/proc_template{slash}");
        let direct = server.send(Method::POST, &path, trusted(), &everything()).await.unwrap();
        assert_eq!(direct.json::<Value>().await.unwrap()["data"]["count"], 1);
        let path = format!("/api/bk-cmdb/prod{path}");
        let gateway = server.send(Method::POST, &path, authorization(credentials()), &everything()).await.unwrap();
        assert_eq!(gateway.json::<Value>().await.unwrap()["data"]["count"], 1);
    }
}

#[tokio::test]
async fn a_service_template_is_deleted_over_every_transport_or_not_at_all() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let (code, message) = keys(transport);
        let delete = async |id: Value| {
            let body = json!({"bk_biz_id": 2, "service_template_id": id});
            server.call(transport, DELETE_SERVICE_TEMPLATE, body).await
        };
        server.simulator.add_fault(Fault::nth(DELETE_SERVICE_TEMPLATE, 1, Effect::drop_before_commit()));
        let body = json!({"bk_biz_id": 2, "service_template_id": 1});
        assert!(server.request(transport, DELETE_SERVICE_TEMPLATE, body).await.is_err());
        for id in [json!(0), json!(9), Value::Null] {
            let reply = delete(id).await;
            assert_eq!((&reply[code], &reply[message]), (&json!(1_108_030), &json!("delete service template failed")));
        }
        assert_eq!(delete(json!("1")).await[code], 1_199_000);
        assert_eq!(server.simulator.state().service_templates.len(), 1);
        let reply = delete(json!(1)).await;
        assert_eq!((&reply[code], &reply["data"]), (&json!(0), &Value::Null));
        assert!(server.simulator.state().service_templates.is_empty());
    }
}
