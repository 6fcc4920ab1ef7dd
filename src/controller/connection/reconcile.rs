//! Reconciles connections: whether CMDB answers over them, and what their status says.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
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
use super::name::ConnectionName;
use super::status::{self, Facts};
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, ConnectionStatus, SchemaChoice};
use crate::cmdb::Transport;
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions;
use crate::controller::kubernetes::retry_state::StateHandle;
use crate::controller::kubernetes::status_writer::{Target, WriteError, replace_status};
use crate::controller::watch::store::ready;
use crate::controller::watch::waker;
use crate::engine;
use crate::plan::ServerSchema;

// CMDB is asked when it has not answered anything for this long.
const CHECK_AFTER: Duration = Duration::from_mins(10);

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
                        context.connection_states.forget(&name.object());
                        context.wake_sets(&context.connections.gone(&name));
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

// Where the panicked reconcile has written the status itself, the watch brings what stands now: see `check_and_report`.
async fn report_panic<K: ConnectionObject>(object: &DeserializeGuard<K>, name: &ConnectionName, context: &Context) {
    let Ok(connection) = &object.0 else { return };
    let previous = connection.status().cloned().unwrap_or_default();
    let conditions = conditions::from_error(&Error::Panicked);
    let generation = object.meta().generation.unwrap_or_default();
    let status = status::failed(&previous, generation, Time(Timestamp::now()), &conditions);
    let target = target(object);
    let state = context.connection_states.of(&target.name, &target.uid);
    state.note_unreported();
    if status == previous {
        state.status_reported();
    } else if write::<K>(context, name, &target, &status).await {
        state.status_reported();
        context.events.turned(connection.object_ref(&()), &previous.conditions, &conditions);
    }
}

fn name_of<K: ConnectionObject>(object: &DeserializeGuard<K>) -> ConnectionName {
    ConnectionName { kind: K::KIND, namespace: object.namespace().unwrap_or_default(), name: object.name_any() }
}

fn target<K: ConnectionObject>(object: &DeserializeGuard<K>) -> Target {
    let metadata = object.meta();
    Target {
        name: name_of(object).object(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    }
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
    let (name, target) = (name_of(object), target(object));
    let generation = metadata.generation.unwrap_or_default();

    // Its sets hear of a change, whatever is wrong with it.
    context.wake_sets(&context.connections.observe(&name, metadata));
    if let Some(users) = context.connections.poll_secrets(&name).await {
        context.connection_states.wake(&target.name);
        context.wake_sets(&users);
    }
    let state = context.connection_states.of(&target.name, &target.uid);
    if let Some(left) = state.begin_reconcile(generation, false, None).backoff_left {
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
        Ok(live) => check(&name, live, context).await,
        Err(error) => Err(error.clone()),
    };
    // A call that was not sent says nothing of the connection.
    if context.shutdown.is_cancelled() {
        return None;
    }
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

    let facts = facts(live.as_ref().ok(), version, generation, sets, context);
    let status = status::compose(&previous, &facts, &conditions);
    let error = checked.as_ref().err();
    let status = conditions::in_first_words(&previous, status, |status| &mut status.conditions, error);
    if let Err(error) = &checked {
        tracing::warn!(connection = %name, reason = error.label(), %error, "the connection cannot be used");
    }
    if status != previous && write::<K>(context, &name, &target, &status).await {
        context.events.turned(connection.object_ref(&()), &previous.conditions, &conditions);
    }
    Some(next(&state, checked.err().as_ref()))
}

fn count_sets(name: &ConnectionName, context: &Context) -> usize {
    let sets = context.store.state();
    sets.iter().filter(|set| set.claims().is_some_and(|claims| claims.connection == *name)).count()
}

// CMDB is asked only where its answers to the sets do not tell.
async fn check(name: &ConnectionName, live: &Live, context: &Context) -> Result<(), Error> {
    if live.last_answer().is_some_and(|last| last.is_good && last.at.elapsed() < CHECK_AFTER) {
        return Ok(());
    }
    let checked = context.connections.check(name, live).await;
    checked.map_err(|error| Error::Engine(engine::Error::Cmdb(Arc::new(error))))
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
) -> bool {
    match replace_status::<K>(&context.client, &mut target.clone(), status).await {
        Ok(()) => {
            context.observer.status_written(K::KIND.as_str());
            return true;
        }
        // The watch delivers it again; what is missing then is written then.
        Err(WriteError::Outdated) => tracing::debug!(connection = %name, "the connection has changed meanwhile"),
        Err(WriteError::Failed(reason)) => {
            tracing::warn!(connection = %name, reason, "the status of the connection could not be updated");
        }
    }
    false
}

fn next(state: &StateHandle<'_>, error: Option<&Error>) -> Duration {
    let Some(error) = error else {
        state.reset_backoff();
        return CHECK_AFTER;
    };
    let backoff = state.next_backoff();
    let wait = match error.disposition() {
        engine::Disposition::RetryLater(Some(after)) => after,
        engine::Disposition::RetryLater(None) | engine::Disposition::RetryNow => backoff,
        engine::Disposition::WaitForChange => CHECK_AFTER,
    };
    // Not before that, though its own status and the sets that fail wake it.
    state.back_off(wait);
    wait
}
