//! From a set's reference to a client: the connection and its Secret, read when needed, kept until one of them changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::Mutex as AsyncMutex;

use super::Error;
use super::connect::{connect, secret_credentials, secret_identity};
use super::writer::bounded;
use crate::api::CmdbConnection;
use crate::cmdb::{Fence, Limiters, Observer};
use crate::engine::Connection;

/// Namespace and name of an object.
pub type ObjectName = (String, String);

/// The clients in use.
pub struct Connections {
    client: Client,
    observer: Arc<dyn Observer>,
    fence: Arc<Fence>,
    limiters: Arc<Limiters>,
    entries: Mutex<HashMap<ObjectName, Arc<Entry>>>,
    // By set: the last connection that worked, for a set that will have to delete.
    kept: Mutex<HashMap<ObjectName, Connection>>,
}

#[derive(Default)]
struct Entry {
    // Sets that use the connection, and the Secrets that it names.
    users: Mutex<(BTreeSet<ObjectName>, Vec<String>)>,
    // Counts the changes of connection and Secret.
    changes: Mutex<u64>,
    built: AsyncMutex<Option<(u64, Connection)>>,
}

impl Connections {
    /// No clients yet.
    pub fn new(client: Client, fence: Fence, observer: Arc<dyn Observer>) -> Self {
        let (fence, limiters) = (Arc::new(fence), Arc::default());
        Self { client, observer, fence, limiters, entries: Mutex::default(), kept: Mutex::default() }
    }

    /// The client for a set's connection.
    pub async fn get(&self, set: &ObjectName, name: &str) -> Result<Connection, Error> {
        let entry = self.entry(&set.0, name);
        // Noted before anything is read: a change that comes meanwhile finds the set.
        lock(&entry.users).0.insert(set.clone());
        let mut built = entry.built.lock().await;
        let change = *lock(&entry.changes);
        if let Some((_, connection)) = built.as_ref().filter(|(at, _)| *at == change) {
            return Ok(connection.clone());
        }
        let connection = self.build(&entry, &set.0, name, built.as_ref().map(|(_, connection)| connection)).await?;
        *built = Some((change, connection.clone()));
        Ok(connection)
    }

    /// Keeps a connection that worked, for when the set goes and the connection has gone before it.
    pub fn keep(&self, set: &ObjectName, connection: &Connection) {
        lock(&self.kept).insert(set.clone(), connection.clone());
    }

    /// The client for the connection of a set that goes: the last one that worked when there is none any more.
    pub async fn get_for_deletion(&self, set: &ObjectName, name: &str) -> Result<Connection, Error> {
        let found = self.get(set, name).await;
        let is_gone = |error: &Error| {
            matches!(
                error,
                Error::ConnectionMissing { .. } | Error::SecretMissing { .. } | Error::CredentialsIncomplete { .. }
            )
        };
        match found {
            Err(error) if is_gone(&error) => lock(&self.kept).get(set).cloned().ok_or(error),
            found => found,
        }
    }

    async fn build(
        &self,
        entry: &Entry,
        namespace: &str,
        name: &str,
        last: Option<&Connection>,
    ) -> Result<Connection, Error> {
        let api: Api<kube::core::DeserializeGuard<CmdbConnection>> = Api::namespaced(self.client.clone(), namespace);
        let found = bounded(api.get_opt(name)).await.map_err(|error| Error::ApiServer(error.to_string()))?;
        let found = found.ok_or_else(|| Error::ConnectionMissing { name: name.to_owned() })?;
        let invalid = |reason: String| Error::ConnectionInvalid { name: name.to_owned(), reason };
        let connection = found.0.map_err(|object| invalid(object.error))?;
        let spec = &connection.spec;
        let secret_name = &spec.credentials_secret_ref.name;
        let certificate = spec.tls.as_ref().and_then(|tls| tls.client_certificate_secret_ref.as_ref());
        let certificate_name = certificate.map(|reference| &reference.name);
        lock(&entry.users).1 = [Some(secret_name), certificate_name].into_iter().flatten().cloned().collect();
        let secret = self.secret(namespace, name, secret_name).await?;
        let certificate = match certificate_name {
            Some(certificate_name) => Some(self.secret(namespace, name, certificate_name).await?),
            None => None,
        };
        let version = |metadata: &ObjectMeta| {
            let (uid, version) = (metadata.uid.as_deref(), metadata.resource_version.as_deref());
            format!("{}/{}", uid.unwrap_or_default(), version.unwrap_or_default())
        };
        let key = format!(
            "{}/{} {} {}",
            connection.metadata.uid.as_deref().unwrap_or_default(),
            connection.metadata.generation.unwrap_or_default(),
            version(&secret.metadata),
            certificate.as_ref().map(|certificate| version(&certificate.metadata)).unwrap_or_default(),
        );
        if let Some(last) = last.filter(|last| last.key == key) {
            return Ok(last.clone());
        }
        let credentials = secret_credentials(spec, &secret)?;
        let identity = match (certificate_name, &certificate) {
            (Some(certificate_name), Some(certificate)) => Some(secret_identity(certificate_name, certificate)?),
            _ => None,
        };
        let (fence, limiters) = (Arc::clone(&self.fence), Arc::clone(&self.limiters));
        connect(name, spec, credentials, identity, fence, limiters, key, Arc::clone(&self.observer))
    }

    async fn secret(&self, namespace: &str, connection: &str, name: &str) -> Result<Secret, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret = bounded(secrets.get_opt(name)).await.map_err(|error| Error::ApiServer(error.to_string()))?;
        secret.ok_or_else(|| Error::SecretMissing { connection: connection.to_owned(), secret: name.to_owned() })
    }

    /// A connection has changed: the sets that use it.
    pub fn connection_changed(&self, namespace: &str, name: &str) -> Vec<ObjectName> {
        let entries = lock(&self.entries);
        let entry = entries.get(&(namespace.to_owned(), name.to_owned()));
        entry.map(|entry| entry.changed()).unwrap_or_default()
    }

    /// A Secret has changed: the sets whose connection names it.
    pub fn secret_changed(&self, namespace: &str, name: &str) -> Vec<ObjectName> {
        let entries = lock(&self.entries);
        let uses = |entry: &&Arc<Entry>| lock(&entry.users).1.iter().any(|secret| secret == name);
        let here = entries.iter().filter(|((space, _), _)| space == namespace).map(|(_, entry)| entry);
        here.filter(uses).flat_map(|entry| entry.changed()).collect()
    }

    /// CMDB refused the credentials: they are read anew before the next try.
    pub fn refused(&self, namespace: &str, name: &str) {
        self.connection_changed(namespace, name);
    }

    /// Forgets a set that is gone, and connections that nobody uses.
    pub fn forget(&self, set: &ObjectName) {
        lock(&self.kept).remove(set);
        lock(&self.entries).retain(|_, entry| {
            let mut users = lock(&entry.users);
            users.0.remove(set);
            !users.0.is_empty()
        });
    }

    fn entry(&self, namespace: &str, name: &str) -> Arc<Entry> {
        let mut entries = lock(&self.entries);
        Arc::clone(entries.entry((namespace.to_owned(), name.to_owned())).or_default())
    }
}

impl Entry {
    fn changed(&self) -> Vec<ObjectName> {
        *lock(&self.changes) += 1;
        lock(&self.users).0.iter().cloned().collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
