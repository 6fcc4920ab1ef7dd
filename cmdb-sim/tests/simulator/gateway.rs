//! What the gateway answers itself.

use cmdb_sim::Transport;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use reqwest::header::HeaderMap;

use crate::client::{LIST, Server, authorization, batch, credentials, everything, gateways_own, headers};

#[tokio::test]
async fn the_gateway_refuses_bad_credentials_in_its_own_envelope() {
    let server = Server::start().await;
    let refused = async |sent: HeaderMap, reason: &str| {
        // Those in the body are not read.
        let mut body = everything();
        body.as_object_mut().unwrap().extend(credentials().as_object().unwrap().clone());
        let expected = (400, 1_640_001, format!("Parameters error [reason=\"{reason}\"]"));
        assert_eq!(gateways_own(server.gateway(sent, body).await).await, expected);
    };
    let without = |key: &str| {
        let mut credentials = credentials();
        credentials[key] = json!("");
        authorization(credentials)
    };
    refused(HeaderMap::new(), "app code cannot be empty").await;
    let broken = "request header X-Bkapi-Authorization is not a valid JSON";
    refused(headers([("X-Bkapi-Authorization", "{")]), broken).await;
    refused(headers([("X-Bkapi-Authorization", "1")]), broken).await;
    refused(without("bk_app_code"), "app code cannot be empty").await;
    refused(without("bk_app_secret"), "please provide bk_app_secret or bk_signature to verify app").await;
    server.account("other", "secret");
    refused(authorization(credentials()), "app not found").await;
    server.account("app", "right");
    refused(authorization(credentials()), "bk_app_code or bk_app_secret is incorrect").await;
    server.account("app", "secret");
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["code"], 0);
    let requests = server.simulator.requests();
    assert_eq!((requests[0].code, requests[0].http_status), (Some(1_640_001), Some(400)));
}

#[tokio::test]
async fn the_gateway_passes_a_call_without_a_user_which_cmdb_refuses() {
    let server = Server::start().await;
    for (at, (key, creator)) in
        [("bk_username", "t"), ("bk_token", "admin"), ("bk_ticket", "admin"), ("access_token", "admin")]
            .into_iter()
            .enumerate()
    {
        let sent = authorization(json!({"bk_app_code": "app", "bk_app_secret": "secret", key: "t"}));
        let path = "/api/bk-cmdb/some-stage/api/v3/createmany/proc/proc_template";
        let reply = server.send(Method::POST, path, sent, &batch(&[key])).await.unwrap();
        assert_eq!(reply.json::<Value>().await.unwrap()["code"], 0);
        assert_eq!(server.simulator.state().process_templates[at].creator, creator);
    }
    let mut sent = authorization(json!({"bk_app_code": "app", "bk_app_secret": "secret", "bk_username": ""}));
    sent.extend(headers([("BK_User", "ann"), ("X-Bkcmdb-User", "ann")]));
    let response = server.gateway(sent, everything()).await;
    assert_eq!(response.status(), 200);
    let expected = json!({"result": false, "bk_error_code": 1_199_998, "bk_error_msg": "user is not set",
        "permission": null, "data": null});
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn the_gateway_knows_a_resource_by_stage_method_and_path() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::POST, "prod/api/v3/findmany/proc/no_such_thing"),
        (Method::GET, "prod/api/v3/findmany/proc/proc_template"),
        (Method::POST, "api/v3/findmany/proc/proc_template"),
        (Method::POST, "prod/findmany/proc/proc_template"),
        (Method::POST, "two/stages/api/v3/findmany/proc/proc_template"),
        (Method::POST, "prod"),
        (Method::POST, "/api/v3/findmany/proc/proc_template"),
    ] {
        // Even without credentials.
        let response = server.send(method, &format!("/api/bk-cmdb/{path}"), HeaderMap::new(), &json!({})).await;
        assert_eq!(gateways_own(response.unwrap()).await, (404, 1_640_401, "API not found".to_owned()));
    }
    assert!(server.simulator.requests().iter().all(|request| request.call.is_empty()));
}

#[tokio::test]
async fn each_reply_of_the_gateway_has_an_id_and_keeps_the_callers_own() {
    let server = Server::start().await;
    let id = |response: &Response| response.headers()["x-bkapi-request-id"].to_str().unwrap().to_owned();
    let mut sent = authorization(credentials());
    sent.extend(headers([("X-Request-Id", "mine"), ("X-Bkapi-Request-Id", "not mine to choose")]));
    let first = server.gateway(sent.clone(), everything()).await;
    let second = server.gateway(sent, everything()).await;
    assert_ne!(id(&first), id(&second));
    assert_eq!(first.headers()["x-request-id"], "mine");
    server.fault(json!({"http_status": 200, "body": "<html>"})).await;
    let raw = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(id(&raw).replace('-', ""), raw.headers()["x-request-id"].to_str().unwrap());
    let direct = server.request(Transport::Direct, LIST, everything()).await.unwrap();
    assert_eq!((direct.headers()["x-request-id"].len(), direct.headers().get("x-bkapi-request-id")), (32, None));
}

#[tokio::test]
async fn only_the_gateway_gives_its_codes_their_own_envelope_and_status() {
    let server = Server::start().await;
    for (code, status, text) in [
        (1_640_001, 400, "Parameters error"),
        (1_640_101, 401, "App authentication failed"),
        (1_640_301, 403, "App has no permission to the resource"),
        (1_641_301, 413, "Request body size too large."),
        (1_642_904, 429, "Request concurrency exceeds"),
        (1_650_000, 500, "Request backend service status code is 5xx"),
        (1_650_201, 502, "Request backend service failed"),
        (1_650_300, 503, "Service Unavailable"),
        (1_650_401, 504, "Request backend service timeout"),
        (1_650_801, 508, "Recursive request detected"),
        (1_600_001, 500, "unknown error"),
        (1_699_999, 500, "unknown error"),
    ] {
        server.fault(json!({"code": code})).await;
        let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
        assert_eq!(gateways_own(response).await, (status, code, text.to_owned()));
        assert_eq!(server.call(Transport::Esb, LIST, everything()).await["code"], code);
        assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], code);
    }
    server
        .fault(json!({"code": 1_642_901, "message": "slow down", "http_status": 200, "headers": {"X-More": "7"}}))
        .await;
    let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(response.headers()["x-more"], "7");
    assert_eq!(gateways_own(response).await, (200, 1_642_901, "slow down".to_owned()));
}
