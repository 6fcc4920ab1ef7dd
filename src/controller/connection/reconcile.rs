//! Reconciles connections: whether CMDB answers over them, and what their status says.
//!
//! # Flow
//! 1. The verdict follows what the sets see ([`super::last_answer`]): a turn of CMDB's answers, from good to bad or back, wakes
//!    the connection, which then judges by them without a call of its own.
//! 2. Where there is no newer answer, CMDB is asked: when none came for ten minutes; when the last was bad, after half the time
//!    for which calls have failed, from one second to ten minutes; at once when somebody requests it with the annotation
//!    `reconcile-requested-at`.
//! 3. A verdict that changes again and again is written with growing distance ([`super::steadiness`]).
//! 4. When the status says that refused credentials are taken again, the sets that they had stopped are woken.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, controller};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::entry::Live;
use super::last_answer::News;
use super::name::ConnectionName;
use super::status::{self, Facts};
use crate::api::{
    ClusterCmdbConnection, CmdbConnection, ConnectionKind, ConnectionStatus, RECONCILE_REQUESTED_AT, SchemaChoice,
};
use crate::cmdb::{self, Transport};
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions;
use crate::controller::kubernetes::retry_state::StateHandle;
use crate::controller::kubernetes::status_writer::{Target, WriteError, replace_status};
use crate::controller::reason::Reason;
use crate::controller::watch::store::ready;
use crate::controller::watch::waker;
use crate::engine;
use crate::plan::ServerSchema;

// CMDB is asked when it has not answered anything for this long.
const CHECK_AFTER: Duration = Duration::from_mins(10);

// First wait before a connection that failed is checked again.
const FIRST_RETRY: Duration = Duration::from_secs(1);

// Longest wait for the watch to deliver a connection that has changed during its reconcile.
const OUTDATED: Duration = Duration::from_secs(15);

// Where no watch tells of Secrets, they are polled this often.
const SECRETS_EVERY: Duration = Duration::from_mins(1);

// A set that has just started to use a connection will have an answer of CMDB soon.
const FIRST_ANSWER: Duration = Duration::from_secs(5);

// Many sets come and go together; their number is written once.
const DEBOUNCE: Duration = Duration::from_secs(1);

/// A connection of either kind.
pub trait ConnectionObject: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync {
    /// Its kind.
    const KIND: ConnectionKind;

    /// Its status.
    fn status(&self) -> Option<&ConnectionStatus>;
}

impl ConnectionObject for CmdbConnection {
    const KIND: ConnectionKind = ConnectionKind::CmdbConnection;

    fn status(&self) -> Option<&ConnectionStatus> {
        self.status.as_ref()
    }
}

impl ConnectionObject for ClusterCmdbConnection {
    const KIND: ConnectionKind = ConnectionKind::ClusterCmdbConnection;

    fn status(&self) -> Option<&ConnectionStatus> {
        self.status.as_ref()
    }
}

/// Reconciles the connections of one kind until `shutdown`.
pub async fn run<K: ConnectionObject + 'static>(
    controller: Controller<DeserializeGuard<K>>,
    woken: UnboundedReceiver<ObjectRef<DeserializeGuard<K>>>,
    context: Arc<Context>,
    shutdown: CancellationToken,
) {
    let running =
        controller
            .with_config(controller::Config::default().debounce(DEBOUNCE))
            .reconcile_on(waker::stream(woken))
            .run(
                |object, context| async move {
                    Ok::<controller::Action, Infallible>(supervised(object, context).await.into())
                },
                |_, never, _| match *never {},
                Arc::clone(&context),
            )
            .for_each(|result| {
                match result {
                    Ok(_) => {}
                    Err(controller::Error::ObjectNotFound(gone)) => {
                        let namespace = gone.namespace.clone().unwrap_or_default();
                        let name = ConnectionName { kind: K::KIND, namespace, name: gone.name };
                        context.forget_connection(&name);
                    }
                    Err(error) => tracing::warn!(%error, "the controller of connections failed"),
                }
                futures::future::ready(())
            });
    // Nothing is lost with a status that was not written.
    tokio::select! {
        () = running => {}
        () = shutdown.cancelled() => {}
    }
}

