//! Edits behind the callers' backs, as users of the web interface make them.

use std::time::Duration;

use cmdb_sim::EditError;
use reqwest::Method;
use serde_json::{Value, json};

use crate::esb::{CREATE, Server, UPDATE, batch, locked, name_taken, none, process, property, refusal, row_ids};

#[tokio::test]
async fn a_user_of_the_web_interface_changes_templates() {
    let server = Server::start().await;
    let id = server.created(vec![process("a"), process("b")]).await[0];
    let before = server.one(id).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let path = format!("process_templates/{id}");
    let edit = json!({"user": "bob", "property": {"bk_process_name": {"value": "c"}, "bk_func_name": locked("cd"),
        "timeout": locked(60), "bind_info": locked(json!([{"port": locked("80"), "protocol": locked("1")}]))}});
    assert_eq!(server.admin(Method::PATCH, &path, edit).await.0, 204);
    let after = server.one(id).await;
    assert_eq!((&after["creator"], &after["modifier"]), (&json!("ann"), &json!("bob")));
    assert!(after["last_time"].as_str().unwrap() > before["last_time"].as_str().unwrap());
    assert_eq!(after["bk_process_name"], "c");
    let property = &after["property"];
    assert_eq!((&property["bk_process_name"], &property["bk_func_name"]), (&locked("c"), &locked("cd")));
    assert_eq!((&property["timeout"], row_ids(&after)), (&locked(60), vec![1]));
    assert_eq!(property["bind_info"]["value"][0]["enable"], none());
    // The name that was given up is free, the new one is taken.
    server.created(vec![process("a")]).await;
    assert_eq!(refusal(&server.call(CREATE, batch(vec![process("c")])).await), name_taken("c"));
    assert_eq!(server.simulator.requests().iter().filter(|request| request.call == UPDATE).count(), 0);

    let patch = async |path: &str, property: Value| {
        server.admin(Method::PATCH, path, json!({"user": "bob", "property": property})).await.0
    };
    assert_eq!(patch("process_templates/99", json!({})).await, 404);
    for bad in [
        json!({"timeout": locked(0)}),
        json!({"timeout": locked("60")}),
        json!({"timeout": 60}),
        json!({"bk_process_name": locked("b")}),
        json!({"bk_func_name": locked("")}),
        json!({"nice": locked(1)}),
        Value::Null,
    ] {
        assert_eq!(patch(&path, bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(server.admin(Method::PATCH, &path, json!({"property": {}})).await.0, 400);
    assert_eq!(server.one(id).await, after);
}

#[tokio::test]
async fn a_user_of_the_web_interface_adds_templates() {
    let server = Server::start().await;
    server.created(vec![process("a")]).await;
    let add = async |service_template_id: i64, property: Value| {
        let body = json!({"user": "bob", "service_template_id": service_template_id, "property": property});
        server.admin(Method::POST, "process_templates", body).await
    };
    assert_eq!(add(1, process("b")["spec"].clone()).await, (201, json!({"id": 2})));
    let added = server.one(2).await;
    assert_eq!((&added["creator"], &added["modifier"], &added["bk_biz_id"]), (&json!("bob"), &json!("bob"), &json!(2)));
    assert_eq!(added["property"]["bk_func_name"], locked("bd"));
    for (service_template_id, property) in [
        (9, process("c")["spec"].clone()),
        (1, process("a")["spec"].clone()),
        (1, json!({})),
        (1, json!({"nice": locked(1)})),
        (1, json!(1)),
    ] {
        let (status, reply) = add(service_template_id, property).await;
        assert!(status == 400 && reply["error"].is_string(), "{status} {reply}");
    }
    assert_eq!(server.created(vec![process("c")]).await, [3]);
}

#[tokio::test]
async fn edits_are_methods_of_the_simulator_too() {
    let server = Server::start().await;
    let simulator = &server.simulator;
    let id = simulator.add_process_template(1, "bob", &property(process("a")["spec"].clone())).unwrap();
    let edit = |id: i64, change: Value| simulator.edit_process_template(id, "eve", &property(change));
    edit(id, json!({"user": locked("root")})).unwrap();
    let template = server.one(id).await;
    assert_eq!((&template["creator"], &template["modifier"]), (&json!("bob"), &json!("eve")));
    assert_eq!(template["property"]["user"], locked("root"));
    assert_eq!(edit(99, json!({})), Err(EditError::NotFound(99)));
    assert_eq!(edit(id, json!({"nice": locked(1)})), Err(EditError::UnknownProperty("nice".to_owned())));
    let error = edit(id, json!({"timeout": locked(0)})).unwrap_err();
    assert_eq!(error.to_string(), "1199006: 'timeout' data parameter verification does not pass");
    let again = simulator.add_process_template(1, "bob", &property(process("a")["spec"].clone()));
    assert!(matches!(again, Err(EditError::Refused { code: 1_113_019, .. })));
}
