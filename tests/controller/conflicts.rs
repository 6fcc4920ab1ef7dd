//! Writes that conflict while the watch is behind. On a clock that jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::{GROUP, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use test_support::in_process::{Place, Recorded};
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

const SETS: usize = 10;

/// Requests about one set in ten seconds: a write that conflicts, and what it reads then.
const MOST: usize = 3;

fn name(number: usize) -> String {
    format!("s{number}")
}

fn place(name: &str) -> Place {
    Place::new(GROUP, "processtemplatesets", "shop", name)
}

fn spec(start_cmd: &str) -> Value {
    let process = json!({ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd });
    json!({ "driftPolicy": "Detect", "resyncIntervalSeconds": 60, "processes": [process] })
}

// The requests about each set since then, but for watches and lists.
fn by_set(world: &Paused, since: Instant) -> BTreeMap<String, Vec<Recorded>> {
    let mut by_set: BTreeMap<String, Vec<Recorded>> = BTreeMap::new();
    for request in world.api.requests().into_iter().filter(|request| request.at >= since) {
        if let Some((_, rest)) = request.path.split_once("/processtemplatesets/") {
            by_set.entry(rest.split('/').next().unwrap().to_owned()).or_default().push(request);
        }
    }
    by_set
}

fn conflicts(world: &Paused, since: Instant) -> usize {
    by_set(world, since).into_values().flatten().filter(|request| request.status == 409).count()
}

// Ten sets whose next look at CMDB changes their status.
async fn drifted() -> Paused {
    let mut world = Paused::new();
    world.service_templates((0..SETS).map(name));
    world.start_operator();
    for number in 0..SETS {
        world.apply(&name(number), &name(number), spec("./run"));
    }
    world.until_all_ready(Duration::from_mins(1)).await;
    world.sim().update_state(|state| {
        for template in &mut state.process_templates {
            let mut property = serde_json::to_value(&template.property).unwrap();
            property["start_cmd"]["value"] = json!("./drifted");
            template.property = serde_json::from_value(property).unwrap();
        }
    });
    world
}

fn annotate(world: &Paused, start_cmd: &str) {
    for number in 0..SETS {
        let annotations = json!({ RECONCILE_REQUESTED_AT: "now", "example.com/other": "x" });
        let mut set = Value::clone(&world.api.get(&place(&name(number))).unwrap());
        set["metadata"]["annotations"] = annotations;
        set["spec"]["processes"][0]["startCmd"] = json!(start_cmd);
        world.api.apply(&place(&name(number)), &set);
    }
}

async fn requests_while_the_watch_is_held(start_cmd: &str) {
    let world = drifted().await;
    world.api.hold_watches(true);
    annotate(&world, start_cmd);
    let held = Instant::now();
    world.until(Duration::from_mins(3), "a conflict", |world| conflicts(world, held) > 0).await;
    sleep(Duration::from_secs(10)).await;
    let by_set = by_set(&world, held);
    // Those whose turn came: all are looked at within the next minute.
    let most = by_set.values().map(Vec::len).max().unwrap_or_default();
    println!("conflicts: sets={} requests_per_set_in_10_s={most}", by_set.len());
    assert!(most <= MOST, "{by_set:#?}");

    // Where the watch stays away, each set is read past the cache, and its status is written.
    let says = |world: &Paused, reason: &str| {
        (0..SETS).all(|number| {
            let seen = world.seen(&name(number));
            seen.is_current() && seen.reason("Ready") == reason
        })
    };
    let reason = if start_cmd == "./run" { "Drifted" } else { "InSync" };
    world.until(Duration::from_mins(5), "every status", |world| says(world, reason)).await;
    world.api.hold_watches(false);
    annotate(&world, "./last");
    let begun = Instant::now();
    world.until(Duration::from_secs(10), "edits are carried out", |world| says(world, "InSync")).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test(start_paused = true)]
async fn annotated_sets_cost_few_requests_while_the_watch_is_held() {
    requests_while_the_watch_is_held("./run").await;
}

#[tokio::test(start_paused = true)]
async fn edited_sets_cost_few_requests_while_the_watch_is_held() {
    requests_while_the_watch_is_held("./edited").await;
}

#[tokio::test(start_paused = true)]
async fn a_conflict_is_resolved_at_once_when_the_watch_delivers() {
    let world = drifted().await;
    world.api.hold_watches(true);
    annotate(&world, "./edited");
    let held = Instant::now();
    world.until(Duration::from_mins(3), "a conflict", |world| conflicts(world, held) > 0).await;
    world.api.hold_watches(false);
    let took = world.until_all_ready(Duration::from_secs(5)).await;
    println!("conflicts: resolved_after_ms={}", took.as_millis());
}

#[tokio::test(start_paused = true)]
async fn a_set_is_served_whose_annotations_change_faster_than_cmdb_answers() {
    let mut world = Paused::new();
    world.service_templates(std::iter::once("web".to_owned()));
    world.sim().add_fault(Fault::every("*", Effect::delay(2000)));
    world.start_operator();
    world.apply("web", "web", spec("./run"));
    let touched = async {
        for number in 0_u32.. {
            let mut set = Value::clone(&world.api.get(&place("web")).unwrap());
            set["metadata"]["annotations"] = json!({ "example.com/touched": number.to_string() });
            world.api.apply(&place("web"), &set);
            sleep(Duration::from_millis(100)).await;
        }
    };
    let begun = Instant::now();
    tokio::select! {
        () = touched => {}
        _ = world.until(Duration::from_mins(1), "Ready", |world| world.seen("web").is_ready()) => {}
    }
    let creates =
        world.sim().requests().into_iter().filter(|record| record.call == "batch_create_proc_template").count();
    println!(
        "touched: ready_after_ms={} creates={creates} conflicts={}",
        begun.elapsed().as_millis(),
        conflicts(&world, begun)
    );
    assert_eq!(creates, 1);
}
