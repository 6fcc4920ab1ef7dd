//! Nothing that is synced becomes out of sync by itself: every example, in every mode, over ten refreshes.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use futures::future::join_all;
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use process_template_operator::api::{CmdbConnection, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};

use super::finish;
use crate::Told;
use crate::application::{Application, Mode};
use crate::processes::ArgoCd;
use crate::repository::Repository;
use test_support::examples::examples;
use test_support::world::World;

const REFRESHES: usize = 10;

pub async fn stay_synced(argo: &'static ArgoCd) -> Told {
    let operator = argo.operator("all", &[]).await;
    let modes = [
        ("examples-client", Mode::ClientSide),
        ("examples-server", Mode::ServerSide),
        ("examples-diff", Mode::ServerSideDiff),
    ];
    let told = join_all(modes.map(|(namespace, mode)| stay_synced_in(argo, namespace, mode))).await;
    operator.stop().await;
    Told { spurious_out_of_sync: told.iter().map(|told| told.spurious_out_of_sync).sum() }
}

async fn stay_synced_in(argo: &'static ArgoCd, namespace: &str, mode: Mode) -> Told {
    let world = World::new(namespace).await;
    // The examples bring their own.
    let connections: Api<CmdbConnection> = Api::namespaced(world.client.clone(), namespace);
    connections.delete("default", &DeleteParams::default()).await.unwrap();
    argo.kubectl(&["delete", "secret", "cmdb", "--namespace", namespace]).await;

    let repository = Repository::new(argo.folder(), namespace).await;
    let mut known = BTreeSet::new();
    let mut count = 0;
    for (number, file) in files().iter().enumerate() {
        let read: Vec<Value> = serde_saphyr::from_multiple(&std::fs::read_to_string(file).unwrap()).unwrap();
        let fitted = read.into_iter().filter(|document| !document.is_null()).map(|document| fit(document, &world));
        let new: Vec<Value> = fitted.filter(|document| known.insert(identity(document))).collect();
        count += new.len();
        repository.write(&format!("{number:02}-{}", file.file_name().unwrap().to_str().unwrap()), &new);
    }
    let commit = repository.commit("every example").await;
    let application = Application::create(argo, &repository, namespace, mode, false).await;
    let synced = application.until("healthy", |state| state.is_healthy_at(&commit)).await;
    assert_eq!(synced.resources().len(), count);

    // What the actions reconcile and resume leave behind is no difference either.
    let by_hand = async |patch: Value| {
        world.sets().patch("shop", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    };
    let asked = json!({ "annotations": { RECONCILE_REQUESTED_AT: "now" } });
    by_hand(json!({ "metadata": asked, "spec": { "suspend": false } })).await;

    // Also what is seen between the refreshes counts.
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let watch = application.watch(Arc::clone(&seen));
    let mut spurious = Vec::new();
    for _ in 0..REFRESHES {
        let state = application.refresh_hard().await;
        assert_eq!(state.resources().len(), count);
        spurious.extend(state.out_of_sync());
    }
    watch.abort();
    spurious.extend(seen.lock().unwrap().drain(..));
    println!("argocd examples, {mode:?}: objects={count} refreshes={REFRESHES} out_of_sync={}", spurious.len());
    for found in &spurious {
        println!("  {found}");
    }
    // A real difference is seen, and only that.
    by_hand(json!({ "spec": { "unlocked": ["procNum"] } })).await;
    let state = application.refresh_hard().await;
    assert_eq!(
        (state.sync(), state.out_of_sync()),
        ("OutOfSync", vec!["ProcessTemplateSet shop OutOfSync".to_owned()])
    );
    finish(world, &application).await;
    Told { spurious_out_of_sync: spurious.len() }
}

fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let for_argo_cd = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/argocd/manifests");
    for path in examples().into_iter().chain([for_argo_cd]) {
        if path.is_dir() {
            found.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else {
            found.push(path);
        }
    }
    found
}

fn identity(document: &Value) -> String {
    format!("{} {} {}", document["kind"], document["metadata"]["namespace"], document["metadata"]["name"])
}

// Into this world's namespaces, and to its CMDB.
fn fit(mut document: Value, world: &World) -> Value {
    let namespace = &world.namespace;
    let fitted = |name: &Value| match name.as_str() {
        Some("blueking") => namespace.clone().into(),
        Some("ptset-system") => format!("{namespace}-system").into(),
        _ => name.clone(),
    };
    match document["kind"].as_str().unwrap() {
        "Namespace" => document["metadata"]["name"] = fitted(&document["metadata"]["name"]),
        "ClusterCmdbConnection" => {
            document["metadata"]["name"] = format!("cmdb-{namespace}").into();
            document["spec"]["url"] = format!("{}/api/bk-cmdb/prod", world.sim.url()).into();
            let secret = &mut document["spec"]["credentialsSecretRef"]["namespace"];
            *secret = fitted(secret);
        }
        kind => {
            if kind == "CmdbConnection" {
                document["spec"]["url"] = world.sim.url().into();
            }
            document["metadata"]["namespace"] = fitted(&document["metadata"]["namespace"]);
        }
    }
    document
}
