//! One answer of each class that is no success, over each transport: which conditions a set gets, and that it goes on once it
//! is mended. What every answer leads to in the client is tried in `client/errors.rs`.

use cmdb_sim::{Fault, Options, Simulator};
use process_template_operator::api::RECONCILE_REQUESTED_AT;
use process_template_operator::cmdb::{Transport, WriteOutcome};
use serde_json::json;
use test_support::error_rows::{Beside, Row, Sent, TABLE, effect};
use test_support::world::World;

/// One answer of each class that can come over a transport. A row that says that CMDB is not reached is none: after some
/// of these the client asks no more for a while.
fn one_of_each_class(transport: Transport) -> Vec<&'static Row> {
    let mut rows: Vec<&Row> = Vec::new();
    for row in TABLE.iter().filter(|row| row.1.contains(&transport) && !row.4.item) {
        let is_unreached = row.4.label == "outcome_unknown"
            && !matches!(row.0, Sent::Code(1_100_000..=1_199_999 | 1_306_000) if row.2 == 200);
        if !is_unreached && rows.iter().all(|other| other.4.label != row.4.label) {
            rows.push(row);
        }
    }
    // What slows the client down comes last.
    rows.sort_by_key(|row| row.4.label == "throttled");
    rows
}

/// Applies a set whose lists, or whose creates, are answered with each of the rows, and mends it.
async fn told_by_a_set(name: &str, transport: Transport) {
    let sim = Simulator::start(Options::default()).unwrap();
    let url = sim.url();
    let mut world = World::through(transport, name, sim, &url).await;
    world.start_operator(&["--create-grace-seconds", "2"]).await;
    let rows = one_of_each_class(transport);
    assert_eq!(rows.len(), 8, "{rows:?}");
    for row in rows {
        let meaning = row.4;
        for (call, events) in [("list_proc_template", 1), ("batch_create_proc_template", 2)] {
            let set = format!("{}-{}", &call[..4], meaning.label.replace('_', "-"));
            let id = world.service_template(&set);
            world.sim.add_fault(Fault::every(call, effect(row, &url)).when("service_template_id", id));
            let spec = json!({ "processes": [{ "name": "web", "funcName": "web" }], "resyncIntervalSeconds": 5 });
            world.apply(&set, spec.clone()).await;
            // As long as nobody knows what became of a create, time alone may still change something.
            let is_open = call == "batch_create_proc_template" && meaning.outcome == WriteOutcome::Unknown;
            let beside = match meaning.beside {
                Beside::Stalled if is_open => ("WaitingForOutcome", "", ""),
                Beside::Stalled => ("", "True", meaning.reason),
                Beside::Reconciling => ("ProgressingWithRetry", "", ""),
            };
            let what = format!("{transport:?} {call} {row:?}: {beside:?}");
            world
                .until(&set, &what, |seen| {
                    let found = (seen.reason("Reconciling"), seen.condition("Stalled"), seen.reason("Stalled"));
                    let ready = (seen.condition("Ready"), seen.reason("Ready"));
                    seen.is_current() && ready == ("False", meaning.reason) && found == beside
                })
                .await;
            world.until_events(meaning.reason, events).await;
            world.sim.clear_faults();
            // Who has mended it does not wait for the next look.
            world.apply_with(&set, spec, json!({ RECONCILE_REQUESTED_AT: "mended" })).await;
            world.until_ready(&set).await;
        }
    }
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn a_set_says_of_each_class_what_is_wrong_over_each_transport_and_goes_on_once_it_is_mended() {
    let told = Transport::ALL.iter().map(|transport| {
        let name = format!("errors-{}", transport.as_str().to_lowercase());
        async move { told_by_a_set(&name, *transport).await }
    });
    futures::future::join_all(told).await;
}
