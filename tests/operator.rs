//! The operator against the real API server and a simulated CMDB.

mod support;

use serde_json::{Value, json};
use support::world::World;

fn processes(count: usize) -> Value {
    (1..=count)
        .map(|number| {
            json!({ "name": format!("p{number:03}"), "funcName": format!("f{number:03}"), "procNum": 1,
                "bindInfo": [{ "ip": "0.0.0.0", "port": 8000 + number, "protocol": "TCP", "enable": true }] })
        })
        .collect()
}

#[tokio::test]
async fn what_is_missing_is_created_by_one_request_and_the_ids_are_in_the_status() {
    let Some(mut world) = World::new("create").await else { return };
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(6) })).await;
    let seen = world.until_ready("web").await;
    let stored: Vec<i64> = world.sim.state().process_templates.iter().map(|template| template.id).collect();
    assert_eq!(seen.ids(), stored);
    assert_eq!(world.requests("batch_create_proc_template").len(), 1);
    assert_eq!(seen.status.summary.as_deref(), Some("6/6"));
    world.stop_operator().await;
    world.end().await;
}
