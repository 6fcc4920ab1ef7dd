//! The state: in part, in a file, and large.

use std::time::{Duration, Instant};

use cmdb_sim::{Options, Simulator};
use serde_json::{Value, json};

use crate::esb::{LIST, Server, client, locked, process, property};

#[tokio::test]
async fn the_state_can_be_put_in_part_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let options = Options { state_file: Some(file.clone()), ..Options::default() };
    let server = Server::with(options.clone()).await;
    server.created(vec![process("a"), process("b")]).await;
    let (_, mut state) = server.admin(reqwest::Method::GET, "state", json!({})).await;
    assert_eq!((&state["whitespaceRule"], &state["schema"]), (&json!(true), &json!("bind-info")));
    state["process_templates"][0]["property"]["user"] = locked("root");
    state["process_templates"].as_array_mut().unwrap().push(json!({"bk_biz_id": 2, "service_template_id": 1,
        "property": {"bk_process_name": locked("by hand"), "private": locked("kept")}}));
    let change = json!({"process_templates": state["process_templates"], "next_ids": {"process_template": 50}});
    assert_eq!(server.admin(reqwest::Method::PUT, "state", change).await.0, 200);
    assert_eq!(server.admin(reqwest::Method::PUT, "state", json!({"proces_templates": []})).await.0, 400);
    assert_eq!(server.admin(reqwest::Method::PUT, "state", json!({"process_templates": [{}]})).await.0, 400);
    let before = server.simulator.state();
    server.simulator.stop().await;

    let again = Simulator::start(options).unwrap();
    assert_eq!(again.state(), before);
    assert!(!file.with_extension("json.tmp").exists());
    let server = Server { simulator: again, client: client() };
    let listed = server.list().await;
    assert_eq!(listed[2]["property"]["user"], locked("root"));
    assert_eq!((&listed[0]["id"], &listed[0]["bk_process_name"]), (&json!(50), &json!("by hand")));
    assert_eq!(listed[0]["property"]["private"], locked("kept"));
    assert_eq!(server.refused(vec![process("by hand")]).await.0, 1_113_019);
    assert_eq!(server.created(vec![process("c")]).await, [51]);
}

#[tokio::test]
async fn the_state_is_saved_after_every_change_of_any_kind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let options = Options { state_file: Some(file.clone()), ..Options::default() };
    let server = Server::with(options).await;
    let saved = || -> Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    server.updated(ids[0], json!({"user": locked("root")})).await;
    assert_eq!(saved()["process_templates"][0]["property"]["user"], locked("root"));
    server.deleted(&ids[1..2]).await;
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 2);
    let edit = property(json!({"user": locked("www")}));
    server.simulator.edit_process_template(ids[0], "bob", &edit).unwrap();
    assert_eq!(saved()["process_templates"][0]["property"]["user"], locked("www"));
    server.simulator.add_process_template(1, "bob", &property(process("d")["spec"].clone())).unwrap();
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 3);
    server.simulator.update_state(|state| state.non_atomic = true);
    server.refused_delete(&[ids[2], 99]).await;
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 2);
    assert_eq!(server.simulator.state().process_templates.len(), 2);
}

#[tokio::test]
async fn ten_thousand_templates_are_stored_in_reasonable_time() {
    let server = Server::start().await;
    let started = Instant::now();
    for at in 0..100 {
        let processes = (0..100).map(|process_at| process(&format!("p{at}-{process_at}"))).collect();
        assert_eq!(server.created(processes).await.len(), 100);
    }
    let page = json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"limit": 10}});
    assert_eq!(server.call(LIST, page).await["data"]["count"], 10_000);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}
