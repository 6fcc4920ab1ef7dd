//! What a namespace learns of a shared connection that grants it nothing.

use std::collections::BTreeSet;

use serde_json::json;
use tokio::time::sleep;

use crate::world::{BANK, Fence, GRANTED, LONG, SHOP, spec, to_shared, to_shop};

#[tokio::test(start_paused = true)]
async fn a_namespace_without_a_grant_learns_only_that_it_has_none() {
    let fence = Fence::new();
    fence.share("granted", &to_shop());
    fence.put_shared("malformed", &json!({ "url": 7, "grants": to_shop() }));
    fence.put_shared(
        "no-secret",
        &json!({
            "url": fence.paused.sim().url(), "grants": to_shop(),
            "credentialsSecretRef": { "namespace": "system", "name": "a-name-of-the-system" },
        }),
    );
    let mut fence = fence;
    fence.start();

    let mut told = BTreeSet::new();
    for connection in ["granted", "malformed", "no-secret", "missing"] {
        let set = spec(&to_shared(connection), GRANTED, "web", "./run");
        fence.apply_object(BANK, connection, &json!({ "name": connection }), &set);
        sleep(LONG).await;
        let seen = fence.seen(BANK, connection).unwrap();
        told.insert((seen.reason("Ready").to_owned(), seen.message().to_owned()));

        // Nor on the way out.
        fence.paused.api.delete(&test_support::in_process::Place::new(
            process_template_operator::api::GROUP,
            "processtemplatesets",
            BANK,
            connection,
        ));
        sleep(LONG).await;
        if let Some(seen) = fence.seen(BANK, connection) {
            let message = seen.message().replace(connection, "NAME");
            told.insert((seen.reason("Ready").to_owned(), message));
        }
    }
    println!("{told:#?}");
    let reasons: Vec<&str> = told.iter().map(|(reason, _)| reason.as_str()).collect();
    assert_eq!(reasons, ["WaitingForGrant"]);
}

#[tokio::test(start_paused = true)]
async fn a_set_is_reconciled_when_its_shared_connection_appears() {
    let fence = Fence::running();
    fence.apply("late", &spec(&to_shared("late"), GRANTED, "web", "./run"));
    sleep(LONG).await;
    assert_eq!(fence.seen(SHOP, "late").unwrap().reason("Ready"), "WaitingForGrant");
    fence.share("late", &to_shop());
    // Sooner than its backoff would let it.
    let is_ready = |_: &test_support::paused::Paused| fence.seen(SHOP, "late").unwrap().is_ready();
    fence.paused.until(std::time::Duration::from_secs(10), "the set is Ready", is_ready).await;
}
