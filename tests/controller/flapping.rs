//! A CMDB that answers well and badly in turn: what the status of the connection costs, and how soon it is right again. On a
//! clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Refuse};
use serde_json::json;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

/// For how long the CMDB flaps.
const FLAPS_FOR: Duration = Duration::from_mins(10);

/// Most writes of the connection's status in that time.
const MOST_WRITES: usize = 30;

/// Longest time until the status is right again, after flaps by the second and after those of any length.
const SOON: Duration = Duration::from_secs(5);
const AT_LAST: Duration = Duration::from_secs(65);

/// Sets that are edited in turn, so that there is always one that calls.
const SETS: usize = 4;

/// Refusals: of credentials, and of anything.
const CREDENTIALS: &str = "APP Secret verification failed, pelase confirm if the APP Secret is right";
const ANYTHING: &str = "failed";

/// One way to flap.
struct Flapping {
    good: Duration,
    bad: Duration,
    refusals: [&'static str; 2],
    is_good_at_last: bool,
}

fn edit(world: &Paused, edit: usize) {
    let name = format!("s{}", edit % SETS);
    let spec = json!({ "processes": [{ "name": name, "funcName": name, "startCmd": format!("./edit-{edit}") }] });
    world.apply(&name, "web", spec);
}

fn refuse(world: &Paused, message: &str) {
    let refuse = Refuse { code: 1_306_000, message: Some(message.to_owned()), ..Refuse::default() };
    world.sim().clear_faults();
    world.sim().add_fault(Fault::every("*", Effect::Refuse(refuse)));
}

fn connection_writes(world: &Paused, since: Instant) -> usize {
    let writes = world.status_writes_since(since);
    writes.iter().filter(|write| write.path.contains("/cmdbconnections/")).count()
}

async fn in_use() -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    for number in 0..SETS {
        edit(&world, number);
    }
    world.until_all_ready(Duration::from_mins(1)).await;
    world.until(Duration::from_secs(10), "the connection is Ready", Paused::is_connection_ready).await;
    sleep(Duration::from_mins(5)).await;
    world
}

// The writes of the connection's status while it flaps, and the time until it is right after that.
async fn flap(flapping: &Flapping) -> (usize, Duration) {
    let Flapping { good, bad, refusals, is_good_at_last } = *flapping;
    let mut world = in_use().await;
    let (begun, mut edits) = (Instant::now(), SETS);
    for message in refusals.iter().cycle() {
        refuse(&world, message);
        edits += 1;
        edit(&world, edits);
        sleep(bad).await;
        if begun.elapsed() >= FLAPS_FOR {
            break;
        }
        world.cmdb_works();
        edits += 1;
        edit(&world, edits);
        sleep(good).await;
    }
    let writes = connection_writes(&world, begun);

    if is_good_at_last {
        world.cmdb_works();
    }
    edit(&world, edits + 1);
    let is_right = |world: &Paused| world.is_connection_ready() == is_good_at_last;
    let took = world.until(AT_LAST, "the status is right", is_right).await;
    // It stays so.
    let ended = Instant::now();
    sleep(Duration::from_mins(5)).await;
    assert!(is_right(&world) && connection_writes(&world, ended) <= 2, "{}", connection_writes(&world, ended));
    world.stop_operator().await;
    (writes, took)
}

fn report(what: &str, (writes, took): (usize, Duration)) {
    println!("flapping: {what}: writes={writes} right_after_ms={}", took.as_millis());
    assert!(writes <= MOST_WRITES, "{what}: {writes} writes in {FLAPS_FOR:?}");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_flaps_by_the_second_is_not_ready_and_costs_few_writes() {
    for is_good_at_last in [true, false] {
        let (good, bad) = (Duration::from_secs(2), Duration::from_secs(1));
        let flapping = Flapping { good, bad, refusals: [CREDENTIALS; 2], is_good_at_last };
        let (writes, took) = flap(&flapping).await;
        report("every second", (writes, took));
        assert!(took <= SOON, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn flaps_of_any_length_cost_few_writes() {
    for (good, bad) in [(4, 1), (20, 3)] {
        let (good, bad) = (Duration::from_secs(good), Duration::from_secs(bad));
        let flapping = Flapping { good, bad, refusals: [CREDENTIALS; 2], is_good_at_last: true };
        report(&format!("good for {good:?}, bad for {bad:?}"), flap(&flapping).await);
    }
}

#[tokio::test(start_paused = true)]
async fn reasons_that_change_cost_few_writes() {
    let (good, bad) = (Duration::from_secs(1), Duration::from_secs(2));
    let flapping = Flapping { good, bad, refusals: [CREDENTIALS, ANYTHING], is_good_at_last: true };
    report("two reasons", flap(&flapping).await);
}

#[tokio::test(start_paused = true)]
async fn two_outages_in_a_minute_are_each_said_and_ended_at_once() {
    let world = in_use().await;
    for outage in 0..2 {
        refuse(&world, CREDENTIALS);
        edit(&world, SETS + 2 * outage);
        world.until(SOON, "the outage is said", |world| !world.is_connection_ready()).await;
        world.cmdb_works();
        edit(&world, SETS + 2 * outage + 1);
        let took = world.until(SOON, "the connection is Ready", Paused::is_connection_ready).await;
        println!("flapping: outage={outage} ready_after_ms={}", took.as_millis());
        sleep(Duration::from_secs(20)).await;
    }
}
