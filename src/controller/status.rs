//! From what came of a reconcile to the set's status. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{Error, memory};
use crate::api::{ItemState, ProcessStatus, ProcessTemplateSetStatus};
use crate::engine::{Disposition, View};
use crate::plan::{Decision, Item};

/// Most bytes of a condition's or an item's message.
const MESSAGE_BYTES: usize = 1024;

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

/// Condition Ready and, at most, one of Reconciling and Stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the set is Ready.
    pub ready: bool,
    /// Reason of Ready.
    pub reason: &'static str,
    /// Message of every condition.
    pub message: String,
    /// What is outstanding.
    pub outlook: Outlook,
}

/// What is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outlook {
    /// Nothing.
    Settled,
    /// Something that time alone may do; the reason of Reconciling.
    Reconciling(&'static str),
    /// Only a person ends it.
    Stalled,
}

/// The verdict on a set that was looked at, and on what stopped it.
pub fn judge(view: &View, stopped: Option<&Error>) -> Verdict {
    let mut states: BTreeMap<ItemState, Vec<&Item>> = BTreeMap::new();
    for item in &view.plan.items {
        states.entry(state(item)).or_default().push(item);
    }
    let total = view.plan.items.len();
    let in_sync = states.get(&ItemState::InSync).map_or(0, Vec::len);
    let id = view.sight.scope.service_template_id;
    if in_sync == total {
        let message = format!("{} of service template {id} as the set says", count(total, "process template"));
        return Verdict { ready: true, reason: "InSync", message, outlook: Outlook::Settled };
    }
    if let Some(error) = stopped {
        let verdict = blocked(error);
        // While an outcome is open, time alone may change something.
        let outlook = match verdict.outlook {
            Outlook::Stalled if states.contains_key(&ItemState::Undecided) => Outlook::Reconciling("WaitingForOutcome"),
            outlook => outlook,
        };
        let message = clip(format!("{in_sync} of {total} in sync. {}", error.message()));
        return Verdict { message, outlook, ..verdict };
    }
    let moving = [ItemState::Undecided, ItemState::Created, ItemState::Missing];
    let stuck = [ItemState::Invalid, ItemState::Refused, ItemState::Conflict, ItemState::Differs];
    let worst = moving.iter().chain(&stuck).find(|state| states.contains_key(state));
    let reason = worst.map_or("Progressing", |state| reason(*state));
    let outlook = match worst {
        Some(state) if stuck.contains(state) => Outlook::Stalled,
        Some(ItemState::Undecided) => Outlook::Reconciling("WaitingForOutcome"),
        _ => Outlook::Reconciling("Progressing"),
    };
    let mut message = format!("{in_sync} of {total} in sync");
    for state in moving.iter().chain(&stuck) {
        let Some(items) = states.get(state) else { continue };
        let first = items.first().map(|item| format!("{:?}: {}", item.key, explain(item))).unwrap_or_default();
        let _ = write!(message, "; {} {}, first {first}", items.len(), reason_in_words(*state));
    }
    Verdict { ready: false, reason, message: clip(message), outlook }
}

/// The verdict on a set that could not be looked at.
pub fn blocked(error: &Error) -> Verdict {
    let outlook = match error.disposition() {
        Disposition::WaitForChange => Outlook::Stalled,
        Disposition::RetryNow => Outlook::Reconciling("Progressing"),
        Disposition::RetryLater(_) if error.label().starts_with("WaitingFor") => Outlook::Reconciling(error.label()),
        Disposition::RetryLater(_) => Outlook::Reconciling("ProgressingWithRetry"),
    };
    Verdict { ready: false, reason: error.label(), message: clip(error.message()), outlook }
}

/// The verdict on a set that was in sync and cannot be checked for three intervals.
pub fn stale(error: &Error) -> Verdict {
    let message = clip(format!("not checked for three intervals: {}", error.message()));
    Verdict { ready: false, reason: STALE, message, outlook: Outlook::Reconciling("ProgressingWithRetry") }
}

/// The verdict on a set whose templates are being created.
pub fn progressing(view: &View) -> Verdict {
    let creates = view.plan.creates().count();
    let message = format!("creating {}", count(creates, "process template"));
    Verdict { ready: false, reason: "Progressing", message, outlook: Outlook::Reconciling("Progressing") }
}

/// The status of a set that was looked at.
pub fn observed(subject: &Subject, view: &View, verdict: &Verdict) -> ProcessTemplateSetStatus {
    let memory = &view.memory;
    let processes: Vec<ProcessStatus> = view.plan.items.iter().map(|item| process(item, view)).collect();
    let ready = processes.iter().filter(|process| process.state == ItemState::InSync).count();
    ProcessTemplateSetStatus {
        endpoint: Some(view.sight.scope.endpoint.clone()),
        service_template_id: Some(view.sight.scope.service_template_id),
        process_count: i32::try_from(processes.len()).ok(),
        ready_count: i32::try_from(ready).ok(),
        summary: Some(format!("{ready}/{}", processes.len())),
        processes,
        pending: memory::pending(memory),
        ..unobserved(subject, verdict)
    }
}

