//! The stand-in for the API server that tests of time use: what the controller relies on is as on the real one.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use kube::api::{ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::core::PartialObjectMeta;
use kube::{Api, ResourceExt};
use process_template_operator::api::{GROUP, ProcessTemplateSet, ProcessTemplateSetStatus, VERSION};
use serde_json::json;
use test_support::in_process::{ApiServer, Place};
use tokio::time::Instant;

fn place(name: &str) -> Place {
    Place::new(GROUP, "processtemplatesets", "shop", name)
}

fn apply(server: &ApiServer, name: &str, start_cmd: &str) {
    let processes = json!([{ "name": "p", "funcName": "p", "startCmd": start_cmd }]);
    let spec = json!({ "bizId": 2, "serviceTemplate": { "name": "t" }, "processes": processes });
    let (version, metadata) = (format!("{GROUP}/{VERSION}"), json!({ "name": name }));
    let set = json!({ "apiVersion": version, "kind": "ProcessTemplateSet", "metadata": metadata, "spec": spec });
    server.apply(&place(name), &set);
}

fn sets(server: &ApiServer) -> Api<ProcessTemplateSet> {
    Api::namespaced(server.client(), "shop")
}

#[tokio::test(start_paused = true)]
async fn a_status_is_written_only_from_the_version_that_stands_and_leaves_the_generation() {
    let server = ApiServer::default();
    apply(&server, "web", "./run");
    let sets = sets(&server);
    let mut set = sets.get("web").await.unwrap();
    set.status = Some(ProcessTemplateSetStatus { observed_generation: Some(1), ..Default::default() });
    let written = sets.replace_status("web", &PostParams::default(), &set).await.unwrap();
    assert_eq!((written.metadata.generation, written.status.as_ref()), (Some(1), set.status.as_ref()));
    assert_ne!(written.resource_version(), set.resource_version());
    let again = sets.replace_status("web", &PostParams::default(), &written).await.unwrap();
    assert_eq!(again.resource_version(), written.resource_version(), "nothing has changed");
    let error = sets.replace_status("web", &PostParams::default(), &set).await.unwrap_err();
    assert!(matches!(&error, kube::Error::Api(status) if status.is_conflict()), "{error}");
    apply(&server, "web", "./edited");
    assert_eq!(sets.get("web").await.unwrap().metadata.generation, Some(2));
    assert_eq!(sets.get_opt("none").await.unwrap().map(|set| set.name_any()), None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_tells_what_comes_after_its_version_until_its_time_is_up() {
    let server = ApiServer::default();
    apply(&server, "a", "./run");
    let sets: Api<PartialObjectMeta<ProcessTemplateSet>> = Api::namespaced(server.client(), "shop");
    let listed = sets.list_metadata(&ListParams::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let begun = Instant::now();
    let version = listed.metadata.resource_version.unwrap();
    let watch = sets.watch_metadata(&WatchParams::default().timeout(60), &version).await.unwrap();
    apply(&server, "b", "./run");
    apply(&server, "a", "./edited");
    server.delete(&place("b"));
    let told: Vec<String> = watch
        .map_ok(|event| match event {
            WatchEvent::Added(set) => format!("added {}", set.name_any()),
            WatchEvent::Modified(set) => format!("modified {}", set.name_any()),
            WatchEvent::Deleted(set) => format!("deleted {}", set.name_any()),
            other => format!("{other:?}"),
        })
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(told, ["added b", "modified a", "deleted b"]);
    assert_eq!(begun.elapsed(), Duration::from_mins(1));
}

#[tokio::test(start_paused = true)]
async fn what_a_finalizer_holds_is_gone_when_it_is_taken_off() {
    let server = ApiServer::default();
    apply(&server, "web", "./run");
    let sets = sets(&server);
    let finalizers = |names: &[&str]| Patch::Merge(json!({ "metadata": { "finalizers": names } }));
    let parameters = PatchParams::default();
    let held = sets.patch_metadata("web", &parameters, &finalizers(&["example.com/held"])).await.unwrap();
    assert_eq!(held.metadata.generation, Some(1));
    server.delete(&place("web"));
    assert!(sets.get("web").await.unwrap().metadata.deletion_timestamp.is_some());
    sets.patch_metadata("web", &parameters, &finalizers(&[])).await.unwrap();
    assert!(server.get(&place("web")).is_none());
}
