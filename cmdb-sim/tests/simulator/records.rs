//! Records of requests.

use cmdb_sim::Options;
use serde_json::json;

use crate::esb::{CREATE, LIST, Server, process};

#[tokio::test]
async fn requests_are_remembered_without_their_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("requests.jsonl");
    let server = Server::with(Options { request_log: Some(log.clone()), request_limit: 3, ..Options::default() }).await;
    let body = json!({"bk_app_secret": "hunter2", "bk_token": "t0ken", "access_token": "acce55", "bk_biz_id": 2,
        "service_template_id": 1, "processes": [process("a")]});
    server.call(CREATE, body).await;
    server.list().await;
    let (_, shown) = server.admin(reqwest::Method::GET, "requests", json!({})).await;
    let request = &shown["requests"][1];
    assert_eq!(request["sequence"], 2);
    assert_eq!(request["call"], CREATE);
    assert_eq!(request["method"], "POST");
    assert_eq!(request["path"], "/api/c/compapi/v2/cc/batch_create_proc_template/");
    assert_eq!(request["headers"]["content-type"], "application/json");
    assert_eq!(request["credential"], "f52fbd32");
    assert_eq!(request["body"]["bk_app_secret"], "***");
    assert_eq!(request["body"]["processes"][0], process("a"));
    assert_eq!((&request["http_status"], &request["code"], &request["ids"]), (&json!(200), &json!(0), &json!([1])));
    let logged = std::fs::read_to_string(&log).unwrap();
    assert_eq!(logged.lines().count(), 3);
    for secret in ["hunter2", "t0ken", "acce55"] {
        assert!(!logged.contains(secret) && !shown.to_string().contains(secret), "{secret}");
    }
    let (_, summary) = server.admin(reqwest::Method::GET, "requests?summary=true", json!({})).await;
    assert_eq!((&summary["total"], &summary["calls"][LIST]), (&json!(3), &json!({"count": 1, "outcomes": {"0": 1}})));
    server.list().await;
    assert_eq!(server.simulator.requests()[0].sequence, 2, "the oldest goes first");
    server.admin(reqwest::Method::DELETE, "requests", json!({})).await;
    assert!(server.simulator.requests().is_empty());
}
