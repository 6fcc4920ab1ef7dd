//! Whether the object can hold what will come: a create whose IDs cannot be stored must not be sent.

use serde::Serialize;

use kube::Client;

use super::compose::{self, Subject};
use super::journal::StatusJournal;
use super::{judge, memory};
use crate::api::{ItemState, ProcessStatus, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::error::Error;
use crate::controller::set::read::stored_size;
use crate::engine;
use crate::engine::PlannedView;
use crate::plan::Decision;

/// Largest object that is begun with. etcd takes requests of 1.5 MiB; the rest is for what other writers add.
const LIMIT_BYTES: usize = 1_400_000;

/// Refuses a set that would become too large: the object as it is stored, the status at the end, and as much again for
/// what the API server notes about each field of that status.
pub async fn check(
    client: &Client,
    set: &ProcessTemplateSet,
    journal: &StatusJournal<'_>,
    view: &PlannedView,
) -> Result<(), Error> {
    let at_the_end = 2 * size(&end(&journal.subject, view));
    // What we keep of an object lacks what its managers' notes take; most sets are far from the limit with any.
    let mut bytes = 4 * size(set) + at_the_end;
    if bytes > LIMIT_BYTES {
        bytes = stored_size(client, &journal.target).await? + at_the_end;
    }
    if bytes > LIMIT_BYTES {
        return Err(engine::Error::TooLarge { bytes, limit: LIMIT_BYTES }.into());
    }
    Ok(())
}

// The status when everything is in sync.
fn end(subject: &Subject, view: &PlannedView) -> ProcessTemplateSetStatus {
    let processes = view.plan.items.iter().map(|item| ProcessStatus {
        name: item.key.clone(),
        id: Some(i64::MAX),
        created_at: memory::time(0),
        created_by: None,
        replacement_id: matches!(item.decision, Decision::Replace(_)).then_some(i64::MAX),
        process_name: Some(item.process_name.clone()),
        state: ItemState::InSync,
        message: None,
        ignored: Vec::new(),
        drift: None,
        applied_hash: Some(format!("a1:{:032}", 0)),
    });
    let mut end = compose::observed(subject, view, &judge::progressing(view));
    end.processes = processes.collect();
    end
}

// A value without a JSON form could not have been read as one.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}
