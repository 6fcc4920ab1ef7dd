//! The engine's journal, kept in the set's status.

use std::collections::BTreeSet;

use kube::Client;

use super::compose::{self, Subject};
use super::{judge, memory};
use crate::api::{PendingIntent, ProcessStatus, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::kubernetes::retry_state::StateHandle;
use crate::controller::kubernetes::status_writer::{Target, WriteError, replace_status};
use crate::controller::observer::Observer;
use crate::controller::set::read::read;
use crate::engine::{self, Journal, PlannedView};
use crate::outside;

/// Tries to write a status while others change the set, too.
const TRIES: usize = 10;

/// Keeps intents and IDs in the status of one set.
pub struct StatusJournal<'a> {
    client: &'a Client,
    observer: &'a dyn Observer,
    state: &'a StateHandle<'a>,
    /// What is judged; its status is the one that is stored.
    pub subject: Subject,
    /// Where it is written to.
    pub target: Target,
    // The target has the version that is stored: it was read, or written, after a conflict.
    is_merged: bool,
    // A write of this reconcile conflicted.
    has_conflicted: bool,
}

impl<'a> StatusJournal<'a> {
    /// A journal for one reconcile.
    pub fn new(
        client: &'a Client,
        observer: &'a dyn Observer,
        state: &'a StateHandle<'a>,
        subject: Subject,
        target: Target,
    ) -> Self {
        Self { client, observer, state, subject, target, is_merged: false, has_conflicted: false }
    }

    /// Whether a write of this reconcile conflicted.
    pub fn has_conflicted(&self) -> bool {
        self.has_conflicted
    }

    /// The oldest version that the object can have after a write of this reconcile conflicted.
    pub fn conflicting_version(&self) -> Option<u64> {
        let version = outside::resource_version(&self.target.resource_version)?;
        Some(if self.is_merged { version } else { version.saturating_add(1) })
    }

    // Replaces the stored status.
    async fn replace(&mut self, status: &ProcessTemplateSetStatus) -> Result<(), WriteError> {
        let replaced = replace_status::<ProcessTemplateSet>(self.client, &mut self.target, status).await;
        self.has_conflicted |= matches!(replaced, Err(WriteError::Outdated));
        replaced?;
        self.observer.status_written("ProcessTemplateSet");
        self.state.wrote(&self.target.resource_version);
        self.state.wrote_status(status);
        Ok(())
    }

    /// Writes a status, unless it stands already.
    pub async fn write(&mut self, status: ProcessTemplateSetStatus) -> Result<bool, WriteError> {
        if status == self.subject.previous {
            return Ok(false);
        }
        let mut written = self.replace(&status).await;
        for _ in 1..TRIES {
            if !matches!(written, Err(WriteError::Outdated)) || !self.was_only_touched().await? {
                break;
            }
            written = self.replace(&status).await;
        }
        written?;
        self.subject.previous = status;
        Ok(true)
    }

    // Whether all that has changed of the set, as it is now, is labels and annotations of others. Otherwise a set that is
    // touched more often than a reconcile takes would never get a status. A deletion changes the generation, too.
    async fn was_only_touched(&mut self) -> Result<bool, WriteError> {
        let Some(set) = read(self.client, &self.target).await? else { return Ok(false) };
        let is_only_touched = set.metadata.generation == Some(self.subject.generation)
            && set.status.unwrap_or_default() == self.subject.previous;
        if is_only_touched {
            self.target.resource_version = set.metadata.resource_version.unwrap_or_default();
            self.has_conflicted = false;
        }
        Ok(is_only_touched)
    }

    /// Puts our IDs into whatever the status is now, and takes out our intents that have ended: ours win for our
    /// processes, nothing else is touched.
    pub async fn merge(&mut self, ours: &ProcessTemplateSetStatus) -> Result<(), WriteError> {
        for _ in 0..TRIES {
            let Some(set) = read(self.client, &self.target).await? else {
                return Err(WriteError::Outdated);
            };
            self.target.resource_version = set.metadata.resource_version.unwrap_or_default();
            let standing = set.status.unwrap_or_default();
            let mut status = standing.clone();
            put_ids(&mut status, &self.subject.previous, ours);
            if status == standing {
                self.is_merged = true;
                return Ok(());
            }
            match self.replace(&status).await {
                Err(WriteError::Outdated) => {}
                done => {
                    self.is_merged = done.is_ok();
                    self.subject.previous = status;
                    return done;
                }
            }
        }
        Err(WriteError::Outdated)
    }
}

impl Journal for StatusJournal<'_> {
    async fn begin(&mut self, view: &PlannedView) -> Result<(), engine::Error> {
        let status = compose::observed(&self.subject, view, &judge::progressing(view));
        match self.write(status).await {
            Ok(_) => Ok(()),
            Err(WriteError::Outdated) => Err(engine::Error::Outdated),
            Err(WriteError::Failed(reason)) => Err(engine::Error::Journal(reason)),
        }
    }

    fn holds_id(&self, key: &str, id: i64) -> bool {
        let has_id = |process: &ProcessStatus| process.id == Some(id) || process.replacement_id == Some(id);
        self.subject.previous.processes.iter().any(|process| process.name == key && has_id(process))
    }

    async fn record(&mut self, view: &PlannedView) -> Result<(), engine::Error> {
        let status = compose::observed(&self.subject, view, &judge::progressing(view));
        let written = match self.write(status.clone()).await {
            Err(WriteError::Outdated) => {
                self.merge(&status).await?;
                // What else the status says is no longer ours to judge.
                return Err(engine::Error::Outdated);
            }
            written => written,
        };
        written.map(drop).map_err(Into::into)
    }
}

impl From<WriteError> for engine::Error {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Outdated => Self::Outdated,
            WriteError::Failed(reason) => Self::Journal(reason),
        }
    }
}

fn put_ids(status: &mut ProcessTemplateSetStatus, before: &ProcessTemplateSetStatus, ours: &ProcessTemplateSetStatus) {
    let before_of = |name: &str| before.processes.iter().find(|process| process.name == name);
    let has_gained = |process: &&ProcessStatus, id: fn(&ProcessStatus) -> Option<i64>| {
        id(process).is_some() && id(process) != before_of(&process.name).and_then(id)
    };
    let gained: Vec<&ProcessStatus> =
        ours.processes.iter().filter(|process| has_gained(process, |process| process.id)).collect();
    let replaced: Vec<&ProcessStatus> =
        ours.processes.iter().filter(|process| has_gained(process, |process| process.replacement_id)).collect();
    let names: BTreeSet<&str> = gained.iter().chain(&replaced).map(|process| process.name.as_str()).collect();
    let ended = |pending: &PendingIntent| before.pending.contains(pending) && !ours.pending.contains(pending);
    status.pending.retain(|pending| !names.contains(pending.name.as_str()) && !ended(pending));
    if names.is_empty() {
        return;
    }
    status.endpoint.clone_from(&ours.endpoint);
    status.service_template_id = ours.service_template_id;
    for process in gained {
        match status.processes.iter_mut().find(|entry| entry.name == process.name) {
            Some(entry) => *entry = process.clone(),
            None => status.processes.push(process.clone()),
        }
    }
    for process in replaced {
        match status.processes.iter_mut().find(|entry| entry.name == process.name) {
            Some(entry) => entry.replacement_id = process.replacement_id,
            None => status.processes.push(process.clone()),
        }
    }
}

/// The memory of the status that a journal begins with.
pub fn remembered(journal: &StatusJournal<'_>) -> (crate::plan::Memory, crate::plan::Place) {
    memory::from_status(&journal.subject.previous)
}
