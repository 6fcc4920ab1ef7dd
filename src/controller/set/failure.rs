//! Failed reconciles: what is logged, published and counted of them.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource as _, ResourceExt as _};

use super::identity::CurrentSet;
use super::read::read_status;
use super::schedule;
use super::status::compose::{self, Subject};
use super::status::journal::StatusJournal;
use super::stored_set::StoredSet;
use crate::api::{ProcessTemplateSetStatus, RECONCILE_REQUESTED_AT};
use crate::cmdb;
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions;
use crate::controller::kubernetes::status_writer::{Target, WriteError};
use crate::controller::names::ObjectName;
use crate::engine::{self, Disposition};

/// Ends a reconcile that failed and whose status could not say so.
pub fn fail(set: &CurrentSet<'_>, context: &Context, error: &Error) -> Action {
    unreported(set, context, error);
    schedule::retry(set, Some(error), None)
}

/// Counts and logs what the status does not say, and publishes it once as an event.
pub fn unreported(set: &CurrentSet<'_>, context: &Context, error: &Error) {
    context.note_outcome(error.label());
    let ObjectName { namespace, name } = &set.name;
    tracing::warn!(namespace, name, reason = error.label(), %error, "reconcile failed and the status could not be updated");
    if set.state.note_unreported() {
        context.events_of(set).failed(error);
    }
}

/// Logs why a reconcile stopped, and publishes it once as an event; without an error, notes that CMDB was read.
pub fn note(set: &CurrentSet<'_>, context: &Context, stopped: Option<&Error>) {
    let Some(error) = stopped else {
        set.state.checked();
        return;
    };
    let is_reported = error.disposition() != Disposition::RetryNow;
    let is_new = is_reported && set.state.note_failure(error.label());

    // All sets of an endpoint that is down are reconciled with each probe: the first failure is logged as a warning. What
    // starts again at once has not failed.
    let ObjectName { namespace, name } = &set.name;
    if error.due().is_some() && !is_new || !is_reported {
        tracing::debug!(namespace, name, reason = error.label(), %error, "reconcile failed again");
    } else {
        tracing::warn!(namespace, name, reason = error.label(), %error, "reconcile failed");
    }

    if let Error::Engine(engine::Error::Cmdb(error)) = error {
        if matches!(**error, cmdb::Error::Authentication { .. }) {
            context.connections.reread_credentials(&set.connection);
        }
        context.connections.note_error(&set.connection, error);
    }
    if is_new {
        context.events_of(set).failed(error);
    }
}

/// Writes the status of an object that cannot be read as a set. What its status remembers stays.
pub async fn malformed(object: &StoredSet, context: &Context, reason: &str) -> Action {
    let error = Error::Malformed(reason.chars().take(300).collect());
    context.note_outcome(error.label());
    let target = Target::of(object);
    let ObjectName { namespace, name } = &target.name;
    tracing::warn!(namespace, name, %error, "the object cannot be read as a ProcessTemplateSet");

    let state = context.sets.of(&target.name, &target.uid);
    let again = Action::requeue(state.next_backoff());
    match read_status(&context.client, &target).await {
        Ok(Some((_, previous))) => {
            let subject = subject(object, previous, None);
            if say(context, &target, subject, &error).await { Action::await_change() } else { again }
        }
        Ok(None) => again,
        Err(error) => {
            tracing::warn!(namespace, name, %error, "the status could not be read");
            again
        }
    }
}

/// Says in the status of a set that its reconcile panicked; the next is not before `wait` is over.
pub async fn panicked(object: &StoredSet, context: &Context, wait: Duration) {
    let target = Target::of(object);
    // Before the write, whose watch event would start the next at once.
    context.sets.of(&target.name, &target.uid).back_off(wait);
    let ObjectName { namespace, name } = &target.name;
    let (resource_version, previous) = match read_status(&context.client, &target).await {
        Ok(Some(read)) => read,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(namespace, name, %error, "the status could not be read");
            return;
        }
    };

    // A reconcile that was requested has been: it would otherwise be started again without a wait.
    let requested_at = object.annotations().get(RECONCILE_REQUESTED_AT).cloned();
    let subject = subject(object, previous, requested_at);
    let before = subject.previous.conditions.clone();
    let target = Target { resource_version, ..target };
    if say(context, &target, subject, &Error::Panicked).await {
        context.events.turned(object.object_ref(&()), &before, &conditions::from_error(&Error::Panicked));
    }
}

/// Ends the reconcile of a large set that could not be read from the API server.
pub fn unread(target: &Target, context: &Context, error: &Error) -> Action {
    context.note_outcome(error.label());
    let ObjectName { namespace, name } = &target.name;
    tracing::warn!(namespace, name, reason = error.label(), %error, "the set could not be read from the API server");
    Action::requeue(context.sets.of(&target.name, &target.uid).next_backoff())
}

// The subject of a status that is composed from the metadata and the keys alone.
fn subject(object: &StoredSet, previous: ProcessTemplateSetStatus, requested_at: Option<String>) -> Subject {
    let generation = object.meta().generation.unwrap_or_default();
    let keys = match object.read() {
        Ok(set) => set.spec.processes.into_iter().map(|process| process.name).collect(),
        // Of a large set only the claims are kept.
        Err(_) => object.claims().map(|claims| claims.processes.keys().cloned().collect()).unwrap_or_default(),
    };
    Subject { generation, keys, previous, is_new: false, requested_at, now: Time(Timestamp::now()) }
}

// Writes a status without a look at CMDB; whether that succeeded.
async fn say(context: &Context, target: &Target, subject: Subject, error: &Error) -> bool {
    let ObjectName { namespace, name } = &target.name;
    let state = context.sets.of(&target.name, &target.uid);
    let status = compose::unobserved(&subject, &conditions::from_error(error));
    let mut journal = StatusJournal::new(&context.client, &*context.observer, &state, subject, target.clone());
    match journal.write(status).await {
        Ok(_) => return true,
        Err(WriteError::Outdated) => {}
        Err(WriteError::Failed(reason)) => tracing::warn!(namespace, name, reason, "the status could not be updated"),
    }
    false
}
