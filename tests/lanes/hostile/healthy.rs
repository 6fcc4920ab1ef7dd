//! The healthy tenant: one set that is edited, and a few idle ones.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

/// Its namespace.
pub const HEALTHY: &str = "healthy";

/// The namespace of new tenants.
const THIRD: &str = "third";

/// The service template of its set, in its CMDB.
pub const TEMPLATE: &str = "healthy";

const EDITED: &str = "edited";

/// The healthy tenant.
pub struct Healthy {
    client: Client,
    url: String,
    seen: watch::Receiver<Option<ProcessTemplateSet>>,
    edits: u64,
    new: u64,
}

impl Healthy {
    /// Creates its objects.
    pub async fn new(client: &Client, url: &str) -> Self {
        for namespace in [HEALTHY, THIRD] {
            let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
            Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
            put(client, namespace, &secret()).await;
        }
        put(client, HEALTHY, &connection("default", url)).await;
        put(client, HEALTHY, &set(EDITED, "default", 0)).await;
        for nth in 0..5 {
            put(client, HEALTHY, &set(&format!("rest-{nth}"), "default", 0)).await;
        }
        let (tell, seen) = watch::channel(None);
        let sets: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), HEALTHY);
        tokio::spawn(async move {
            let config = watcher::Config::default().fields(&format!("metadata.name={EDITED}"));
            let mut changes = watcher(sets, config).default_backoff().applied_objects().boxed();
            loop {
                if let Ok(Some(set)) = changes.try_next().await {
                    tell.send_replace(Some(set));
                }
            }
        });
        Self { client: client.clone(), url: url.to_owned(), seen, edits: 0, new: 0 }
    }

    /// Edits its set. Returns the time until the set is Ready again, at most `at_most`.
    pub async fn edit(&mut self, at_most: Duration) -> Duration {
        self.edits += 1;
        let begun = Instant::now();
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.client.clone(), HEALTHY);
        let spec = json!({ "spec": { "processes": set(EDITED, "default", self.edits)["spec"]["processes"] } });
        let edited = sets.patch(EDITED, &PatchParams::default(), &Patch::Merge(&spec)).await.unwrap();
        let generation = edited.metadata.generation;
        let is_served = |set: &Option<ProcessTemplateSet>| set.as_ref().is_some_and(|set| is_ready(set, generation));
        let _ = timeout(at_most, self.seen.wait_for(is_served)).await;
        begun.elapsed()
    }

    /// A new tenant creates a connection and a set. Returns the time until the set is Ready.
    pub fn newcomer(&mut self) -> impl Future<Output = Duration> + Send + use<> {
        self.new += 1;
        newcomer(self.client.clone(), format!("new-{}", self.new), self.url.clone())
    }
}

async fn newcomer(client: Client, name: String, url: String) -> Duration {
    let begun = Instant::now();
    put(&client, THIRD, &connection(&name, &url)).await;
    put(&client, THIRD, &set(&name, &name, 0)).await;
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client.clone(), THIRD);
    let is_ready = |set: Option<&ProcessTemplateSet>| set.is_some_and(|set| is_ready(set, set.metadata.generation));
    let at_most = super::harm::LONGEST_START + Duration::from_secs(2);
    let _ = timeout(at_most, kube::runtime::wait::await_condition(sets.clone(), &name, is_ready)).await;
    let took = begun.elapsed();
    sets.delete(&name, &DeleteParams::default()).await.unwrap();
    dynamic(&client, THIRD, &connection(&name, &url)).0.delete(&name, &DeleteParams::default()).await.unwrap();
    took
}

fn is_ready(set: &ProcessTemplateSet, generation: Option<i64>) -> bool {
    let Some(status) = &set.status else { return false };
    let is_ready = status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    is_ready && status.observed_generation >= generation
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb" },
        "stringData": { "bk_app_code": "healthy", "bk_app_secret": "healthy-secret", "bk_username": "healthy" },
    })
}

// Its own limits must not slow its edits.
fn connection(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection", "metadata": { "name": name },
        "spec": { "url": url, "credentialsSecretRef": { "name": "cmdb" },
            "limits": { "maxConcurrent": 10, "requestsPerSecond": 1000 } },
    })
}

fn set(name: &str, connection: &str, turn: u64) -> Value {
    let processes = (0..3).map(|nth| {
        let process = format!("{name}-{nth}");
        json!({ "name": process, "funcName": process, "startCmd": format!("./run {turn}") })
    });
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": name },
        "spec": { "bizId": 2, "serviceTemplate": { "name": TEMPLATE }, "connectionRef": { "name": connection },
            "processes": processes.collect::<Value>() },
    })
}

fn dynamic(client: &Client, namespace: &str, object: &Value) -> (Api<DynamicObject>, DynamicObject) {
    let object: DynamicObject = serde_json::from_value(object.clone()).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    (Api::namespaced_with(client.clone(), namespace, &ApiResource::from_gvk(&kind)), object)
}

async fn put(client: &Client, namespace: &str, object: &Value) {
    let (api, object) = dynamic(client, namespace, object);
    let name = object.name_any();
    api.patch(&name, &PatchParams::apply("healthy").force(), &Patch::Apply(&object)).await.unwrap();
}
