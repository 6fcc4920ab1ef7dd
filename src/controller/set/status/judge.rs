//! The conditions of a set, from what was seen and planned or from what stopped it. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use kube::ResourceExt;

use crate::api::{DeletionPolicy, ItemState, ProcessTemplateSet};
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions::{ConditionSet, WorkState, clip, from_error};
use crate::controller::reason::Reason;
use crate::engine::PlannedView;
use crate::plan::{Item, Step, count, explain, state};

// Said of each set that has our finalizer where the operator has its rights in some namespaces only: when the namespace is
// deleted, Kubernetes deletes these rights at once, and nothing can be said or done about the set any more.
const STAYS_WITH_NAMESPACE: &str = "Delete this set before its namespace: a deletion of the namespace removes the operator's rights there first, and the set \
     stays with its finalizer (docs/operations/install.md, \"When a namespace is deleted\").";

/// The conditions of a set, with what is to be known before its namespace is deleted.
pub fn announced(conditions: ConditionSet, set: &ProcessTemplateSet, is_namespaced: bool) -> ConditionSet {
    if is_namespaced && set.spec.deletion() == DeletionPolicy::Delete {
        conditions.with_note(STAYS_WITH_NAMESPACE)
    } else {
        conditions
    }
}

/// The conditions of a set that was looked at, and on what stopped it.
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
    if in_sync == total && stopped.is_none() && !has_left {
        let message = format!("{} of service template {id} as the set says", count(total, "process template"));
        return ConditionSet { ready: true, reason: Reason::InSync, message, work_state: WorkState::Settled };
    }
    if let Some(error) = stopped {
        let conditions = from_error(error);
        // While an outcome is open, time alone may change something.
        let work_state = match conditions.work_state {
            WorkState::Stalled if states.contains_key(&ItemState::Undecided) => {
                WorkState::Reconciling(Reason::WaitingForOutcome)
            }
            work_state => work_state,
        };
        let message = clip(format!("{in_sync} of {total} in sync. {}", error.message()));
        return ConditionSet { message, work_state, ..conditions };
    }
    let moving = [ItemState::Undecided, ItemState::Created, ItemState::Missing, ItemState::Differs];
    let stuck =
        [ItemState::Invalid, ItemState::Refused, ItemState::Conflict, ItemState::NeedsReplacement, ItemState::Drifted];
    let worst = moving.iter().chain(&stuck).find(|state| states.contains_key(state));
    let reason = worst.map_or(Reason::Progressing, |state| reason(*state));
    let work_state = match worst {
        Some(state) if stuck.contains(state) && !view.plan.has_removals() => WorkState::Stalled,
        Some(ItemState::Undecided) => WorkState::Reconciling(Reason::WaitingForOutcome),
        _ => WorkState::Reconciling(Reason::Progressing),
    };
    let mut message = format!("{in_sync} of {total} in sync");
    for state in moving.iter().chain(&stuck) {
        let Some(items) = states.get(state) else { continue };
        let first = items.first().map(|item| format!("{:?}: {}", item.key, explain(item))).unwrap_or_default();
        let _ = write!(message, "; {} {}, first {first}", items.len(), reason_in_words(*state));
    }
    ConditionSet { ready: false, reason, message: clip(message), work_state }
}

/// The conditions of a set that is suspended: what would be done.
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
    ConditionSet { ready: judged.ready, reason: Reason::Suspended, message, work_state: WorkState::Settled }
}

/// The conditions of a set that goes, when something of it is left.
pub fn deleting(
    set: &ProcessTemplateSet,
    view: &PlannedView,
    stopped: Option<&Error>,
    is_namespaced: bool,
) -> ConditionSet {
    if let Some(error) = stopped {
        return deletion_blocked(set, error, is_namespaced);
    }
    let (work_state, message) = left(view);
    let work_state = WorkState::Reconciling(work_state);
    announced(ConditionSet { ready: false, reason: Reason::Deleting, message, work_state }, set, is_namespaced)
}

/// The conditions of a set that cannot go: why, and the way out.
pub fn deletion_blocked(set: &ProcessTemplateSet, error: &Error, is_namespaced: bool) -> ConditionSet {
    // Before the command, which ends the message.
    let note = if is_namespaced { format!(" {STAYS_WITH_NAMESPACE}") } else { String::new() };
    let message = clip(format!(
        "{}: {}{note} Or let it go and leave its templates in CMDB: kubectl patch ptset {} -n {} --type merge -p \
         '{{\"spec\":{{\"deletionPolicy\":\"Orphan\"}}}}'",
        error.label(),
        error.message(),
        set.name_any(),
        set.namespace().unwrap_or_default(),
    ));
    ConditionSet {
        ready: false,
        reason: Reason::DeletionBlocked,
        message,
        work_state: WorkState::Reconciling(Reason::DeletionBlocked),
    }
}

// What is outstanding of processes that have left the set: in a word, and in a sentence.
fn left(view: &PlannedView) -> (Reason, String) {
    let undecided = view.plan.undecided.len();
    if undecided > 0 {
        return (Reason::WaitingForOutcome, format!("waits for the outcome of {}", count(undecided, "create")));
    }
    let outstanding = view.plan.removals.iter().filter(|removal| removal.is_outstanding()).count();
    (Reason::Progressing, format!("{} left to be deleted or handed over", count(outstanding, "process template")))
}

/// The conditions of a set that was in sync and cannot be checked for three intervals.
pub fn stale(error: &Error) -> ConditionSet {
    let message = clip(format!("not checked for three intervals: {}", error.message()));
    ConditionSet {
        ready: false,
        reason: Reason::Stale,
        message,
        work_state: WorkState::Reconciling(Reason::ProgressingWithRetry),
    }
}

/// The conditions of a set whose plan is being carried out.
pub fn progressing(view: &PlannedView) -> ConditionSet {
    let message = format!("carrying out {}", count(view.plan.steps.len(), "write"));
    ConditionSet {
        ready: false,
        reason: Reason::Progressing,
        message,
        work_state: WorkState::Reconciling(Reason::Progressing),
    }
}

fn reason(state: ItemState) -> Reason {
    match state {
        ItemState::InSync => Reason::InSync,
        ItemState::Missing | ItemState::Created | ItemState::Differs | ItemState::Removing | ItemState::Unknown => {
            Reason::Progressing
        }
        ItemState::Undecided => Reason::WaitingForOutcome,
        ItemState::Conflict => Reason::Conflict,
        ItemState::Drifted => Reason::Drifted,
        ItemState::NeedsReplacement => Reason::NeedsReplacement,
        ItemState::Invalid => Reason::Invalid,
        ItemState::Refused => Reason::Refused,
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
        ItemState::Drifted => "changed in CMDB",
        ItemState::NeedsReplacement => "to be replaced",
        ItemState::Removing => "to be deleted",
        ItemState::Invalid => "not valid",
        ItemState::Refused => "refused by CMDB",
        ItemState::Unknown => "unknown",
    }
}
