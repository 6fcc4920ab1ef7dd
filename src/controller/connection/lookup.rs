//! The connections that there are, as the watches deliver them.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector::{ObjectRef, Store};

use super::build::Description;
use super::grants::LiveGrants;
use super::name::ConnectionName;
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind};
use crate::cmdb::{Grants, Unbounded};
use crate::controller::error::Error;
use crate::controller::watch::store::ready;

// Longest wait for the first list of a watch.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// The connections that there are.
pub struct ConnectionLookup {
    /// Those of namespaces.
    pub namespaced: Store<DeserializeGuard<CmdbConnection>>,
    /// Those of the cluster, and its namespaces; None where only some namespaces are watched.
    pub shared: Option<Shared>,
}

/// What grants are judged by.
#[derive(Clone)]
pub struct Shared {
    /// The connections of the cluster.
    pub connections: Store<DeserializeGuard<ClusterCmdbConnection>>,
    /// The namespaces with their labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
}

/// A connection as the watch delivered it.
pub struct Found {
    /// Tells this state of its spec from all others.
    pub key: String,
    /// What it says.
    pub description: Description,
}

/// Tells the present state of an object's spec from all others, also from those of another of the same name.
pub fn key(metadata: &ObjectMeta) -> String {
    format!("{}/{}", metadata.uid.as_deref().unwrap_or_default(), metadata.generation.unwrap_or_default())
}

impl ConnectionLookup {
    /// A connection.
    pub async fn find(&self, name: &ConnectionName) -> Result<Found, Error> {
        match name.kind {
            ConnectionKind::CmdbConnection => {
                wait_for(&self.namespaced).await?;
                let found = self.namespaced.get(&ObjectRef::new(&name.name).within(&name.namespace));
                read(name, found, |connection| Description::of(&name.namespace, &connection.spec))
            }
            ConnectionKind::ClusterCmdbConnection => {
                let shared = self.shared(name).await?;
                let found = shared.connections.get(&ObjectRef::new(&name.name));
                read(name, found, |connection| Description::of_cluster(&connection.spec))
            }
        }
    }

    /// What a namespace may touch through a connection.
    pub async fn grants(&self, namespace: &str, name: &ConnectionName) -> Result<Arc<dyn Grants>, Error> {
        if !name.is_shared() {
            return Ok(Arc::new(Unbounded));
        }
        let Shared { connections, namespaces } = self.shared(name).await?.clone();
        Ok(Arc::new(LiveGrants {
            connection: name.name.clone(),
            namespace: namespace.to_owned(),
            connections,
            namespaces,
        }))
    }

    async fn shared(&self, name: &ConnectionName) -> Result<&Shared, Error> {
        let not_served = || Error::ConnectionNotServed { connection: name.clone() };
        let shared = self.shared.as_ref().ok_or_else(not_served)?;
        wait_for(&shared.connections).await?;
        wait_for(&shared.namespaces).await?;
        Ok(shared)
    }
}

// What is not there before the first list may be there after it.
async fn wait_for<K>(store: &Store<K>) -> Result<(), Error>
where
    K: Resource<DynamicType = ()> + Clone + Send + Sync + 'static,
{
    let late = |_| Error::ApiServer(format!("no list of {} has come yet", K::plural(&())));
    tokio::time::timeout(FIRST_LIST, ready(store)).await.map_err(late)
}

fn read<K: Resource<DynamicType = ()>>(
    name: &ConnectionName,
    found: Option<Arc<DeserializeGuard<K>>>,
    describe: impl Fn(&K) -> Description,
) -> Result<Found, Error> {
    let found = found.ok_or_else(|| Error::ConnectionMissing { connection: name.clone() })?;
    let invalid = |reason: &str| Error::ConnectionInvalid { connection: name.clone(), reason: reason.to_owned() };
    let connection = found.0.as_ref().map_err(|object| invalid(&object.error))?;
    Ok(Found { key: key(connection.meta()), description: describe(connection) })
}
