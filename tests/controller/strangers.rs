//! What sets of other tenants claim whose credentials CMDB permits nothing in the business, or whose CMDB is a server of their
//! own: they take no name, keep no template, and undo no deletion. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Simulator};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use test_support::paused::tenant::{Tenant, cmdb, serve_businesses};
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// How long CMDB takes for each call.
const LATENCY: Duration = Duration::from_millis(20);

/// CMDB's code for a missing permission.
const FORBIDDEN: i64 = 9_900_403;

/// `bk_app_code` of the stranger.
const STRANGER: &str = "stranger";

const WRITES: &[&str] = &["batch_create_proc_template", "update_proc_template", "delete_proc_template"];

const LISTS: &[&str] = &["list_service_template", "list_proc_template"];

fn spec(names: &[&str], policy: &str) -> Value {
    let processes: Vec<Value> = names.iter().map(|name| json!({ "name": name, "funcName": name })).collect();
    json!({
        "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": processes, "deletionPolicy": policy,
        "adoptionPolicy": "Always",
    })
}

fn over(connection: &str, mut spec: Value) -> Value {
    spec["connectionRef"] = json!({ "name": connection });
    spec
}

// A world with a victim's set of two processes, in namespace "bank".
async fn world() -> (Paused, Simulator) {
    let mut world = Paused::new();
    world.start_operator_with(|settings| settings.namespaces = Vec::new());
    let sim = cmdb(LATENCY);
    serve_businesses(&sim, 2..3);
    let victim = world.tenant("bank");
    victim.connect("default", &sim.url(), json!({}));
    victim.edit("web", &spec(&["p1", "p2"], "Delete"), PATIENCE).await;
    (world, sim)
}

// The stranger's connection to a CMDB, which permits it everything but these calls.
fn connect_stranger(world: &Paused, sim: &Simulator, forbidden: &[&str]) {
    for call in forbidden {
        let mut fault = Fault::every(call, Effect::code(FORBIDDEN));
        fault.matching = [("bk_app_code".to_owned(), json!(STRANGER))].into_iter().collect();
        sim.add_fault(fault);
    }
    put_secret_of_stranger(world, "stranger");
    world.tenant("shop").connect_without_secret("stranger", &sim.url(), json!({}));
}

fn put_secret_of_stranger(world: &Paused, name: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
        "data": { "bk_app_code": "c3RyYW5nZXI=", "bk_app_secret": "c2VjcmV0", "bk_username": "YWRtaW4=" },
    });
    world.api.apply(&Place::new("", "secrets", "shop", name), &secret);
}

fn names(sim: &Simulator) -> Vec<String> {
    let mut names: Vec<String> =
        sim.state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect();
    names.sort();
    names
}

// A victim's templates are deleted as it asks, and it gets the names that it wants.
async fn assert_unharmed(world: &Paused, sim: &Simulator, victim: &Tenant<'_>) {
    victim.edit("web", &spec(&["p1"], "Delete"), PATIENCE).await;
    world.until(PATIENCE, "p2 is deleted", |_| names(sim) == ["p1"]).await;
    victim.edit("more", &spec(&["p9"], "Delete"), PATIENCE).await;
    victim.delete("web");
    world.until(PATIENCE, "p1 is deleted", |_| names(sim) == ["p9"]).await;
    victim.delete("more");
    world.until(PATIENCE, "all are deleted", |_| names(sim).is_empty()).await;
}

#[tokio::test(start_paused = true)]
async fn credentials_that_cmdb_permits_nothing_in_the_business_claim_nothing_there() {
    for forbidden in [[LISTS, WRITES].concat(), vec!["list_service_template"], vec!["list_proc_template"]] {
        let (world, sim) = world().await;
        let victim = world.tenant("bank");
        connect_stranger(&world, &sim, &forbidden);
        let stranger = world.tenant("shop");
        for (name, processes) in [("squatter", vec!["p1", "p2", "p9"]), ("other", vec!["p9"])] {
            stranger.apply(name, &over("stranger", spec(&processes, "Delete")));
        }
        let is_refused = |world: &Paused| {
            let set = world.tenant("shop").seen("other");
            set.is_some_and(|set| set.reason("Ready") == "PermissionDenied")
        };
        world.until(PATIENCE, "the stranger is refused", is_refused).await;
        assert_unharmed(&world, &sim, &victim).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_is_created_again_and_again_undoes_no_deletion() {
    let (world, sim) = world().await;
    let victim = world.tenant("bank");
    connect_stranger(&world, &sim, &[LISTS, WRITES].concat());
    let stranger = world.tenant("shop");
    victim.apply("web", &spec(&["p1"], "Delete"));
    for _ in 0..300 {
        stranger.apply("squatter", &over("stranger", spec(&["p1", "p2"], "Orphan")));
        sleep(Duration::from_millis(500)).await;
        stranger.delete("squatter");
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(names(&sim), ["p1"]);
}

#[tokio::test(start_paused = true)]
async fn a_server_of_a_tenant_that_shows_the_templates_of_another_keeps_none_of_them() {
    let (world, sim) = world().await;
    let victim = world.tenant("bank");
    let copy = cmdb(LATENCY);
    let (state, process_templates) = (sim.state(), sim.state().process_templates);
    copy.update_state(|copied| {
        copied.businesses = state.businesses;
        copied.service_templates = state.service_templates;
        copied.process_templates = process_templates;
    });
    let stranger = world.tenant("shop");
    stranger.connect("copy", &copy.url(), json!({}));
    stranger.edit("squatter", &over("copy", spec(&["p1", "p2"], "Orphan")), PATIENCE).await;
    assert_unharmed(&world, &sim, &victim).await;

    // Nor does one that pointed to such a server before.
    victim.edit("web", &spec(&["p1", "p2"], "Delete"), PATIENCE).await;
    connect_stranger(&world, &sim, &[LISTS, WRITES].concat());
    put_secret_of_stranger(&world, "copy");
    stranger.connect_without_secret("copy", &sim.url(), json!({}));
    sleep(Duration::from_secs(30)).await;
    assert_unharmed(&world, &sim, &victim).await;
}
