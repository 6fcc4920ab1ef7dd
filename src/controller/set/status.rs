//! From what came of a reconcile to the set's status. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use super::status_memory;
use crate::api::{Drift, ItemState, ProcessStatus, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::Error;
use crate::controller::kubernetes::conditions::{ConditionSet, WorkState, clip, from_error};
use crate::engine::PlannedView;
use crate::plan::explain;
use crate::plan::{Decision, Item, Step, count, state};

/// Reason of a set that was in sync and has not been checked for long.
const STALE: &str = "Stale";

/// What is being judged.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Generation of the spec.
    pub generation: i64,
    /// Keys of the spec's processes, in its order.
    pub keys: Vec<String>,
    /// The status that stands.
    pub previous: ProcessTemplateSetStatus,
    /// Value of the annotation that asks for a reconcile.
    pub requested_at: Option<String>,
    /// The present.
    pub now: Time,
}

/// The verdict on a set that was looked at, and on what stopped it.
pub fn judge(view: &PlannedView, stopped: Option<&Error>) -> ConditionSet {
    let mut states: BTreeMap<ItemState, Vec<&Item>> = BTreeMap::new();
    for item in &view.plan.items {
        states.entry(state(item)).or_default().push(item);
    }
    let total = view.plan.items.len();
    let in_sync = states.get(&ItemState::InSync).map_or(0, Vec::len);
    let id = view.listing.scope.service_template_id;
    let has_left = view.plan.has_removals() || !view.plan.undecided.is_empty();
    if in_sync == total && stopped.is_none() && has_left {
        let (reason, message) = left(view);
        return ConditionSet { ready: false, reason, message, work_state: WorkState::Reconciling(reason) };
    }
    if in_sync == total && !has_left {
        let message = format!("{} of service template {id} as the set says", count(total, "process template"));
        return ConditionSet { ready: true, reason: "InSync", message, work_state: WorkState::Settled };
    }
    if let Some(error) = stopped {
        let verdict = from_error(error);
        // While an outcome is open, time alone may change something.
        let work_state = match verdict.work_state {
            WorkState::Stalled if states.contains_key(&ItemState::Undecided) => {
                WorkState::Reconciling("WaitingForOutcome")
            }
            work_state => work_state,
        };
        let message = clip(format!("{in_sync} of {total} in sync. {}", error.message()));
        return ConditionSet { message, work_state, ..verdict };
    }
    let moving = [ItemState::Undecided, ItemState::Created, ItemState::Missing, ItemState::Differs];
    let stuck =
        [ItemState::Invalid, ItemState::Refused, ItemState::Conflict, ItemState::NeedsReplacement, ItemState::Drifted];
    let worst = moving.iter().chain(&stuck).find(|state| states.contains_key(state));
    let reason = worst.map_or("Progressing", |state| reason(*state));
    let work_state = match worst {
        Some(state) if stuck.contains(state) && !view.plan.has_removals() => WorkState::Stalled,
        Some(ItemState::Undecided) => WorkState::Reconciling("WaitingForOutcome"),
        _ => WorkState::Reconciling("Progressing"),
    };
    let mut message = format!("{in_sync} of {total} in sync");
    for state in moving.iter().chain(&stuck) {
        let Some(items) = states.get(state) else { continue };
        let first = items.first().map(|item| format!("{:?}: {}", item.key, explain(item))).unwrap_or_default();
        let _ = write!(message, "; {} {}, first {first}", items.len(), reason_in_words(*state));
    }
    ConditionSet { ready: false, reason, message: clip(message), work_state }
}

