//! What other tenants do does not delay an edit: their slow CMDB, their rate limit, their sets over the same connection.
//! On a clock that jumps.

use std::time::Duration;

use cmdb_sim::Simulator;
use serde_json::json;
use test_support::paused::Paused;
use test_support::paused::tenant::{Tenant, cmdb, serve_businesses, spec};
use tokio::time::sleep;

/// How long the CMDB of the tenant that is measured takes for each call.
const LATENCY: Duration = Duration::from_millis(20);

/// How long a slow CMDB takes for each call.
const SLOW: Duration = Duration::from_secs(20);

const PATIENCE: Duration = Duration::from_mins(10);

/// Longest that an edit may take, against its time without others.
const MOST: f64 = 2.0;

fn world() -> Paused {
    let mut world = Paused::new();
    world.start_operator_with(|settings| settings.namespaces = Vec::new());
    world
}

fn name(number: i64) -> String {
    format!("s{number:03}")
}

// A tenant with one set in sync, over a connection and CMDB of its own.
async fn at_rest<'a>(world: &'a Paused, sim: &Simulator) -> Tenant<'a> {
    serve_businesses(sim, 2..3);
    let tenant = world.tenant("bank");
    tenant.connect("default", &sim.url(), json!({}));
    tenant.edit("web", &spec(2, "nginx", "./run"), PATIENCE).await;
    sleep(Duration::from_secs(30)).await;
    tenant
}

// The longest of some edits.
async fn edits(tenant: &Tenant<'_>, more: &serde_json::Value) -> Duration {
    let mut longest = Duration::ZERO;
    for edit in 0..4 {
        let mut spec = spec(2, "nginx", &format!("./edit-{edit}"));
        for (name, value) in more.as_object().into_iter().flatten() {
            spec[name] = value.clone();
        }
        longest = longest.max(tenant.edit("web", &spec, PATIENCE).await);
        sleep(Duration::from_secs(7)).await;
    }
    longest
}

fn ratio(busy: Duration, idle: Duration) -> f64 {
    busy.as_secs_f64() / idle.as_secs_f64()
}

#[tokio::test(start_paused = true)]
async fn a_slow_cmdb_of_many_sets_does_not_delay_another_connection() {
    const HOSTILE_SETS: i64 = 110;
    let (world, ours, theirs) = (world(), cmdb(LATENCY), cmdb(SLOW));
    let tenant = at_rest(&world, &ours).await;
    let idle = edits(&tenant, &json!({})).await;

    serve_businesses(&theirs, 1000..1000 + HOSTILE_SETS);
    let hostile = world.tenant("shop");
    hostile.connect("slow", &theirs.url(), json!({ "limits": { "maxConcurrent": 1 } }));
    for number in 0..HOSTILE_SETS {
        let mut spec = spec(1000 + number, "p", "./run");
        spec["connectionRef"] = json!({ "name": "slow" });
        hostile.apply(&name(number), &spec);
    }
    sleep(Duration::from_mins(1)).await;
    let ratio = ratio(edits(&tenant, &json!({})).await, idle);
    println!("neighbour: hostile_sets={HOSTILE_SETS} edit_ratio={ratio:.2}");
    assert!(ratio <= MOST, "{ratio}");
}

#[tokio::test(start_paused = true)]
async fn many_slow_connections_of_one_tenant_do_not_delay_another_tenant() {
    const CONNECTIONS: i64 = 25;
    const SETS: i64 = 12;
    let (world, ours, theirs) = (world(), cmdb(LATENCY), cmdb(SLOW));
    let tenant = at_rest(&world, &ours).await;
    let idle = edits(&tenant, &json!({})).await;

    serve_businesses(&theirs, 1000..1000 + SETS);
    let hostile = world.tenant("shop");
    for connection in 0..CONNECTIONS {
        hostile.connect(&name(connection), &theirs.url(), json!({ "limits": { "maxConcurrent": 1 } }));
        for number in 0..SETS {
            let mut spec = spec(1000 + number, &format!("p{connection}"), "./run");
            spec["connectionRef"] = json!({ "name": name(connection) });
            hostile.apply(&name(connection * SETS + number), &spec);
        }
    }
    sleep(Duration::from_mins(1)).await;
    let ratio = ratio(edits(&tenant, &json!({})).await, idle);
    println!("neighbour: hostile_connections={CONNECTIONS} edit_ratio={ratio:.2}");
    assert!(ratio <= MOST, "{ratio}");
}

#[tokio::test(start_paused = true)]
async fn a_rate_limited_rollout_does_not_delay_another_connection() {
    const SETS: i64 = 200;
    let (world, ours, theirs) = (world(), cmdb(LATENCY), cmdb(LATENCY));
    let tenant = at_rest(&world, &ours).await;
    let idle = edits(&tenant, &json!({})).await;

    serve_businesses(&theirs, 1000..1000 + SETS);
    let throttled = world.tenant("shop");
    throttled.connect("default", &theirs.url(), json!({}));
    for number in 0..SETS {
        throttled.apply(&name(number), &spec(1000 + number, "p", "./run"));
    }
    let are_ready = |world: &Paused| world.not_ready_in("shop") == 0;

    world.until(PATIENCE, "all sets are Ready", are_ready).await;
    throttled.connect("default", &theirs.url(), json!({ "limits": { "requestsPerSecond": 1 } }));
    sleep(Duration::from_secs(10)).await;
    for number in 0..SETS {
        throttled.apply(&name(number), &spec(1000 + number, "p", "./edited"));
    }
    sleep(Duration::from_secs(5)).await;
    assert!(world.not_ready_in("shop") > 100, "the rollout is not under way");
    let ratio = ratio(edits(&tenant, &json!({})).await, idle);
    println!("throttled neighbour: edit_ratio={ratio:.2}");
    assert!(ratio <= MOST, "{ratio}");
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_share_a_connection_take_turns() {
    const SETS: i64 = 110;
    let (world, shared) = (world(), cmdb(Duration::from_secs(2)));
    serve_businesses(&shared, (2..3).chain(1000..1000 + SETS));
    let grant = |namespace: &str, businesses: Vec<i64>| json!({ "namespaces": { "matchNames": [namespace] }, "bizIds": businesses });
    let grants = [grant("bank", vec![2]), grant("shop", (1000..1000 + SETS).collect())];
    world.share("shared", &shared.url(), json!({ "limits": { "maxConcurrent": 1 }, "grants": grants }));
    let (tenant, hostile) = (world.tenant("bank"), world.tenant("shop"));
    let over_shared = json!({ "connectionRef": { "kind": "ClusterCmdbConnection", "name": "shared" } });
    tenant.connect("unused", &shared.url(), json!({}));
    edits(&tenant, &over_shared).await;
    let idle = edits(&tenant, &over_shared).await;

    for number in 0..SETS {
        let mut spec = spec(1000 + number, "p", "./run");
        spec["connectionRef"] = over_shared["connectionRef"].clone();
        hostile.apply(&name(number), &spec);
    }
    sleep(Duration::from_mins(1)).await;
    let ratio = ratio(edits(&tenant, &over_shared).await, idle);
    // Two namespaces share one call at a time: each of our calls waits for one of theirs, and the first for one more.
    println!("shared neighbour: hostile_sets={SETS} edit_ratio={ratio:.2}");
    assert!(ratio <= MOST + 0.5, "{ratio}");
}
