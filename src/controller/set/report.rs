//! What came of a reconcile: into the status, into events, into the time of the next.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::journal::StatusJournal;
use super::reconcile::{connection_name, generation, namespace, uid};
use super::status;
use super::status::Subject;
use super::{events, schedule};
use crate::api::{ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::cmdb;
use crate::controller::action::Action;
use crate::controller::kubernetes::conditions;
use crate::controller::kubernetes::conditions::WorkState;
use crate::controller::kubernetes::status_writer;
use crate::controller::kubernetes::status_writer::{Target, WriteError};
use crate::controller::{Context, Error, Outcome};
use crate::engine;
use crate::engine::{Disposition, PlannedView, Tally};

// A set that was in sync and cannot be checked stays Ready for so many intervals.
const STALE_AFTER_INTERVALS: u32 = 3;

// A set that must begin again does so after a moment: the watch needs it to deliver what has changed.
const AGAIN: Duration = Duration::from_millis(50);

// An outcome that is due by the clock is looked for no more often than this.
const SOON: Duration = Duration::from_secs(1);

// Those who are due together come one after the other, so much later.
const JITTER: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(10));

// A list is old only after its interval, not at it.
const MARGIN: Duration = Duration::from_millis(100);

/// Writes the status if it changed, publishes events, and says when to look again.
pub async fn report(
    context: &Context,
    set: &ProcessTemplateSet,
    journal: &mut StatusJournal<'_>,
    outcome: Result<Outcome, Error>,
) -> Action {
    let stopped = outcome.as_ref().map_or_else(Some, |outcome| outcome.stopped.as_ref());
    let label = stopped.map_or("ok", Error::label);
    match say(context, set, journal, outcome).await {
        Ok(action) => {
            context.reconciled(label);
            action
        }
        Err(error) => fail(context, set, &error),
    }
}

// The error is why the status could not be written.
async fn say(
    context: &Context,
    set: &ProcessTemplateSet,
    journal: &mut StatusJournal<'_>,
    outcome: Result<Outcome, Error>,
) -> Result<Action, Error> {
    let (view, stopped) = match &outcome {
        Ok(outcome) => (Some(&outcome.view), outcome.stopped.as_ref()),
        Err(error) => (None, Some(error)),
    };
    // What is said now has become so while we worked.
    journal.subject.now = Time(Timestamp::now());
    // Until it has not been its turn for too long.
    if let Some(error) = stopped.filter(|error| error.is_busy() && !is_unchecked_for_long(context, set)) {
        tracing::debug!(namespace = namespace(set), name = set.name_any(), "not yet its turn");
        return Ok(wait_for(context, set, Some(error), until_stale(context, set)));
    }
    note(context, set, stopped);
    let before = journal.subject.previous.clone();
    if stopped.is_some_and(|error| error.disposition() == Disposition::RetryNow) {
        tell(context, set, &before, &outcome);
        return Ok(Action::requeue(AGAIN));
    }
    let verdict = match (view, stopped) {
        (Some(view), None) if set.spec.is_suspended() => status::suspended(view),
        (Some(view), stopped) => status::judge(view, stopped),
        (None, Some(error)) if only_the_check_failed(set, error) && !leads_elsewhere(set, context).await => {
            if !is_unchecked_for_long(context, set) {
                return Ok(wait_for(context, set, Some(error), until_stale(context, set)));
            }
            status::stale(error)
        }
        (None, Some(error)) => conditions::from_error(error),
        (None, None) => return Ok(Action::await_change()),
    };
    let name = (namespace(set), set.name_any());
    if let (Some(view), None) = (view, stopped) {
        context.objects.note_listing(&name.0, &name.1, &uid(set), view.listing.asked_at);
    }
    let status = match view {
        Some(view) => status::observed(&journal.subject, view, &verdict),
        None => status::unobserved(&journal.subject, &verdict),
    };
    let status = conditions::in_first_words(&before, status, |status| &mut status.conditions, stopped);
    let written = match journal.write(status.clone()).await {
        // Somebody has changed the set: what we created is put into what it is now.
        Err(WriteError::Outdated) => journal.merge(&status).await.and(Err(WriteError::Outdated)),
        written => written,
    };
    let has_told = tell(context, set, &before, &outcome);
    if written.is_ok() {
        context.objects.status_reported(&name.0, &name.1, &uid(set));
        let report_standing = &journal.subject.previous;
        context.objects.set_idle(&name.0, &name.1, &uid(set), status::was_in_sync(report_standing, generation(set)));
        let took = verdict.ready.then(|| context.objects.note_ready(&name.0, &name.1, &uid(set), generation(set)));
        if let Some(took) = took.flatten() {
            context.observer.set_became_ready(took);
        }
    }
    match written {
        // A write that made the set Ready has said enough.
        Ok(true) if !(has_told && verdict.ready) => {
            events::turned(context, set.object_ref(&()), &before.conditions, &verdict);
        }
        Ok(_) => {}
        Err(WriteError::Outdated) => return Ok(Action::requeue(AGAIN)),
        Err(WriteError::Failed(reason)) => return Err(Error::ApiServer(reason)),
    }
    Ok(next(context, set, view, stopped, verdict.work_state))
}

