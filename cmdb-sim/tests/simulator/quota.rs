//! Quotas of callers.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Quota, Transport};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use reqwest::header::HeaderMap;

use crate::client::{
    CREATE, LIST, Server, TRANSPORTS, authorization, batch, credentials, everything, gateways_own, headers, keys,
};

/// Limit, remaining and reset as the headers of a reply say them.
fn quota_headers(response: &Response) -> Option<(u64, u64, u64)> {
    let number = |name: &str| response.headers().get(name)?.to_str().unwrap().parse().ok();
    let name = |last: &str| format!("x-bkapi-ratelimit-{last}");
    Some((number(&name("limit"))?, number(&name("remaining"))?, number(&name("reset"))?))
}

async fn put_quota(server: &Server, quota: Value) {
    assert_eq!(server.admin(Method::PUT, "state", json!({"quota": quota})).await.0, 200);
}

#[tokio::test]
async fn what_is_over_the_quota_is_refused_as_the_transport_does() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 60})).await;
    for transport in TRANSPORTS {
        for name in ["a", "b"] {
            let reply = server.call(transport, CREATE, batch(&[&format!("{transport:?} {name}")])).await;
            assert_eq!(reply[keys(transport).0], 0);
        }
    }
    let stored = server.names();
    server.simulator.clear_requests();
    // What comes no further than the limit meets no fault.
    let fault = server.simulator.add_fault(Fault::every("*", Effect::drop_after_commit()));
    let response = server.request(Transport::Gateway, CREATE, batch(&["c"])).await.unwrap();
    assert_eq!(quota_headers(&response), None);
    let expected = (429, 1_642_901, "API rate limit exceeded by stage global limit".to_owned());
    assert_eq!(gateways_own(response).await, expected);
    let reply = server.call(Transport::Esb, CREATE, batch(&["c"])).await;
    assert_eq!((&reply["code"], &reply["message"]), (&json!(1_306_429), &json!("Access frequency limit")));
    let reply = server.call(Transport::Direct, CREATE, batch(&["c"])).await;
    assert_eq!((&reply["bk_error_code"], &reply["bk_error_msg"]), (&json!(1_199_997), &json!("too many requests")));
    assert_eq!(server.names(), stored);
    let codes: Vec<_> = server.simulator.requests().iter().map(|one| (one.http_status, one.code)).collect();
    let expected = [(429, 1_642_901), (200, 1_306_429), (200, 1_199_997)];
    assert_eq!(codes, expected.map(|(status, code)| (Some(status), Some(code))));
    assert_eq!(server.simulator.faults().iter().find(|one| one.id == fault).unwrap().matched, 0);
    assert!(server.simulator.requests().iter().all(|request| request.fault.is_none() && request.finished));
}

#[tokio::test]
async fn a_quota_chooses_its_code_and_ends_with_the_state_key() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 0, "windowSeconds": 60, "code": 1_642_903})).await;
    let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(gateways_own(response).await.1, 1_642_903);
    assert_eq!(server.call(Transport::Esb, LIST, everything()).await["code"], 1_642_903);
    put_quota(&server, json!({"code": 1_199_997})).await;
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["bk_error_code"], 1_199_997);
    put_quota(&server, Value::Null).await;
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["code"], 0);
    for wrong in [json!({"limit": 1}), json!({"limit": 1, "windowSeconds": 1, "burst": 2}), json!(1)] {
        assert_eq!(server.admin(Method::PUT, "state", json!({"quota": wrong})).await.0, 400);
    }
}

#[tokio::test]
async fn with_quota_headers_every_reply_of_the_gateway_says_what_is_left() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 60, "headers": true})).await;
    let list = async || server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    // Nothing is taken by who is nobody and by what leads nowhere.
    assert_eq!(quota_headers(&server.gateway(HeaderMap::new(), everything()).await), Some((2, 2, 60)));
    let sent = authorization(credentials());
    let nowhere = server.send(Method::POST, "/api/bk-cmdb/prod/api/v3/x", sent, &json!({})).await.unwrap();
    assert_eq!(quota_headers(&nowhere), Some((2, 2, 60)));
    let (limit, remaining, early) = quota_headers(&list().await).unwrap();
    assert!((limit, remaining) == (2, 1) && (30..=60).contains(&early), "{limit} {remaining} {early}");
    server.fault(json!({"http_status": 504, "body": "<html>"})).await;
    assert_eq!(quota_headers(&list().await).unwrap().1, 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let over = list().await;
    let (limit, remaining, late) = quota_headers(&over).unwrap();
    assert_eq!((over.status().as_u16(), limit, remaining), (429, 2, 0));
    assert!(late < early, "{late} {early}");
    assert_eq!(quota_headers(&server.gateway(HeaderMap::new(), everything()).await), Some((2, 2, 60)));

    // The other two have no such headers, and a fault's own words stay.
    server.simulator.clear_faults();
    for transport in [Transport::Esb, Transport::Direct] {
        assert_eq!(quota_headers(&server.request(transport, LIST, everything()).await.unwrap()), None);
    }
    server.simulator.clear_quota();
    server.fault(json!({"code": 1_642_901, "headers": {"x-bkapi-ratelimit-reset": "7"}})).await;
    assert_eq!(quota_headers(&list().await), Some((2, 1, 7)));
}

