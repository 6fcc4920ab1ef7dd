//! From a set's reference to a client: the connection and its Secrets, read when needed, kept until one of them changes.
//!
//! New credentials are tried before those that work are given up, and from then on nobody uses the old ones.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::ObjectMeta;
use kube::{Api, Client};
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::build::{Bounds, Description, read_identity};
use super::last_answer::{Answer, AnswerObserver};
use super::lookup::{ConnectionLookup, Found, key};
use super::name::ConnectionName;
use crate::api::SecretRef;
use crate::cmdb;
use crate::cmdb::{Limiters, Observer, UrlPolicy};
use crate::controller::kubernetes::status_writer::{Failure, bounded};
use crate::controller::{Error, SecretAccess};
use crate::engine;
use crate::engine::{Connection, Grants, Touched};

// How long credentials that CMDB did not answer to are left alone: each set that comes would try them, and all others wait.
const RETRY_AFTER: Duration = Duration::from_secs(10);

// A watch tells of every change; should it lag, this is how often the Secrets are read without it.
const REREAD_AFTER: Duration = Duration::from_secs(30);

// Where Secrets are not watched, whoever comes so soon after another is served what that one read.
const READ_FOR_ALL: Duration = Duration::from_secs(1);

/// Namespace and name of an object.
pub type ObjectName = (String, String);

/// The clients in use.
pub struct Connections {
    client: Client,
    observer: Arc<dyn Observer>,
    secrets: SecretAccess,
    bounds: Bounds,
    shared_bounds: Bounds,
    lookup: ConnectionLookup,
    entries: Mutex<HashMap<ConnectionName, Arc<Entry>>>,
    // By set: the connection that it uses.
    uses: Mutex<HashMap<ObjectName, ConnectionName>>,
    // By set: the last connection that worked, for a set that will have to delete.
    kept: Mutex<HashMap<ObjectName, Connection>>,
}

/// A connection that is in use.
#[derive(Clone, Debug)]
pub struct Live {
    /// The CMDB.
    pub connection: Connection,
    /// `resourceVersion` of the Secret whose credentials are in use.
    pub credentials_version: String,
    /// Why newer credentials are not in use.
    pub pending_credentials_error: Option<Arc<cmdb::Error>>,
    /// When it was made.
    pub built_at: Instant,
    spec_key: String,
    secrets_key: String,
    answers: Arc<AnswerObserver>,
}

impl Live {
    /// What was last heard from CMDB over this connection.
    pub fn last_answer(&self) -> Option<Answer> {
        self.answers.last()
    }
}

#[derive(Default)]
struct Entry {
    users: Mutex<BTreeSet<ObjectName>>,
    // The Secrets that it names, each with the version that was read.
    secrets: Mutex<Vec<(SecretRef, Option<String>)>>,
    // Each as it was last looked at, where no watch tells of them.
    looked_at: Mutex<Vec<(SecretRef, Option<String>)>>,
    // A business that one of the users is about; 0: none is known.
    biz_id: Mutex<i64>,
    // When a refusal last had the Secrets read anew.
    refused_at: Mutex<Option<Instant>>,
    // Key of the object as it was last seen, while it exists.
    object: Mutex<Option<String>>,
    // What was last looked for and found, or not found.
    sought: Mutex<Sought>,
    // Counts the changes of connection and Secrets.
    changes: Mutex<u64>,
    // Who builds it: one at a time.
    turn: AsyncMutex<()>,
    built: Mutex<Built>,
}

#[derive(Default)]
enum Sought {
    #[default]
    NotYet,
    Missing,
    // Its key.
    Found(String),
}

#[derive(Clone, Default)]
struct Built {
    // The change that it was built at.
    at: u64,
    live: Option<Live>,
    // When newer credentials that were not answered to are tried again.
    due: Option<Instant>,
    // When the Secrets were read, and their versions then.
    read_at: Option<Instant>,
    read: String,
}

// What a connection's Secrets hold.
struct Secrets {
    secret: Secret,
    certificate: Option<Secret>,
}

impl Secrets {
    // Tells these versions of them from all others.
    fn key(&self) -> String {
        format!("{} {}", version(&self.secret), self.certificate.as_ref().map(version).unwrap_or_default())
    }
}

