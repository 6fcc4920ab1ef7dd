//! The connections of the cluster, and the namespaces that their grants name.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::{Controller, WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::catalogue::Shared;
use super::gates::WatchGate;
use super::{Context, connection_reconcile, watches};
use crate::api::ClusterCmdbConnection;

/// What watches the cluster.
pub struct Cluster {
    /// What it has delivered.
    pub shared: Shared,
    connections: Controller<DeserializeGuard<ClusterCmdbConnection>>,
    namespaces: Api<PartialObjectMeta<Namespace>>,
    writer: Writer<PartialObjectMeta<Namespace>>,
}

impl Cluster {
    /// Watches nothing yet.
    pub fn new(client: &Client, gate: &WatchGate) -> Self {
        let (reader, writer) = reflector::store();
        let events = watcher(Api::all(client.clone()), watcher::Config::default());
        let connections = watches::over(events, reader, writer, gate, |_| {});
        let (namespaces, writer) = reflector::store();
        let shared = Shared { connections: connections.store(), namespaces };
        Self { shared, connections, namespaces: Api::all(client.clone()), writer }
    }

    /// Watches until `shutdown`.
    pub fn run(
        self,
        to_wake: UnboundedReceiver<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
        context: Arc<Context>,
        shutdown: CancellationToken,
    ) {
        let Self { connections, namespaces, writer, .. } = self;
        tokio::spawn(connection_reconcile::run(connections, to_wake, Arc::clone(&context), shutdown.clone()));
        tokio::spawn(async move {
            tokio::select! {
                () = watch_namespaces(namespaces, writer, &context) => {}
                () = shutdown.cancelled() => {}
            }
        });
    }
}

// Labels decide about grants: where they change, the sets are looked at.
async fn watch_namespaces(
    api: Api<PartialObjectMeta<Namespace>>,
    writer: Writer<PartialObjectMeta<Namespace>>,
    context: &Context,
) {
    let mut labels: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let watched = watcher(api, watcher::Config::default()).default_backoff().reflect(writer);
    let mut changes = std::pin::pin!(watched.touched_objects());
    while let Some(change) = changes.next().await {
        match change {
            Ok(namespace) => {
                let (name, now) = (namespace.name_any(), namespace.labels().clone());
                if labels.insert(name.clone(), now.clone()) != Some(now) {
                    context.wake_sets(context.connections.users_of_shared(&name));
                }
            }
            Err(error) => tracing::warn!(%error, "the watch of namespaces failed and is begun again"),
        }
    }
}