// Tells of what was written to CMDB; whether anything was.
fn tell(
    context: &Context,
    set: &ProcessTemplateSet,
    before: &ProcessTemplateSetStatus,
    outcome: &Result<Outcome, Error>,
) -> bool {
    let Ok(outcome) = outcome else { return false };
    events::written(context, set, before, outcome);
    outcome.tally != Tally::default()
}

// What the status says was seen in another CMDB than the connection leads to now.
async fn leads_elsewhere(set: &ProcessTemplateSet, context: &Context) -> bool {
    let connection = context.connections.live(&connection_name(set)).await;
    let made_in = set.status.as_ref().and_then(|status| status.endpoint.as_deref());
    connection.is_ok_and(|live| made_in.is_some_and(|made_in| made_in != live.connection.client.url()))
}

// Nothing is outstanding; CMDB, or the way to it, just cannot be asked.
fn only_the_check_failed(set: &ProcessTemplateSet, error: &Error) -> bool {
    let status = set.status.as_ref();
    !error.is_finding() && status.is_some_and(|status| status::was_in_sync(status, generation(set)))
}

fn is_unchecked_for_long(context: &Context, set: &ProcessTemplateSet) -> bool {
    until_stale(context, set).is_none()
}

// Time until it has not been checked for too long; None: it has not.
fn until_stale(context: &Context, set: &ProcessTemplateSet) -> Option<Duration> {
    let unchecked_for = context.objects.unchecked_for(&namespace(set), &set.name_any(), &uid(set));
    let left = (set.spec.resync_interval() * STALE_AFTER_INTERVALS).checked_sub(unchecked_for);
    left.filter(|left| !left.is_zero())
}

fn next(
    context: &Context,
    set: &ProcessTemplateSet,
    view: Option<&PlannedView>,
    stopped: Option<&Error>,
    work_state: WorkState,
) -> Action {
    let interval = set.spec.resync_interval();
    if !matches!(work_state, WorkState::Reconciling(_)) {
        context.objects.reset_backoff(&namespace(set), &set.name_any(), &uid(set));
    }
    match work_state {
        WorkState::Reconciling(_) => {
            let wait = wait(context, set, stopped);
            let decided = view.and_then(|view| context.engine.undecided_for(&uid(set), &view.memory));
            let removal = view.filter(|view| view.plan.has_removals()).and_then(|_| {
                let known_for = context.objects.known_for(&namespace(set), &set.name_any(), &uid(set));
                context.removal_delay.checked_sub(known_for).map(|left| left + MARGIN)
            });
            // What time decides is looked for when it is due.
            let due = decided.map(|due| due.max(SOON)).into_iter().chain(removal.filter(|_| stopped.is_none())).min();
            later(context, set, due.map_or(wait, |due| wait.min(due)))
        }
        WorkState::Stalled => later(context, set, interval),
        // The next look is due when the list that was shown has grown old.
        WorkState::Settled => {
            let age = view.map_or(Duration::ZERO, |view| view.listing.asked_at.elapsed());
            Action::requeue(schedule::period(set).saturating_sub(age) + MARGIN)
        }
    }
}

// Not before that, whatever else wakes the controller.
fn later(context: &Context, set: &ProcessTemplateSet, wait: Duration) -> Action {
    context.objects.back_off(&namespace(set), &set.name_any(), &uid(set), wait);
    Action::requeue(wait)
}

