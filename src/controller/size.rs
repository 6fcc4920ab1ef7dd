//! Whether the object can hold what will come: a create whose IDs cannot be stored must not be sent.

use serde::Serialize;

use super::status::{self, Subject};
use super::{Error, memory};
use crate::api::{ItemState, ProcessStatus, ProcessTemplateSet};
use crate::engine::{self, View};

/// Largest object that is begun with. etcd takes requests of 1.5 MiB; the rest is for what other writers add.
const LIMIT_BYTES: usize = 1_400_000;

/// Refuses a set that would become too large: the object as read, the status at the end, and as much again for what the
/// API server notes about each field of that status.
pub fn check(set: &ProcessTemplateSet, subject: &Subject, view: &View) -> Result<(), Error> {
    let mut end = status::observed(subject, view, &status::progressing(view));
    end.pending.clear();
    end.processes = view
        .plan
        .items
        .iter()
        .map(|item| ProcessStatus {
            name: item.key.clone(),
            id: Some(i64::MAX),
            created_at: memory::time(0),
            process_name: Some(item.process_name.clone()),
            state: ItemState::InSync,
            message: None,
            ignored: Vec::new(),
            applied_hash: Some(format!("a1:{:032}", 0)),
        })
        .collect();
    let bytes = size(set) + 2 * size(&end);
    if bytes > LIMIT_BYTES {
        return Err(engine::Error::TooLarge { bytes, limit: LIMIT_BYTES }.into());
    }
    Ok(())
}

// A value without a JSON form could not have been read as one.
fn size(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(0, |bytes| bytes.len())
}
