//! An operator that is told to stop: what is under way ends in time, and nothing else begins. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};
use test_support::paused::Paused;
use tokio::time::sleep;

const CREATE: &str = "batch_create_proc_template";
const LIST: &str = "list_proc_template";

/// Longest wait for one answer of CMDB, and what a pod has on top of it to end.
const CALL: Duration = Duration::from_secs(45);
const GRACE: Duration = Duration::from_secs(30);

/// Until a create counts as not stored that nobody knows of.
const CREATE_GRACE: Duration = Duration::from_secs(150);

/// Sets that wait in line.
const SETS: usize = 40;

fn spec(process: &str) -> Value {
    json!({ "processes": [{ "name": process, "funcName": process, "startCmd": "./run" }] })
}

fn name(number: usize) -> String {
    format!("s{number:02}")
}

fn requests(world: &Paused, call: &str) -> usize {
    world.sim().requests().iter().filter(|record| record.call == call).count()
}

fn unfinished(world: &Paused) -> usize {
    world.sim().requests().iter().filter(|record| !record.finished).count()
}

fn pending(world: &Paused, names: impl Iterator<Item = String>) -> usize {
    names.filter(|name| !world.seen(name).status.pending.is_empty()).count()
}

// One set, whose create is on its way.
async fn creating(world: &mut Paused) {
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec("nginx"));
    world.until(Duration::from_mins(1), "a create", |world| requests(world, CREATE) == 1).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!((unfinished(world), pending(world, ["web".to_owned()].into_iter())), (1, 1));
}

// What it left is found by the next, and nothing is sent twice.
async fn the_next_goes_on(world: &mut Paused, patience: Duration) {
    world.sim().clear_faults();
    world.cmdb_works();
    world.start_operator();
    world.until_all_ready(patience).await;
    assert_eq!(requests(world, CREATE), 1);
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_line_makes_no_call_any_more_and_takes_back_what_was_announced() {
    let mut world = Paused::new();
    world.connect(json!({ "limits": { "requestsPerSecond": 1 } }));
    world.service_templates((0..SETS).map(name));
    for number in 0..SETS {
        world.apply(&name(number), &name(number), spec(&name(number)));
    }
    world.start_operator();
    let announced = |world: &Paused| pending(world, (0..SETS).map(name));
    world.until(Duration::from_mins(5), "creates are announced", |world| announced(world) > SETS / 2).await;
    let (waiting, asked, announced_before) =
        (world.told.readings().limiters.edits_waiting, world.sim().requests().len(), announced(&world));
    assert!(waiting > SETS / 2, "{waiting}");

    let took = world.stop_operator().await;
    let asked_after = world.sim().requests().len() - asked;
    println!(
        "drain: waiting={waiting} announced={announced_before} calls_after={asked_after} announced_after={} ms={}",
        announced(&world),
        took.as_millis()
    );
    assert_eq!((asked_after, announced(&world)), (0, 0));
    assert!(took < Duration::from_secs(1), "{took:?}");

    world.connect(json!({}));
    world.start_operator();
    world.until_all_ready(CREATE_GRACE / 2).await;
    assert_eq!(world.sim().state().process_templates.len(), SETS);
}

#[tokio::test(start_paused = true)]
async fn a_create_without_an_answer_is_settled_by_one_list() {
    let mut world = Paused::new();
    world.sim().add_fault(Fault::nth(CREATE, 1, Effect::hang(60.0, true)));
    creating(&mut world).await;
    let (lists, asked) = (requests(&world, LIST), world.sim().requests().len());
    let took = world.stop_operator().await;
    assert!(took < CALL + GRACE, "{took:?}");
    assert_eq!((requests(&world, LIST) - lists, world.sim().requests().len() - asked), (1, 1));
    let seen = world.seen("web");
    assert_eq!((seen.ids().len(), seen.status.pending.len()), (1, 0), "{}", seen.describe());
    the_next_goes_on(&mut world, CREATE_GRACE / 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_create_that_cannot_be_settled_in_time_stays_announced() {
    let mut world = Paused::new();
    world.sim().add_fault(Fault::nth(CREATE, 1, Effect::hang(60.0, true)));
    creating(&mut world).await;
    world.sim().add_fault(Fault::every(LIST, Effect::hang(60.0, true)));
    let lists = requests(&world, LIST);
    let took = world.stop_operator().await;
    println!("drain: without_an_answer_seconds={}", took.as_secs());
    assert!(took < CALL + GRACE, "{took:?}");
    assert_eq!(requests(&world, LIST) - lists, 1);
    assert_eq!(pending(&world, ["web".to_owned()].into_iter()), 1);
    the_next_goes_on(&mut world, CREATE_GRACE / 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_look_ends_with_the_call_that_is_under_way() {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.sim().add_fault(Fault::every("list_service_template", Effect::hang(40.0, true)));
    world.start_operator();
    world.apply("web", "web", spec("nginx"));
    world.until(Duration::from_mins(1), "a list", |world| requests(world, "list_service_template") == 1).await;
    let asked = world.sim().requests().len();
    let took = world.stop_operator().await;
    assert!(took < CALL, "{took:?}");
    assert_eq!(world.sim().requests().len(), asked);
}

#[tokio::test(start_paused = true)]
async fn an_api_server_that_does_not_answer_holds_up_the_end_for_no_longer_than_a_pod_has() {
    let mut world = Paused::new();
    world.sim().add_fault(Fault::nth(CREATE, 1, Effect::hang(44.0, true)));
    creating(&mut world).await;
    world.api.set_silent(true);
    let took = world.stop_operator().await;
    println!("drain: without_an_api_server_seconds={}", took.as_secs());
    assert!(took < CALL + GRACE, "{took:?}");
    world.api.set_silent(false);
    assert_eq!(pending(&world, ["web".to_owned()].into_iter()), 1);
    the_next_goes_on(&mut world, CREATE_GRACE / 2).await;
}
