//! From a set's reference to a client: how connections are cached, and how a rotated Secret reaches a running client.
//!
//! # Flow
//! 1. A set names its connection; [`Connections::note_use`] records that before anything is read, so that a change in the
//!    meantime finds the set.
//! 2. [`Connections::live`] looks the connection up in the watches' stores. While nothing has changed, it returns the client
//!    that was built last; otherwise one task at a time reads the Secrets and builds a client.
//! 3. A watch of Secrets ([`Connections::secret_changed`]), a poll of them where they may not be watched
//!    ([`Connections::poll_secrets`]), a changed connection ([`Connections::observe`]) or a refusal by CMDB
//!    ([`Connections::reread_credentials`]) count as changes.
//! 4. Where only credentials have changed, CMDB is asked with the new ones first. If it takes them, the client that is in use
//!    everywhere switches to them; otherwise the old ones stay in use and the connection's status says why.
//!
//! # Guarantees
//! * After the switch no request carries the old credentials.
//! * A set is never served a client before its grant is checked, and the client itself checks it before each request
//!   ([`Authority`]). A namespace without a grant learns only that it has none, whether or not the connection exists.
//! * What a set has kept for its deletion belongs to that set, by its uid, and to that connection object.
//!
//! # Caveats
//! Credentials that CMDB did not answer to are tried again after ten seconds at the earliest. A Secret that is missing or
//! incomplete is read again when the watch shows a change, after half a minute at the latest (ten seconds without a watch).

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::api::ObjectMeta;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::authority::Authority;
use super::client_builder::ClientBuilder;
use super::entry::{Built, Entry, FailedBuild, Live, Sought};
use super::lookup::{ConnectionLookup, Found, key};
use super::name::ConnectionName;
use super::secrets::{self, Secrets, version, version_of};
use super::set_connection::{KeptConnection, SetConnection, User};
use crate::api::SecretRef;
use crate::cmdb::{self, Grants, Touched};
use crate::controller::error::Error;
use crate::controller::names::ObjectName;
use crate::controller::settings::SecretAccess;
use crate::engine;

// Credentials that CMDB did not answer to are not tried again before this: each set would try them while all others wait.
const RETRY_AFTER: Duration = Duration::from_secs(10);

// A watch shows every change; in case it lags, the Secrets are read without it this often.
const REREAD_AFTER: Duration = Duration::from_secs(30);

// Where Secrets are not watched, all who come this soon after one read share what it read.
const READ_FOR_ALL: Duration = Duration::from_secs(1);

/// Where a connection leads, without a look at its Secrets.
#[derive(Clone, Debug)]
pub struct Lead {
    /// The normalised URL.
    pub url: String,
    /// Whether CMDB has answered a call over this connection, with this spec.
    pub has_worked: bool,
    /// Whether CMDB refuses its credentials at present, or its Secrets are missing or incomplete.
    pub is_broken: bool,
}

impl Lead {
    /// Whether a set whose status names this CMDB (`made_in`), or none, is shown to reach it: CMDB has answered over the connection,
    /// or to the set before.
    pub fn is_proven(&self, made_in: Option<&str>) -> bool {
        self.has_worked || made_in == Some(&*self.url)
    }
}

/// The clients in use.
pub struct Connections {
    client: Client,
    secrets: SecretAccess,
    lookup: ConnectionLookup,
    builder: ClientBuilder,
    entries: Mutex<HashMap<ConnectionName, Arc<Entry>>>,
    // By set: the connection that it uses.
    uses: Mutex<HashMap<ObjectName, ConnectionName>>,
    // By set: the last connection that worked, for a set that will have to delete.
    kept: Mutex<HashMap<ObjectName, KeptConnection>>,
}

impl Connections {
    /// No clients yet.
    pub fn new(client: Client, secrets: SecretAccess, lookup: ConnectionLookup, builder: ClientBuilder) -> Self {
        Self {
            client,
            secrets,
            lookup,
            builder,
            entries: Mutex::default(),
            uses: Mutex::default(),
            kept: Mutex::default(),
        }
    }

