//! Each transport answers as the server there does: the ESB, the gateway, the apiserver.

use std::time::{Duration, Instant};

use cmdb_sim::{Effect, Fault, Options, Transport};
use reqwest::Method;
use serde_json::{Value, json};

use crate::client::{
    CREATE, DELETE, LIST, Server, TRANSPORTS, UPDATE, authorization, batch, content_type, credentials, everything,
    keys, locked, names, trusted,
};

#[tokio::test]
async fn every_call_does_the_same_on_each_transport_and_keeps_its_name() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let (code, _) = keys(transport);
        let call = async |name: &str, body: Value| {
            let reply = server.call(transport, name, body).await;
            assert_eq!((&reply["result"], &reply[code]), (&json!(true), &json!(0)), "{reply}");
            reply["data"].clone()
        };
        let new = json!({"bk_biz_id": 2, "name": "db", "service_category_id": 2});
        assert_eq!(call("create_service_template", new).await["creator"], "ann");
        let page = json!({"bk_biz_id": 2, "page": {"limit": 10}});
        assert_eq!(call("list_service_template", page).await["count"], 2);
        assert_eq!(call("list_service_category", json!({"bk_biz_id": 2})).await["count"], 20);
        assert_eq!(call(CREATE, batch(&["a", "b"])).await, json!([1, 2]));
        let change = json!({"bk_biz_id": 2, "process_template_id": 1, "process_property": {"user": locked("root")}});
        assert_eq!(call(UPDATE, change).await["property"]["user"]["value"], "root");
        assert_eq!(call(DELETE, json!({"bk_biz_id": 2, "process_templates": [2]})).await, Value::Null);
        let listed = call(LIST, everything()).await;
        assert_eq!((&listed["count"], &listed["info"][0]["modifier"]), (&json!(1), &json!("ann")));

        let requests = server.simulator.requests();
        let calls: Vec<&str> = requests.iter().map(|request| request.call.as_str()).collect();
        let expected =
            ["create_service_template", "list_service_template", "list_service_category", CREATE, UPDATE, DELETE, LIST];
        assert_eq!(calls, expected);
        assert!(requests.iter().all(|request| request.transport == transport && request.code == Some(0)));
    }
}