impl Connections {
    /// No clients yet.
    pub fn new(
        client: Client,
        secrets: SecretAccess,
        lookup: ConnectionLookup,
        fence: UrlPolicy,
        limiters: &Arc<Limiters>,
        observer: Arc<dyn Observer>,
    ) -> Self {
        let bounds = |fence| Bounds { fence: Arc::new(fence), limiters: Arc::clone(limiters) };
        Self {
            client,
            secrets,
            observer,
            shared_bounds: bounds(fence.for_any_url()),
            bounds: bounds(fence),
            lookup,
            entries: Mutex::default(),
            uses: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The client for the connection of a set, which is about this business.
    pub async fn get(&self, set: &ObjectName, name: &ConnectionName, biz_id: i64) -> Result<Connection, Error> {
        self.note_use(set, name);
        let entry = self.entry(name);
        self.find(&entry, name).await?;
        // Who may not touch the business learns nothing else of the connection, which never asks CMDB about it.
        self.check_grant(&set.0, name, biz_id).await?;
        *lock(&entry.biz_id) = biz_id;
        Ok(self.live(name).await?.connection)
    }

    /// A connection for its own sake.
    pub async fn live(&self, name: &ConnectionName) -> Result<Live, Error> {
        let entry = self.entry(name);
        let _turn = entry.turn.lock().await;
        let change = *lock(&entry.changes);
        let found = self.find(&entry, name).await?;
        let built = lock(&entry.built).clone();
        let is_due = built.due.is_some_and(|due| due <= Instant::now());
        let is_of_now = |live: &&Live| built.at == change && !is_due && live.spec_key == found.key;
        let of_now = built.live.as_ref().filter(is_of_now).cloned();
        if let Some(live) = of_now.as_ref().filter(|_| self.knows_of_changes(&built)) {
            return Ok(live.clone());
        }
        let read_at = Some(Instant::now());
        let secrets = self.read(&entry, name, &found).await?;
        let read = secrets.key();
        // What has not changed has been tried.
        if let Some(live) = of_now.filter(|_| built.read == read) {
            lock(&entry.built).read_at = read_at;
            return Ok(live);
        }
        let live = self.build(&entry, name, &found, secrets, built.live.as_ref()).await?;
        // Time alone may mend it.
        let may_change = |error: &Arc<cmdb::Error>| error.disposition() != cmdb::Disposition::WaitForChange;
        let due = live
            .pending_credentials_error
            .as_ref()
            .filter(|error| may_change(error))
            .map(|_| Instant::now() + RETRY_AFTER);
        *lock(&entry.built) = Built { at: change, live: Some(live.clone()), due, read_at, read };
        Ok(live)
    }

    /// The normalised URL that a connection leads the sets of a namespace to. Waits for nobody's CMDB: it is asked for
    /// another's set, which that must not hold up.
    pub async fn endpoint_of(&self, namespace: &str, name: &ConnectionName, biz_id: i64) -> Result<String, Error> {
        let found = self.lookup.find(name).await?;
        self.check_grant(namespace, name, biz_id).await?;
        let entry = self.entry(name);
        let change = *lock(&entry.changes);
        let built = lock(&entry.built).clone();
        let live = match built.live.filter(|live| built.at == change && live.spec_key == found.key) {
            Some(live) => live,
            None => self.candidate(name, &found, &self.secrets(name, &found.description).await?)?,
        };
        Ok(live.connection.client.url().to_owned())
    }

    /// Whether CMDB was last heard to refuse the credentials of a connection.
    pub fn has_refused_credentials(&self, name: &ConnectionName) -> bool {
        let entry = self.entry(name);
        let built = lock(&entry.built);
        built.live.as_ref().and_then(Live::last_answer).is_some_and(|answer| answer.refuses)
    }

    async fn check_grant(&self, namespace: &str, name: &ConnectionName, biz_id: i64) -> Result<(), Error> {
        let touched = Touched { biz_id, service_template_id: None, service_template_name: None };
        if self.grants(namespace, name).await?.cover(touched) {
            return Ok(());
        }
        Err(engine::Error::NotGranted { biz_id, service_template: None }.into())
    }

    async fn find(&self, entry: &Entry, name: &ConnectionName) -> Result<Found, Error> {
        let found = self.lookup.find(name).await;
        *lock(&entry.sought) = match &found {
            Ok(found) => Sought::Found(found.key.clone()),
            Err(_) => Sought::Missing,
        };
        found
    }

    /// What the sets of a namespace may touch through a connection.
    pub async fn grants(&self, namespace: &str, name: &ConnectionName) -> Result<Arc<dyn Grants>, Error> {
        self.lookup.grants(namespace, name).await
    }

    /// Keeps a connection that worked, for when the set goes and the connection has gone before it.
    pub fn keep(&self, set: &ObjectName, connection: &Connection) {
        lock(&self.kept).insert(set.clone(), connection.clone());
    }

    /// The client for the connection of a set that goes: the last one that worked when there is none any more.
    pub async fn get_for_deletion(
        &self,
        set: &ObjectName,
        name: &ConnectionName,
        biz_id: i64,
    ) -> Result<Connection, Error> {
        let found = self.get(set, name, biz_id).await;
        let is_gone = |error: &Error| {
            matches!(
                error,
                Error::ConnectionMissing { .. } | Error::SecretMissing { .. } | Error::CredentialsIncomplete { .. }
            )
        };
        // The grants of a shared connection went with it.
        let is_ungranted = |error: &Error| name.is_shared() && matches!(error, Error::ConnectionMissing { .. });
        match found {
            Err(error) if is_gone(&error) && !is_ungranted(&error) => lock(&self.kept).get(set).cloned().ok_or(error),
            found => found,
        }
    }

    fn knows_of_changes(&self, built: &Built) -> bool {
        match self.secrets {
            SecretAccess::Watch => true,
            SecretAccess::Read => built.read_at.is_some_and(|read_at| read_at.elapsed() < READ_FOR_ALL),
        }
    }

    async fn read(&self, entry: &Entry, name: &ConnectionName, found: &Found) -> Result<Secrets, Error> {
        let description = &found.description;
        let named = [Some(&description.credentials), description.certificate.as_ref()];
        // Noted before they are read: a change that comes meanwhile finds the connection.
        *lock(&entry.secrets) = named.into_iter().flatten().map(|named| (named.clone(), None)).collect();
        let secrets = self.secrets(name, description).await?;
        let read = [Some(&secrets.secret), secrets.certificate.as_ref()].map(|secret| secret.map(version));
        for ((_, known), read) in lock(&entry.secrets).iter_mut().zip(read) {
            *known = read;
        }
        Ok(secrets)
    }

    async fn secrets(&self, name: &ConnectionName, description: &Description) -> Result<Secrets, Error> {
        let secret = self.secret(name, &description.credentials).await?;
        let certificate = match &description.certificate {
            Some(certificate) => Some(self.secret(name, certificate).await?),
            None => None,
        };
        Ok(Secrets { secret, certificate })
    }

    async fn build(
        &self,
        entry: &Entry,
        name: &ConnectionName,
        found: &Found,
        secrets: Secrets,
        last: Option<&Live>,
    ) -> Result<Live, Error> {
        let last = last.filter(|last| last.spec_key == found.key);
        if let Some(last) = last.filter(|last| last.secrets_key == secrets.key()) {
            return Ok(Live { pending_credentials_error: None, ..last.clone() });
        }
        let live = self.candidate(name, found, &secrets)?;
        Ok(match last {
            Some(last) => {
                let biz_id = *lock(&entry.biz_id);
                succeed(last, live, biz_id).await
            }
            None => live,
        })
    }

    // The connection as it is now, which CMDB was not asked over yet.
    fn candidate(&self, name: &ConnectionName, found: &Found, secrets: &Secrets) -> Result<Live, Error> {
        let description = &found.description;
        let (spec_key, secrets_key) = (found.key.clone(), secrets.key());
        let Secrets { secret, certificate } = secrets;
        let credentials = description.read_credentials(secret)?;
        let identity = match (&description.certificate, certificate) {
            (Some(reference), Some(certificate)) => Some(read_identity(&reference.name, certificate)?),
            _ => None,
        };
        let bounds = if name.is_shared() { &self.shared_bounds } else { &self.bounds }.clone();
        let answers = Arc::new(AnswerObserver::new(Arc::clone(&self.observer)));
        let invalid = |reason| Error::ConnectionInvalid { connection: name.clone(), reason };
        let key = format!("{spec_key} {secrets_key}");
        let candidate = description.connect(credentials, identity, bounds, key, answers.clone()).map_err(invalid)?;
        let credentials_version = secret.metadata.resource_version.clone().unwrap_or_default();
        let built_at = Instant::now();
        Ok(Live {
            connection: candidate,
            credentials_version,
            pending_credentials_error: None,
            built_at,
            spec_key,
            secrets_key,
            answers,
        })
    }

    async fn secret(&self, connection: &ConnectionName, reference: &SecretRef) -> Result<Secret, Error> {
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &reference.namespace);
        let secret = bounded(secrets.get_opt(&reference.name)).await.map_err(|failure| match failure {
            // Why it cannot be read is not repeated: the reason may hold a value.
            Failure::Kube(kube::Error::SerdeError(_)) => {
                Error::ApiServer(format!("Secret {:?} cannot be read as one", reference.name))
            }
            failure => Error::ApiServer(failure.to_string()),
        })?;
        let missing = || Error::SecretMissing { connection: connection.clone(), secret: reference.clone() };
        secret.ok_or_else(missing)
    }

    /// Notes a connection as it is now. Gives the sets that use it when it has changed.
    pub fn seen(&self, name: &ConnectionName, metadata: &ObjectMeta) -> Vec<ObjectName> {
        let entry = self.entry(name);
        let now = key(metadata);
        let before = lock(&entry.object).replace(now.clone());
        // Its first sight after a start is no change to those who have found it so already, or not looked for it yet.
        let is_known = match &*lock(&entry.sought) {
            Sought::NotYet => true,
            Sought::Missing => false,
            Sought::Found(found) => *found == now,
        };
        if before.as_ref() == Some(&now) || before.is_none() && is_known {
            return Vec::new();
        }
        entry.changed()
    }

    /// A connection is gone: the sets that used it.
    pub fn gone(&self, name: &ConnectionName) -> Vec<ObjectName> {
        let entry = self.entry(name);
        *lock(&entry.object) = None;
        let users = entry.changed();
        self.drop_unused();
        users
    }

    /// A watch tells of a Secret: the connections that name it and have read another version, and the sets that use them.
    pub fn secret_changed(&self, metadata: &ObjectMeta) -> (Vec<ConnectionName>, Vec<ObjectName>) {
        let now = version_of(metadata);
        let names = |entry: &Entry| {
            let secrets = lock(&entry.secrets);
            secrets.iter().any(|(secret, read)| {
                Some(&secret.namespace) == metadata.namespace.as_ref()
                    && Some(&secret.name) == metadata.name.as_ref()
                    && read.as_ref() != Some(&now)
            })
        };
        let entries = lock(&self.entries);
        let (mut connections, mut sets) = (Vec::new(), Vec::new());
        for (connection, entry) in entries.iter().filter(|(_, entry)| names(entry)) {
            connections.push(connection.clone());
            sets.extend(entry.changed());
        }
        (connections, sets)
    }

    /// The sets of a namespace that use a connection of the cluster.
    pub fn users_of_shared(&self, namespace: &str) -> Vec<ObjectName> {
        let uses = lock(&self.uses);
        let here = uses.iter().filter(|((space, _), connection)| space == namespace && connection.is_shared());
        here.map(|(set, _)| set.clone()).collect()
    }

    /// Whether CMDB is there and takes the credentials of a connection.
    pub async fn check(&self, name: &ConnectionName, live: &Live) -> Result<(), cmdb::Error> {
        let biz_id = *lock(&self.entry(name).biz_id);
        live.connection.client.check(biz_id).await
    }

    /// Looks at the Secrets of a connection where no watch tells of them: the sets that use it when one has changed since
    /// the last look.
    pub async fn look_at_secrets(&self, name: &ConnectionName) -> Option<Vec<ObjectName>> {
        if self.secrets == SecretAccess::Watch {
            return None;
        }
        let entry = self.entry(name);
        let named: Vec<SecretRef> = lock(&entry.secrets).iter().map(|(secret, _)| secret.clone()).collect();
        let before = lock(&entry.looked_at).clone();
        let (mut seen, mut has_changed) = (Vec::new(), false);
        for reference in named {
            let before = before.iter().find(|(known, _)| *known == reference).map(|(_, version)| version);
            let now = match self.secret(name, &reference).await {
                Ok(secret) => Some(version(&secret)),
                Err(Error::SecretMissing { .. }) => None,
                // Of what cannot be read, what was seen last stands.
                Err(_) => match before {
                    Some(before) => before.clone(),
                    None => continue,
                },
            };
            has_changed |= before.is_some_and(|before| *before != now);
            seen.push((reference, now));
        }
        *lock(&entry.looked_at) = seen;
        has_changed.then(|| entry.changed())
    }

    /// Whether Secrets change without a word: somebody has to look.
    pub fn are_secrets_read(&self) -> bool {
        self.secrets == SecretAccess::Read
    }

    /// CMDB refused the credentials: they are read anew before the next use, but not for each set that is refused.
    pub fn reread_credentials(&self, name: &ConnectionName) {
        let entry = self.entry(name);
        let now = Instant::now();
        let mut refused_at = lock(&entry.refused_at);
        if refused_at.is_none_or(|last| now.duration_since(last) >= REREAD_AFTER) {
            *refused_at = Some(now);
            entry.changed();
        }
    }

    /// Forgets a set that is gone. Gives the connection that it used.
    pub fn forget(&self, set: &ObjectName) -> Option<ConnectionName> {
        lock(&self.kept).remove(set);
        let used = lock(&self.uses).remove(set)?;
        lock(&self.entry(&used).users).remove(set);
        self.drop_unused();
        Some(used)
    }

    /// Notes that a set uses a connection; whether that is new. Before anything is read: a change that comes meanwhile finds
    /// the set.
    pub fn note_use(&self, set: &ObjectName, name: &ConnectionName) -> bool {
        let before = lock(&self.uses).insert(set.clone(), name.clone());
        let is_new = before.as_ref() != Some(name);
        if let Some(before) = before.filter(|before| before != name) {
            lock(&self.entry(&before).users).remove(set);
        }
        lock(&self.entry(name).users).insert(set.clone());
        is_new
    }

    fn drop_unused(&self) {
        lock(&self.entries).retain(|_, entry| lock(&entry.object).is_some() || !lock(&entry.users).is_empty());
    }

    fn entry(&self, name: &ConnectionName) -> Arc<Entry> {
        Arc::clone(lock(&self.entries).entry(name.clone()).or_default())
    }
}

impl Entry {
    fn changed(&self) -> Vec<ObjectName> {
        *lock(&self.changes) += 1;
        lock(&self.users).iter().cloned().collect()
    }
}

// Newer credentials take over once CMDB has answered to them; until then those go on that worked.
async fn succeed(last: &Live, candidate: Live, biz_id: i64) -> Live {
    match candidate.connection.client.check(biz_id).await {
        Ok(()) => {
            let client = last.connection.client.clone();
            client.switch_login(&candidate.connection.client);
            tracing::info!(url = client.url(), "changed credentials are in use");
            let connection = Connection { client, ..candidate.connection };
            Live { connection, answers: Arc::clone(&last.answers), ..candidate }
        }
        Err(cmdb::Error::Ending { .. }) => last.clone(),
        Err(error) => {
            tracing::warn!(%error, "changed credentials are not taken into use; those before them are");
            Live { pending_credentials_error: Some(Arc::new(error)), ..last.clone() }
        }
    }
}

fn version(secret: &Secret) -> String {
    version_of(&secret.metadata)
}

fn version_of(metadata: &ObjectMeta) -> String {
    let ObjectMeta { uid, resource_version, .. } = metadata;
    format!("{}/{}", uid.as_deref().unwrap_or_default(), resource_version.as_deref().unwrap_or_default())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