    /// The connection of a set for one reconcile.
    pub async fn for_set(&self, user: &User<'_>) -> Result<SetConnection, Error> {
        let found = self.get(user).await?;
        self.give(user, found, false).await
    }

    /// The connection of a set that is being deleted: the last one that worked when it cannot be built any more.
    pub async fn for_deletion(&self, user: &User<'_>) -> Result<SetConnection, Error> {
        let is_gone = |error: &Error| {
            matches!(
                error,
                Error::ConnectionMissing { .. } | Error::SecretMissing { .. } | Error::CredentialsIncomplete { .. }
            )
        };
        match self.get(user).await {
            Ok(found) => self.give(user, found, true).await,
            Err(error) if is_gone(&error) => {
                let kept = self.kept.lock().get(user.set).filter(|kept| kept.source.name == *user.name).cloned();
                let Some(kept) = kept else { return Err(error) };
                let given = self.give(user, kept, true).await?;
                // The connection may have been replaced since.
                let may_touch = given.connection.client.grants().cover(Touched::business(user.biz_id));
                if may_touch { Ok(given) } else { Err(error) }
            }
            Err(error) => Err(error),
        }
    }

    // The client in the name of a set, within its grants.
    async fn give(
        &self,
        user: &User<'_>,
        found: KeptConnection,
        outlives_own_connection: bool,
    ) -> Result<SetConnection, Error> {
        let authority = Authority {
            source: found.source.clone(),
            lookup: self.lookup.clone(),
            grants: self.grants(&user.set.namespace, user.name).await?,
            outlives_own_connection,
        };
        let connection = found.connection.granted(Arc::new(authority), user.behalf.clone());
        Ok(SetConnection { connection, kept: found })
    }

    async fn get(&self, user: &User<'_>) -> Result<KeptConnection, Error> {
        let (set, name) = (user.set, user.name);
        self.drop_kept_of_another(user);
        self.note_use(set, name);
        let entry = self.entry(name);
        let found = self.find(&entry, name).await;
        // Without a grant a set learns nothing else of the connection, not even whether it exists; and CMDB is not asked.
        self.check_grant(&set.namespace, name, user.biz_id).await?;
        found?;
        entry.state.lock().biz_id = user.biz_id;
        let Live { source, connection, .. } = self.live(name).await?;
        Ok(KeptConnection { set: user.behalf.uid.clone(), source, connection })
    }

    /// A connection for its own sake.
    pub async fn live(&self, name: &ConnectionName) -> Result<Live, Error> {
        let entry = self.entry(name);
        let _build_lock = entry.build_lock.lock().await;
        let change = entry.state.lock().changes;
        let found = self.find(&entry, name).await?;
        if let Some(error) = self.known_failure(&entry, &found) {
            return Err(error);
        }
        let read_at = Instant::now();
        let renewed = self.renew(&entry, name, &found, change).await;
        let of_secrets = renewed.as_ref().err().filter(|error| is_of_secrets(error));
        let failed = of_secrets.map(|error| FailedBuild {
            at: change,
            spec_key: found.key.clone(),
            error: error.clone(),
            read_at,
        });
        entry.state.lock().built.failed = failed;
        renewed
    }

    // Each set over a connection that cannot be built asks for it: they share one read of its Secrets.
    fn known_failure(&self, entry: &Entry, found: &Found) -> Option<Error> {
        let lasts_for = match self.secrets {
            SecretAccess::Watch => REREAD_AFTER,
            SecretAccess::Read => RETRY_AFTER,
        };
        let state = entry.state.lock();
        let failed = state.failed_build(&found.key).filter(|failed| failed.read_at.elapsed() < lasts_for)?;
        Some(failed.error.clone())
    }

