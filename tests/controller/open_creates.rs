//! What other sets of a service template do while a create of one set is open: nothing about its name, and not for ever. On a clock
//! that jumps, on a CMDB before 3.9.18, which takes a name twice.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};
use test_support::paused::Paused;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_hours(1);

const CREATE: &str = "batch_create_proc_template";

/// Time after which no server can still be working on a create.
const GRACE: Duration = Duration::from_secs(150);

/// Longest time that a create which its set does not decide may hold others back: the grace period, and a moment for the set.
const HELD: Duration = Duration::from_mins(5);

fn spec(names: &[&str]) -> Value {
    let processes: Value = names.iter().map(|name| json!({ "name": name, "funcName": name })).collect();
    json!({ "adoptionPolicy": "IfIdentical", "deletionPolicy": "Orphan", "processes": processes })
}

fn stored(world: &Paused, name: &str) -> usize {
    let templates = world.sim().state().process_templates;
    templates.iter().filter(|template| template.bk_process_name == name).count()
}

// How often the name was sent.
fn sent(world: &Paused, name: &str) -> usize {
    let requests = world.sim().requests();
    let creates = requests.iter().filter(|record| record.call == CREATE);
    creates.filter(|record| record.body["processes"].to_string().contains(&format!("\"value\":\"{name}\""))).count()
}

// An older set without the process, and a younger one whose create of it is open: the answer was lost, and nothing stored.
async fn open_create() -> (Paused, Instant) {
    let mut world = Paused::new();
    world.sim().update_state(|state| state.unique_names = false);
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("older", "web", spec(&["redis"]));
    world.until_all_ready(PATIENCE).await;
    world.sim().add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    world.apply("younger", "web", spec(&["nginx"]));
    let is_open = |world: &Paused| world.seen("younger").status.pending.len() == 1 && sent(world, "nginx") == 1;
    world.until(PATIENCE, "the create is open", is_open).await;
    let since = Instant::now();
    world.until(PATIENCE, "it is said", |world| world.seen("younger").reason("Ready") != "Progressing").await;
    (world, since)
}

#[tokio::test(start_paused = true)]
async fn a_name_is_not_created_while_another_sets_create_of_it_is_open() {
    let (mut world, since) = open_create().await;
    world.apply("older", "web", spec(&["redis", "nginx"]));
    world.until(PATIENCE, "it is sent again", |world| sent(world, "nginx") == 2).await;
    let waited = since.elapsed();
    println!("open creates: waited_ms={}", waited.as_millis());
    assert!(waited + Duration::from_secs(5) >= GRACE && waited <= HELD, "{waited:?}");
    let is_decided = |world: &Paused| world.seen("older").ids().len() + world.seen("younger").ids().len() == 2;
    world.until(PATIENCE, "one of the sets has it", is_decided).await;
    assert_eq!((stored(&world, "nginx"), sent(&world, "nginx")), (1, 2));
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_late_belongs_to_the_set_that_sent_it() {
    let (mut world, _) = open_create().await;
    world.apply("older", "web", spec(&["redis", "nginx"]));
    let says = |world: &Paused| world.seen("older").message().contains("\"younger\" has begun a create");
    world.until(PATIENCE, "the older one says what it waits for", says).await;
    let property = json!({
        "bk_process_name": { "value": "nginx", "as_default_value": true },
        "bk_func_name": { "value": "nginx", "as_default_value": true },
    });
    world.sim().add_process_template(1, "admin", &serde_json::from_value(property).unwrap()).unwrap();
    world.until(PATIENCE, "the younger one has it", |world| world.seen("younger").ids().len() == 1).await;
    let is_told = |world: &Paused| world.seen("older").reason("Ready") == "Conflict";
    world.until(PATIENCE, "the older one says why it waits", is_told).await;
    assert_eq!((stored(&world, "nginx"), sent(&world, "nginx")), (1, 1));
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_gone_or_cannot_decide_holds_nobody_back_for_ever() {
    for (how, least) in [("deleted", Duration::ZERO), ("without a connection", GRACE), ("restarted", GRACE)] {
        let (mut world, _) = open_create().await;
        if how == "without a connection" {
            let mut unconnected = spec(&["nginx"]);
            unconnected["connectionRef"] = json!({ "name": "none" });
            world.apply("younger", "web", unconnected);
        }
        world.apply("older", "web", spec(&["redis", "nginx"]));
        if how == "deleted" {
            world.delete("younger");
        }
        if how == "restarted" {
            world.stop_operator().await;
            let mut unconnected = spec(&["nginx"]);
            unconnected["connectionRef"] = json!({ "name": "none" });
            world.apply("younger", "web", unconnected);
            world.start_operator();
        }
        let begun = Instant::now();
        world.until(PATIENCE, "the older set has it", |world| world.seen("older").ids().len() == 2).await;
        let took = begun.elapsed();
        println!("open creates: {how}: took_ms={}", took.as_millis());
        assert!(took <= HELD && took + Duration::from_secs(10) >= least, "{how}: {took:?}");
        assert_eq!(stored(&world, "nginx"), 1, "{how}");
        world.stop_operator().await;
    }
}
