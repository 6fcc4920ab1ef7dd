//! The status of a set, from what was seen and planned and from what the stored status remembers. Pure.

use std::collections::BTreeSet;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::memory;
use crate::api::{Drift, ItemState, ProcessStatus, ProcessTemplateSetStatus};
use crate::controller::kubernetes::conditions::{ConditionSet, clip};
use crate::controller::reason::Reason;
use crate::engine::PlannedView;
use crate::plan::{Decision, Fate, Item, Memory, Remembered, Removal, explain, state};

/// What is being judged.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Generation of the spec.
    pub generation: i64,
    /// Keys of the spec's processes, in its order.
    pub keys: Vec<String>,
    /// The status that stands.
    pub previous: ProcessTemplateSetStatus,
    /// Whether this process knows that the set has made nothing yet.
    pub is_new: bool,
    /// Value of the annotation that asks for a reconcile.
    pub requested_at: Option<String>,
    /// The present.
    pub now: Time,
}

/// The status of a set that was looked at.
pub fn observed(subject: &Subject, view: &PlannedView, conditions: &ConditionSet) -> ProcessTemplateSetStatus {
    let mut processes: Vec<ProcessStatus> = view.plan.items.iter().map(|item| process(item, view)).collect();
    let total = subject.keys.len();
    let ready = processes.iter().filter(|process| process.state == ItemState::InSync).count();
    processes.extend(leaving(view));
    ProcessTemplateSetStatus {
        endpoint: Some(view.listing.scope.endpoint.clone()),
        service_template_id: Some(view.listing.scope.service_template_id),
        made_nothing: None,
        process_count: i32::try_from(total).ok(),
        ready_count: i32::try_from(ready).ok(),
        summary: Some(format!("{ready}/{total}")),
        processes,
        pending: memory::pending(&view.memory),
        ..unobserved(subject, conditions)
    }
}

/// The status of a set that could not be looked at: what is remembered stays as it is.
pub fn unobserved(subject: &Subject, conditions: &ConditionSet) -> ProcessTemplateSetStatus {
    let total = subject.keys.len();
    let mut status = subject.previous.clone();
    if status.observed_generation != Some(subject.generation) {
        forget_what_was_seen(&mut status, &subject.keys);
    }
    if subject.is_new {
        status.made_nothing = Some(true);
    }
    status.process_count = i32::try_from(total).ok();
    status.summary = Some(format!("{}/{total}", status.ready_count.unwrap_or_default()));
    status.observed_generation = Some(subject.generation);
    status.last_handled_reconcile_at.clone_from(&subject.requested_at);
    conditions.write_to(&mut status.conditions, subject.generation, &subject.now);
    status
}

// What was seen was compared with another spec. The IDs stay.
fn forget_what_was_seen(status: &mut ProcessTemplateSetStatus, keys: &[String]) {
    status.ready_count = Some(0);
    for process in &mut status.processes {
        (process.state, process.message, process.drift) = (ItemState::Unknown, None, None);
    }
    let known: BTreeSet<String> = status.processes.iter().map(|process| process.name.clone()).collect();
    let new = keys.iter().filter(|key| !known.contains(*key)).map(|key| ProcessStatus {
        name: key.clone(),
        id: None,
        created_at: None,
        created_by: None,
        replacement_id: None,
        process_name: None,
        state: ItemState::Unknown,
        message: None,
        ignored: Vec::new(),
        drift: None,
        applied_hash: None,
    });
    status.processes.extend(new);
}

/// Whether a status says that this generation is Ready.
pub fn is_ready(status: &ProcessTemplateSetStatus, generation: i64) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    status.observed_generation == Some(generation) && ready.is_some_and(|condition| condition.status == "True")
}

/// Whether nothing was outstanding when this generation was last judged: it was Ready, or has only not been checked
/// since.
pub fn was_in_sync(status: &ProcessTemplateSetStatus, generation: i64) -> bool {
    let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
    is_ready(status, generation)
        || status.observed_generation == Some(generation)
            && ready.is_some_and(|condition| condition.reason == Reason::Stale.as_str())
}

fn process(item: &Item, view: &PlannedView) -> ProcessStatus {
    let remembered = view.memory.items.get(&item.key);
    let is_announced = view.memory.intents.contains_key(&item.key);
    let state = match state(item) {
        // The plan was made before the create was announced, or before it was answered.
        ItemState::Missing if is_announced => ItemState::Undecided,
        ItemState::Missing | ItemState::Undecided if !is_announced && remembered.is_some() => ItemState::Created,
        state => state,
    };
    let message = Some(explain(item)).filter(|text| !text.is_empty() && state != ItemState::Created);
    let ignored = match &item.decision {
        Decision::InSync { ignored, .. } => ignored.clone(),
        _ => Vec::new(),
    };
    ProcessStatus {
        name: item.key.clone(),
        id: remembered.map(|remembered| remembered.id),
        created_at: remembered.and_then(|remembered| remembered.created_at).and_then(memory::time),
        created_by: remembered.and_then(|remembered| remembered.created_by.clone()),
        replacement_id: view.memory.replacements.get(&item.key).copied(),
        process_name: remembered.map(|remembered| remembered.process_name.clone()),
        state,
        message: message.map(clip),
        ignored,
        drift: drift(item),
        applied_hash: remembered.and_then(|remembered| remembered.applied_hash.clone()),
    }
}