/// The verdict on a set that is suspended: what would be done.
pub fn suspended(view: &PlannedView) -> ConditionSet {
    let judged = judge(view, None);
    let mut would = view.plan.steps.iter().fold([0_usize; 3], |[creates, updates, deletes], step| match step {
        Step::Create { .. } => [creates + 1, updates, deletes],
        Step::Update { .. } => [creates, updates + 1, deletes],
        Step::Delete { .. } => [creates, updates, deletes + 1],
    });
    would[2] = would[2].max(view.plan.removals.iter().filter(|removal| removal.is_deleted()).count());
    let [creates, updates, deletes] = would;
    let message = if judged.ready {
        format!("suspended; {}", judged.message)
    } else {
        let counts = format!("would create {creates}, update {updates} and delete {deletes}");
        clip(format!("suspended, nothing is written; {counts}. {}", judged.message))
    };
    ConditionSet { ready: judged.ready, reason: "Suspended", message, work_state: WorkState::Settled }
}

/// The verdict on a set that goes, when something of it is left.
pub fn deleting(set: &ProcessTemplateSet, view: &PlannedView, stopped: Option<&Error>) -> ConditionSet {
    if let Some(error) = stopped {
        return deletion_blocked(set, error);
    }
    let (work_state, message) = left(view);
    ConditionSet { ready: false, reason: "Deleting", message, work_state: WorkState::Reconciling(work_state) }
}

/// The verdict on a set that cannot go: why, and the way out.
pub fn deletion_blocked(set: &ProcessTemplateSet, error: &Error) -> ConditionSet {
    let message = clip(format!(
        "{}: {} Or let it go and leave its templates in CMDB: kubectl patch ptset {} -n {} --type merge -p \
         '{{\"spec\":{{\"deletionPolicy\":\"Orphan\"}}}}'",
        error.label(),
        error.message(),
        set.name_any(),
        set.namespace().unwrap_or_default(),
    ));
    ConditionSet {
        ready: false,
        reason: "DeletionBlocked",
        message,
        work_state: WorkState::Reconciling("DeletionBlocked"),
    }
}

// What is outstanding of processes that have left the set: in a word, and in a sentence.
fn left(view: &PlannedView) -> (&'static str, String) {
    let undecided = view.plan.undecided.len();
    if undecided > 0 {
        return ("WaitingForOutcome", format!("waits for the outcome of {}", count(undecided, "create")));
    }
    let outstanding = view.plan.removals.iter().filter(|removal| removal.is_outstanding()).count();
    ("Progressing", format!("{} left to be deleted or handed over", count(outstanding, "process template")))
}

/// The verdict on a set that was in sync and cannot be checked for three intervals.
pub fn stale(error: &Error) -> ConditionSet {
    let message = clip(format!("not checked for three intervals: {}", error.message()));
    ConditionSet { ready: false, reason: STALE, message, work_state: WorkState::Reconciling("ProgressingWithRetry") }
}

/// The verdict on a set whose plan is being carried out.
pub fn progressing(view: &PlannedView) -> ConditionSet {
    let message = format!("carrying out {}", count(view.plan.steps.len(), "write"));
    ConditionSet { ready: false, reason: "Progressing", message, work_state: WorkState::Reconciling("Progressing") }
}

/// The status of a set that was looked at.
pub fn observed(subject: &Subject, view: &PlannedView, verdict: &ConditionSet) -> ProcessTemplateSetStatus {
    let memory = &view.memory;
    let mut processes: Vec<ProcessStatus> = view.plan.items.iter().map(|item| process(item, view)).collect();
    let total = subject.keys.len();
    let ready = processes.iter().filter(|process| process.state == ItemState::InSync).count();
    processes.extend(leaving(view));
    ProcessTemplateSetStatus {
        endpoint: Some(view.listing.scope.endpoint.clone()),
        service_template_id: Some(view.listing.scope.service_template_id),
        process_count: i32::try_from(total).ok(),
        ready_count: i32::try_from(ready).ok(),
        summary: Some(format!("{ready}/{total}")),
        processes,
        pending: status_memory::pending(memory),
        ..unobserved(subject, verdict)
    }
}