    // The client that was built last, or a new one where something has changed.
    async fn renew(&self, entry: &Entry, name: &ConnectionName, found: &Found, change: u64) -> Result<Live, Error> {
        let built = entry.state.lock().built.clone();
        let is_due = built.due.is_some_and(|due| due <= Instant::now());
        let is_of_now = |live: &&Live| built.at == change && !is_due && live.spec_key == found.key;
        let of_now = built.live.as_ref().filter(is_of_now).cloned();
        if let Some(live) = of_now.as_ref().filter(|_| self.knows_of_changes(&built)) {
            return Ok(live.clone());
        }
        let read_at = Some(Instant::now());
        let secrets = self.read(entry, name, found).await?;
        let read = secrets.key();
        // What has not changed has been tried.
        if let Some(live) = of_now.filter(|_| built.read == read) {
            entry.state.lock().built.read_at = read_at;
            return Ok(live);
        }
        let live = self.builder.build(name, found, &secrets, built.live.as_ref(), biz_to_check(entry, name)).await?;
        // Time alone may mend it.
        let may_change = |error: &Arc<cmdb::Error>| error.disposition() != cmdb::Disposition::WaitForChange;
        let due = live
            .pending_credentials_error
            .as_ref()
            .filter(|error| may_change(error))
            .map(|_| Instant::now() + RETRY_AFTER);
        entry.state.lock().built = Built { at: change, live: Some(live.clone()), due, read_at, read, failed: None };
        Ok(live)
    }

    /// Where a connection leads the sets of a namespace, as far as the watches show it. Reads no Secret and asks no CMDB: it
    /// is asked for the sets of others, whose number must cost nothing.
    ///
    /// # Errors
    /// When the namespace has no grant for the business, or the connection does not exist, cannot be read, or may not lead
    /// there.
    pub async fn lead(&self, namespace: &str, name: &ConnectionName, biz_id: i64) -> Result<Lead, Error> {
        let found = self.lookup.find(name).await;
        self.check_grant(namespace, name, biz_id).await?;
        let found = found?;
        let invalid = |reason| Error::ConnectionInvalid { connection: name.clone(), reason };
        let said = &found.source.description.endpoint.url;
        let url = self.builder.url(name, said).map_err(invalid)?;

        let entry = self.entries.lock().get(name).cloned();
        let Some(entry) = entry else { return Ok(Lead { url, has_worked: found.is_ready, is_broken: false }) };
        let state = entry.state.lock();
        let live = state.built.live.as_ref().filter(|live| live.spec_key == found.key);
        let is_refused = live.and_then(Live::last_answer).is_some_and(|answer| answer.refuses);
        Ok(Lead {
            url,
            has_worked: found.is_ready || live.is_some_and(|live| live.answers.has_worked()),
            is_broken: is_refused || state.failed_build(&found.key).is_some(),
        })
    }

    /// The normalised URL that a connection says, as far as the watch has delivered it.
    pub fn url_of(&self, name: &ConnectionName) -> Option<String> {
        self.builder.url(name, &self.lookup.url(name)?).ok()
    }

    /// Notes with which error the calls of a set have failed.
    pub fn note_error(&self, name: &ConnectionName, error: &Arc<cmdb::Error>) {
        let entry = self.entry(name);
        if let Some(live) = &entry.state.lock().built.live {
            live.answers.note_error(error);
        }
    }

    /// The sets that use a connection.
    pub fn users(&self, name: &ConnectionName) -> Vec<ObjectName> {
        self.entry(name).state.lock().users.iter().cloned().collect()
    }

    async fn check_grant(&self, namespace: &str, name: &ConnectionName, biz_id: i64) -> Result<(), Error> {
        if self.grants(namespace, name).await?.cover(Touched::business(biz_id)) {
            return Ok(());
        }
        Err(engine::Error::NotGranted { biz_id, service_template: None }.into())
    }

    async fn find(&self, entry: &Entry, name: &ConnectionName) -> Result<Found, Error> {
        let found = self.lookup.find(name).await;
        entry.state.lock().sought = match &found {
            Ok(found) => Sought::Found(found.key.clone()),
            Err(_) => Sought::Missing,
        };
        found
    }

