//! What a running operator tells of itself: the families of the table, all of them from the first scrape, and true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use cmdb_sim::{Options, Simulator};
use process_template_operator::telemetry::metric_table::{FAMILIES, Family, Kind};
use serde_json::{Value, json};
use test_support::proxy::{Point, Proxy};
use test_support::scrape::Scrape;
use test_support::world::{PATIENCE, World};
use tokio::time::{Duration, Instant, sleep};

const CREATE: &str = "batch_create_proc_template";

async fn scrape(world: &World) -> Scrape {
    let (status, text) = world.operator.as_ref().unwrap().answer("/metrics").await;
    assert_eq!(status, 200);
    Scrape::read(&text).unwrap_or_else(|wrong| panic!("{wrong}\n{text}"))
}

/// Waits until a series has this value.
async fn until(world: &World, series: &str, value: f64) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let seen = scrape(world).await;
        if seen.value(series) == value {
            return seen;
        }
        assert!(Instant::now() < deadline, "{series} is {}, not {value}\n{}", seen.value(series), world.operator_log());
        sleep(Duration::from_millis(50)).await;
    }
}

// The series of a family, without those that make up a histogram.
fn series(family: &Family) -> BTreeSet<String> {
    let of_histogram = if matches!(family.kind, Kind::Histogram(..)) { "_count" } else { "" };
    let name = family.full_name() + of_histogram;
    let labelled = |labels: Vec<(&str, &str)>| {
        let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        if labels.is_empty() { name.clone() } else { format!("{name}{{{}}}", labels.join(",")) }
    };
    family.series().into_iter().map(labelled).collect()
}

// What is wrong with the families of a scrape: those without documentation, and those that are documented and not there.
fn differences(seen: &Scrape) -> (Vec<String>, Vec<String>) {
    let reference = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/reference/metrics.md");
    let reference = std::fs::read_to_string(reference).unwrap();
    let documented: BTreeSet<&str> = reference.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let suffix = |kind: &str| match kind {
        "counter" => "_total",
        _ => "",
    };
    let seen: BTreeSet<String> =
        seen.families.iter().map(|(name, family)| format!("{name}{}", suffix(&family.kind))).collect();
    let undocumented = seen.iter().filter(|name| !documented.contains(name.as_str())).cloned().collect();
    let dead = documented.iter().filter(|name| !seen.contains(**name)).map(|name| (*name).to_owned()).collect();
    (undocumented, dead)
}

fn of_table(seen: &Scrape) {
    for family in FAMILIES {
        let name = family.full_name();
        let found = &seen.families[name.trim_end_matches("_total")];
        assert_eq!((found.kind.as_str(), found.unit.as_deref()), (family.kind.as_str(), family.unit), "{name}");
        assert_eq!(found.help, format!("{}.", family.help), "{name}");
        let is_part = |series: &&String| series.contains("_bucket") || series.contains("_sum");
        let found: BTreeSet<String> = found.samples.keys().filter(|series| !is_part(series)).cloned().collect();
        assert_eq!(found, series(family), "{name}");
    }
}

