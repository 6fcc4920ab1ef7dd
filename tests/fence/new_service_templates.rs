//! A service template that does not exist yet, and a tenant that may not touch it but names it: it must neither hold up its
//! creation nor take names in it.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::world::{BANK, Fence, GRANTED, LONG, SHOP, spec, to_shared, with};

/// How long CMDB takes for a call.
const LATENCY: Duration = Duration::from_secs(6);

/// Sets of the tenant that may not.
const SETS: usize = 30;

/// Ways to grant the shop service template "web" alone.
const WAYS: [&str; 2] = ["by name", "by ID"];

// The shop may touch "web" alone, the bank "new", which does not exist.
fn narrowed(way: &str) -> Fence {
    let mut fence = Fence::new();
    let web = match way {
        "by name" => json!({ "matchNames": ["web"] }),
        _ => json!({ "matchIds": [fence.id_of(GRANTED, "web")] }),
    };
    let grant = |namespace: &str, chosen: Value| json!({ "namespaces": { "matchNames": [namespace] }, "bizIds": [GRANTED], "serviceTemplates": chosen });
    fence.share("shared", &json!([grant(SHOP, web), grant(BANK, json!({ "matchNames": ["new"] }))]));
    fence.start();
    fence
}

fn new(service_template: &str) -> Value {
    let selector = json!({ "name": service_template, "createIfMissing": { "category": { "id": 2 } } });
    with(spec(&to_shared("shared"), GRANTED, "web", "./run"), "serviceTemplate", selector)
}

fn slow(fence: &Fence) {
    let delay = Effect::delay(u64::try_from(LATENCY.as_millis()).unwrap());
    fence.paused.sim().clear_faults();
    fence.paused.sim().add_fault(Fault::every("*", delay));
}

// Applies a set of the bank and waits until it is Ready; for how long.
async fn bank_is_served(fence: &Fence) -> Duration {
    let applied = Instant::now();
    fence.apply_object(BANK, "web", &json!({ "name": "web" }), &new("new"));
    let is_ready = |fence: &Fence| fence.seen(BANK, "web").is_some_and(|seen| seen.is_ready());
    while !is_ready(fence) {
        assert!(applied.elapsed() < LONG, "{}", fence.seen(BANK, "web").unwrap().describe());
        sleep(Duration::from_millis(100)).await;
    }
    applied.elapsed()
}

#[tokio::test(start_paused = true)]
async fn sets_outside_their_grants_do_not_hold_up_the_creation_of_a_service_template() {
    for way in WAYS {
        let fence = narrowed(way);
        slow(&fence);
        let alone = bank_is_served(&fence).await;

        let fence = narrowed(way);
        slow(&fence);
        for number in 0..SETS {
            fence.apply(&format!("s{number:02}"), &new("new"));
        }
        // All of them have been reconciled once, or wait for each other.
        sleep(LATENCY * 2).await;
        let beside = bank_is_served(&fence).await;
        println!(
            "new service template: {way}: sets={SETS} alone_ms={} beside_ms={}",
            alone.as_millis(),
            beside.as_millis()
        );
        // Their lists of the business, which they may read, are in flight when the bank asks for its own.
        assert!(beside <= alone + 4 * LATENCY, "{way}: {beside:?} instead of {alone:?}");
        let theirs = fence.seen(SHOP, "s00").unwrap();
        assert_eq!(theirs.reason("Ready"), "WaitingForGrant", "{way}: {}", theirs.describe());
        let created = fence.calls("create_service_template");
        assert_eq!(created.len(), 1, "{way}: {created:?}");
        assert_eq!(fence.paused.sim().state().process_templates.len(), 1, "{way}");
    }
}
