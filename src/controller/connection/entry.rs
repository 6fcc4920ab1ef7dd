//! What is kept of one connection: its users, the Secrets that it names, and the client that was built last.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Mutex as AsyncMutex;
use tokio::time::Instant;

use super::last_answer::{Answer, AnswerObserver};
use super::lookup::Source;
use crate::api::SecretRef;
use crate::cmdb;
use crate::controller::error::Error;
use crate::controller::names::ObjectName;
use crate::engine::BareConnection;

/// A connection that is in use.
#[derive(Clone, Debug)]
pub struct Live {
    /// The CMDB.
    pub connection: BareConnection,
    /// The object that it was built from.
    pub source: Source,
    /// `resourceVersion` of the Secret whose credentials are in use.
    pub credentials_version: String,
    /// Why newer credentials are not in use.
    pub pending_credentials_error: Option<Arc<cmdb::Error>>,
    /// When it was built.
    pub built_at: Instant,
    /// State of the spec that it was built from.
    pub spec_key: String,
    /// Versions of the Secrets that it was built from.
    pub secrets_key: String,
    /// Records what CMDB answers over it.
    pub answers: Arc<AnswerObserver>,
}

impl Live {
    /// What CMDB answered last over this connection.
    pub fn last_answer(&self) -> Option<Answer> {
        self.answers.last()
    }
}

/// One connection that has users, or exists.
#[derive(Default)]
pub struct Entry {
    /// What is known of it.
    pub state: Mutex<EntryState>,
    /// Held while a client is built: one build at a time.
    pub build_lock: AsyncMutex<()>,
}

/// What is known of a connection.
#[derive(Default)]
pub struct EntryState {
    /// The sets that use it.
    pub users: BTreeSet<ObjectName>,
    /// The Secrets that it names, each with the version that was read.
    pub secrets: Vec<(SecretRef, Option<String>)>,
    /// The same as they were polled last, where no watch shows them.
    pub polled: Vec<(SecretRef, Option<String>)>,
    /// A business that one of the users is about; 0: none is known.
    pub biz_id: i64,
    /// When a refusal by CMDB last caused the Secrets to be read again.
    pub refused_at: Option<Instant>,
    /// Key of the object as the watch showed it last, while it exists.
    pub object: Option<String>,
    /// What the last lookup found.
    pub sought: Sought,
    /// Counts the changes of connection and Secrets.
    pub changes: u64,
    /// The client that was built last.
    pub built: Built,
}

/// What a lookup found.
#[derive(Default)]
pub enum Sought {
    /// There was none yet.
    #[default]
    NotYet,
    /// No such connection.
    Missing,
    /// A connection; its key.
    Found(String),
}

/// What was built last.
#[derive(Clone, Default)]
pub struct Built {
    /// The change that it was built at.
    pub at: u64,
    /// The connection.
    pub live: Option<Live>,
    /// When newer credentials that CMDB did not answer to are tried again.
    pub due: Option<Instant>,
    /// When the Secrets were read.
    pub read_at: Option<Instant>,
    /// Their versions then.
    pub read: String,
    /// Why the last attempt failed, if the Secrets are the cause.
    pub failed: Option<FailedBuild>,
}

/// A build that failed because of what the Secrets hold, or because one does not exist. It fails again until they change.
#[derive(Clone, Debug)]
pub struct FailedBuild {
    /// The change that it was built at.
    pub at: u64,
    /// State of the spec that it was built from.
    pub spec_key: String,
    /// Why it failed.
    pub error: Error,
    /// When the Secrets were read.
    pub read_at: Instant,
}

impl EntryState {
    /// The failure of the last build, if neither the connection of this key nor its Secrets have changed since.
    pub fn failed_build(&self, spec_key: &str) -> Option<&FailedBuild> {
        let failed = self.built.failed.as_ref();
        failed.filter(|failed| failed.at == self.changes && failed.spec_key == spec_key)
    }
}

impl Entry {
    /// Notes a change of the connection or its Secrets: the next use builds a client again. Returns the users.
    pub fn note_change(&self) -> Vec<ObjectName> {
        let mut state = self.state.lock();
        state.changes += 1;
        state.users.iter().cloned().collect()
    }
}
