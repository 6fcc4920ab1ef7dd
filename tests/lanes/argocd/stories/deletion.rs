//! An application is deleted together with what its sets need to go.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use process_template_operator::api;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::set;
use crate::Told;
use crate::application::{Application, Mode};
use crate::processes::{ArgoCd, PATIENCE};
use crate::repository::Repository;
use test_support::world::World;

/// The application's own connection, and a set of each policy.
fn connection_and_sets(world: &World) -> Vec<Value> {
    let connection = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
        "metadata": { "name": "cmdb", "annotations": { "argocd.argoproj.io/sync-wave": "0" } },
        "spec": { "url": world.sim.url(), "transport": "Esb", "credentialsSecretRef": { "name": "cmdb" } },
    });
    let with = |policy: &str| json!({ "deletionPolicy": policy, "connectionRef": { "kind": "CmdbConnection", "name": "cmdb" } });
    vec![connection, set("kept", 1, &with("Orphan")), set("deleted", 1, &with("Delete"))]
}

fn stored(world: &World) -> Vec<String> {
    let templates = world.sim.state().process_templates.into_iter();
    let mut names: Vec<String> = templates.map(|template| template.bk_process_name).collect();
    names.sort();
    names
}

async fn create(argo: &'static ArgoCd, world: &World, first: Vec<Value>) -> (Application, String) {
    for name in ["kept", "deleted"] {
        world.service_template(name);
    }
    let repository = Repository::new(argo.folder(), &world.namespace).await;
    repository.write("first.yaml", &first);
    repository.write("sets.yaml", &connection_and_sets(world));
    let commit = repository.commit("all in one").await;
    (Application::create(argo, &repository, &world.namespace, Mode::ClientSide, true).await, commit)
}

pub async fn with_the_crds(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("with-crds").await;
    world.start_operator(&[]).await;
    let crds = api::crds().unwrap().into_iter().map(|(_, mut crd)| {
        crd["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"] = "-1".into();
        crd
    });
    let (application, commit) = create(argo, &world, crds.collect()).await;
    application.until("healthy", |state| state.is_healthy_at(&commit)).await;
    assert_eq!(stored(&world).len(), 2);

    application.delete().await;
    application.until_gone().await;
    assert_eq!(stored(&world), ["kept"]);
    assert!(world.sets().list(&ListParams::default()).await.unwrap().items.is_empty());
    // Argo CD never deletes a CRD together with an application.
    let crd = argo.get(&["crd", "processtemplatesets.cmdb.bk.tencent.com"]).await;
    assert!(crd["metadata"]["name"].is_string() && crd["metadata"]["deletionTimestamp"].is_null(), "{crd}");
    world.end().await;
    Told::default()
}

/// CMDB is away; the way out that the examples tell of.
pub async fn with_a_set_that_cannot_go(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("cannot-go").await;
    world.start_operator(&[]).await;
    let (application, commit) = create(argo, &world, Vec::new()).await;
    application.until("healthy", |state| state.is_healthy_at(&commit)).await;
    let away = Effect::raw(502, "text/html", "<html>bad gateway</html>");
    world.sim.add_fault(Fault::every("*", away));

    application.delete().await;
    world.until_reason("deleted", "DeletionBlocked").await;
    let state = application.refresh_hard().await;
    assert_eq!(state.health_of("deleted"), ("Progressing", "Pending deletion"));
    let patch = r#"{"spec":{"deletionPolicy":"Orphan"}}"#;
    let namespace = format!("--namespace={}", world.namespace);
    argo.kubectl(&["patch", "ptset", "deleted", "--type=merge", "--patch", patch, &namespace]).await;
    application.until_gone().await;
    assert_eq!(stored(&world), ["deleted", "kept"]);
    world.end().await;
    Told::default()
}

/// The operator runs as long as there is its Deployment, as if there were a node.
pub async fn with_the_operator(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("with-operator").await;
    let labels = json!({ "app": "operator" });
    let deployment = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": { "name": "operator", "annotations": { "argocd.argoproj.io/sync-wave": "-1" } },
        "spec": { "replicas": 1, "selector": { "matchLabels": labels }, "template": {
            "metadata": { "labels": labels },
            "spec": { "containers": [{ "name": "operator", "image": "process-template-operator" }] },
        } },
    });
    let (application, commit) = create(argo, &world, vec![deployment]).await;
    pods_run(&world).await;
    world.start_operator(&[]).await;
    application.until("healthy", |state| state.is_healthy_at(&commit)).await;
    assert_eq!(stored(&world).len(), 2);

    application.delete().await;
    let deployments: Api<Deployment> = Api::namespaced(world.client.clone(), &world.namespace);
    let deadline = Instant::now() + PATIENCE;
    while application.state().await.is_some() {
        assert!(Instant::now() < deadline, "the application is not gone\n{}", argo.logs());
        let deployment = deployments.get_opt("operator").await.unwrap();
        if deployment.is_none_or(|found| found.metadata.deletion_timestamp.is_some()) && world.operator.is_some() {
            let left = world.sets().list(&ListParams::default()).await.unwrap().items.len();
            assert_eq!(left, 0, "the operator is taken away before its sets");
            world.stop_operator().await;
        }
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(stored(&world), ["kept"]);
    assert!(world.operator.is_none(), "its Deployment stays");
    world.end().await;
    Told::default()
}

// There is no kubelet to say so.
async fn pods_run(world: &World) {
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let deadline = Instant::now() + PATIENCE;
    let pod = loop {
        if let Some(pod) = pods.list(&ListParams::default()).await.unwrap().items.pop() {
            break pod;
        }
        assert!(Instant::now() < deadline, "there is no pod of the operator");
        sleep(Duration::from_millis(50)).await;
    };
    let condition = |kind: &str| json!({ "type": kind, "status": "True" });
    let status = json!({ "status": {
        "phase": "Running",
        "conditions": [condition("Ready"), condition("ContainersReady")],
        "containerStatuses": [{ "name": "operator", "image": "process-template-operator", "imageID": "", "ready": true,
            "restartCount": 0, "state": { "running": {} } }],
    } });
    let parameters = PatchParams::default();
    pods.patch_status(&pod.name_any(), &parameters, &Patch::Strategic(&status)).await.unwrap();
}
