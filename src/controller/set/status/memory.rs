//! Between a set's status and what the planner remembers.

use k8s_openapi::jiff::Timestamp;

use crate::api::{ItemState, PendingIntent, ProcessTemplateSetStatus};
use crate::outside;
use crate::plan::{Intent, IntentFate, Memory, Place, Remembered};

/// What a status remembers, and where that was made.
pub fn from_status(status: &ProcessTemplateSetStatus) -> (Memory, Place) {
    let items = status.processes.iter().filter_map(|process| {
        let remembered = Remembered {
            id: process.id?,
            created_at: process.created_at.as_deref().and_then(milliseconds),
            created_by: process.created_by.clone(),
            process_name: process.process_name.clone().unwrap_or_else(|| process.name.clone()),
            applied_hash: process.applied_hash.clone(),
        };
        Some((process.name.clone(), remembered))
    });
    let intents = status.pending.iter().map(|pending| {
        let intent = Intent {
            process_name: pending.process_name.clone(),
            hash: pending.hash.clone(),
            after_id: pending.after_id,
            user: pending.user.clone(),
            fate: IntentFate::Open,
        };
        (pending.name.clone(), intent)
    });
    let replacements =
        status.processes.iter().filter_map(|process| Some((process.name.clone(), process.replacement_id?)));
    let memory = Memory {
        items: items.collect(),
        intents: intents.collect(),
        replacements: replacements.collect(),
        ..Memory::default()
    };
    (memory, Place { endpoint: status.endpoint.clone(), service_template_id: status.service_template_id })
}

/// Whether a status says nothing at all, as that of a new object.
pub fn says_nothing(status: Option<&ProcessTemplateSetStatus>) -> bool {
    status.is_none_or(|status| {
        status.conditions.is_empty()
            && status.endpoint.is_none()
            && status.processes.is_empty()
            && status.pending.is_empty()
    })
}

/// Whether a status says that its set has made nothing, and nothing in it contradicts that. One that only lacks what the set has
/// made was lost, and may have been written again without a look at CMDB.
pub fn has_made_nothing(status: Option<&ProcessTemplateSetStatus>) -> bool {
    status.is_some_and(|status| {
        status.made_nothing == Some(true)
            && status.endpoint.is_none()
            && status.processes.iter().all(|process| {
                process.state == ItemState::Unknown && process.id.is_none() && process.replacement_id.is_none()
            })
            && status.pending.is_empty()
    })
}

/// Begun creates as a status holds them.
pub fn pending(memory: &Memory) -> Vec<PendingIntent> {
    let pending = memory.intents.iter().map(|(name, intent)| PendingIntent {
        name: name.clone(),
        process_name: intent.process_name.clone(),
        hash: intent.hash.clone(),
        after_id: intent.after_id,
        user: intent.user.clone(),
    });
    pending.collect()
}

/// A time as a status holds it.
pub fn time(milliseconds: i64) -> Option<String> {
    Timestamp::from_millisecond(milliseconds).ok().map(|time| format!("{time:.3}"))
}

/// Such a time, read again.
fn milliseconds(text: &str) -> Option<i64> {
    outside::time(text).map(Timestamp::as_millisecond)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{from_status, milliseconds, pending, time};

    #[test]
    fn a_creation_time_survives_the_status_to_the_millisecond() {
        for moment in [0, 1, 1_716_000_000_007, 1_716_000_000_120] {
            assert_eq!(time(moment).as_deref().and_then(milliseconds), Some(moment));
        }
    }
    #[test]
    fn what_an_older_version_stored_is_read_and_what_it_lacks_survives_the_status() {
        let old = json!({
            "processes": [{ "name": "a", "id": 7, "state": "Created" }],
            "pending": [{ "name": "b", "processName": "b", "hash": "i1:0", "afterId": 7 }],
        });
        let (memory, _) = from_status(&serde_json::from_value(old).unwrap());
        assert_eq!((&memory.items["a"].created_by, &memory.intents["b"].user), (&None, &None));
        assert!(memory.replacements.is_empty());

        let new = json!({
            "processes": [
                { "name": "a", "id": 7, "createdBy": "ann", "replacementId": 9, "state": "Created" },
                { "name": "c", "replacementId": 11, "state": "Removing" },
            ],
            "pending": [{ "name": "b", "processName": "b", "hash": "i1:0", "afterId": 7, "user": "ann" }],
        });
        let (memory, _) = from_status(&serde_json::from_value(new.clone()).unwrap());
        assert_eq!(memory.items["a"].created_by.as_deref(), Some("ann"));
        assert_eq!(memory.replacements, [("a".to_owned(), 9), ("c".to_owned(), 11)].into());
        assert_eq!(serde_json::to_value(pending(&memory)).unwrap(), new["pending"]);
    }
}