/// The status of a set that could not be looked at: what is remembered stays as it is.
pub fn unobserved(subject: &Subject, verdict: &Verdict) -> ProcessTemplateSetStatus {
    let total = subject.keys.len();
    let mut status = subject.previous.clone();
    status.process_count = i32::try_from(total).ok();
    status.summary = Some(format!("{}/{total}", status.ready_count.unwrap_or_default()));
    status.observed_generation = Some(subject.generation);
    status.last_handled_reconcile_at.clone_from(&subject.requested_at);
    let (reconciling, stalled) = match verdict.outlook {
        Outlook::Settled => (None, None),
        Outlook::Reconciling(reason) => (Some(reason), None),
        Outlook::Stalled => (None, Some(verdict.reason)),
    };
    set_condition(&mut status, subject, "Ready", Some((verdict.ready, verdict.reason)), &verdict.message);
    set_condition(&mut status, subject, "Reconciling", reconciling.map(|reason| (true, reason)), &verdict.message);
    set_condition(&mut status, subject, "Stalled", stalled.map(|reason| (true, reason)), &verdict.message);
    status
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

// A condition is absent when it is not to be said; its transition time moves only with its status.
fn set_condition(
    status: &mut ProcessTemplateSetStatus,
    subject: &Subject,
    type_: &str,
    said: Option<(bool, &str)>,
    message: &str,
) {
    let old = status.conditions.iter().position(|condition| condition.type_ == type_);
    let Some((value, reason)) = said else {
        if let Some(index) = old {
            status.conditions.remove(index);
        }
        return;
    };
    let value = if value { "True" } else { "False" };
    let unchanged = old.map(|index| &status.conditions[index]).filter(|condition| condition.status == value);
    let condition = Condition {
        last_transition_time: unchanged.map_or_else(|| subject.now.clone(), |old| old.last_transition_time.clone()),
        message: message.to_owned(),
        observed_generation: Some(subject.generation),
        reason: reason.to_owned(),
        status: value.to_owned(),
        type_: type_.to_owned(),
    };
    match old {
        Some(index) => status.conditions[index] = condition,
        None => status.conditions.push(condition),
    }
}

fn process(item: &Item, view: &View) -> ProcessStatus {
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
        process_name: remembered.map(|remembered| remembered.process_name.clone()),
        state,
        message: message.map(clip),
        ignored,
        applied_hash: remembered.and_then(|remembered| remembered.applied_hash.clone()),
    }
}

fn state(item: &Item) -> ItemState {
    match &item.decision {
        Decision::InSync { created_at: Some(_), .. } => ItemState::InSync,
        Decision::InSync { created_at: None, .. } => ItemState::Created,
        Decision::Create(_) => ItemState::Missing,
        Decision::Undecided => ItemState::Undecided,
        Decision::Conflict { .. } => ItemState::Conflict,
        Decision::Differs { .. } => ItemState::Differs,
        Decision::Invalid(_) => ItemState::Invalid,
        Decision::Refused(_) => ItemState::Refused,
    }
}

fn reason(state: ItemState) -> &'static str {
    match state {
        ItemState::InSync => "InSync",
        ItemState::Missing | ItemState::Created | ItemState::Unknown => "Progressing",
        ItemState::Undecided => "WaitingForOutcome",
        ItemState::Conflict => "Conflict",
        ItemState::Differs => "Differs",
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
        ItemState::Differs => "not as the set says",
        ItemState::Invalid => "not valid",
        ItemState::Refused => "refused by CMDB",
        ItemState::Unknown => "unknown",
    }
}

fn explain(item: &Item) -> String {
    let fields = |differences: &[crate::plan::Difference]| {
        differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
    };
    match &item.decision {
        Decision::InSync { .. } => String::new(),
        Decision::Create(_) => "will be created".to_owned(),
        Decision::Undecided => {
            "a create was begun and may still be stored; it is sent again only when that is out of the question"
                .to_owned()
        }
        Decision::Conflict { id, differences } if differences.is_empty() => {
            format!("template {id} of this name is another process's of this set already")
        }
        Decision::Conflict { id, differences } => format!(
            "template {id} of this name was not created by this set and differs in {}; make the manifest say what it \
             has, or remove it in CMDB",
            fields(differences)
        ),
        Decision::Differs { id, differences, .. } => format!(
            "template {id} differs in {}; this version does not change templates: change it in CMDB",
            fields(differences)
        ),
        Decision::Invalid(reason) => reason.clone(),
        Decision::Refused(reason) => format!("CMDB refused it: {reason}"),
    }
}

fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn clip(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES - 3).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}