/// Ends a reconcile of whose failure the status cannot tell, and says when to try again.
pub fn fail(context: &Context, set: &ProcessTemplateSet, error: &Error) -> Action {
    untold(context, set, error);
    later(context, set, wait(context, set, Some(error)))
}

/// Counts and logs what the status cannot tell, and tells it once in an event.
pub fn untold(context: &Context, set: &ProcessTemplateSet, error: &Error) {
    context.reconciled(error.label());
    let (namespace, name) = (namespace(set), set.name_any());
    tracing::warn!(namespace, name, reason = error.label(), %error, "the set stands still, and its status does not say so");
    if context.objects.note_unreported(&namespace, &name, &uid(set)) {
        events::failed(context, set, error);
    }
}

/// The wait before a set that goes is looked at again; what time decides is looked for when it is due.
pub fn wait_for(
    context: &Context,
    set: &ProcessTemplateSet,
    stopped: Option<&Error>,
    decided: Option<Duration>,
) -> Action {
    let wait = wait(context, set, stopped);
    later(context, set, decided.map_or(wait, |due| wait.min(due.max(SOON))))
}

fn wait(context: &Context, set: &ProcessTemplateSet, error: Option<&Error>) -> Duration {
    // When an endpoint that is down is tried again, all that wait for it are there: one call finds it well for all.
    if let Some(due) = error.and_then(Error::due) {
        return due + cmdb::by_chance(JITTER.0, JITTER.1);
    }
    let backoff = context.objects.next_backoff(&namespace(set), &set.name_any(), &uid(set));
    let wait = match error.map(Error::disposition) {
        Some(Disposition::RetryNow) => AGAIN,
        Some(Disposition::RetryLater(Some(after))) => after.max(backoff),
        Some(Disposition::RetryLater(None) | Disposition::WaitForChange) | None => backoff,
    };
    wait.min(set.spec.resync_interval())
}

/// Logs, and tells once in an event, what keeps a set from being carried on with.
pub fn note(context: &Context, set: &ProcessTemplateSet, stopped: Option<&Error>) {
    let (namespace, name) = (namespace(set), set.name_any());
    let told = stopped.filter(|error| error.disposition() != Disposition::RetryNow);
    let is_new = told.is_some_and(|error| context.objects.note_failure(&namespace, &name, &uid(set), error.label()));
    match stopped {
        None => context.objects.checked(&namespace, &name, &uid(set)),
        Some(error) => {
            // All sets of an endpoint that is down are looked at with each probe: once is enough to be told.
            if error.due().is_some() && !is_new {
                tracing::debug!(namespace, name, reason = error.label(), %error, "the set still stands still");
            } else {
                tracing::warn!(namespace, name, reason = error.label(), %error, "the set stands still");
            }
            if let Error::Engine(engine::Error::Cmdb(error)) = error {
                let connection = connection_name(set);
                if matches!(**error, cmdb::Error::Authentication { .. }) {
                    context.connections.reread_credentials(&connection);
                }
                context.wake_connection(connection);
            }
        }
    }
    if let Some(error) = told.filter(|_| is_new) {
        events::failed(context, set, error);
    }
}

/// The status of an object that cannot be read as a set. What its status remembers stays.
pub async fn malformed(context: &Context, target: Target, generation: i64, reason: &str) -> Action {
    let error = Error::Malformed(reason.chars().take(300).collect());
    context.reconciled(error.label());
    let (namespace, name) = (target.namespace.clone(), target.name.clone());
    tracing::warn!(namespace, name, %error, "a set cannot be read");
    let again = Action::requeue(context.objects.next_backoff(&namespace, &name, &target.uid));
    let previous = match status_writer::read_status(&context.client, &target).await {
        Ok(Some(previous)) => previous,
        Ok(None) => return again,
        Err(error) => {
            tracing::warn!(namespace, name, %error, "nor can its status");
            return again;
        }
    };
    let now = Time(Timestamp::now());
    let subject = Subject { generation, keys: Vec::new(), previous, requested_at: None, now };
    let status = status::unobserved(&subject, &conditions::from_error(&error));
    match StatusJournal::new(context, subject, target).write(status).await {
        Ok(_) => return Action::await_change(),
        Err(WriteError::Outdated) => {}
        Err(WriteError::Failed(reason)) => tracing::warn!(namespace, name, reason, "and its status cannot say so"),
    }
    again
}
