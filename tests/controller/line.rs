//! A line that is long: who waits for a turn is not stopped for it. On a clock that jumps.

use std::time::Duration;

use serde_json::json;
use test_support::paused::Paused;

/// Sets with something outstanding, which all are worked on at a time.
const SETS: u64 = 60;

/// Calls that a new set needs of its own, one after the other: a list, one more for the first has grown old in the line, a
/// create, and a list that confirms.
const CALLS: u64 = 4;

fn name(number: u64) -> String {
    format!("s{number:02}")
}

#[tokio::test(start_paused = true)]
async fn who_waits_longer_for_each_turn_than_the_deadline_allows_is_not_told_to_stop() {
    let mut world = Paused::new();
    world.deadline = Duration::from_secs(SETS / 2);
    world.connect(json!({ "limits": { "requestsPerSecond": 1 } }));
    world.service_templates((0..SETS).map(name));
    for number in 0..SETS {
        let process = json!({ "name": name(number), "funcName": name(number), "startCmd": "./run" });
        world.apply(&name(number), &name(number), json!({ "processes": [process] }));
    }
    world.start_operator();
    let took = world.until_all_ready(Duration::from_hours(1)).await;
    let stopped = world.told.ended_as("Stopped");
    println!("line: sets={SETS} ready_after_seconds={} stopped={stopped}", took.as_secs());
    assert_eq!(stopped, 0);
    assert!(took < Duration::from_secs(SETS * (CALLS + 1)), "{took:?}");
}