// A panic ends only this reconcile: the status says so, and it is retried with backoff.
async fn supervised<K: ConnectionObject + 'static>(object: Arc<DeserializeGuard<K>>, context: Arc<Context>) -> Action {
    let name = name_of(&*object);
    let watched = {
        let (object, context, liveness) = (Arc::clone(&object), Arc::clone(&context), Arc::clone(&context.liveness));
        let reconcile = async move { reconcile(&object, &context).await };
        liveness.watch(format!("the reconcile of {name}"), reconcile)
    };
    let panic = match AbortOnDropHandle::new(tokio::spawn(watched)).await {
        Ok(action) => return action,
        Err(panic) => panic,
    };

    tracing::error!(connection = %name, %panic, "reconcile panicked (bug)");
    let state = context.connection_states.of(&name.object(), object.meta().uid.as_deref().unwrap_or_default());
    let wait = state.next_backoff();
    state.back_off(wait);
    // A task of its own too: what made the reconcile panic may make this panic.
    let report = {
        let (name, context) = (name.clone(), Arc::clone(&context));
        async move { report_panic(&object, &name, &context).await }
    };
    if let Err(panic) = AbortOnDropHandle::new(tokio::spawn(report)).await {
        tracing::error!(connection = %name, %panic, "a panic could not be reported in the status (bug)");
    }
    Action::requeue(wait)
}

// Where the panicked reconcile has written the status itself, the watch brings the present one: see `check_and_report`.
async fn report_panic<K: ConnectionObject>(object: &DeserializeGuard<K>, name: &ConnectionName, context: &Context) {
    let Ok(connection) = &object.0 else { return };
    let previous = connection.status().cloned().unwrap_or_default();
    let conditions = conditions::from_error(&Error::Panicked);
    let generation = object.meta().generation.unwrap_or_default();
    let status = status::failed(&previous, generation, Time(Timestamp::now()), &conditions);
    let target = Target::of(object);
    let state = context.connection_states.of(&target.name, &target.uid);
    state.note_unreported();
    if status == previous {
        state.status_reported();
    } else if write::<K>(context, name, &target, &status).await.is_ok() {
        state.status_reported();
        context.events.turned(connection.object_ref(&()), &previous.conditions, &conditions);
    }
}

