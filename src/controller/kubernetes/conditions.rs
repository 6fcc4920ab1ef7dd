//! What is said of an object in its conditions: Ready and, at most, one of Reconciling and Stalled.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use crate::controller::error::Error;
use crate::controller::reason::Reason;
use crate::engine;
use crate::engine::Disposition;

/// Most bytes of a condition's or an item's message.
const MESSAGE_BYTES: usize = 1024;

/// Condition Ready and, at most, one of Reconciling and Stalled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConditionSet {
    /// Whether the object is Ready.
    pub ready: bool,
    /// Reason of Ready.
    pub reason: Reason,
    /// Message of every condition.
    pub message: String,
    /// What is outstanding.
    pub work_state: WorkState,
}

/// What is outstanding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkState {
    /// Nothing.
    Settled,
    /// Something that time alone may do; the reason of Reconciling.
    Reconciling(Reason),
    /// Only a person ends it.
    Stalled,
}

/// The verdict on an object that could not be looked at.
pub fn from_error(error: &Error) -> ConditionSet {
    let work_state = match error.disposition() {
        Disposition::WaitForChange => WorkState::Stalled,
        Disposition::RetryNow => WorkState::Reconciling(Reason::Progressing),
        Disposition::RetryLater(_) if error.reason().is_wait() => WorkState::Reconciling(error.reason()),
        Disposition::RetryLater(_) => WorkState::Reconciling(Reason::ProgressingWithRetry),
    };
    ConditionSet { ready: false, reason: error.reason(), message: clip(error.message()), work_state }
}

impl ConditionSet {
    /// The same with a sentence after the message, which is shown whole.
    #[must_use]
    pub fn with_note(mut self, note: &str) -> Self {
        let most = MESSAGE_BYTES.saturating_sub(note.len()).saturating_sub(2);
        if self.message.len() > most {
            self.message.truncate(self.message.floor_char_boundary(most.saturating_sub(3)));
            self.message.push('…');
        }
        let end = if self.message.ends_with(['.', '…', '\'']) { " " } else { ". " };
        self.message.push_str(end);
        self.message.push_str(note);
        self
    }

    /// Puts the verdict on this generation into an object's conditions.
    pub fn write_to(&self, conditions: &mut Vec<Condition>, generation: i64, now: &Time) {
        let (reconciling, stalled) = match self.work_state {
            WorkState::Settled => (None, None),
            WorkState::Reconciling(reason) => (Some(reason), None),
            WorkState::Stalled => (None, Some(self.reason)),
        };
        let mut set = |type_, said| set(conditions, generation, now, type_, said, &self.message);
        set("Ready", Some((self.ready, self.reason)));
        set("Reconciling", reconciling.map(|reason| (true, reason)));
        set("Stalled", stalled.map(|reason| (true, reason)));
    }
}

/// The status as it is now; or as it stands, when only the words of a failure differ that time alone may mend: CMDB says
/// the same thing in other words each time, and the first are as good as the last.
pub fn in_first_words<S: Clone + PartialEq>(
    standing: &S,
    now: S,
    conditions: impl Fn(&mut S) -> &mut Vec<Condition>,
    error: Option<&Error>,
) -> S {
    let may_pass = error.is_some_and(|error| {
        matches!(error, Error::Engine(engine::Error::Cmdb(_)))
            && matches!(error.disposition(), Disposition::RetryLater(_))
    });
    let (mut reworded, mut standing_too) = (now.clone(), standing.clone());
    for (condition, before) in conditions(&mut reworded).iter_mut().zip(conditions(&mut standing_too)) {
        condition.message.clone_from(&before.message);
    }
    if may_pass && reworded == *standing { reworded } else { now }
}

// A condition is absent when it is not to be said; its transition time moves only with its status.
fn set(
    conditions: &mut Vec<Condition>,
    generation: i64,
    now: &Time,
    type_: &str,
    said: Option<(bool, Reason)>,
    message: &str,
) {
    let old = conditions.iter().position(|condition| condition.type_ == type_);
    let Some((value, reason)) = said else {
        if let Some(index) = old {
            conditions.remove(index);
        }
        return;
    };
    let value = if value { "True" } else { "False" };
    let unchanged = old.map(|index| &conditions[index]).filter(|condition| condition.status == value);
    let condition = Condition {
        last_transition_time: unchanged.map_or_else(|| now.clone(), |old| old.last_transition_time.clone()),
        message: message.to_owned(),
        observed_generation: Some(generation),
        reason: reason.to_string(),
        status: value.to_owned(),
        type_: type_.to_owned(),
    };
    match old {
        Some(index) => conditions[index] = condition,
        None => conditions.push(condition),
    }
}

/// A message in the length that is shown.
pub fn clip(mut text: String) -> String {
    if text.len() > MESSAGE_BYTES {
        let end = (0..=MESSAGE_BYTES - 3).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
        text.truncate(end);
        text.push('…');
    }
    text
}
