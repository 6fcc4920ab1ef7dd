//! What the operator keeps in memory does not grow with what tenants invent. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::GROUP;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use test_support::paused::tenant::{Tenant, serve_businesses, spec};
use tokio::time::sleep;

const CHURNED: i64 = 200;

const PATIENCE: Duration = Duration::from_mins(30);

const CREATE: &str = "batch_create_proc_template";

/// CMDB's code for an item that collides with another.
const COLLIDES: i64 = 1_113_020;

/// CMDB's code for a server behind that failed: the outcome of a create is not known.
const FAILED_BEHIND: i64 = 1_199_998;

fn name(number: i64) -> String {
    format!("s{number:03}")
}

fn over(number: i64, connection: &str) -> Value {
    let mut spec = spec(1000 + number, "p", "./run");
    spec["connectionRef"] = json!({ "name": connection });
    spec
}

fn entries(world: &Paused) -> usize {
    world.told.readings().entries
}

fn creates(world: &Paused) -> usize {
    world.sim().requests().iter().filter(|record| record.call == CREATE).count()
}

// The same names, other objects.
fn replace(tenant: &Tenant<'_>, number: i64) {
    tenant.delete(&name(number));
    tenant.apply(&name(number), &over(number, &format!("c{number:03}")));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_left_of_sets_and_connections_that_are_gone() {
    let mut world = Paused::new();
    serve_businesses(world.sim(), (2..3).chain(1000..1000 + CHURNED));
    world.start_operator();
    let tenant = world.tenant("shop");
    tenant.apply("healthy", &spec(2, "p", "./run"));
    world.until_all_ready(PATIENCE).await;
    sleep(Duration::from_mins(1)).await;
    let before = entries(&world);

    // Intents whose outcome is not known, then of sets that were replaced.
    world.sim().add_fault(Fault::every(CREATE, Effect::code(FAILED_BEHIND)));
    let url = world.sim().url();
    for number in 0..CHURNED {
        tenant.connect(&format!("c{number:03}"), &url, json!({}));
        tenant.apply(&name(number), &over(number, &format!("c{number:03}")));
    }
    let pending = |world: &Paused| world.told.readings().pending_intents;
    world.until(PATIENCE, "intents", |world| pending(world) >= 20).await;
    (0..CHURNED).for_each(|number| replace(&tenant, number));

    // Items that CMDB rejects, then of sets that were replaced.
    world.cmdb_works();
    world.sim().add_fault(Fault::every(CREATE, Effect::code(COLLIDES)));
    let sent = creates(&world);
    let rejected = usize::try_from(CHURNED).unwrap();
    world.until(PATIENCE, "rejected items", |world| creates(world) >= sent + rejected).await;
    (0..CHURNED).for_each(|number| replace(&tenant, number));
    sleep(Duration::from_mins(2)).await;

    // Names of connections that do not exist, twice each.
    for round in ["a", "b"] {
        for number in 0..CHURNED {
            tenant.apply(&name(number), &over(number, &format!("invented-{round}-{number}")));
        }
        sleep(Duration::from_mins(2)).await;
    }
    let most = entries(&world);
    for number in 0..CHURNED {
        tenant.delete(&name(number));
        world.api.delete(&Place::new(GROUP, "cmdbconnections", "shop", &format!("c{number:03}")));
    }
    sleep(Duration::from_mins(2)).await;
    let after = entries(&world);
    println!(
        "entries after churn: before={before} after={after} most={most} {:?}",
        world.told.readings().pending_intents
    );
    assert!(most > before + 3 * rejected, "{most}");
    assert_eq!(after, before);
}

#[tokio::test(start_paused = true)]
async fn large_sets_are_reconciled_edited_and_deleted_though_their_text_is_not_kept() {
    const SETS: i64 = 4;
    const PROCESSES: i64 = 80;
    // As long as a text of CMDB may be.
    const TEXT: usize = 1000;
    let mut world = Paused::new();
    serve_businesses(world.sim(), 1000..1000 + SETS);
    world.start_operator();
    let tenant = world.tenant("shop");
    let large = |number: i64, start_cmd: &str| {
        let process = |process: i64| {
            let name = format!("p{process}");
            let start_cmd = format!("{start_cmd} {}", "x".repeat(TEXT));
            json!({ "name": name, "funcName": name, "startCmd": start_cmd })
        };
        json!({
            "bizId": 1000 + number, "serviceTemplate": { "name": "web" }, "deletionPolicy": "Delete",
            "processes": (0..PROCESSES).map(process).collect::<Value>(),
        })
    };
    for number in 0..SETS {
        tenant.apply(&name(number), &large(number, "./run"));
    }
    world.until_all_ready(PATIENCE).await;
    let kept = world.told.readings().kept_bytes;
    println!("large: sets={SETS} processes={PROCESSES} kept_bytes={kept}");
    assert!(kept < 64 << 10, "{kept}");

    for number in 0..SETS {
        tenant.apply(&name(number), &large(number, "./run --again"));
    }
    world.until_all_ready(PATIENCE).await;
    let edited = || serde_json::to_string(&world.sim().state()).unwrap().matches("./run --again").count();
    assert_eq!(edited(), 320);
    for number in 0..SETS {
        tenant.delete(&name(number));
    }
    world.until(PATIENCE, "all are gone", |world| world.tenant("shop").sets() == 0).await;
    assert_eq!(edited(), 0);
}
