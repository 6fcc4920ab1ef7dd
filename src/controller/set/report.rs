//! What came of a reconcile: into the status, into events, into the time of the next.
//!
//! # Flow
//! 1. The conditions follow from what was seen, or from the error. While CMDB is down, throttles, or a poll is rate limited, a
//!    set that was in sync stays as it is for three intervals and is `Stale` then; every other set says the cause at once.
//! 2. The status is written if it changed, and merged into the stored one if somebody has changed the object meanwhile.
//! 3. Events tell what was written to CMDB and what turned.
//! 4. [`super::schedule`] says when the next reconcile is due.
//!
//! # Guarantees
//! No status claims more than its reconcile has seen. Where the status could not be written, a log line and an event say so
//! ([`super::failure`]).

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::failure;
use super::identity::CurrentSet;
use super::outcome::Outcome;
use super::schedule::{self, Left};
use super::status::journal::StatusJournal;
use super::status::{compose, judge};
use crate::api::ProcessTemplateSetStatus;
use crate::controller::action::Action;
use crate::controller::connection::set_connection::SetConnection;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions::{self, ConditionSet};
use crate::controller::kubernetes::status_writer::WriteError;
use crate::controller::names::ObjectName;
use crate::engine::{Disposition, PlannedView, Tally};

/// Writes the status if it changed, publishes events, and returns when the next reconcile is due.
pub async fn report(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: Option<&SetConnection>,
    journal: &mut StatusJournal<'_>,
    outcome: Result<Outcome, Error>,
) -> Action {
    let stopped = outcome.as_ref().map_or_else(Some, |outcome| outcome.stopped.as_ref());
    let label = stopped.map_or("ok", Error::label);
    match report_outcome(set, context, connection, journal, &outcome).await {
        Ok(action) => {
            context.note_outcome(label);
            action
        }
        Err(error) => failure::fail(set, context, &error),
    }
}

// The error is why the status could not be written.
async fn report_outcome(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: Option<&SetConnection>,
    journal: &mut StatusJournal<'_>,
    outcome: &Result<Outcome, Error>,
) -> Result<Action, Error> {
    let (view, stopped) = match outcome {
        Ok(outcome) => (Some(&outcome.view), outcome.stopped.as_ref()),
        Err(error) => (None, Some(error)),
    };
    // Conditions that turn do so now, not when the reconcile started.
    journal.subject.now = Time(Timestamp::now());
    if let Some(error) = stopped.filter(|error| error.is_busy())
        && let Some(left) = schedule::until_stale(set)
    {
        let ObjectName { namespace, name } = &set.name;
        tracing::debug!(namespace, name, "rate limited, retrying later");
        return Ok(schedule::retry(set, Some(error), Some(left)));
    }
    failure::note(set, context, stopped);

    let before = journal.subject.previous.clone();
    if let Some(error) = stopped.filter(|error| error.disposition() == Disposition::RetryNow) {
        publish_writes(set, context, &before, outcome);
        return Ok(schedule::at_once(set, journal, error));
    }
    let conditions = match decide(set, connection, outcome) {
        Decided::Say(conditions) => judge::announced(conditions, set.object, context.is_namespaced),
        Decided::Unchanged(error, left) => return Ok(schedule::retry(set, Some(error), Some(left))),
    };

    if let (Some(view), None) = (view, stopped) {
        set.state.note_listing(view.listing.asked_at);
    }
    let status = match view {
        Some(view) => compose::observed(&journal.subject, view, &conditions),
        None => compose::unobserved(&journal.subject, &conditions),
    };
    let status = conditions::in_first_words(&before, status, |status| &mut status.conditions, stopped);
    let written = match journal.write(status.clone()).await {
        // Somebody has changed the set: what we created is put into what it is now.
        Err(WriteError::Outdated) => journal.merge(&status).await.and(Err(WriteError::Outdated)),
        written => written,
    };

    let has_written_to_cmdb = publish_writes(set, context, &before, outcome);
    if written.is_ok() {
        note_reported(set, context, &journal.subject.previous, &conditions);
        if let Some(view) = view {
            context.note_stored(set, view);
        }
    }
    match written {
        // The event of a write that made the set Ready is enough.
        Ok(true) if !(has_written_to_cmdb && conditions.ready) => context.events_of(set).turned(&before, &conditions),
        Ok(_) => {}
        Err(WriteError::Outdated) => return Ok(schedule::after_conflict(set, journal.conflicting_version())),
        Err(WriteError::Failed(reason)) => return Err(Error::ApiServer(reason)),
    }
    Ok(schedule::next(
        set,
        &Left {
            view,
            stopped,
            work_state: conditions.work_state,
            undecided_for: view.and_then(|view| undecided_for(set, context, view)),
            removal_delay: context.removal_delay,
        },
    ))
}

// When time decides about creates that the set has begun, or waits for.
fn undecided_for(set: &CurrentSet<'_>, context: &Context, view: &PlannedView) -> Option<Duration> {
    let own = context.engine.undecided_for(&set.uid, &view.memory);
    own.into_iter().chain(context.engine.held_for(view)).min()
}

// What the status is to say.
enum Decided<'a> {
    // These conditions.
    Say(ConditionSet),
    // What it says already: only the check failed, and not for too long, which this is the time left of.
    Unchanged(&'a Error, Duration),
}

fn decide<'a>(
    set: &CurrentSet<'_>,
    connection: Option<&SetConnection>,
    outcome: &'a Result<Outcome, Error>,
) -> Decided<'a> {
    Decided::Say(match outcome {
        Ok(Outcome { view, stopped: None, .. }) if set.object.spec.is_suspended() => judge::suspended(view),
        Ok(Outcome { view, stopped, .. }) => judge::judge(view, stopped.as_ref()),
        Err(error) if only_the_check_failed(set, error) && !leads_elsewhere(set, connection) => {
            match schedule::until_stale(set) {
                Some(left) => return Decided::Unchanged(error, left),
                None => judge::stale(error),
            }
        }
        Err(error) => conditions::from_error(error),
    })
}

fn note_reported(
    set: &CurrentSet<'_>,
    context: &Context,
    stored: &ProcessTemplateSetStatus,
    conditions: &ConditionSet,
) {
    set.state.status_reported();
    set.state.set_idle(compose::was_in_sync(stored, set.generation));
    let took = conditions.ready.then(|| set.state.note_ready(set.generation));
    if let Some(took) = took.flatten() {
        context.observer.set_became_ready(took);
    }
}

// Publishes what was written to CMDB; whether anything was.
fn publish_writes(
    set: &CurrentSet<'_>,
    context: &Context,
    before: &ProcessTemplateSetStatus,
    outcome: &Result<Outcome, Error>,
) -> bool {
    let Ok(outcome) = outcome else { return false };
    context.events_of(set).written(before, outcome);
    outcome.tally != Tally::default()
}

// What the status says was seen in another CMDB than the one that the connection leads to now.
fn leads_elsewhere(set: &CurrentSet<'_>, connection: Option<&SetConnection>) -> bool {
    let made_in = set.object.status.as_ref().and_then(|status| status.endpoint.as_deref());
    connection.is_some_and(|connection| made_in.is_some_and(|made_in| made_in != connection.url()))
}

// Nothing is outstanding; only CMDB, or something before it, cannot be asked.
fn only_the_check_failed(set: &CurrentSet<'_>, error: &Error) -> bool {
    let status = set.object.status.as_ref();
    !error.is_finding() && status.is_some_and(|status| compose::was_in_sync(status, set.generation))
}