fn name_of<K: ConnectionObject>(object: &DeserializeGuard<K>) -> ConnectionName {
    ConnectionName { kind: K::KIND, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

async fn reconcile<K: ConnectionObject>(object: &DeserializeGuard<K>, context: &Context) -> Action {
    let wait = check_and_report::<K>(object, context).await;
    match wait {
        Some(wait) if context.connections.are_secrets_read() => Action::requeue(wait.min(SECRETS_EVERY)),
        Some(wait) => Action::requeue(wait),
        None => Action::await_change(),
    }
}

// Checks one connection: the wait until the next check; None: there is nothing to check before it changes.
async fn check_and_report<K: ConnectionObject>(object: &DeserializeGuard<K>, context: &Context) -> Option<Duration> {
    let metadata = object.meta();
    let (name, target) = (name_of(object), Target::of(object));
    let generation = metadata.generation.unwrap_or_default();

    // Its sets hear of a change, whatever is wrong with it.
    context.wake_sets(&context.connections.observe(&name, metadata));
    if let Some(users) = context.connections.poll_secrets(&name).await {
        context.connection_states.wake(&target.name);
        context.wake_sets(&users);
    }
    let state = context.connection_states.of(&target.name, &target.uid);
    let requested_at = object.annotations().get(RECONCILE_REQUESTED_AT).cloned();
    let handled_at =
        object.0.as_ref().ok().and_then(K::status).and_then(|status| status.last_handled_reconcile_at.clone());
    let is_requested = requested_at != handled_at;
    context.forget_replaced();
    if let Some(left) = state.begin_reconcile(generation, is_requested, None) {
        if state.is_unreported() {
            report_panic(object, &name, context).await;
        }
        return Some(left);
    }
    let Ok(connection) = &object.0 else {
        // The sets that use it say so; its status cannot be read either.
        tracing::warn!(connection = %name, "the connection cannot be read");
        return None;
    };

    // Its users are known once the sets are.
    if tokio::time::timeout(FIRST_ANSWER, ready(&context.store)).await.is_err() {
        return Some(FIRST_ANSWER);
    }
    let sets = count_sets(&name, context);
    let live = context.connections.live(&name).await;
    if let Ok(live) = &live
        && sets > 0
        && live.last_answer().is_none()
        && live.built_at.elapsed() < FIRST_ANSWER
    {
        return Some(FIRST_ANSWER);
    }

    let previous = connection.status().cloned().unwrap_or_default();
    let checked = match &live {
        Ok(live) => match check(&name, live, is_requested, sets, context).await {
            Checked::Later => return Some(FIRST_ANSWER),
            Checked::Now(checked) => checked,
        },
        Err(error) => Err(error.clone()),
    };
    // A call that was not sent says nothing of the connection.
    if context.shutdown.is_cancelled() {
        return None;
    }
    let answer = live.as_ref().ok().and_then(Live::last_answer);
    let conditions = match (&checked, &live) {
        (Err(error), _) => conditions::from_error(error),
        (Ok(()), live) => {
            status::reachable(live.as_ref().ok().and_then(|live| live.pending_credentials_error.as_deref()))
        }
    };
    let version = match (&live, &checked) {
        (Ok(live), Ok(())) => version(live, &previous, generation).await,
        _ => None,
    };

    let facts = Facts { requested_at, ..facts(live.as_ref().ok(), version, generation, sets, context) };
    let status = status::compose(&previous, &facts, &conditions);
    let error = checked.as_ref().err();
    let status = conditions::in_first_words(&previous, status, |status| &mut status.conditions, error);
    if let Err(error) = &checked {
        tracing::warn!(connection = %name, reason = error.label(), %error, "the connection cannot be used");
    }
    let has_changed = status.conditions != previous.conditions;
    if let Ok(live) = &live
        && has_changed
        && !is_requested
        && previous.observed_generation == Some(generation)
        && let Some(left) = until_steady(live, &previous, &checked)
    {
        if checked.is_ok() {
            state.reset_backoff();
        }
        return Some(left);
    }
    if status != previous {
        match write::<K>(context, &name, &target, &status).await {
            Ok(()) => {
                if let Some(live) = live.as_ref().ok().filter(|_| has_changed) {
                    live.answers.note_change();
                }
                context.events.turned(connection.object_ref(&()), &previous.conditions, &conditions);
            }
            // The watch delivers what has changed; the verdict is the same then, without another call.
            Err(WriteError::Outdated) => return Some(OUTDATED),
            Err(WriteError::Failed(_)) => {}
        }
    }
    if let Ok(live) = &live {
        live.answers.judged(answer);
    }
    if checked.is_ok() && was_refused(&previous) {
        wake_refused_sets(&name, context);
    }
    Some(next(&state, checked.err().as_ref()))
}

// What is left of the wait before the status may have this other verdict.
fn until_steady(live: &Live, previous: &ConnectionStatus, checked: &Result<(), Error>) -> Option<Duration> {
    let is_failing = ready_of(previous).is_some_and(|ready| ready.status == "False");
    match checked {
        Ok(()) if is_failing => live.answers.until_good(),
        Err(Error::Engine(engine::Error::Cmdb(_))) if is_failing => live.answers.until_reworded(),
        _ => None,
    }
}

fn was_refused(previous: &ConnectionStatus) -> bool {
    ready_of(previous).is_some_and(|ready| ready.reason == Reason::Unauthorized.as_str())
}

fn ready_of(status: &ConnectionStatus) -> Option<&Condition> {
    status.conditions.iter().find(|condition| condition.type_ == "Ready")
}

// Sets whose credentials were refused wait for a change, which this is.
fn wake_refused_sets(name: &ConnectionName, context: &Context) {
    let mut users = context.connections.users(name);
    users.retain(|set| context.sets.is_failing(set, Reason::Unauthorized.as_str()));
    context.wake_sets(&users);
}

fn count_sets(name: &ConnectionName, context: &Context) -> usize {
    let sets = context.store.state();
    sets.iter().filter(|set| set.claims().is_some_and(|claims| claims.connection == *name)).count()
}

// The result of a check, or that a set will have one soon.
enum Checked {
    Now(Result<(), Error>),
    Later,
}

// CMDB is asked only where its answers to the sets do not tell, or somebody has requested it.
async fn check(name: &ConnectionName, live: &Live, is_requested: bool, sets: usize, context: &Context) -> Checked {
    let failed = |error: Arc<cmdb::Error>| Checked::Now(Err(Error::Engine(engine::Error::Cmdb(error))));
    if !is_requested {
        match live.answers.news() {
            News::Good => return Checked::Now(Ok(())),
            News::Bad(error) => return failed(error),
            News::Failing(since) if sets > 0 && since < FIRST_ANSWER => return Checked::Later,
            News::None | News::Failing(_) => {}
        }
        if live.last_answer().is_some_and(|last| last.is_good && last.at.elapsed() < CHECK_AFTER) {
            return Checked::Now(Ok(()));
        }
    }
    live.answers.begin_check();
    match context.connections.check(name, live).await {
        Ok(()) => Checked::Now(Ok(())),
        Err(error) => failed(Arc::new(error)),
    }
}

// Asked for once for each generation: it is for people, and nothing hangs on it.
async fn version(live: &Live, previous: &ConnectionStatus, generation: i64) -> Option<String> {
    let known = previous.version.clone().filter(|_| previous.observed_generation == Some(generation));
    match live.connection.client.transport() {
        Transport::Direct if known.is_none() => live.connection.client.version().await,
        Transport::Direct => known,
        Transport::Esb | Transport::Gateway => None,
    }
}

fn facts(live: Option<&Live>, version: Option<String>, generation: i64, sets: usize, context: &Context) -> Facts {
    let schema_of = |live: &Live| context.engine.schema(live.connection.client.url(), live.connection.schema);
    let schema = live.and_then(|live| match schema_of(live) {
        ServerSchema::Unknown => None,
        ServerSchema::Flat => Some(SchemaChoice::Flat),
        ServerSchema::BindInfo => Some(SchemaChoice::BindInfo),
    });
    Facts {
        generation,
        now: Time(Timestamp::now()),
        schema,
        version,
        requested_at: None,
        sets,
        requests_per_second: live.map(|live| live.connection.client.learned_rate()),
        credentials_version: live.map(|live| live.credentials_version.clone()),
    }
}

async fn write<K: ConnectionObject>(
    context: &Context,
    name: &ConnectionName,
    target: &Target,
    status: &ConnectionStatus,
) -> Result<(), WriteError> {
    let written = replace_status::<K>(&context.client, &mut target.clone(), status).await;
    match &written {
        Ok(()) => context.observer.status_written(K::KIND.as_str()),
        Err(WriteError::Outdated) => tracing::debug!(connection = %name, "the connection has changed meanwhile"),
        Err(WriteError::Failed(reason)) => {
            tracing::warn!(connection = %name, reason, "the status of the connection could not be updated");
        }
    }
    written
}

fn next(state: &StateHandle<'_>, error: Option<&Error>) -> Duration {
    let Some(error) = error else {
        state.reset_backoff();
        return CHECK_AFTER;
    };
    let wait = match error {
        // A refusal may end without any change here: the wait grows with the time that it has lasted.
        Error::Engine(engine::Error::Cmdb(_)) => (state.failing_for() / 2).clamp(FIRST_RETRY, CHECK_AFTER),
        _ => state.next_backoff(),
    };
    let wait = match error.disposition() {
        engine::Disposition::RetryLater(Some(after)) => after,
        engine::Disposition::WaitForChange if !matches!(error, Error::Engine(engine::Error::Cmdb(_))) => CHECK_AFTER,
        engine::Disposition::RetryLater(None) | engine::Disposition::RetryNow | engine::Disposition::WaitForChange => {
            wait
        }
    };
    // Not before that, though its own status wakes it. A turn of CMDB's answers ends the wait.
    state.back_off(wait);
    wait
}