// Keys that have left the spec and whose templates are still to be deleted, or are still the set's while it is suspended.
fn leaving(view: &PlannedView) -> Vec<ProcessStatus> {
    let Memory { items, replacements, .. } = &view.memory;
    let is_item = |key: &str| view.plan.items.iter().any(|item| item.key == key);
    let left = view.plan.removals.iter().filter(|removal| removal.is_outstanding() || !view.is_decided);
    let left: Vec<&Removal> = left.filter(|removal| !is_item(&removal.key)).collect();
    let entry = |removal: &Removal, remembered: Option<&Remembered>| {
        let message = match removal.fate {
            Fate::Delete | Fate::DeleteLater | Fate::Superseded => "has left the set and is to be deleted",
            Fate::HandOver => "has left the set and is kept for another set, which wants it",
            Fate::Orphan => "has left the set and is to be left in CMDB",
            Fate::Released => "has left the set and is to be left to another set, which has it",
        };
        ProcessStatus {
            name: removal.key.clone(),
            id: remembered.map(|remembered| remembered.id),
            created_at: remembered.and_then(|remembered| remembered.created_at).and_then(memory::time),
            created_by: remembered.and_then(|remembered| remembered.created_by.clone()),
            replacement_id: replacements.get(&removal.key).copied(),
            process_name: Some(removal.process_name.clone()),
            state: ItemState::Removing,
            message: Some(message.to_owned()),
            ignored: Vec::new(),
            drift: None,
            applied_hash: remembered.and_then(|remembered| remembered.applied_hash.clone()),
        }
    };

    let remembered = left.iter().filter_map(|removal| {
        let remembered = items.get(&removal.key).filter(|remembered| remembered.id == removal.id)?;
        Some(entry(removal, Some(remembered)))
    });
    let mut leaving: Vec<ProcessStatus> = remembered.collect();
    // One whose template is gone, and only the one that was to replace it is left.
    for removal in left.iter().filter(|removal| replacements.get(&removal.key) == Some(&removal.id)) {
        if !leaving.iter().any(|process| process.name == removal.key) {
            leaving.push(entry(removal, None));
        }
    }
    leaving
}

/// What somebody changed in CMDB and the set only reports.
pub fn drift(item: &Item) -> Option<Drift> {
    let Decision::Drifted(differences) = &item.decision else { return None };
    let found = item.found.as_ref();
    Some(Drift {
        properties: differences.iter().map(ToString::to_string).collect(),
        modifier: found.map(|found| found.modifier.clone()).filter(|modifier| !modifier.is_empty()),
        changed_at: found.and_then(|found| found.changed_at).and_then(memory::time),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::jiff::Timestamp;

    use super::*;
    use crate::controller::error::Error;
    use crate::controller::kubernetes::conditions::from_error;
    use crate::{cmdb, engine};

    // Each class of the client's errors, its reason, and the reason of Reconciling; without one it is Stalled.
    fn classes() -> Vec<(cmdb::Error, &'static str, Option<&'static str>)> {
        let operation = cmdb::Operation::ListProcessTemplates;
        let message = "no".to_owned();
        let reply = || cmdb::Reply {
            operation,
            code: Some(1),
            http_status: Some(200),
            message: message.clone(),
            request_id: None,
            obstacle: None,
        };
        let again = Some("ProgressingWithRetry");
        vec![
            (cmdb::Error::Invalid { reply: reply(), item: false, field: None }, "Invalid", None),
            (cmdb::Error::Conflict { reply: reply(), item: false }, "Conflict", again),
            (cmdb::Error::NotFound { reply: reply() }, "NotFound", again),
            (cmdb::Error::Permission { reply: reply() }, "PermissionDenied", None),
            (cmdb::Error::Authentication { reply: reply(), were_replaced: false }, "Unauthorized", None),
            (cmdb::Error::Throttled { reply: reply(), retry_after: None }, "Throttled", again),
            (cmdb::Error::Unavailable { reply: reply(), retry_after: None }, "Unreachable", again),
            (cmdb::Error::OutcomeUnknown { reply: reply() }, "Unavailable", again),
            (cmdb::Error::Protocol { reply: reply() }, "NotCmdb", None),
            (cmdb::Error::Configuration { message: message.clone() }, "ConnectionInvalid", None),
        ]
    }

    #[test]
    fn each_class_of_cmdbs_errors_leads_to_its_reason_and_to_one_condition() {
        for (error, reason, reconciling) in classes() {
            let verdict = from_error(&Error::from(engine::Error::from(Arc::new(error))));
            let subject = Subject {
                generation: 3,
                keys: Vec::new(),
                previous: ProcessTemplateSetStatus::default(),
                is_new: false,
                requested_at: None,
                now: Time(Timestamp::UNIX_EPOCH),
            };
            let status = unobserved(&subject, &verdict);
            let found = status.conditions.iter();
            let found: Vec<_> = found.map(|said| (&*said.type_, &*said.status, &*said.reason)).collect();
            let beside = reconciling.map_or(("Stalled", "True", reason), |why| ("Reconciling", "True", why));
            assert_eq!(found, [("Ready", "False", reason), beside]);
        }
    }
}
