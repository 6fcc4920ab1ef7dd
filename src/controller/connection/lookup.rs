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
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, ConnectionStatus};
use crate::cmdb::{Grants, Unbounded};
use crate::controller::error::Error;
use crate::controller::watch::store::ready;

// Longest wait for the first list of a watch.
const FIRST_LIST: Duration = Duration::from_secs(10);

/// The connections that there are; a copy is the same.
#[derive(Clone)]
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
    /// The object, and what it says.
    pub source: Source,
    /// Whether its status says of this spec that CMDB answers and takes the credentials.
    pub is_ready: bool,
}

/// The connection object that a client was built from, as it was then.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Its kind, namespace and name.
    pub name: ConnectionName,
    /// Its uid.
    pub uid: String,
    /// What it said of the CMDB, and of the Secrets for it.
    pub description: Arc<Description>,
}

/// What became of the object that a client was built from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceState {
    /// It is there, and says the same.
    Unchanged,
    /// It says something else, or another object has its name.
    Changed,
    /// There is no connection of its name.
    Gone,
}

/// Tells the present state of an object's spec from all others, also from those of another of the same name.
pub fn key(metadata: &ObjectMeta) -> String {
    format!("{}/{}", metadata.uid.as_deref().unwrap_or_default(), metadata.generation.unwrap_or_default())
}

impl ConnectionLookup {
    /// A connection.
    pub async fn find(&self, name: &ConnectionName) -> Result<Found, Error> {
        match name.kind {
            ConnectionKind::CmdbConnection => wait_for(&self.namespaced).await?,
            ConnectionKind::ClusterCmdbConnection => drop(self.shared(name).await?),
        }
        self.get(name)
    }

    /// The URL that a connection says, whether or not it may lead there, as far as the watch has delivered it.
    pub fn url(&self, name: &ConnectionName) -> Option<String> {
        self.get(name).ok().map(|found| found.source.description.endpoint.url.clone())
    }

    /// What became of the object that a client was built from, as far as the watch has delivered it.
    pub fn state_of(&self, source: &Source) -> SourceState {
        match self.get(&source.name) {
            Ok(found) if found.source == *source => SourceState::Unchanged,
            Err(Error::ConnectionMissing { .. }) => SourceState::Gone,
            Ok(_) | Err(_) => SourceState::Changed,
        }
    }

    // A connection, as far as the watch has delivered it.
    fn get(&self, name: &ConnectionName) -> Result<Found, Error> {
        match name.kind {
            ConnectionKind::CmdbConnection => {
                let found = self.namespaced.get(&ObjectRef::new(&name.name).within(&name.namespace));
                read(name, found, |connection| {
                    (Description::of(&name.namespace, &connection.spec), connection.status.as_ref())
                })
            }
            ConnectionKind::ClusterCmdbConnection => {
                let found = self.shared.as_ref().and_then(|all| all.connections.get(&ObjectRef::new(&name.name)));
                read(name, found, |connection| (Description::of_cluster(&connection.spec), connection.status.as_ref()))
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
    describe: impl Fn(&K) -> (Description, Option<&ConnectionStatus>),
) -> Result<Found, Error> {
    let found = found.ok_or_else(|| Error::ConnectionMissing { connection: name.clone() })?;
    let invalid = |reason: &str| Error::ConnectionInvalid { connection: name.clone(), reason: reason.to_owned() };
    let connection = found.0.as_ref().map_err(|object| invalid(&object.error))?;
    let uid = connection.meta().uid.clone().unwrap_or_default();
    let (description, status) = describe(connection);
    let is_ready = status.is_some_and(|status| is_ready(status, connection.meta().generation));
    let source = Source { name: name.clone(), uid, description: Arc::new(description) };
    Ok(Found { key: key(connection.meta()), source, is_ready })
}

fn is_ready(status: &ConnectionStatus, generation: Option<i64>) -> bool {
    let mut conditions = status.conditions.iter();
    status.observed_generation == generation
        && conditions.any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
