//! Wakes reconciles from within the process: for what a watch does not show.

use futures::Stream;
use kube::Resource;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};

use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind};
use crate::controller::connection::name::ConnectionName;
use crate::controller::set::stored_set::StoredSet;

/// Makes objects due for a reconcile, whatever their watch shows.
#[derive(Debug)]
pub struct Waker {
    sets: UnboundedSender<ObjectRef<StoredSet>>,
    connections: UnboundedSender<ObjectRef<DeserializeGuard<CmdbConnection>>>,
    cluster_connections: UnboundedSender<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
}

/// What was woken, by kind.
pub struct Woken {
    /// Sets.
    pub sets: UnboundedReceiver<ObjectRef<StoredSet>>,
    /// Connections of namespaces.
    pub connections: UnboundedReceiver<ObjectRef<DeserializeGuard<CmdbConnection>>>,
    /// Connections of the cluster.
    pub cluster_connections: UnboundedReceiver<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
}

/// A waker, and what receives from it.
pub fn waker() -> (Waker, Woken) {
    let (sets, woken_sets) = mpsc::unbounded_channel();
    let (connections, woken_connections) = mpsc::unbounded_channel();
    let (cluster_connections, woken_cluster_connections) = mpsc::unbounded_channel();
    let woken =
        Woken { sets: woken_sets, connections: woken_connections, cluster_connections: woken_cluster_connections };
    (Waker { sets, connections, cluster_connections }, woken)
}

impl Waker {
    /// Wakes a set.
    pub fn set(&self, set: ObjectRef<StoredSet>) {
        send(&self.sets, set);
    }

    /// Wakes a connection.
    pub fn connection(&self, connection: &ConnectionName) {
        let ConnectionName { kind, namespace, name } = connection;
        match kind {
            ConnectionKind::CmdbConnection => send(&self.connections, ObjectRef::new(name).within(namespace)),
            ConnectionKind::ClusterCmdbConnection => send(&self.cluster_connections, ObjectRef::new(name)),
        }
    }
}

fn send<T>(to: &UnboundedSender<T>, woken: T) {
    if to.send(woken).is_err() {
        tracing::debug!("the controller is shutting down: wake-up dropped");
    }
}

/// What was woken, as a stream.
pub fn stream<K: Resource<DynamicType = ()>>(
    woken: UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = ObjectRef<K>> {
    futures::stream::unfold(woken, |mut woken| async move { Some((woken.recv().await?, woken)) })
}
