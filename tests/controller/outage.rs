//! A CMDB that is away, or that only fails, for long: on a clock that jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use test_support::in_process::Recorded;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep, sleep_until};

/// How long an endpoint that is down waits for its next probe: the first time, at most, and how far from that by chance.
const PROBES: (f64, f64, f64) = (1.0, 60.0, 0.2);

/// Failures in a row after which an endpoint counts as down.
const FAILURES: usize = 3;

/// Calls in flight at a time, which may all fail before the endpoint counts as down.
const IN_FLIGHT: usize = 4;

/// What is left to do when CMDB is there again.
const WORK: Duration = Duration::from_secs(5);

const OUTAGE: Duration = Duration::from_mins(10);

/// Sets at rest, and the service templates that they share.
const SETS: usize = 50;
const SERVICE_TEMPLATES: usize = 10;

// Each set has a process of its own in the service template that it shares.
fn spec(set: &str, start_cmd: &str) -> Value {
    json!({ "resyncIntervalSeconds": 60, "processes": [{ "name": set, "funcName": set, "startCmd": start_cmd }] })
}

fn name(number: usize) -> String {
    format!("s{number:02}")
}

fn service_template(number: usize) -> String {
    format!("t{}", number % SERVICE_TEMPLATES)
}

// How many probes fit, when each wait is so much longer or shorter than it should be.
fn probes_within(time: Duration, by_chance: f64) -> usize {
    let (first, longest, _) = PROBES;
    let waits = std::iter::successors(Some(first), |wait| Some((wait * 2.0).min(longest)));
    let times = waits.scan(0.0, |time, wait| {
        *time += wait * by_chance;
        Some(*time)
    });
    times.take_while(|at| *at < time.as_secs_f64()).count()
}

fn most_by_path(requests: &[Recorded]) -> usize {
    let mut by_path: BTreeMap<&str, usize> = BTreeMap::new();
    for request in requests {
        *by_path.entry(&request.path).or_default() += 1;
    }
    by_path.into_values().max().unwrap_or_default()
}

fn stored_start_cmd(world: &Paused, process_name: &str) -> Option<Value> {
    let state = world.sim().state();
    let stored = state.process_templates.iter().find(|template| template.bk_process_name == process_name)?;
    Some(serde_json::to_value(&stored.property).unwrap()["start_cmd"]["value"].clone())
}

#[tokio::test(start_paused = true)]
async fn ten_minutes_without_cmdb_cost_a_few_probes_and_end_by_themselves() {
    let mut world = Paused::new();
    world.service_templates((0..SERVICE_TEMPLATES).map(service_template));
    world.start_operator();
    for number in 0..SETS {
        world.apply(&name(number), &service_template(number), spec(&name(number), "./run"));
    }
    world.until_all_ready(Duration::from_mins(1)).await;
    sleep(Duration::from_mins(5)).await;

    let gone_at = Instant::now();
    world.cmdb_goes_down().await;
    sleep(Duration::from_secs(5)).await;
    let down_at = Instant::now();
    world.apply(&name(0), &service_template(0), spec(&name(0), "./edited"));
    world.apply("new", &service_template(0), spec("new", "./run"));
    sleep_until(gone_at + OUTAGE).await;
    let status_writes = most_by_path(&world.status_writes_since(gone_at));
    let calls = world.told.calls_after(gone_at);
    let probes = calls.len();
    let during = world.told.readings();

    world.cmdb_comes_back();
    let recovered_after = world.until_all_ready(Duration::from_mins(10)).await;
    let (minutes, sets) = (OUTAGE.as_secs() / 60, SETS + 1);
    println!(
        "outage: minutes={minutes} sets={sets} status_writes_per_set={status_writes} probes={probes} \
         recovered_after_seconds={}",
        recovered_after.as_secs()
    );
    assert_eq!(stored_start_cmd(&world, &name(0)), Some(json!("./edited")));
    assert_eq!(stored_start_cmd(&world, "new"), Some(json!("./run")));
    assert!(calls.iter().all(|call| call.outcome == "unavailable"), "{calls:?}");
    assert_eq!((during.limiters.down, during.sets["Stale"], during.sets["Unreachable"]), (1, SETS - 1, 2));
    assert!(during.oldest_look >= Some(OUTAGE), "{during:?}");
    let after = world.told.readings();
    assert_eq!((after.limiters.down, after.sets["InSync"], after.pending_intents), (0, SETS + 1, 0));
    assert!(after.oldest_look < Some(OUTAGE), "{after:?}");
    assert!(status_writes <= 2, "{status_writes}");
    let (_, longest, by_chance) = PROBES;
    let most = FAILURES + IN_FLIGHT + probes_within(OUTAGE, 1.0 - by_chance);
    let least = FAILURES + probes_within(gone_at + OUTAGE - down_at, 1.0 + by_chance);
    assert!((least..=most).contains(&probes), "{probes} are not {least} to {most}");
    let next_probe = Duration::from_secs_f64(longest * (1.0 + by_chance));
    assert!(recovered_after <= next_probe + WORK, "{recovered_after:?}");
}

#[tokio::test(start_paused = true)]
async fn an_hour_of_ever_new_messages_costs_few_events_and_status_writes() {
    let mut world = Paused::new();
    world.service_templates([0, 1].into_iter().map(service_template));
    world.start_operator();
    for number in [0, 1] {
        world.apply(&name(number), &service_template(number), spec(&name(number), "./run"));
    }
    world.until_all_ready(Duration::from_mins(1)).await;
    world.cmdb_fails();

    let begun = Instant::now();
    world.apply(&name(0), &service_template(0), spec(&name(0), "./edited"));
    sleep(Duration::from_hours(1)).await;
    let status_writes = world.status_writes_since(begun).len();
    let events = world.events_since(begun).len();
    let reconciles = world.told.reconciles_since(begun);
    println!("hour of failure: status_writes={status_writes} events={events} reconciles={reconciles}");
    assert!(world.told.calls_after(begun).iter().all(|call| call.outcome == "outcome_unknown"));
    // One set was at rest, the other was being edited.
    assert!(status_writes <= 8, "{status_writes}");
    assert!(events <= 8, "{events}");

    world.cmdb_works();
    world.until_all_ready(Duration::from_mins(10)).await;
    assert_eq!(stored_start_cmd(&world, &name(0)), Some(json!("./edited")));
}
