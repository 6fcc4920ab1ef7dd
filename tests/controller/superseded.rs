//! A set that changes while its reconcile waits: the wait ends at once, and the next reconcile works with what it is now. On
//! a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Refuse};
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
