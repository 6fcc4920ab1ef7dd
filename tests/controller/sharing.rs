//! A thousand sets on fifty service templates: what looking at CMDB costs, on a clock that jumps.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

const SETS: usize = 1000;
const SERVICE_TEMPLATES: usize = 50;

/// Time between two looks at CMDB when a set does not say.
const INTERVAL: Duration = Duration::from_mins(10);

// A look that is spread over a tenth of the interval, and begins a moment after what it refreshes has grown old.
const LATEST: Duration = Duration::from_millis(660_250);

fn service_template(number: usize) -> String {
    format!("t{:02}", number % SERVICE_TEMPLATES)
}

async fn at_rest() -> Paused {
    let mut world = Paused::new();
    world.service_templates((0..SERVICE_TEMPLATES).map(service_template));
    world.start_operator();
    for number in 0..SETS {
        let name = format!("s{number:03}");
        let spec = json!({ "processes": [{ "name": name, "funcName": name, "startCmd": "./run" }] });
        world.apply(&name, &service_template(number), spec);
    }
    world.until_all_ready(Duration::from_mins(10)).await;
    world
}

// When the templates of each service template were listed since then.
fn lists(world: &Paused, since: Instant) -> BTreeMap<i64, Vec<Instant>> {
    let mut lists: BTreeMap<i64, Vec<Instant>> = BTreeMap::new();
    for (service_template_id, at) in world.lists_after(since) {
        lists.entry(service_template_id).or_default().push(at);
    }
    lists
}

// Writes to CMDB, of statuses, and events.
fn written(world: &Paused, since: Instant) -> (usize, usize, usize) {
    let to_cmdb = world.told.calls_after(since).iter().filter(|call| call.operation.is_write()).count();
    (to_cmdb, world.status_writes_since(since).len(), world.events_since(since).len())
}

// The most in any window of so long.
fn most_within(window: Duration, lists: &BTreeMap<i64, Vec<Instant>>) -> usize {
    let mut times: Vec<Instant> = lists.values().flatten().copied().collect();
    times.sort_unstable();
    let until = |begin: &Instant| times.partition_point(|at| *at < *begin + window);
    times.iter().enumerate().map(|(before, begin)| until(begin) - before).max().unwrap_or_default()
}

#[tokio::test(start_paused = true)]
async fn sets_of_one_service_template_share_one_list_an_interval_and_a_restart_is_no_burst() {
    let mut world = at_rest().await;
    let begun = Instant::now();
    sleep(INTERVAL * 6).await;
    let shared = lists(&world, begun);
    let most = most_within(INTERVAL, &shared);
    println!("sharing: sets={SETS} templates={} lists_per_interval={most}", shared.len());
    assert_eq!((shared.len(), most), (SERVICE_TEMPLATES, SERVICE_TEMPLATES));
    for (service_template_id, times) in shared {
        let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(gaps.iter().all(|gap| (INTERVAL..=LATEST).contains(gap)), "{service_template_id}: {gaps:?}");
        assert!(times[0] - begun <= LATEST && times[times.len() - 1].elapsed() <= LATEST, "{service_template_id}");
    }
    assert_eq!(written(&world, begun), (0, 0, 0));

    world.stop_operator().await;
    let begun = Instant::now();
    world.start_operator();
    sleep(INTERVAL * 2).await;
    assert_eq!(written(&world, begun), (0, 0, 0));
    let anew = lists(&world, begun);
    assert_eq!(anew.len(), SERVICE_TEMPLATES);
    assert!(anew.values().all(|times| times[0] - begun <= LATEST), "all are looked at within an interval: {anew:?}");
    // Chance puts more into some tenths of the interval than into others.
    let (most, steady) = (most_within(INTERVAL / 10, &anew), SERVICE_TEMPLATES / 10);
    assert!(most <= 4 * steady, "{most} lists within a tenth of an interval, {steady} at the steady rate");
}
