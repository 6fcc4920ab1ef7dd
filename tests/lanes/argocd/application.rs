//! An Application, and what Argo CD says of it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::ready;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::runtime::{WatchStreamExt as _, watcher};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::processes::{ArgoCd, NAMESPACE, PATIENCE};
use crate::repository::{PATH, Repository};

const REFRESH: &str = "argocd.argoproj.io/refresh";

/// How Argo CD applies and compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Its default: three-way comparison.
    ClientSide,
    /// `ServerSideApply=true`: structured merge.
    ServerSide,
    /// That and `ServerSideDiff=true`: the API server compares.
    ServerSideDiff,
}

/// An application with one source, which is synced by itself and heals nothing.
pub struct Application {
    argo: &'static ArgoCd,
    name: String,
    api: Api<DynamicObject>,
}

/// What is known of an application at a moment.
#[derive(Clone, Debug)]
pub struct State(Value);

impl State {
    pub fn sync(&self) -> &str {
        self.text("/status/sync/status")
    }

    pub fn health(&self) -> &str {
        self.text("/status/health/status")
    }

    /// Phase of the last sync.
    pub fn phase(&self) -> &str {
        self.text("/status/operationState/phase")
    }

    /// What the last sync says.
    pub fn message(&self) -> &str {
        self.text("/status/operationState/message")
    }

    /// Whether it is at rest in this commit: synced, and the sync has ended well.
    pub fn is_synced_to(&self, commit: &str) -> bool {
        self.sync() == "Synced"
            && self.text("/status/sync/revision") == commit
            && self.phase() == "Succeeded"
            && self.text("/status/operationState/syncResult/revision") == commit
            && self.0["operation"].is_null()
    }

    pub fn is_healthy_at(&self, commit: &str) -> bool {
        self.is_synced_to(commit) && self.health() == "Healthy"
    }

    pub fn resources(&self) -> &[Value] {
        self.0["status"]["resources"].as_array().map(Vec::as_slice).unwrap_or_default()
    }

    /// Status and message of a set's health.
    pub fn health_of(&self, set: &str) -> (&str, &str) {
        let is_set = |resource: &&Value| resource["kind"] == "ProcessTemplateSet" && resource["name"] == set;
        let health = self.resources().iter().find(is_set).map_or(&Value::Null, |resource| &resource["health"]);
        (health["status"].as_str().unwrap_or_default(), health["message"].as_str().unwrap_or_default())
    }

    /// Kind and name of every resource that is out of sync.
    pub fn out_of_sync(&self) -> Vec<String> {
        let differs = self.resources().iter().filter(|resource| resource["status"] != "Synced");
        let text = |resource: &Value, field: &str| resource[field].as_str().unwrap_or_default().to_owned();
        differs.map(|resource| ["kind", "name", "status"].map(|field| text(resource, field)).join(" ")).collect()
    }

    fn text(&self, pointer: &str) -> &str {
        self.0.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
    }
}

impl Application {
    /// Creates it: the repository's folder, to a namespace. With `cascade` its objects go with it.
    pub async fn create(
        argo: &'static ArgoCd,
        repository: &Repository,
        namespace: &str,
        mode: Mode,
        cascade: bool,
    ) -> Self {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("argoproj.io", "v1alpha1", "Application"));
        let api = Api::namespaced_with(argo.client.clone(), NAMESPACE, &resource);
        let is_server_side = mode != Mode::ClientSide;
        let options = if is_server_side { json!(["ServerSideApply=true"]) } else { json!([]) };
        let compare = if mode == Mode::ServerSideDiff { "ServerSideDiff=true" } else { "" };
        let application: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {
                "name": namespace,
                "annotations": { "argocd.argoproj.io/compare-options": compare },
                "finalizers": if cascade { json!(["resources-finalizer.argocd.argoproj.io"]) } else { json!([]) },
            },
            "spec": {
                "project": "default",
                "source": { "repoURL": repository.url(), "targetRevision": "main", "path": PATH },
                "destination": { "server": "https://kubernetes.default.svc", "namespace": namespace },
                // A sync that has failed is not tried again by itself, so that it is seen.
                "syncPolicy": { "automated": { "prune": true, "selfHeal": false }, "syncOptions": options,
                    "retry": { "limit": 0 } },
            },
        }))
        .unwrap();
        api.create(&PostParams::default(), &application).await.unwrap();
        Self { argo, name: namespace.to_owned(), api }
    }

    pub async fn state(&self) -> Option<State> {
        let found = self.api.get_opt(&self.name).await.unwrap();
        found.map(|application| State(serde_json::to_value(application).unwrap()))
    }

    /// Waits until Argo CD says so of it.
    pub async fn until(&self, what: &str, holds: impl Fn(&State) -> bool) -> State {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let state = self.state().await.unwrap_or_else(|| panic!("{} is gone", self.name));
            if holds(&state) {
                return state;
            }
            let status = serde_json::to_string_pretty(&state.0["status"]).unwrap();
            assert!(Instant::now() < deadline, "{}: not in time: {what}\n{status}\n{}", self.name, self.argo.logs());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Has Argo CD look at Git at once, as a webhook does.
    pub async fn notify(&self) {
        self.annotate(REFRESH, json!("normal")).await;
    }

    /// Has Argo CD read Git and render anew, and waits until it has compared.
    pub async fn refresh_hard(&self) -> State {
        self.annotate(REFRESH, json!("hard")).await;
        let is_done = |state: &State| state.0["metadata"]["annotations"][REFRESH].is_null();
        self.until("it is compared", is_done).await
    }

    async fn annotate(&self, name: &str, value: Value) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { name: value } } }));
        self.api.patch(&self.name, &PatchParams::default(), &patch).await.unwrap();
    }

    pub async fn delete(&self) {
        self.api.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }

    pub async fn until_gone(&self) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(state) = self.state().await {
            let left = serde_json::to_string_pretty(&state.0["status"]).unwrap();
            assert!(Instant::now() < deadline, "{} is not gone\n{left}\n{}", self.name, self.argo.logs());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Notes, at every change of the application, what of it is out of sync.
    pub fn watch(&self, seen: Arc<Mutex<Vec<String>>>) -> JoinHandle<()> {
        let config = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let changes = watcher(self.api.clone(), config).applied_objects();
        tokio::spawn(changes.for_each(move |change| {
            if let Ok(application) = change {
                let state = State(serde_json::to_value(application).unwrap_or_default());
                let mut found = state.out_of_sync();
                if state.sync() != "Synced" && found.is_empty() {
                    found.push(format!("the application: {}", state.sync()));
                }
                seen.lock().unwrap().extend(found);
            }
            ready(())
        }))
    }
}
