//! When a set is reconciled next, if nothing wakes it before.
//!
//! # Flow
//! * In sync: after its interval and up to a tenth more, counted from when the list was requested that it was shown
//!   ([`period`]); the sets of one service template in step, so that they share a list, and different service templates out
//!   of step.
//! * Something outstanding: with exponential backoff from one second to five minutes ([`wait`]), at most the set's interval;
//!   earlier when time decides something ([`next`]): a grace period ends, a removal is due.
//! * An endpoint that is down, or a rate limit of ours: when the client says ([`Error::due`]).
//! * Stalled: at the interval.
//! * After a start of the operator: a set at rest at some part of its interval ([`first_look`]), so that a start costs CMDB no
//!   more than any other time.
//!
//! * A write that conflicts, because somebody has changed the set: when the watch has delivered that; where it does not, after
//!   15 seconds, and twice as long each time (`RetryState::note_conflict`).
//!
//! # Guarantees
//! A backoff is kept whatever wakes the set, except by an edit, a requested reconcile, and a change of what it depends on
//! (`RetryState::wake`).

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::identity::{CurrentSet, generation};
use super::status::compose::is_ready;
use super::status::journal::StatusJournal;
use crate::api::{ItemState, ProcessTemplateSet};
use crate::cmdb;
use crate::controller::action::Action;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions::WorkState;
use crate::engine::{self, Disposition, PlannedView};
use crate::outside;

// Polls that were made together drift apart by up to this part of their interval.
const JITTER: f64 = 0.1;

// A set that was in sync and cannot be checked stays Ready for this many intervals.
const STALE_AFTER_INTERVALS: u32 = 3;

// A set that must start again does so after a moment: the watch needs it to deliver what has changed.
const AGAIN: Duration = Duration::from_millis(50);

// Something that the clock decides is polled no more often than this.
const SOON: Duration = Duration::from_secs(1);

// Sets that are due together follow one another at this distance.
const SPREAD: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

// A list is old only after its interval, not at it.
const MARGIN: Duration = Duration::from_millis(100);

/// Whether nothing is outstanding: this generation is in sync, each process with its template, and nothing was begun.
pub fn is_idle(set: &ProcessTemplateSet) -> bool {
    let Some(status) = set.status.as_ref() else { return false };
    let in_sync: BTreeSet<&str> = status
        .processes
        .iter()
        .filter(|process| process.state == ItemState::InSync && process.id.is_some())
        .map(|process| process.name.as_str())
        .collect();
    is_ready(status, generation(set))
        && status.pending.is_empty()
        && set.spec.processes.iter().all(|process| in_sync.contains(process.name.as_str()))
}

/// Time between two polls of an idle set: its interval, and up to a tenth more.
pub fn period(set: &ProcessTemplateSet) -> Duration {
    outside::fraction(set.spec.resync_interval(), 1.0 + JITTER * part(set, "period"))
}

/// Time from the operator's start to its first look at a set that was at rest: some part of the interval, so that a start
/// costs CMDB no more than any other time.
pub fn first_look(set: &ProcessTemplateSet) -> Duration {
    outside::fraction(set.spec.resync_interval(), part(set, "first look"))
}

/// What a reconcile has left.
pub struct Left<'a> {
    /// What was seen and planned last.
    pub view: Option<&'a PlannedView>,
    /// What stopped it.
    pub stopped: Option<&'a Error>,
    /// What is outstanding.
    pub work_state: WorkState,
    /// When begun creates can be decided at the latest.
    pub undecided_for: Option<Duration>,
    /// How long what has left a set is kept.
    pub removal_delay: Duration,
}

/// The next reconcile after one whose status was written.
pub fn next(set: &CurrentSet<'_>, left: &Left<'_>) -> Action {
    if !matches!(left.work_state, WorkState::Reconciling(_)) {
        set.state.reset_backoff();
    }
    match left.work_state {
        WorkState::Reconciling(_) => {
            let wait = wait(set, left.stopped);
            let removal = left
                .view
                .filter(|view| view.plan.has_removals())
                .and_then(|_| left.removal_delay.checked_sub(set.state.known_for()).map(|until| until + MARGIN));
            // What time decides is polled when it is due.
            let decided = left.undecided_for.map(|due| due.max(SOON));
            let due = decided.into_iter().chain(removal.filter(|_| left.stopped.is_none())).min();
            back_off(set, due.map_or(wait, |due| wait.min(due)))
        }
        WorkState::Stalled => back_off(set, set.object.spec.resync_interval()),
        // The next poll is due when the list that was shown has grown old.
        WorkState::Settled => {
            let age = left.view.map_or(Duration::ZERO, |view| view.listing.asked_at.elapsed());
            Action::requeue(period(set.object).saturating_sub(age) + MARGIN)
        }
    }
}

// The next reconcile of a set that was stopped between two steps.
fn again() -> Action {
    Action::requeue(AGAIN)
}

/// The next reconcile of a set that changed during this one to this version, or a newer one: when the watch has delivered that.
pub fn after_conflict(set: &CurrentSet<'_>, version: Option<u64>) -> Action {
    set.state.note_conflict(version);
    // It may have been delivered already. If not, the next reconcile waits for it without a request.
    again()
}

/// The next reconcile of a set that was stopped by what starts again at once. Where a write conflicted, when the watch has
/// delivered the other one; a set that was superseded was delivered before.
pub fn at_once(set: &CurrentSet<'_>, journal: &StatusJournal<'_>, error: &Error) -> Action {
    if matches!(error, Error::Engine(engine::Error::Outdated)) && journal.has_conflicted() {
        return after_conflict(set, journal.conflicting_version());
    }
    again()
}

/// The next reconcile after an error; at `due` if that is earlier, because time decides something then.
pub fn retry(set: &CurrentSet<'_>, stopped: Option<&Error>, due: Option<Duration>) -> Action {
    let wait = wait(set, stopped);
    back_off(set, due.map_or(wait, |due| wait.min(due.max(SOON))))
}

/// Time until a set that was in sync has not been checked for too long; None: that is so now.
pub fn until_stale(set: &CurrentSet<'_>) -> Option<Duration> {
    let limit = set.object.spec.resync_interval() * STALE_AFTER_INTERVALS;
    limit.checked_sub(set.state.unchecked_for()).filter(|left| !left.is_zero())
}

// Not before that, whatever else wakes the controller.
fn back_off(set: &CurrentSet<'_>, wait: Duration) -> Action {
    set.state.back_off(wait);
    Action::requeue(wait)
}

fn wait(set: &CurrentSet<'_>, error: Option<&Error>) -> Duration {
    // When an endpoint that is down is tried again, all that wait for it come: one call finds it well for all.
    if let Some(due) = error.and_then(Error::due) {
        return due + cmdb::jitter(SPREAD.0, SPREAD.1);
    }
    let backoff = set.state.next_backoff();
    let wait = match error.map(Error::disposition) {
        Some(Disposition::RetryNow) => AGAIN,
        Some(Disposition::RetryLater(Some(after))) => after.max(backoff),
        Some(Disposition::RetryLater(None) | Disposition::WaitForChange) | None => backoff,
    };
    wait.min(set.object.spec.resync_interval())
}

// A number from 0 to 1 that all sets of a service template share.
fn part(set: &ProcessTemplateSet, of_what: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    let place = set.status.as_ref().map(|status| (&status.endpoint, status.service_template_id));
    (of_what, set.spec.biz_id, place).hash(&mut hasher);
    f64::from(u16::try_from(hasher.finish() % 10_000).unwrap_or_default()) / 10_000.0
}
