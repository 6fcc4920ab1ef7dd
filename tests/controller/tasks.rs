//! Tasks that panic: a reconcile says so on its object and is retried; a long-lived task ends the controller. On a clock that
//! jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::cmdb::Operation;
use process_template_operator::controller::TaskFailure;
use serde_json::json;
use test_support::paused::{Panics, Paused};
use tokio::time::{Instant, sleep};

/// The most retries of a panic within a minute: after one second, two, four and so on.
const RETRIES: usize = 7;

fn spec() -> serde_json::Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })
}

#[tokio::test(start_paused = true)]
async fn a_connection_whose_reconcile_panics_says_so_and_is_retried_with_backoff() {
    let mut world = Paused::new();
    world.told.panic(Some(Panics::AtCall(Operation::ListServiceCategories)));
    let begun = Instant::now();
    world.start_operator();
    let says_so = |world: &Paused| {
        world
            .connection_condition("Ready")
            .is_some_and(|(status, reason, _)| status == "False" && reason == "InternalError")
    };
    world.until(Duration::from_secs(10), "InternalError", says_so).await;
    sleep(Duration::from_mins(1)).await;
    let tries = world.told.calls_after(begun).len();
    assert!((2..=RETRIES).contains(&tries), "{tries}");

    world.told.panic(None);
    world.until(Duration::from_mins(2), "Ready", Paused::is_connection_ready).await;
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_reconcile_panics_says_so_and_is_retried_with_backoff() {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.told.panic(Some(Panics::AtCall(Operation::ListProcessTemplates)));
    world.start_operator();
    let begun = Instant::now();
    world.apply("web", "web", spec());
    let says_so = |world: &Paused| world.seen("web").reason("Ready") == "InternalError";
    world.until(Duration::from_secs(10), "InternalError", says_so).await;
    sleep(Duration::from_mins(1)).await;
    let lists = world.told.calls_after(begun);
    let tries = lists.iter().filter(|call| call.operation == Operation::ListProcessTemplates).count();
    assert!((2..=RETRIES).contains(&tries), "{tries}");
    let seen = world.seen("web");
    assert_eq!((seen.reason("Ready"), seen.reason("Reconciling")), ("InternalError", "ProgressingWithRetry"));

    world.told.panic(None);
    world.until_all_ready(Duration::from_mins(2)).await;
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_panics_ends_the_controller_which_names_the_task() {
    let tasks = [
        ("processtemplatesets", "controller of sets"),
        ("secrets", "controller of sets"),
        ("cmdbconnections", "controller of CmdbConnections"),
        ("clustercmdbconnections", "controller of ClusterCmdbConnections"),
        ("namespaces", "watch of namespaces"),
    ];
    for (plural, expected) in tasks {
        let mut world = Paused::new();
        world.service_templates(["web".to_owned()].into_iter());
        world.start_operator_with(|settings| settings.namespaces = Vec::new());
        world.apply("web", "web", spec());
        world.until_all_ready(Duration::from_mins(1)).await;
        world.told.panic(Some(Panics::AtWatch));
        world.api.fail("watch", plural, 500, 1);
        world.api.end_watches();
        let failure = world.operator_failed().await;
        assert!(matches!(&failure, TaskFailure::Panicked { task, .. } if *task == expected), "{plural}: {failure}");
        assert_eq!(failure.to_string(), format!("the task {expected:?} panicked (bug): {}", message(&failure)));
    }
}

fn message(failure: &TaskFailure) -> &str {
    let TaskFailure::Panicked { message, .. } = failure else { return "" };
    message
}

#[tokio::test(start_paused = true)]
async fn a_create_in_flight_is_stored_when_the_controller_of_sets_has_failed() {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.sim().add_fault(Fault::nth("batch_create_proc_template", 1, Effect::delay(20_000)));
    world.start_operator();
    world.apply("web", "web", spec());
    let creates = |world: &Paused| {
        world.sim().requests().iter().filter(|record| record.call == "batch_create_proc_template").count()
    };
    world.until(Duration::from_mins(1), "a create", |world| creates(world) == 1).await;
    world.told.panic(Some(Panics::AtWatch));
    world.api.fail("watch", "processtemplatesets", 500, 1);
    world.api.end_watches();
    let failure = world.operator_failed().await;
    assert!(failure.to_string().contains("controller of sets"), "{failure}");
    let seen = world.seen("web");
    assert_eq!((seen.ids().len(), seen.status.pending.len(), creates(&world)), (1, 0, 1), "{}", seen.describe());
}