fn one(start_cmd: &str) -> Value {
    json!({
        "deletionPolicy": "Delete", "resyncIntervalSeconds": 10,
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }],
    })
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_scrape_has_all_that_is_documented_from_the_first_on_and_says_what_has_happened() {
    let sim = Simulator::start(Options::default()).unwrap();
    let cmdb = Proxy::to(&sim.url()).await;
    let mut world = World::with("metrics", sim, &cmdb.url()).await;
    world.start_operator(&["--removal-delay-seconds", "0"]).await;
    let first = scrape(&world).await;
    of_table(&first);
    for (name, family) in &first.families {
        let is_gate = ["ptset_gate", "ptset_leader", "ptset_build_info"].contains(&name.as_str());
        let is_counted = ["counter", "histogram"].contains(&family.kind.as_str());
        assert!(is_gate || !is_counted || family.samples.values().all(|value| *value == 0.0), "{name}: {family:?}");
    }
    world.service_template("web");
    world.apply("web", one("./run")).await;
    world.until_ready("web").await;
    let id = world.sim.state().process_templates[0].id;
    world.sim.update_state(|state| {
        state.process_templates[0].property = serde_json::from_value(json!({
            "bk_func_name": { "value": "nginx", "as_default_value": true },
            "bk_process_name": { "value": "nginx", "as_default_value": true },
            "start_cmd": { "value": "./other", "as_default_value": true },
        }))
        .unwrap();
    });
    let corrected = until(&world, "ptset_drift_total{outcome=\"corrected\"}", 1.0).await;
    let is = |seen: &Scrape, values: &[(&str, f64)]| {
        for (series, value) in values {
            assert_eq!(seen.value(series), *value, "{series}");
        }
    };
    is(
        &corrected,
        &[
            ("ptset_process_templates_written_total{action=\"created\"}", 1.0),
            ("ptset_process_templates_written_total{action=\"updated\"}", 1.0),
            ("ptset_cmdb_calls_total{operation=\"batch_create_proc_template\",outcome=\"ok\"}", 1.0),
            ("ptset_cmdb_calls_total{operation=\"update_proc_template\",outcome=\"ok\"}", 1.0),
            ("ptset_cmdb_call_duration_seconds_count{operation=\"batch_create_proc_template\"}", 1.0),
            ("ptset_time_to_ready_seconds_count", 1.0),
            ("ptset_limiters{state=\"full\"}", 1.0),
            ("ptset_leader", 1.0),
            ("ptset_gate{gate=\"crd\"}", 1.0),
            ("ptset_gate{gate=\"watches\"}", 1.0),
        ],
    );
    assert!(corrected.value("ptset_status_writes_total{kind=\"ProcessTemplateSet\"}") >= 2.0);
    let at_rest = until(&world, "ptset_sets{reason=\"InSync\"}", 1.0).await;
    let age = at_rest.value("ptset_snapshot_age_seconds");
    assert!(age > 0.0 && age < 60.0, "{age}");

    // What is outstanding shows while it is.
    world.service_template("slow");
    cmdb.hold(Point::reply_to(CREATE));
    world.apply("slow", one("./run")).await;
    let slow = until(&world, "ptset_pending_intents", 1.0).await;
    assert_eq!(slow.value("ptset_sets{reason=\"Progressing\"}"), 1.0);
    let under_way = until(&world, "ptset_limiter_calls{state=\"in_flight\"}", 1.0).await;
    assert!(under_way.value("ptset_reconciles_running") >= 1.0);
    cmdb.let_go();
    world.until_ready("slow").await;
    until(&world, "ptset_pending_intents", 0.0).await;

    for name in ["web", "slow"] {
        world.delete(name).await;
        world.until_gone(name).await;
    }
    let last = until(&world, "ptset_sets{reason=\"InSync\"}", 0.0).await;
    is(
        &last,
        &[("ptset_process_templates_written_total{action=\"deleted\"}", 2.0), ("ptset_snapshot_age_seconds", 0.0)],
    );
    assert!(last.families["ptset_sets"].samples.values().all(|count| *count == 0.0), "{last:?}");
    assert!(!world.sim.state().process_templates.iter().any(|template| template.id == id));
    until(&world, "ptset_queue_depth", 0.0).await;
    of_table(&last);
    let (undocumented, dead) = differences(&last);
    let series: usize = last.families.values().map(|family| family.samples.len()).sum();
    let (families, lost) = (last.families.len(), (undocumented.len(), dead.len()));
    println!("metrics: families={families} undocumented={} dead={} series={series}", lost.0, lost.1);
    assert_eq!(lost, (0, 0), "{undocumented:?} {dead:?}");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn sets_are_counted_after_a_start_and_those_that_find_no_place_wait_in_the_queue() {
    const SETS: u32 = 12;
    // Four of its connection, and one that it borrows.
    const PLACES: u32 = 5;
    let sim = Simulator::start(Options::default()).unwrap();
    let cmdb = Proxy::to(&sim.url()).await;
    let mut world = World::with("metrics-queue", sim, &cmdb.url()).await;
    for number in 0..SETS {
        world.service_template(&format!("s{number}"));
        world.apply(&format!("s{number}"), one("./run")).await;
    }
    // One call at a time: until the first create is answered, all places are taken.
    world.limit_calls_in_flight(1).await;
    cmdb.hold(Point::reply_to(CREATE));
    world.start_operator(&["--concurrency", "1"]).await;
    until(&world, "ptset_limiter_calls{state=\"in_flight\"}", 1.0).await;
    let queue = async |world: &World, count: u32| until(world, "ptset_queue_depth", f64::from(count)).await;
    until(&world, "ptset_reconciles_running", f64::from(PLACES)).await;
    // All that have no place; and those that are under way again, for their own statuses have changed.
    queue(&world, SETS).await;
    let log = std::fs::read_to_string(&world.operator.as_ref().unwrap().log).unwrap();
    assert_eq!(log.matches("--concurrency is deprecated").count(), 1, "{log}");
    cmdb.let_go();
    for number in 0..SETS {
        world.until_ready(&format!("s{number}")).await;
    }
    queue(&world, 0).await;
    let seen = until(&world, "ptset_sets{reason=\"InSync\"}", f64::from(SETS)).await;
    assert_eq!(seen.value("ptset_time_to_ready_seconds_count"), f64::from(SETS));
    world.stop_operator().await;
    world.start_operator(&[]).await;
    let again = until(&world, "ptset_sets{reason=\"InSync\"}", f64::from(SETS)).await;
    let counted: BTreeMap<&String, &f64> =
        again.families["ptset_sets"].samples.iter().filter(|(_, count)| **count > 0.0).collect();
    assert_eq!(counted.len(), 1, "{counted:?}");
    assert_eq!(again.value("ptset_time_to_ready_seconds_count"), 0.0, "they were Ready before");
    world.end().await;
}
