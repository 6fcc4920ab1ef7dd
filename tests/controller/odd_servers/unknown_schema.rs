//! A service template without process templates on a server that has not shown how it keeps sockets. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::Schema;
use process_template_operator::api::ItemState;
use serde_json::{Value, json};
use test_support::paused::Paused;

const PATIENCE: Duration = Duration::from_mins(10);

fn spec() -> Value {
    json!({ "processes": [
        { "name": "v6", "funcName": "v6", "bindInfo": [{ "ip": "::", "port": 80, "protocol": "TCP6" }] },
        { "name": "plain", "funcName": "plain" },
    ] })
}

fn names(world: &Paused) -> Vec<String> {
    world.sim().state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_flat_server_gets_nothing_without_the_sockets_that_it_cannot_keep() {
    let mut world = Paused::new();
    world.sim().update_state(|state| state.schema = Schema::Flat);
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec());
    let is_judged = |world: &Paused| {
        let processes = world.seen("web").status.processes;
        processes.iter().any(|process| process.state == ItemState::Invalid)
            && processes.iter().any(|process| process.state == ItemState::InSync)
    };
    world.until(PATIENCE, "one is in sync and one invalid", is_judged).await;
    assert_eq!(names(&world), ["plain"]);
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn a_server_with_rows_gets_all_within_seconds() {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec());
    let took = world.until_all_ready(PATIENCE).await;
    assert!(took < Duration::from_secs(30), "{took:?}");
    assert_eq!(names(&world), ["plain", "v6"]);
    world.stop_operator().await;
}
