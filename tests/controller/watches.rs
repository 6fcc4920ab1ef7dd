//! A watch that fails holds up nothing but itself, and what it said is mended by itself.

use std::time::Duration;

use process_template_operator::controller::{ReadinessCheck, SecretAccess};
use serde_json::{Value, json};
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

/// More often than in a test.
const ALWAYS: usize = usize::MAX;

const SETS: usize = 5;

fn spec(resync_interval: Duration) -> Value {
    let seconds = resync_interval.as_secs();
    json!({ "resyncIntervalSeconds": seconds, "processes": [{ "name": "nginx", "funcName": "nginx" }] })
}

fn name(number: usize) -> String {
    format!("s{number}")
}

#[tokio::test(start_paused = true)]
async fn secrets_that_may_not_be_listed_delay_no_set_and_are_told() {
    let mut world = Paused::new();
    world.service_templates((0..SETS).map(name));
    world.api.fail("list", "secrets", 403, ALWAYS);
    world.start_operator_with(|settings| settings.namespaces = Vec::new());
    sleep(Duration::from_mins(5)).await;
    let mut longest = Duration::ZERO;
    for number in 0..SETS {
        world.apply(&name(number), &name(number), spec(Duration::from_mins(10)));
        longest = longest.max(world.until_all_ready(Duration::from_mins(1)).await);
        sleep(Duration::from_secs(7)).await;
    }
    assert!(longest < Duration::from_secs(3), "{longest:?}");
    let why = world.told.said_of(ReadinessCheck::Watches).unwrap_err();
    assert!(why.starts_with("secrets cannot be listed"), "{why}");
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_is_not_found_for_a_moment_leaves_no_gate_closed() {
    let mut world = Paused::new();
    world.service_templates([name(0)].into_iter());
    world.start_operator();
    world.apply(&name(0), &name(0), spec(Duration::from_hours(1)));
    world.until_all_ready(Duration::from_mins(1)).await;
    let begun = Instant::now();
    for plural in ["processtemplatesets", "cmdbconnections"] {
        world.api.fail("watch", plural, 404, 1);
    }
    sleep(Duration::from_mins(20)).await;
    let failed = world.api.requests().iter().filter(|request| request.at > begun && request.status == 404).count();
    assert_eq!(failed, 2);
    for gate in [ReadinessCheck::Crd, ReadinessCheck::Watches] {
        assert_eq!(world.told.said_of(gate), Ok("ok".to_owned()));
    }
    let edited = json!([{ "name": "nginx", "funcName": "nginx", "startCmd": "./edited" }]);
    world.apply(&name(0), &name(0), json!({ "processes": edited }));
    world.until_all_ready(Duration::from_mins(1)).await;
}

#[tokio::test(start_paused = true)]
async fn where_secrets_are_read_only_a_change_of_one_wakes_the_sets_at_rest() {
    let mut world = Paused::new();
    world.service_templates([name(0)].into_iter());
    world.start_operator_with(|settings| settings.secrets = SecretAccess::Read);
    // The connection is looked at before a set uses it.
    sleep(Duration::from_mins(3)).await;
    world.apply(&name(0), &name(0), spec(Duration::from_hours(1)));
    world.until_all_ready(Duration::from_mins(1)).await;
    sleep(Duration::from_secs(2)).await;
    let rests_at = Instant::now();
    sleep(Duration::from_mins(5)).await;
    assert_eq!(world.told.reconciles_since(rests_at), 0, "by the first look at what it names");

    let failed_at = Instant::now();
    world.api.fail("get", "secrets", 500, 1);
    sleep(Duration::from_mins(5)).await;
    let failed = world.api.requests().iter().filter(|request| request.at > failed_at && request.status == 500).count();
    assert_eq!((failed, world.told.reconciles_since(failed_at)), (1, 0), "by a look that failed");

    let changed_at = Instant::now();
    world.put_secret("YW5vdGhlcg==");
    sleep(Duration::from_mins(5)).await;
    assert!(world.told.reconciles_since(changed_at) > 0);
    assert_eq!(world.not_ready(), 0);
}
