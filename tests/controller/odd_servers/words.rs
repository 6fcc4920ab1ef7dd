//! Who is said to have changed a template in CMDB. On a clock that jumps.

use std::time::Duration;

use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// `bk_username` of the operator's connection.
const OURS: &str = "admin";

fn spec(policy: &str) -> Value {
    let process = json!({ "name": "nginx", "funcName": "nginx", "workPath": "/data" });
    json!({ "driftPolicy": policy, "resyncIntervalSeconds": 60, "processes": [process] })
}

fn edit(world: &Paused, user: &str) {
    let stored = &world.sim().state().process_templates[0];
    let mut property = stored.property.clone();
    property.retain(|name, _| name == "work_path");
    property.get_mut("work_path").unwrap().value = format!("/by/{user}").into();
    world.sim().edit_process_template(stored.id, user, &property).unwrap();
}

// What is said in events and conditions after a user has changed a template.
async fn said(policy: &str, user: &str) -> String {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec(policy));
    world.until_all_ready(PATIENCE).await;
    edit(&world, user);
    sleep(Duration::from_mins(5)).await;
    let events = world.api.list(&Place::new("events.k8s.io", "events", "", ""));
    let mut said: Vec<String> = events.iter().map(|event| event["note"].as_str().unwrap().to_owned()).collect();
    said.push(world.seen("web").message().to_owned());
    said.join("\n")
}

#[tokio::test(start_paused = true)]
async fn a_change_by_our_own_user_is_not_called_somebody_elses() {
    for policy in ["Detect", "Correct"] {
        let ours = said(policy, OURS).await;
        println!("words: {policy}: {ours}");
        assert!(ours.contains("this operator, or another one with its user"), "{ours}");
        assert!(!ours.contains("somebody") && !ours.contains("\"admin\""), "{ours}");
        let theirs = said(policy, "bob").await;
        assert!(theirs.contains("\"bob\"") && !theirs.contains("this operator"), "{theirs}");
    }
}
