//! From a set's reference to a client: the connection and its Secret, read when needed, kept until one of them changes.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;
use tokio::sync::Mutex as AsyncMutex;

use super::Error;
use super::writer::bounded;
use crate::api::{CmdbConnection, CmdbConnectionSpec, DEFAULT_MAX_CONCURRENT, DEFAULT_TIMEOUT_SECONDS, SchemaChoice};
use crate::cmdb::{self, Credentials, Observer, UserCredential};
use crate::engine::Connection;
use crate::plan::ServerSchema;

/// Namespace and name of an object.
pub type ObjectName = (String, String);

/// The clients in use.
pub struct Connections {
    client: Client,
    observer: Arc<dyn Observer>,
    entries: Mutex<HashMap<ObjectName, Arc<Entry>>>,
    // By set: the last connection that worked, for a set that will have to delete.
    kept: Mutex<HashMap<ObjectName, Connection>>,
}

#[derive(Default)]
struct Entry {
    // Sets that use the connection, and the Secret that it names.
    users: Mutex<(BTreeSet<ObjectName>, Option<String>)>,
    // Counts the changes of connection and Secret.
    changes: Mutex<u64>,
    built: AsyncMutex<Option<(u64, Connection)>>,
}

impl Connections {
    /// No clients yet.
    pub fn new(client: Client, observer: Arc<dyn Observer>) -> Self {
        Self { client, observer, entries: Mutex::default(), kept: Mutex::default() }
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
        let secret_name = &connection.spec.credentials_secret_ref.name;
        lock(&entry.users).1 = Some(secret_name.clone());
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), namespace);
        let secret =
            bounded(secrets.get_opt(secret_name)).await.map_err(|error| Error::ApiServer(error.to_string()))?;
        let secret =
            secret.ok_or_else(|| Error::SecretMissing { connection: name.to_owned(), secret: secret_name.clone() })?;
        let key = [&connection.metadata.uid, &secret.metadata.uid, &secret.metadata.resource_version]
            .map(|part| part.as_deref().unwrap_or_default())
            .join("/");
        let key = format!("{key}/{}", connection.metadata.generation.unwrap_or_default());
        if let Some(last) = last.filter(|last| last.key == key) {
            return Ok(last.clone());
        }
        let credentials = secret_credentials(secret_name, &secret)?;
        connect(name, &connection.spec, credentials, key, Arc::clone(&self.observer))
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
        let uses = |entry: &&Arc<Entry>| lock(&entry.users).1.as_deref() == Some(name);
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

/// The CMDB that a connection leads to. `key` tells it, with these credentials, from all others.
pub fn connect(
    name: &str,
    spec: &CmdbConnectionSpec,
    credentials: Credentials,
    key: String,
    observer: Arc<dyn Observer>,
) -> Result<Connection, Error> {
    let invalid = |error: cmdb::Error| Error::ConnectionInvalid { name: name.to_owned(), reason: error.to_string() };
    let client = cmdb::Client::new(config(spec, credentials), observer).map_err(invalid)?;
    let schema = match spec.schema {
        None | Some(SchemaChoice::Auto) => ServerSchema::Unknown,
        Some(SchemaChoice::Flat) => ServerSchema::Flat,
        Some(SchemaChoice::BindInfo) => ServerSchema::BindInfo,
    };
    Ok(Connection { key, client, schema })
}

fn config(spec: &CmdbConnectionSpec, credentials: Credentials) -> cmdb::Config {
    let max_concurrent = spec.limits.as_ref().and_then(|limits| limits.max_concurrent);
    let timeout = spec.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    cmdb::Config {
        url: spec.url.clone(),
        supplier_account: spec.supplier_account.clone().unwrap_or_else(|| "0".to_owned()),
        credentials,
        timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or_default()),
        max_concurrent: usize::try_from(max_concurrent.unwrap_or(DEFAULT_MAX_CONCURRENT)).unwrap_or(1),
    }
}

/// The credentials that a Secret holds.
pub fn secret_credentials(name: &str, secret: &Secret) -> Result<Credentials, Error> {
    let read = |key: &str| Some(std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?.to_owned());
    let missing = |missing| Error::CredentialsIncomplete { secret: name.to_owned(), missing };
    read_credentials(read).map_err(missing)
}

/// Credentials by the keys of a Secret; or what is missing.
pub fn read_credentials(read: impl Fn(&str) -> Option<String>) -> Result<Credentials, &'static str> {
    let read = |key: &str| {
        // A trailing line break comes from the editor.
        let text = read(key)?.trim_end_matches(['\r', '\n']).to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let user = read("bk_username")
        .map(UserCredential::Username)
        .or_else(|| read("bk_token").map(|token| UserCredential::Token(SecretString::from(token))))
        .or_else(|| read("access_token").map(|token| UserCredential::AccessToken(SecretString::from(token))));
    Ok(Credentials {
        app_code: read("bk_app_code").ok_or("bk_app_code")?,
        app_secret: SecretString::from(read("bk_app_secret").ok_or("bk_app_secret")?),
        user: user.ok_or("all of bk_username, bk_token and access_token")?,
    })
}
