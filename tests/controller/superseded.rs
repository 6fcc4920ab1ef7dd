//! A set that changes while its reconcile waits: the wait ends at once, and the next reconcile works with what it is now. On
//! a clock that jumps.

use std::collections::BTreeSet;
use std::time::Duration;

use cmdb_sim::{Effect, Fault, Options, Refuse, Simulator};
use serde_json::{Value, json};
use test_support::paused::Paused;
use test_support::paused::tenant::{cmdb, serve_businesses, spec};
use tokio::time::{Instant, sleep};

const SETS: i64 = 10;

const PATIENCE: Duration = Duration::from_mins(10);

/// CMDB's code for too many requests.
const TOO_MANY: i64 = 1_199_997;

/// How long an edit takes at most that needs no call to CMDB, or none that waits.
const AT_ONCE: Duration = Duration::from_secs(1);

/// The call by which a connection is checked.
const CHECK: &str = "list_service_category";

fn name(number: i64) -> String {
    format!("s{number:03}")
}

fn deleting(biz_id: i64, policy: &str) -> Value {
    let mut spec = spec(biz_id, "p", "./run");
    spec["deletionPolicy"] = json!(policy);
    spec
}

fn throttle(world: &Paused) {
    let effect = Effect::Refuse(Refuse { code: TOO_MANY, ..Refuse::default() });
    world.sim().add_fault(Fault::every("*", effect));
}

