//! A hostile tenant: creates its objects, keeps changing them, and deletes them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use process_template_operator::api::{CmdbConnection, ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, sleep};

use super::behaviours::Behaviour;
use super::cmdb::Ports;
use super::objects::{Meanwhile, Objects};

// Requests to the API server in flight. More would be a load of their own.
const IN_FLIGHT: usize = 4;

/// A hostile tenant with its own namespace.
#[derive(Clone)]
pub struct Tenant {
    client: Client,
    /// Its namespace.
    pub namespace: String,
    behaviour: &'static Behaviour,
    objects: Arc<Objects>,
    ports: Ports,
    healthy_url: String,
}

/// The result of the deletion of all sets.
#[derive(Debug)]
pub struct Released {
    /// Time from the last request until no set was left.
    pub after: Duration,
    /// Names of the sets that are still there.
    pub left: Vec<String>,
}

impl Tenant {
    /// A tenant with this behaviour and at most this many sets. `healthy_url` is the URL of the healthy tenant's CMDB.
    pub fn new(
        client: &Client,
        behaviour: &'static Behaviour,
        most_sets: usize,
        ports: Ports,
        healthy_url: &str,
    ) -> Self {
        let mut objects = behaviour.objects;
        objects.sets = objects.sets.min(most_sets);
        Self {
            client: client.clone(),
            namespace: format!("hostile-{}", behaviour.name),
            behaviour,
            objects: Arc::new(objects),
            ports,
            healthy_url: healthy_url.to_owned(),
        }
    }

    fn sets(&self) -> Api<ProcessTemplateSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn connections(&self) -> Api<CmdbConnection> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    fn url(&self, nth: usize) -> String {
        if self.objects.uses_healthy_cmdb {
            return self.healthy_url.clone();
        }
        self.ports.url(self.behaviour.name, nth, self.objects.port)
    }

    /// Creates all objects.
    pub async fn create(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        if namespaces.get_opt(&self.namespace).await.unwrap().is_none() {
            let namespace = json!({ "metadata": { "name": self.namespace } });
            namespaces.create(&PostParams::default(), &serde_json::from_value(namespace).unwrap()).await.unwrap();
        }
        self.put_secret(0).await;
        // The one that no set uses is checked at once; the others are judged by the answers to their sets.
        for nth in 0..=self.objects.connections {
            self.put_connection(nth, nth).await;
        }
        let made = stream::iter(0..self.objects.sets).map(|nth| self.put_set(nth, 0));
        made.buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
    }

    async fn put_secret(&self, turn: usize) {
        if let Some(secret) = self.objects.secret(turn) {
            let apply = PatchParams::apply("hostile").force();
            self.secrets().patch("cmdb", &apply, &Patch::Apply(&secret)).await.unwrap();
        }
    }

    async fn put_connection(&self, nth: usize, url: usize) {
        let connection = self.objects.connection(nth, &self.url(url));
        let apply = PatchParams::apply("hostile").force();
        self.connections().patch(&format!("c{nth}"), &apply, &Patch::Apply(&connection)).await.unwrap();
    }

    // A set that is still being deleted cannot be created; a later turn creates it.
    async fn put_set(&self, nth: usize, turn: usize) {
        let set: ProcessTemplateSet = serde_json::from_value(self.objects.set(nth, turn)).unwrap();
        match self.sets().create(&PostParams::default(), &set).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 409 => {}
            Err(error) => panic!("{}: {error}", self.namespace),
        }
    }

    // The set may not exist at the moment.
    async fn patch_set(&self, nth: usize, patch: Value) {
        let name = Objects::set_name(nth);
        let _ = self.sets().patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await;
    }

    /// Keeps changing its objects until the future is dropped.
    pub async fn keep_busy(&self) {
        let each = |times: u32| interval(Duration::from_secs(1) / times);
        let (sets, connections) = (self.objects.sets.max(1), self.objects.connections);
        let mut ticks = match self.objects.meanwhile {
            Meanwhile::Nothing => return std::future::pending().await,
            Meanwhile::EditSets(times) | Meanwhile::Annotate(_, times) | Meanwhile::Recreate(times) => each(times),
            Meanwhile::EditConnections | Meanwhile::ChangeUrls | Meanwhile::RotateSecret => each(1),
        };
        for turn in 1.. {
            ticks.tick().await;
            let nth = turn % sets;
            match self.objects.meanwhile {
                Meanwhile::Nothing => {}
                Meanwhile::EditSets(_) => {
                    let spec = self.objects.set(nth, turn)["spec"].take();
                    self.patch_set(nth, json!({ "spec": { "processes": spec["processes"] } })).await;
                }
                Meanwhile::Annotate(bytes, _) => {
                    let asked = format!("{turn} {}", "x".repeat(bytes));
                    let annotations = json!({ RECONCILE_REQUESTED_AT: turn.to_string(), "hostile": asked });
                    self.patch_set(nth, json!({ "metadata": { "annotations": annotations } })).await;
                }
                Meanwhile::Recreate(_) => {
                    self.delete_orphaned(nth).await;
                    self.put_set(nth, turn).await;
                }
                Meanwhile::EditConnections => {
                    for connection in 0..connections {
                        let limits = json!({ "spec": { "limits": { "requestsPerSecond": 10 + turn % 10 } } });
                        let patch = Patch::Merge(&limits);
                        let name = format!("c{connection}");
                        let _ = self.connections().patch(&name, &PatchParams::default(), &patch).await;
                    }
                }
                Meanwhile::ChangeUrls => {
                    for connection in 0..connections {
                        self.put_connection(connection, turn * 100 + connection).await;
                    }
                }
                Meanwhile::RotateSecret => self.put_secret(turn).await,
            }
        }
    }

    // Deletes a set as `Orphan`: the policy is changed before or after the deletion.
    async fn delete_orphaned(&self, nth: usize) {
        let orphan = json!({ "spec": { "deletionPolicy": "Orphan" } });
        let name = Objects::set_name(nth);
        if Objects::deletes(nth) && nth.is_multiple_of(2) {
            self.patch_set(nth, orphan.clone()).await;
        }
        let _ = self.sets().delete(&name, &DeleteParams::default()).await;
        if Objects::deletes(nth) && !nth.is_multiple_of(2) {
            self.patch_set(nth, orphan).await;
        }
    }

    /// Changes all sets to `Orphan`, deletes them, and waits until they are gone, at most this long.
    pub async fn release(&self, at_most: Duration) -> Released {
        let gone = stream::iter(0..self.objects.sets).map(|nth| self.delete_orphaned(nth));
        gone.buffer_unordered(IN_FLIGHT).collect::<Vec<()>>().await;
        let asked = Instant::now();
        loop {
            let left = self.left().await;
            if left.is_empty() || asked.elapsed() > at_most {
                return Released { after: asked.elapsed(), left: left.into_iter().collect() };
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    // Metadata only: the sets may be large.
    async fn left(&self) -> BTreeSet<String> {
        let left = self.sets().list_metadata(&ListParams::default()).await.unwrap();
        left.items.into_iter().map(|set| set.name_any()).collect()
    }

    /// Removes whatever is left, finalizers included.
    pub async fn remove(&self) {
        for name in self.left().await {
            let patch = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
            let _ = self.sets().patch_metadata(&name, &PatchParams::default(), &patch).await;
        }
        let (all, delete) = (ListParams::default(), DeleteParams::default());
        drop(self.connections().delete_collection(&delete, &all).await.unwrap());
        drop(self.secrets().delete_collection(&delete, &all).await.unwrap());
    }
}