#[tokio::test]
async fn each_application_has_its_own_quota_and_each_user_of_the_apiserver() {
    let server = Server::start().await;
    let quota = Quota { limit: 1, window_seconds: 60.0, headers: false, code: None };
    server.simulator.update_state(|state| state.quota = Some(quota));
    let as_app = async |app: &str, user: &str| {
        let sent = authorization(json!({"bk_app_code": app, "bk_app_secret": "secret", "bk_username": user}));
        server.gateway(sent, everything()).await.status().as_u16()
    };
    assert_eq!([as_app("one", "ann").await, as_app("one", "bob").await, as_app("two", "ann").await], [200, 429, 200]);
    let as_user = async |header: &str, user: &str| {
        let sent = headers([(header, user), ("HTTP_BLUEKING_SUPPLIER_ID", "0")]);
        server.direct(sent, everything()).await.json::<Value>().await.unwrap()["bk_error_code"].as_i64().unwrap()
    };
    assert_eq!([as_user("BK_User", "ann").await, as_user("X-Bkcmdb-User", "ann").await], [0, 1_199_997]);
    assert_eq!(as_user("BK_User", "bob").await, 0);
    let path = "/api/c/compapi/v2/cc/list_proc_template/";
    let as_esb = async |app: &str| {
        let mut body = everything();
        body.as_object_mut().unwrap().extend(credentials().as_object().unwrap().clone());
        body["bk_app_code"] = json!(app);
        let response = server.send(Method::POST, path, HeaderMap::new(), &body).await.unwrap();
        response.json::<Value>().await.unwrap()["code"].as_i64().unwrap()
    };
    assert_eq!([as_esb("one").await, as_esb("one").await, as_esb("two").await], [0, 1_306_429, 0]);
    let windows: Vec<_> = server.simulator.quota_windows();
    let windows: Vec<_> =
        windows.iter().map(|one| (one.transport, one.caller.as_str(), one.taken, one.refused)).collect();
    let (gateway, direct, esb) = (Transport::Gateway, Transport::Direct, Transport::Esb);
    let expected = [
        (gateway, "one", 1, 1),
        (gateway, "two", 1, 0),
        (direct, "ann", 1, 1),
        (direct, "bob", 1, 0),
        (esb, "one", 1, 1),
        (esb, "two", 1, 0),
    ];
    assert_eq!(windows, expected);
}

#[tokio::test]
async fn a_new_window_starts_with_the_first_call_after_the_last_one() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 1.5})).await;
    let code = async || server.call(Transport::Esb, LIST, everything()).await["code"].as_i64().unwrap();
    assert_eq!([code().await, code().await, code().await], [0, 0, 1_306_429]);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(code().await, 0);
    let (status, shown) = server.admin(Method::GET, "quota", json!({})).await;
    assert_eq!(status, 200);
    let windows = shown["windows"].as_array().unwrap();
    let of = |window: &Value| (window["taken"].as_u64().unwrap(), window["refused"].as_u64().unwrap());
    assert_eq!(windows.iter().map(of).collect::<Vec<_>>(), [(2, 1), (1, 0)]);
    assert_eq!((&windows[0]["transport"], &windows[0]["caller"]), (&json!("esb"), &json!("app")));
    assert!(windows[0]["start"].as_str().unwrap() < windows[1]["start"].as_str().unwrap());
    put_quota(&server, json!({"windowSeconds": 60})).await;
    assert_eq!([code().await, code().await], [0, 1_306_429]);
    assert_eq!(server.admin(Method::DELETE, "quota", json!({})).await.0, 204);
    assert!(server.simulator.quota_windows().is_empty());
    assert_eq!([code().await, code().await, code().await], [0, 0, 1_306_429]);
}