/// The status of a set that could not be looked at: what is remembered stays as it is.
pub fn unobserved(subject: &Subject, verdict: &ConditionSet) -> ProcessTemplateSetStatus {
    let total = subject.keys.len();
    let mut status = subject.previous.clone();
    if status.observed_generation != Some(subject.generation) {
        forget_what_was_seen(&mut status, &subject.keys);
    }
    status.process_count = i32::try_from(total).ok();
    status.summary = Some(format!("{}/{total}", status.ready_count.unwrap_or_default()));
    status.observed_generation = Some(subject.generation);
    status.last_handled_reconcile_at.clone_from(&subject.requested_at);
    verdict.write_to(&mut status.conditions, subject.generation, &subject.now);
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
        || status.observed_generation == Some(generation) && ready.is_some_and(|condition| condition.reason == STALE)
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
        created_at: remembered.and_then(|remembered| remembered.created_at).and_then(status_memory::time),
        process_name: remembered.map(|remembered| remembered.process_name.clone()),
        state,
        message: message.map(clip),
        ignored,
        drift: drift(item),
        applied_hash: remembered.and_then(|remembered| remembered.applied_hash.clone()),
    }
}

// Keys that have left the spec and whose templates are still to be deleted.
fn leaving(view: &PlannedView) -> impl Iterator<Item = ProcessStatus> {
    let is_item = |key: &str| view.plan.items.iter().any(|item| item.key == key);
    let outstanding = view.plan.removals.iter().filter(|removal| removal.is_outstanding());
    outstanding.filter(move |removal| !is_item(&removal.key)).filter_map(|removal| {
        let remembered = view.memory.items.get(&removal.key).filter(|remembered| remembered.id == removal.id)?;
        let message = if removal.is_deleted() {
            "has left the set and is to be deleted"
        } else {
            "has left the set and is kept for another set, which wants it"
        };
        Some(ProcessStatus {
            name: removal.key.clone(),
            id: Some(removal.id),
            created_at: remembered.created_at.and_then(status_memory::time),
            process_name: Some(removal.process_name.clone()),
            state: ItemState::Removing,
            message: Some(message.to_owned()),
            ignored: Vec::new(),
            drift: None,
            applied_hash: remembered.applied_hash.clone(),
        })
    })
}

/// What somebody changed in CMDB and the set only reports.
pub fn drift(item: &Item) -> Option<Drift> {
    let Decision::Drifted(differences) = &item.decision else { return None };
    let found = item.found.as_ref();
    Some(Drift {
        properties: differences.iter().map(ToString::to_string).collect(),
        modifier: found.map(|found| found.modifier.clone()).filter(|modifier| !modifier.is_empty()),
        changed_at: found.and_then(|found| found.changed_at).and_then(status_memory::time),
    })
}

fn reason(state: ItemState) -> &'static str {
    match state {
        ItemState::InSync => "InSync",
        ItemState::Missing | ItemState::Created | ItemState::Differs | ItemState::Removing | ItemState::Unknown => {
            "Progressing"
        }
        ItemState::Undecided => "WaitingForOutcome",
        ItemState::Conflict => "Conflict",
        ItemState::Drifted => "Drifted",
        ItemState::NeedsReplacement => "NeedsReplacement",
        ItemState::Invalid => "Invalid",
        ItemState::Refused => "Refused",
    }
}

fn reason_in_words(state: ItemState) -> &'static str {
    match state {
        ItemState::InSync => "in sync",
        ItemState::Missing => "to be created",
        ItemState::Created => "created and to be confirmed",
        ItemState::Undecided => "with a create whose outcome is not known yet",
        ItemState::Conflict => "in conflict",
        ItemState::Differs => "to be changed",
        ItemState::Drifted => "changed in CMDB by somebody else",
        ItemState::NeedsReplacement => "to be replaced",
        ItemState::Removing => "to be deleted",
        ItemState::Invalid => "not valid",
        ItemState::Refused => "refused by CMDB",
        ItemState::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::jiff::Timestamp;

    use super::*;
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
            (cmdb::Error::Authentication { reply: reply() }, "Unauthorized", None),
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