#[tokio::test(start_paused = true)]
async fn sets_of_a_cmdb_that_throttles_every_call_are_gone_at_once_when_they_become_orphan() {
    let mut world = Paused::new();
    serve_businesses(world.sim(), 1000..1000 + SETS);
    world.start_operator();
    let tenant = world.tenant("shop");
    for number in 0..SETS {
        tenant.apply(&name(number), &deleting(1000 + number, "Delete"));
    }
    world.until_all_ready(PATIENCE).await;
    throttle(&world);
    for number in 0..SETS {
        tenant.delete(&name(number));
    }
    sleep(Duration::from_mins(2)).await;
    assert_eq!(tenant.sets(), 10);

    let patched = Instant::now();
    let calls = world.sim().requests().len();
    for number in 0..SETS {
        tenant.apply(&name(number), &deleting(1000 + number, "Orphan"));
    }
    let took = world.until(PATIENCE, "all sets are gone", |world| world.tenant("shop").sets() == 0).await;
    let calls = world.sim().requests().len() - calls;
    println!("superseded: sets={SETS} gone_after_ms={} calls={calls}", took.as_millis());
    assert_eq!(calls, 0, "{:?}", world.told.calls_after(patched));
    assert!(took <= AT_ONCE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn sets_that_wait_for_a_list_or_a_place_are_gone_at_once_when_they_are_deleted() {
    const MANY: i64 = 150;
    let mut world = Paused::new();
    let slow = cmdb(Duration::from_secs(40));
    serve_businesses(&slow, (2..3).chain(1000..1000 + MANY));
    world.start_operator();
    let tenant = world.tenant("shop");
    tenant.connect("slow", &slow.url(), json!({ "limits": { "maxConcurrent": 1 } }));
    // All wait for one list, for the limiter, or for a place.
    for number in 0..MANY {
        let biz_id = if number < MANY / 3 { 2 } else { 1000 + number };
        let mut spec = deleting(biz_id, "Orphan");
        spec["connectionRef"] = json!({ "name": "slow" });
        tenant.apply(&name(number), &spec);
    }
    sleep(Duration::from_secs(100)).await;
    let (calls, deleted) = (slow.requests().len(), Instant::now());
    for number in 0..MANY {
        tenant.delete(&name(number));
    }
    let is_idle = |world: &Paused| world.told.readings().running + world.told.readings().waiting <= 1;
    let took = world.until(PATIENCE, "nothing waits", is_idle).await;
    assert!(took <= AT_ONCE, "{took:?}");
    sleep(PATIENCE).await;
    assert_eq!(slow.requests().len(), calls, "no call more was sent: {:?}", world.told.calls_after(deleted));
}

// The CMDB of a tenant of its own, that holds each of these calls for hours, and ten sets that have one of them in flight.
async fn with_calls_in_flight(calls: &str, ready_first: bool) -> (Paused, Simulator) {
    let mut world = Paused::new();
    let slow = Simulator::start(Options::default()).unwrap();
    serve_businesses(&slow, 1000..1000 + SETS);
    let hold = |slow: &Simulator| slow.add_fault(Fault::every(calls, Effect::delay(7_200_000)));
    if !ready_first {
        hold(&slow);
    }
    world.start_operator();
    let tenant = world.tenant("shop");
    tenant.connect("slow", &slow.url(), json!({}));
    let set = |number: i64, command: &str| {
        let mut spec = spec(1000 + number, "p", command);
        spec["deletionPolicy"] = json!("Delete");
        spec["connectionRef"] = json!({ "name": "slow" });
        spec
    };
    for number in 0..SETS {
        tenant.apply(&name(number), &set(number, "./run"));
    }
    if ready_first {
        world.until_all_ready(PATIENCE).await;
        hold(&slow);
        let tenant = world.tenant("shop");
        for number in 0..SETS {
            tenant.apply(&name(number), &set(number, "./edited"));
        }
    }
    world.until(PATIENCE, "a call is in flight", |_| slow.requests().iter().any(|record| !record.finished)).await;
    sleep(Duration::from_secs(5)).await;
    (world, slow)
}

#[tokio::test(start_paused = true)]
async fn sets_with_a_call_in_flight_are_gone_at_once_when_they_become_orphan() {
    for (calls, ready_first) in [
        ("*", false),
        ("list_proc_template", true),
        ("batch_create_proc_template", false),
        ("update_proc_template", true),
    ] {
        let (world, slow) = with_calls_in_flight(calls, ready_first).await;
        let tenant = world.tenant("shop");
        for number in 0..SETS {
            let mut spec = spec(1000 + number, "p", "./run");
            spec["deletionPolicy"] = json!("Orphan");
            spec["connectionRef"] = json!({ "name": "slow" });
            tenant.apply(&name(number), &spec);
            tenant.delete(&name(number));
        }
        let took = world.until(PATIENCE, "all sets are gone", |world| world.tenant("shop").sets() == 0).await;
        println!("superseded: in_flight={calls} gone_after_ms={}", took.as_millis());
        assert!(took <= AT_ONCE, "{calls}: {took:?}");
        // Its connection is still checked.
        let before = slow.requests().len();
        sleep(Duration::from_hours(1)).await;
        let sent = slow.requests().split_off(before);
        let sent: BTreeSet<String> = sent.into_iter().map(|record| record.call).collect();
        assert!(sent.iter().all(|call| call == CHECK), "{calls}: {sent:?} after the sets were gone");
        assert_eq!(world.told.readings().running, 0, "{calls}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_edited_all_the_time_still_gets_on() {
    let mut world = Paused::new();
    let slow = cmdb(Duration::from_secs(10));
    serve_businesses(&slow, 2..3);
    world.start_operator();
    let tenant = world.tenant("shop");
    tenant.connect("slow", &slow.url(), json!({ "limits": { "maxConcurrent": 1 } }));
    let writes = || {
        slow.requests().iter().filter(|record| record.call.contains("create") || record.call.contains("update")).count()
    };
    let edited = |edit: u32| {
        let mut spec = spec(2, "p", &format!("./edit-{edit}"));
        spec["connectionRef"] = json!({ "name": "slow" });
        spec
    };
    tenant.edit("web", &edited(0), PATIENCE).await;
    for edit in 1..=200 {
        tenant.apply("web", &edited(edit));
        sleep(Duration::from_secs(4)).await;
    }
    println!("superseded: edits=200 writes={}", writes());
    assert!(writes() >= 4, "{}", writes());
}
