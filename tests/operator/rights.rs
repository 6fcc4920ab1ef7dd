//! An operator that lacks a right says so wherever it still can, and goes on by itself once it has it.

use std::path::PathBuf;

use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding};
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use test_support::scrape::Scrape;
use test_support::tenants::{RIGHTS, yaml};
use test_support::world::{PATIENCE, Seen, World};
use tokio::time::{Duration, Instant, sleep};

fn spec(start_cmd: &str) -> Value {
    json!({
        "deletionPolicy": "Delete", "resyncIntervalSeconds": 5,
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }],
    })
}

/// A user with all rights of the operator but one.
struct Limited {
    name: String,
    kubeconfig: PathBuf,
}

impl Limited {
    async fn new(world: &World, resource: &str, verb: &str) -> Self {
        let name = format!("{}-cannot-{verb}", world.namespace);
        let mut role = yaml(RIGHTS);
        role["metadata"]["name"] = json!(name);
        let rules = role["rules"].as_array_mut().unwrap();
        let rule =
            rules.iter_mut().find(|rule| rule["resources"].as_array().unwrap().contains(&json!(resource))).unwrap();
        rule["verbs"].as_array_mut().unwrap().retain(|had| had != verb);
        // A rule without verbs is none.
        rules.retain(|rule| !rule["verbs"].as_array().unwrap().is_empty());
        let binding = json!({
            "metadata": { "name": name },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": name }],
        });
        let role: ClusterRole = serde_json::from_value(role).unwrap();
        let binding: ClusterRoleBinding = serde_json::from_value(binding).unwrap();
        Api::all(world.client.clone()).create(&PostParams::default(), &role).await.unwrap();
        Api::all(world.client.clone()).create(&PostParams::default(), &binding).await.unwrap();
        let kubeconfig = world.plane.kubeconfig_for(&name, &[]).unwrap();
        Self { name, kubeconfig }
    }

    /// Gives it the right.
    async fn gets(&self, world: &World) {
        let roles: Api<ClusterRole> = Api::all(world.client.clone());
        let rules = yaml(RIGHTS)["rules"].clone();
        roles.patch(&self.name, &PatchParams::default(), &Patch::Merge(json!({ "rules": rules }))).await.unwrap();
    }
}

async fn until_failed(world: &World, count: f64) -> Scrape {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let text = world.operator.as_ref().unwrap().answer("/metrics").await.1;
        let seen = Scrape::read(&text).unwrap();
        if outcomes(&seen, "ApiServerUnavailable") >= count {
            return seen;
        }
        assert!(Instant::now() < deadline, "{text}\n{}", world.operator_log());
        sleep(Duration::from_millis(50)).await;
    }
}

fn outcomes(seen: &Scrape, outcome: &str) -> f64 {
    seen.value(&format!("ptset_reconciles_total{{outcome=\"{outcome}\"}}"))
}

// It has been told in one event, and in the log each time.
async fn assert_told(world: &World, right: &str) {
    world.until_event("ApiServerUnavailable", right).await;
    until_failed(world, 3.0).await;
    let told = world.events("ApiServerUnavailable").await;
    assert_eq!(told.len(), 1, "{told:?}");
    let log = world.operator_log();
    let place = format!("namespace=\"{}\" name=\"web\"", world.namespace);
    assert!(log.lines().any(|line| line.contains("WARN") && line.contains(&place) && line.contains(right)), "{log}");
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_that_may_not_be_written_is_told_in_log_event_and_metrics() {
    let mut world = World::new("no-status").await;
    world.service_template("web");
    let limited = Limited::new(&world, "processtemplatesets/status", "update").await;
    world.start_operator_as(&limited.kubeconfig, &[]).await;
    world.apply("web", spec("./run")).await;
    assert_told(&world, "cannot update resource").await;
    let seen = until_failed(&world, 3.0).await;
    assert_eq!(outcomes(&seen, "ok"), 0.0, "{}", world.operator_log());
    let connection = "the status of the connection could not be updated";
    assert!(world.operator_log().contains(connection), "{}", world.operator_log());

    limited.gets(&world).await;
    world.until_ready("web").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_that_cannot_be_let_go_is_told_in_log_event_and_metrics() {
    let mut world = World::new("no-patch").await;
    world.service_template("web");
    world.start_operator(&["--removal-delay-seconds", "0"]).await;
    world.apply("web", spec("./run")).await;
    world.until_ready("web").await;
    world.stop_operator().await;
    let limited = Limited::new(&world, "processtemplatesets", "patch").await;
    world.start_operator_as(&limited.kubeconfig, &["--removal-delay-seconds", "0"]).await;
    world.delete("web").await;
    assert_told(&world, "cannot patch resource").await;

    limited.gets(&world).await;
    world.until_gone("web").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_deletion_that_may_not_look_at_its_kind_says_why_it_waits_and_how_it_ends() {
    let mut world = World::new("no-kind-to-see").await;
    for name in ["web", "shop"] {
        world.service_template(name);
    }
    let limited = Limited::new(&world, "customresourcedefinitions", "get").await;
    world.start_operator_as(&limited.kubeconfig, &["--removal-delay-seconds", "0"]).await;
    for name in ["web", "shop"] {
        world.apply(name, spec("./run")).await;
        world.until_ready(name).await;
        world.delete(name).await;
        let blocked =
            |seen: &Seen| seen.reason("Ready") == "DeletionBlocked" && seen.message().contains("cannot get resource");
        let seen = world.until(name, "DeletionBlocked", blocked).await;
        assert!(seen.message().contains("\"deletionPolicy\":\"Orphan\""), "{}", seen.message());
    }
    until_failed(&world, 2.0).await;

    let orphan = Patch::Merge(json!({ "spec": { "deletionPolicy": "Orphan" } }));
    world.sets().patch("shop", &PatchParams::default(), &orphan).await.unwrap();
    world.until_gone("shop").await;
    limited.gets(&world).await;
    world.until_gone("web").await;
    assert_eq!(world.sim.state().process_templates.len(), 1, "only that of the orphaned set");
    world.end().await;
}