#[tokio::test]
async fn success_and_refusal_have_the_envelope_of_their_transport() {
    let server = Server::start().await;
    for (transport, expected) in [
        (Transport::Esb, vec!["code", "data", "message", "permission", "request_id", "result"]),
        (Transport::Gateway, vec!["code", "data", "message", "permission", "result"]),
        (Transport::Direct, vec!["bk_error_code", "bk_error_msg", "data", "permission", "result"]),
    ] {
        let (code, message) = keys(transport);
        let reply = server.call(transport, LIST, everything()).await;
        assert_eq!(names(&reply), expected);
        assert_eq!((&reply[code], &reply[message], &reply["data"]["count"]), (&json!(0), &json!("success"), &json!(0)));
        let reply = server.call(transport, LIST, json!({})).await;
        assert_eq!(names(&reply), expected);
        assert_eq!((&reply["result"], &reply[code], &reply["data"]), (&json!(false), &json!(1_199_006), &Value::Null));
        assert_eq!(reply[message], "'bk_biz_id' data parameter verification does not pass");
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_and_no_body_is_an_empty_one() {
    let server = Server::start().await;
    for (transport, prefix) in [(Transport::Gateway, "/api/bk-cmdb/prod"), (Transport::Direct, "")] {
        for (body, expected) in [("{", 1_199_000), ("[]", 1_199_000), ("1", 1_199_000), ("", 0), ("null", 0)] {
            let url = format!("{}{prefix}/api/v3/createmany/proc/proc_template", server.simulator.url());
            let mut sent = authorization(credentials());
            sent.extend(trusted());
            let response = server.client.post(url).headers(sent).body(body).send().await.unwrap();
            let reply: Value = response.json().await.unwrap();
            assert_eq!(reply[keys(transport).0], expected, "{body} {reply}");
        }
    }
}

#[tokio::test]
async fn secrets_in_headers_are_known_by_their_digest_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("requests.jsonl");
    let server = Server::with(Options { request_log: Some(log.clone()), ..Options::default() }).await;
    let mut body = everything();
    body["bk_app_secret"] = json!("misplaced");
    let secrets = json!({"bk_app_code": "app", "bk_app_secret": "hunter2", "bk_token": "t0ken", "bk_ticket": "t1cket",
        "access_token": "acce55"});
    server.gateway(authorization(secrets), body.clone()).await;
    server.direct(trusted(), body).await;
    let (_, shown) = server.admin(Method::GET, "requests", json!({})).await;
    let request = &shown["requests"][0];
    assert_eq!((&request["transport"], &request["credential"]), (&json!("gateway"), &json!("f52fbd32")));
    assert_eq!(request["path"], "/api/bk-cmdb/prod/api/v3/findmany/proc/proc_template");
    let request = &shown["requests"][1];
    assert_eq!((&request["transport"], &request["credential"]), (&json!("direct"), &json!("")));
    assert_eq!((&request["method"], &request["headers"]["bk_user"]), (&json!("POST"), &json!("ann")));
    let logged = std::fs::read_to_string(&log).unwrap();
    for secret in ["hunter2", "t0ken", "t1cket", "acce55", "misplaced"] {
        assert!(!logged.contains(secret) && !shown.to_string().contains(secret), "{secret}");
    }
    server.call(Transport::Esb, LIST, everything()).await;
    assert_eq!(serde_json::to_value(&server.simulator.requests()[2]).unwrap()["transport"], "esb");
}

#[tokio::test]
async fn a_fault_refuses_in_the_envelope_of_the_transport() {
    let server = Server::start().await;
    server.fault(json!({"code": 1_199_018, "after_commit": true})).await;
    for transport in TRANSPORTS {
        let (code, message) = keys(transport);
        let reply = server.call(transport, CREATE, batch(&[code, message])).await;
        assert_eq!((&reply[code], &reply[message]), (&json!(1_199_018), &json!("New data failed")), "{reply}");
        server.simulator.update_state(|state| {
            assert_eq!(state.process_templates.len(), 2);
            state.process_templates.clear();
        });
    }
    let requests = server.simulator.requests();
    assert!(requests.iter().all(|one| one.code == Some(1_199_018) && one.fault.as_deref() == Some("code")));
}

#[tokio::test]
async fn raw_replies_drops_delays_and_hangs_work_on_each_transport() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        server.simulator.add_fault(Fault::nth(LIST, 1, Effect::raw(504, "text/html", "<html>")));
        let response = server.request(transport, LIST, everything()).await.unwrap();
        assert_eq!((response.status().as_u16(), content_type(&response)), (504, "text/html"));
        assert_eq!(response.text().await.unwrap(), "<html>");

        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
        server.simulator.add_fault(Fault::nth(CREATE, 2, Effect::drop_after_commit()));
        assert!(server.request(transport, CREATE, batch(&["before"])).await.is_err());
        assert!(server.request(transport, CREATE, batch(&["after"])).await.is_err());
        assert_eq!(server.names(), ["after"]);
        assert_eq!(server.simulator.requests().last().unwrap().outcome(), "no reply");

        let delay = Effect::delay(300);
        server.simulator.add_fault(Fault::nth(LIST, 1, delay).when("service_template_id", 1));
        let started = Instant::now();
        server.call(transport, LIST, everything()).await;
        assert!(started.elapsed() >= Duration::from_millis(300));

        server.simulator.clear_faults();
        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hang(0.6, false)));
        let send = server.request(transport, CREATE, batch(&["hung up"]));
        assert!(tokio::time::timeout(Duration::from_millis(200), send).await.is_err());
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(server.names(), ["after"]);
        assert!(server.simulator.requests().last().unwrap().client_hung_up);

        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(60.0, false)));
        assert!(server.request(transport, CREATE, batch(&["held"])).await.is_err());
        assert_eq!(server.call(transport, CREATE, batch(&["held"])).await[keys(transport).0], 1_199_066);
    }
}

#[tokio::test]
async fn a_redirect_sends_the_caller_elsewhere_instead_of_the_call() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        for (effect, status) in [
            (json!({"redirect": "https://login.example/?next=1"}), 302),
            (json!({"redirect": "https://login.example/?next=1", "http_status": 307}), 307),
        ] {
            server.fault(effect).await;
            let response = server.request(transport, CREATE, batch(&["a"])).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["location"], "https://login.example/?next=1");
            assert_eq!(response.headers().contains_key("x-bkapi-request-id"), transport == Transport::Gateway);
            assert_eq!(response.text().await.unwrap(), "");
        }
    }
    assert!(server.names().is_empty());
    let request = server.simulator.requests().pop().unwrap();
    assert_eq!((request.outcome().as_str(), request.fault.as_deref()), ("http 307", Some("redirect")));

    // Who follows arrives.
    let other = Server::start().await;
    server.simulator.clear_faults();
    server.simulator.add_fault(Fault::every("*", Effect::redirect(&format!("{}/sim/state", other.simulator.url()))));
    let follower = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v3/findmany/proc/proc_template", server.simulator.url());
    let followed = follower.post(url).headers(trusted()).json(&everything()).send().await.unwrap();
    assert_eq!(followed.url().path(), "/sim/state");
}
