//! The connections themselves: whether CMDB answers over them, and what their status says.

use std::convert::Infallible;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::core::DeserializeGuard;
use kube::runtime::controller;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::sync::CancellationToken;

use super::cache::Live;
use super::name::ConnectionName;
use super::status;
use super::status::Facts;
use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, ConnectionStatus, SchemaChoice};
use crate::cmdb::Transport;
use crate::controller::action::Action;
use crate::controller::kubernetes::conditions;
use crate::controller::kubernetes::status_writer;
use crate::controller::kubernetes::status_writer::{Target, WriteError};
use crate::controller::set::events;
use crate::controller::{Context, Error, ready, to_wake_stream};
use crate::engine;
use crate::plan::ServerSchema;

// CMDB is asked when nothing was heard from it for so long.
const CHECK_AFTER: Duration = Duration::from_mins(10);

// Where no watch tells of Secrets, they are looked at so often.
const SECRETS_EVERY: Duration = Duration::from_mins(1);

// Sets that have just begun to use a connection will be heard soon.
const FIRST_WORDS: Duration = Duration::from_secs(5);

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

/// Looks after the connections of one kind until `shutdown`.
pub async fn run<K: ConnectionObject + 'static>(
    controller: Controller<DeserializeGuard<K>>,
    to_wake: UnboundedReceiver<ObjectRef<DeserializeGuard<K>>>,
    context: Arc<Context>,
    shutdown: CancellationToken,
) {
    let running =
        controller
            .with_config(controller::Config::default().debounce(DEBOUNCE))
            .reconcile_on(to_wake_stream(to_wake))
            .run(
                |object, context| async move {
                    Ok::<controller::Action, Infallible>(reconcile(&object, &context).await.into())
                },
                |_, never, _| match *never {},
                Arc::clone(&context),
            )
            .for_each(|result| {
                ended::<K, _>(&context, result);
                futures::future::ready(())
            });
    // Nothing is lost with a status that was not written.
    tokio::select! {
        () = running => {}
        () = shutdown.cancelled() => {}
    }
}

fn ended<K: ConnectionObject, T>(context: &Context, result: Result<T, controller::Error<Infallible, watcher::Error>>) {
    match result {
        Ok(_) => {}
        Err(controller::Error::ObjectNotFound(gone)) => {
            let namespace = gone.namespace.clone().unwrap_or_default();
            context.connection_objects.forget(&namespace, &gone.name);
            let name = ConnectionName { kind: K::KIND, namespace, name: gone.name };
            context.wake_sets(context.connections.gone(&name));
        }
        Err(error) => tracing::warn!(%error, "the controller of connections failed"),
    }
}

async fn reconcile<K: ConnectionObject>(object: &DeserializeGuard<K>, context: &Context) -> Action {
    let wait = look::<K>(object, context).await;
    match wait {
        Some(wait) if context.connections.are_secrets_read() => Action::requeue(wait.min(SECRETS_EVERY)),
        Some(wait) => Action::requeue(wait),
        None => Action::await_change(),
    }
}

// Looks at one connection: the wait until the next look; None: nobody can look before it changes.
async fn look<K: ConnectionObject>(object: &DeserializeGuard<K>, context: &Context) -> Option<Duration> {
    let metadata = object.meta();
    let name =
        ConnectionName { kind: K::KIND, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
    let target = Target {
        namespace: name.namespace.clone(),
        name: name.name.clone(),
        uid: metadata.uid.clone().unwrap_or_default(),
        resource_version: metadata.resource_version.clone().unwrap_or_default(),
    };
    let generation = metadata.generation.unwrap_or_default();
    context.wake_sets(context.connections.seen(&name, metadata));
    if let Some(users) = context.connections.look_at_secrets(&name).await {
        context.connection_objects.wake(&name.namespace, &name.name);
        context.wake_sets(users);
    }
    let begun = context.connection_objects.begin_reconcile(
        &target.namespace,
        &target.name,
        &target.uid,
        generation,
        false,
        None,
    );
    if let Some(left) = begun.held_for {
        return Some(left);
    }
    let Ok(connection) = &object.0 else {
        // The sets that use it say so; its status cannot be read either.
        tracing::warn!(connection = %name, "a connection cannot be read");
        return None;
    };
    // Who uses it is known once the sets are.
    if tokio::time::timeout(FIRST_WORDS, ready(&context.store)).await.is_err() {
        return Some(FIRST_WORDS);
    }
    let sets = count_sets(&name, context);
    let looked = context.connections.live(&name).await;
    if let Ok(live) = &looked
        && sets > 0
        && is_about_to_be_heard(live)
    {
        return Some(FIRST_WORDS);
    }
    let previous = connection.status().cloned().unwrap_or_default();
    let checked = match &looked {
        Ok(live) => check(&name, live, context).await,
        Err(error) => Err(error.clone()),
    };
    // What was not asked says nothing of the connection.
    if context.shutdown.is_cancelled() {
        return None;
    }
    let verdict = match (&checked, &looked) {
        (Err(error), _) => conditions::from_error(error),
        (Ok(()), live) => {
            status::reachable(live.as_ref().ok().and_then(|live| live.pending_credentials_error.as_deref()))
        }
    };
    let version = match (&looked, &checked) {
        (Ok(live), Ok(())) => version(live, &previous, generation).await,
        _ => None,
    };
    let facts = facts(looked.as_ref().ok(), version, generation, sets, context);
    let status = status::compose(&previous, &facts, &verdict);
    let error = checked.as_ref().err();
    let status = conditions::in_first_words(&previous, status, |status| &mut status.conditions, error);
    if let Err(error) = &checked {
        tracing::warn!(connection = %name, reason = error.label(), %error, "the connection cannot be used");
    }
    if status != previous && write::<K>(context, &name, &target, &status).await {
        events::turned(context, connection.object_ref(&()), &previous.conditions, &verdict);
    }
    Some(next(context, &target, checked.err().as_ref()))
}

fn count_sets(name: &ConnectionName, context: &Context) -> usize {
    let sets = context.store.state();
    sets.iter().filter(|set| set.claims().is_some_and(|claims| claims.connection == *name)).count()
}

fn is_about_to_be_heard(live: &Live) -> bool {
    live.last_answer().is_none() && live.built_at.elapsed() < FIRST_WORDS
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
    let schema = live.and_then(|live| match context.engine.schema(&live.connection) {
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
    match status_writer::replace_status::<K>(&context.client, &mut target.clone(), status).await {
        Ok(()) => {
            context.observer.status_written(K::KIND.as_str());
            return true;
        }
        // The watch brings it again; what is missing then is written then.
        Err(WriteError::Outdated) => tracing::debug!(name = target.name, "a connection has changed meanwhile"),
        Err(WriteError::Failed(reason)) => {
            tracing::warn!(connection = %name, reason, "the status of a connection could not be written");
        }
    }
    false
}

fn next(context: &Context, target: &Target, error: Option<&Error>) -> Duration {
    let Target { namespace, name, uid, .. } = target;
    let Some(error) = error else {
        context.connection_objects.reset_backoff(namespace, name, uid);
        return CHECK_AFTER;
    };
    let backoff = context.connection_objects.next_backoff(namespace, name, uid);
    let wait = match error.disposition() {
        engine::Disposition::RetryLater(Some(after)) => after,
        engine::Disposition::RetryLater(None) | engine::Disposition::RetryNow => backoff,
        engine::Disposition::WaitForChange => CHECK_AFTER,
    };
    // Not before that, though its own status and the sets that fail wake it.
    context.connection_objects.back_off(namespace, name, uid, wait);
    wait
}
