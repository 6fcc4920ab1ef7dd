//! What is told.

mod deletion;
mod examples;
mod following;
mod waves;

use std::time::Duration;

use kube::api::{DeleteParams, ListParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::Story;
use crate::application::Application;
use crate::processes::{ArgoCd, PATIENCE};
use test_support::world::World;

pub const CREATE: &str = "batch_create_proc_template";

/// Stories with operators of their own, each for one namespace.
pub fn beside_others(argo: &'static ArgoCd) -> Vec<Story> {
    vec![
        Story::new("a commit adds a set, which is Progressing until its IDs are there", following::added(argo)),
        Story::new("CMDB follows a commit that changes, renames and removes", following::changed(argo)),
        Story::new("a wave begins when the IDs of the one before are in status", waves::in_turn(argo)),
        Story::new("a conflict fails the wave", waves::stalled(argo)),
        Story::new("a CMDB that is away for a while fails no wave", waves::away_for_a_while(argo)),
        Story::new("a Secret that comes late fails no wave", waves::late_secret(argo)),
        Story::new("an application with the operator's Deployment can be deleted", deletion::with_the_operator(argo)),
        Story::new("an application with the CRDs can be deleted", deletion::with_the_crds(argo)),
        Story::new("a set that cannot go is let go by hand", deletion::with_a_set_that_cannot_go(argo)),
    ]
}

/// Stories for which one operator serves every namespace.
pub fn in_all_namespaces(argo: &'static ArgoCd) -> Vec<Story> {
    vec![Story::new("what is synced stays synced, in every mode", examples::stay_synced(argo))]
}

/// The application goes, its objects stay; then the sets, while there is somebody to let them go.
pub async fn finish(world: World, application: &Application) {
    application.delete().await;
    world.sets().delete_collection(&DeleteParams::default(), &ListParams::default()).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while !world.sets().list(&ListParams::default()).await.unwrap().items.is_empty() {
        assert!(Instant::now() < deadline, "sets of {} are not gone\n{}", world.namespace, world.operator_log());
        sleep(Duration::from_millis(50)).await;
    }
    world.end().await;
}

/// A set of one process, in a wave.
pub fn set(name: &str, wave: i32, more: &Value) -> Value {
    let process = json!({ "name": name, "funcName": format!("f-{name}"), "startCmd": "./start.sh" });
    let mut spec = json!({ "bizId": 2, "serviceTemplate": { "name": name }, "processes": [process] });
    for (field, value) in more.as_object().unwrap() {
        spec[field] = value.clone();
    }
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": name, "annotations": { "argocd.argoproj.io/sync-wave": wave.to_string() } },
        "spec": spec,
    })
}