    /// What the sets of a namespace may touch through a connection.
    pub async fn grants(&self, namespace: &str, name: &ConnectionName) -> Result<Arc<dyn Grants>, Error> {
        self.lookup.grants(namespace, name).await
    }

    /// Keeps a connection that worked, for the deletion of a set whose connection is deleted before it.
    pub fn keep(&self, set: &ObjectName, connection: &SetConnection) {
        self.kept.lock().insert(set.clone(), connection.kept.clone());
    }

    // A set of the same name was there before.
    fn drop_kept_of_another(&self, user: &User<'_>) {
        let mut kept = self.kept.lock();
        if kept.get(user.set).is_some_and(|kept| kept.set != user.behalf.uid) {
            kept.remove(user.set);
        }
    }

    fn knows_of_changes(&self, built: &Built) -> bool {
        match self.secrets {
            SecretAccess::Watch => true,
            SecretAccess::Read => built.read_at.is_some_and(|read_at| read_at.elapsed() < READ_FOR_ALL),
        }
    }

    async fn read(&self, entry: &Entry, name: &ConnectionName, found: &Found) -> Result<Secrets, Error> {
        let description = &found.source.description;
        let named = [Some(&description.credentials), description.certificate.as_ref()];
        // Noted before they are read: a change that comes meanwhile finds the connection.
        entry.state.lock().secrets = named.into_iter().flatten().map(|named| (named.clone(), None)).collect();
        let secrets = secrets::read_all(&self.client, name, description).await?;
        let read = [Some(&secrets.secret), secrets.certificate.as_ref()].map(|secret| secret.map(version));
        for ((_, known), read) in entry.state.lock().secrets.iter_mut().zip(read) {
            *known = read;
        }
        Ok(secrets)
    }

    /// Notes a connection as it is now. Gives the sets that use it when it has changed.
    pub fn observe(&self, name: &ConnectionName, metadata: &ObjectMeta) -> Vec<ObjectName> {
        let entry = self.entry(name);
        let now = key(metadata);
        let before = entry.state.lock().object.replace(now.clone());
        // Its first sight after a start is no change to those who have found it so already, or not looked for it yet.
        let is_known = match &entry.state.lock().sought {
            Sought::NotYet => true,
            Sought::Missing => false,
            Sought::Found(found) => *found == now,
        };
        if before.as_ref() == Some(&now) || before.is_none() && is_known {
            return Vec::new();
        }
        entry.note_change()
    }

    /// A connection is gone: its uid, if it was seen, and the sets that used it.
    pub fn gone(&self, name: &ConnectionName) -> (Option<String>, Vec<ObjectName>) {
        let entry = self.entry(name);
        let object = entry.state.lock().object.take();
        let users = entry.note_change();
        self.drop_unused();
        (object.and_then(|key| Some(key.split_once('/')?.0.to_owned())), users)
    }

    /// How many connections, uses of them and kept clients are known in all.
    pub fn entries(&self) -> usize {
        self.entries.lock().len() + self.uses.lock().len() + self.kept.lock().len()
    }

    /// A watch tells of a Secret: the connections that name it and have read another version, and the sets that use them.
    pub fn secret_changed(&self, metadata: &ObjectMeta) -> (Vec<ConnectionName>, Vec<ObjectName>) {
        let now = version_of(metadata);
        let names = |entry: &Entry| {
            let state = entry.state.lock();
            state.secrets.iter().any(|(secret, read)| {
                Some(&secret.namespace) == metadata.namespace.as_ref()
                    && Some(&secret.name) == metadata.name.as_ref()
                    && read.as_ref() != Some(&now)
            })
        };
        let entries = self.entries.lock();
        let (mut connections, mut sets) = (Vec::new(), Vec::new());
        for (connection, entry) in entries.iter().filter(|(_, entry)| names(entry)) {
            connections.push(connection.clone());
            sets.extend(entry.note_change());
        }
        (connections, sets)
    }

