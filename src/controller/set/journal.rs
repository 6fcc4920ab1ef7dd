//! The engine's journal, kept in the set's status.

use std::collections::BTreeSet;

use super::status;
use super::status::Subject;
use super::status_memory;
use crate::api::{PendingIntent, ProcessStatus, ProcessTemplateSetStatus};
use crate::controller::Context;
use crate::controller::kubernetes::status_writer;
use crate::controller::kubernetes::status_writer::{Target, WriteError};
use crate::engine;
use crate::engine::{Journal, PlannedView};

/// Tries to put IDs into a status that others write too.
const MERGE_TRIES: usize = 10;

/// Keeps intents and IDs in the status of one set.
pub struct StatusJournal<'a> {
    context: &'a Context,
    /// What is judged; its status is the one that stands.
    pub subject: Subject,
    /// Where it is written to.
    pub target: Target,
}

impl<'a> StatusJournal<'a> {
    /// A journal for one reconcile.
    pub fn new(context: &'a Context, subject: Subject, target: Target) -> Self {
        Self { context, subject, target }
    }

    /// Writes a status, unless it stands already.
    pub async fn write(&mut self, status: ProcessTemplateSetStatus) -> Result<bool, WriteError> {
        if status == self.subject.previous {
            return Ok(false);
        }
        status_writer::replace(self.context, &mut self.target, &status).await?;
        self.subject.previous = status;
        Ok(true)
    }

    /// Puts our IDs into whatever the status is now, and takes out our intents that have ended: ours win for our
    /// processes, nothing else is touched.
    pub async fn merge(&mut self, ours: &ProcessTemplateSetStatus) -> Result<(), WriteError> {
        for _ in 0..MERGE_TRIES {
            let Some(set) = status_writer::read(&self.context.client, &self.target).await? else {
                return Err(WriteError::Outdated);
            };
            self.target.resource_version = set.metadata.resource_version.unwrap_or_default();
            let standing = set.status.unwrap_or_default();
            let mut status = standing.clone();
            put_ids(&mut status, &self.subject.previous, ours);
            if status == standing {
                return Ok(());
            }
            match status_writer::replace(self.context, &mut self.target, &status).await {
                Err(WriteError::Outdated) => {}
                done => {
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
        let status = status::observed(&self.subject, view, &status::progressing(view));
        match self.write(status).await {
            Ok(_) => Ok(()),
            Err(WriteError::Outdated) => Err(engine::Error::Outdated),
            Err(WriteError::Failed(reason)) => Err(engine::Error::Journal(reason)),
        }
    }

    async fn record(&mut self, view: &PlannedView) -> Result<(), engine::Error> {
        let status = status::observed(&self.subject, view, &status::progressing(view));
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
    let id_before = |name: &str| before.processes.iter().find(|process| process.name == name).and_then(|old| old.id);
    let gained: Vec<&ProcessStatus> = ours
        .processes
        .iter()
        .filter(|process| process.id.is_some() && process.id != id_before(&process.name))
        .collect();
    let names: BTreeSet<&str> = gained.iter().map(|process| process.name.as_str()).collect();
    let ended = |pending: &PendingIntent| before.pending.contains(pending) && !ours.pending.contains(pending);
    status.pending.retain(|pending| !names.contains(pending.name.as_str()) && !ended(pending));
    if gained.is_empty() {
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
}

/// The memory of the status that a journal begins with.
pub fn remembered(journal: &StatusJournal<'_>) -> (crate::plan::Memory, crate::plan::Place) {
    status_memory::from_status(&journal.subject.previous)
}
