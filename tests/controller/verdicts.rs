//! The verdict on a connection: it follows what its sets see, both ways, and costs CMDB nothing where they ask. On a clock that
//! jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Refuse};
use process_template_operator::api::{GROUP, RECONCILE_REQUESTED_AT};
use process_template_operator::cmdb::Operation;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep, sleep_until};

/// Longest time until the verdict has turned.
const SOON: Duration = Duration::from_secs(5);

/// For how long CMDB refuses every call.
const REFUSED_FOR: Duration = Duration::from_secs(4);

/// Texts with which the ESB refuses everything: credentials, and anything.
const REFUSALS: [&str; 2] = ["APP Secret verification failed, pelase confirm if the APP Secret is right", "failed"];

fn spec(start_cmd: &str) -> Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }] })
}

fn refuse(world: &Paused, message: &str) {
    let refuse = Refuse { code: 1_306_000, message: Some(message.to_owned()), ..Refuse::default() };
    world.sim().clear_faults();
    world.sim().add_fault(Fault::every("*", Effect::Refuse(refuse)));
}

fn annotate(world: &Paused, word: &str) {
    let place = Place::new(GROUP, "cmdbconnections", "shop", "default");
    let mut connection = Value::clone(&world.api.get(&place).unwrap());
    connection["metadata"]["annotations"] = json!({ RECONCILE_REQUESTED_AT: word });
    world.api.apply(&place, &connection);
}

fn handled(world: &Paused) -> Value {
    let connection = world.api.get(&Place::new(GROUP, "cmdbconnections", "shop", "default")).unwrap();
    connection["status"]["lastHandledReconcileAt"].clone()
}

fn is_refused(world: &Paused) -> bool {
    world.connection_condition("Ready").is_some_and(|(status, ..)| status == "False")
}

fn checks_since(world: &Paused, since: Instant) -> usize {
    let calls = world.told.calls_after(since);
    calls.iter().filter(|call| call.operation == Operation::ListServiceCategories).count()
}

async fn in_use() -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec("./run"));
    world.until_all_ready(Duration::from_mins(1)).await;
    world.until(SOON * 2, "the connection is Ready", Paused::is_connection_ready).await;
    world
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_sets_that_was_refused_for_four_seconds_is_ready_soon_after() {
    for text in REFUSALS {
        let mut world = Paused::new();
        refuse(&world, text);
        world.start_operator();
        sleep(REFUSED_FOR).await;
        assert!(is_refused(&world), "{text}");
        world.cmdb_works();
        let took = world.until(SOON, "the connection is Ready", Paused::is_connection_ready).await;
        println!("verdict: sets=0 refused_s=4 ready_after_ms={}", took.as_millis());
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_in_use_that_was_refused_for_four_seconds_is_ready_soon_after() {
    for text in REFUSALS {
        let mut world = in_use().await;
        let refused_at = Instant::now();
        refuse(&world, text);
        world.apply("web", "web", spec("./edited"));
        world.until(REFUSED_FOR, "the connection says so", is_refused).await;
        sleep_until(refused_at + REFUSED_FOR).await;
        world.cmdb_works();
        let took = world.until(SOON, "the connection is Ready", Paused::is_connection_ready).await;
        println!("verdict: sets=1 refused_s=4 ready_after_ms={}", took.as_millis());
        // What the refusal had stopped goes on with it.
        let all = world.until_all_ready(Duration::from_secs(20)).await;
        println!("verdict: sets_ready_after_ms={}", (took + all).as_millis());
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_verdict_turns_with_the_answers_to_a_set_without_a_call_of_its_own() {
    let mut world = in_use().await;
    let begun = Instant::now();
    refuse(&world, REFUSALS[0]);
    world.apply("web", "web", spec("./edited"));
    world.until(SOON, "the connection says so", is_refused).await;
    let (_, reason, message) = world.connection_condition("Ready").unwrap();
    assert!(reason == "Unauthorized" && message.contains("APP Secret verification failed"), "{reason}: {message}");
    assert_eq!(checks_since(&world, begun), 0, "the set's answer is enough");

    // After an hour of refusals the next check is minutes away; the answer to an edited set does not wait for it.
    sleep(Duration::from_hours(1)).await;
    let checks = checks_since(&world, begun);
    println!("verdict: checks_in_an_hour_of_refusal={checks}");
    assert!(checks <= 20, "{checks}");
    let begun = Instant::now();
    world.cmdb_works();
    world.apply("web", "web", spec("./again"));
    world.until(SOON, "the connection is Ready", Paused::is_connection_ready).await;
    assert_eq!(checks_since(&world, begun), 0, "the set's answer is enough");
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn an_annotated_connection_is_checked_at_once() {
    let mut world = Paused::new();
    refuse(&world, REFUSALS[0]);
    world.start_operator();
    sleep(Duration::from_hours(1)).await;
    world.cmdb_works();
    sleep(Duration::from_secs(2)).await;
    assert!(is_refused(&world));
    let begun = Instant::now();
    annotate(&world, "now");
    let took = world.until(SOON, "the connection is Ready", Paused::is_connection_ready).await;
    println!("verdict: annotated_ready_after_ms={}", took.as_millis());
    assert_eq!((handled(&world), checks_since(&world, begun)), (json!("now"), 1));

    // Also one that is Ready is checked, and only once for each value.
    annotate(&world, "again");
    world.until(SOON, "it is handled", |world| handled(world) == "again").await;
    sleep(Duration::from_mins(2)).await;
    assert_eq!(checks_since(&world, begun), 2);
    world.stop_operator().await;
}