    /// The sets of a namespace that use a connection of the cluster.
    pub fn users_of_shared(&self, namespace: &str) -> Vec<ObjectName> {
        let uses = self.uses.lock();
        let here = uses.iter().filter(|(set, connection)| set.namespace == namespace && connection.is_shared());
        here.map(|(set, _)| set.clone()).collect()
    }

    /// Whether CMDB is there and takes the credentials of a connection.
    pub async fn check(&self, name: &ConnectionName, live: &Live) -> Result<(), cmdb::Error> {
        live.connection.client.check(biz_to_check(&self.entry(name), name)).await
    }

    /// Looks at the Secrets of a connection where no watch tells of them: the sets that use it when one has changed since
    /// the last look.
    pub async fn poll_secrets(&self, name: &ConnectionName) -> Option<Vec<ObjectName>> {
        if self.secrets == SecretAccess::Watch {
            return None;
        }
        let entry = self.entry(name);
        let named: Vec<SecretRef> = entry.state.lock().secrets.iter().map(|(secret, _)| secret.clone()).collect();
        let before = entry.state.lock().polled.clone();
        let (mut seen, mut has_changed) = (Vec::new(), false);
        for reference in named {
            let before = before.iter().find(|(known, _)| *known == reference).map(|(_, version)| version);
            let now = match secrets::read(&self.client, name, &reference).await {
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
        entry.state.lock().polled = seen;
        has_changed.then(|| entry.note_change())
    }

    /// Whether Secrets change without a word: somebody has to look.
    pub fn are_secrets_read(&self) -> bool {
        self.secrets == SecretAccess::Read
    }

    /// CMDB refused the credentials: they are read anew before the next use, but not for each set that is refused.
    pub fn reread_credentials(&self, name: &ConnectionName) {
        let entry = self.entry(name);
        let now = Instant::now();
        let mut state = entry.state.lock();
        if state.refused_at.is_none_or(|last| now.duration_since(last) >= REREAD_AFTER) {
            state.refused_at = Some(now);
            state.changes += 1;
        }
    }

    /// Forgets a set that is gone. Gives the connection that it used.
    pub fn forget(&self, set: &ObjectName) -> Option<ConnectionName> {
        self.kept.lock().remove(set);
        let used = self.uses.lock().remove(set)?;
        self.entry(&used).state.lock().users.remove(set);
        self.drop_unused();
        Some(used)
    }

    /// Notes that a set uses a connection; whether that is new. Before anything is read: a change that comes meanwhile finds
    /// the set.
    pub fn note_use(&self, set: &ObjectName, name: &ConnectionName) -> bool {
        let before = self.uses.lock().insert(set.clone(), name.clone());
        let is_new = before.as_ref() != Some(name);
        self.entry(name).state.lock().users.insert(set.clone());
        if let Some(before) = before.filter(|before| before != name) {
            self.entry(&before).state.lock().users.remove(set);
            // Names that sets have once given would otherwise stay.
            self.drop_unused();
        }
        is_new
    }

    fn drop_unused(&self) {
        self.entries.lock().retain(|_, entry| {
            let state = entry.state.lock();
            state.object.is_some() || !state.users.is_empty()
        });
    }

    fn entry(&self, name: &ConnectionName) -> Arc<Entry> {
        Arc::clone(self.entries.lock().entry(name.clone()).or_default())
    }
}

// Whether it happens again until the connection or a Secret changes.
fn is_of_secrets(error: &Error) -> bool {
    matches!(error, Error::SecretMissing { .. } | Error::CredentialsIncomplete { .. } | Error::ConnectionInvalid { .. })
}

// The business that a connection names when it asks CMDB for its own sake: one of its sets. That of a shared connection may
// not be granted any more; it names none.
fn biz_to_check(entry: &Entry, name: &ConnectionName) -> i64 {
    if name.is_shared() { 0 } else { entry.state.lock().biz_id }
}
