//! Runs the controller: watches, reconciles, and an orderly end.
//!
//! # Flow
//! Watches of sets, connections, and (cluster-wide) of shared connections, namespaces and Secrets feed one kube controller for
//! each kind. Sets and connections wake one another through [`Waker`]. On shutdown no reconcile starts; those in flight stop
//! after the call that they are in and store what it gave; then the last events are published. A task that fails has the same
//! effect as a shutdown, and is returned as the error ([`super::tasks`]).

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, controller, watcher};
use kube::{Client, CustomResourceExt, Resource as _};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::build::Bounds;
use super::connection::cache::Connections;
use super::connection::client_builder::{ClientBuilder, TurnedConnection};
use super::connection::lookup::ConnectionLookup;
use super::connection::reconcile;
use super::context::Context;
use super::kubernetes::events;
use super::kubernetes::retry_state::RetryState;
use super::names::ObjectName;
use super::observer::Observer;
use super::places::Places;
use super::set::large_sets::LargeSets;
use super::set::other_sets::SetIndex;
use super::set::stored_set::StoredSet;
use super::set::supervise;
use super::set::under_way::UnderWay;
use super::settings::{SecretAccess, Settings};
use super::snapshot::StateSource;
use super::tasks::{TaskResult, Tasks};
use super::watch::cluster::Cluster;
use super::watch::queue::Queue;
use super::watch::readiness::Readiness;
use super::watch::{streams, waker};
use crate::api::{CmdbConnection, ProcessTemplateSet};
use crate::cmdb;
use crate::engine::Engine;

// Sets of one page of the first list. A page is held in memory as a whole, twice while it is received, and a set has up to
// 1.5 MB: ten take at most 30 MB for a moment.
const PAGE_SIZE: u32 = 10;

// Longest wait for what is still to be stored when the last call to CMDB has ended: the intents of what is not stored stay.
const LAST_WRITES: Duration = Duration::from_secs(8);

// Longest wait for the last events before the end.
const LAST_EVENTS: Duration = Duration::from_secs(5);

// The task whose end is that of the controller.
const SETS: &str = "controller of sets";

/// Runs until `shutdown`: then no reconcile starts, and those in flight stop after their present call and save what it gave.
/// That takes no longer than this call may, and half a minute.
///
/// # Errors
/// When one of its tasks panicked or ended before `shutdown`. It has stopped then in the same way.
pub async fn run(
    client: Client,
    settings: Settings,
    observer: Arc<dyn Observer>,
    cmdb_observer: Arc<dyn cmdb::Observer>,
    shutdown: CancellationToken,
) -> TaskResult {
    let shutdown = shutdown.child_token();
    let mut tasks = Tasks::new(Arc::clone(&settings.liveness));
    let (events, publishing) = events::queue(client.clone(), settings.instance.clone());
    tasks.spawn("event publisher", publishing);

    // Watches.
    let namespaces = &settings.namespaces;
    let (readiness, queue) = (Readiness::new(Arc::clone(&observer)), Arc::<Queue>::default());
    let health = readiness.of(ProcessTemplateSet::crd_name(), namespaces);
    let pages = watcher::Config::default().page_size(PAGE_SIZE);
    let index = Arc::<SetIndex>::default();
    let under_way = Arc::<UnderWay>::default();
    let (due, indexed, watched) = (Arc::clone(&queue), Arc::clone(&index), Arc::clone(&under_way));
    let delivered = move |set: &StoredSet, is_gone: bool| {
        indexed.insert(set);
        watched.observe(set, is_gone);
        due.note_due(ObjectName::of(&ObjectRef::from_obj(set)));
    };
    let sets = streams::controller::<StoredSet>(&client, namespaces, &pages, &health, delivered);
    let health = readiness.of(CmdbConnection::crd_name(), namespaces);
    let connections = streams::controller(&client, namespaces, &watcher::Config::default(), &health, |_, _| {});
    // An operator of some namespaces needs no rights on the cluster.
    let cluster = namespaces.is_empty().then(|| Cluster::new(&client, &readiness));
    let lookup = ConnectionLookup {
        namespaced: connections.store(),
        shared: cluster.as_ref().map(|cluster| cluster.shared.clone()),
    };

    // What reconciles use.
    let (waker, woken) = waker::waker();
    let (waker, connection_states) = (Arc::new(waker), Arc::<RetryState>::default());
    let turned: TurnedConnection = {
        let (waker, states) = (Arc::clone(&waker), Arc::clone(&connection_states));
        Arc::new(move |connection| {
            states.wake(&connection.object());
            waker.connection(connection);
        })
    };
    let limiters = Arc::new(cmdb::Limiters::new(shutdown.clone()));
    let bounds = Bounds {
        url_policy: Arc::new(settings.url_policy.clone()),
        limiters: Arc::clone(&limiters),
        write_gate: Arc::clone(&settings.write_gate),
    };
    let builder = ClientBuilder::new(bounds, cmdb_observer, turned);
    let context = Arc::new(Context {
        engine: Engine::new(settings.create_grace),
        connections: Arc::new(Connections::new(client.clone(), settings.secrets, lookup, builder)),
        sets: RetryState::default(),
        connection_states,
        store: sets.store(),
        index,
        waker,
        removal_delay: settings.removal_delay,
        events,
        observer: Arc::clone(&observer),
        client,
        limiters,
        queue,
        under_way,
        places: Places::new(settings.shared_places.into()),
        is_namespaced: !settings.namespaces.is_empty(),
        large_sets: LargeSets::default(),
        shutdown: shutdown.clone(),
        liveness: Arc::clone(&settings.liveness),
        reconciles: TaskTracker::new(),
    });
    let source: Arc<dyn StateSource> = context.clone();
    observer.controller_started(Arc::downgrade(&source));
    drop(source);

    // Connections beside sets, until the last set has ended.
    let end_of_sets = CancellationToken::new();
    tasks.spawn(
        "controller of CmdbConnections",
        reconcile::run(connections, woken.connections, Arc::clone(&context), end_of_sets.clone()),
    );
    if let Some(Cluster { connections, namespaces, .. }) = cluster {
        tasks.spawn(
            "controller of ClusterCmdbConnections",
            reconcile::run(connections, woken.cluster_connections, Arc::clone(&context), end_of_sets.clone()),
        );
        let of_namespaces = Arc::clone(&context);
        let wake = move |namespace: &str| {
            of_namespaces.wake_sets(&of_namespaces.connections.users_of_shared(namespace));
        };
        tasks.spawn("watch of namespaces", namespaces.run(wake, end_of_sets.clone()));
    }
    tasks.spawn(SETS, reconcile_sets(sets, woken.sets, Arc::clone(&context), settings, readiness.clone()));
    let result = tasks.run_until(SETS, &shutdown).await;

    // Where the controller of sets has failed, its reconciles are still in flight.
    context.reconciles.close();
    tokio::select! {
        () = context.reconciles.wait() => {}
        () = last_writes(&context) => {}
    }
    end_of_sets.cancel();
    readiness.close();
    drop(context);
    if tokio::time::timeout(LAST_EVENTS, tasks.join(&shutdown)).await.is_err() {
        tracing::debug!("some events were not published before the end");
    }
    result
}

// Reconciles sets until the shutdown, and until those in flight then have ended.
async fn reconcile_sets(
    mut sets: Controller<StoredSet>,
    woken: UnboundedReceiver<ObjectRef<StoredSet>>,
    context: Arc<Context>,
    settings: Settings,
    readiness: Readiness,
) {
    if settings.secrets == SecretAccess::Watch {
        let of_secret = Arc::clone(&context);
        let health = readiness.of(&Secret::plural(&()), &settings.namespaces);
        let changed = streams::touched::<PartialObjectMeta<Secret>>(&context.client, &settings.namespaces, &health);
        sets = sets.watches_stream(changed, move |changed| {
            let sets = of_secret.secret_changed(&changed.metadata);
            sets.into_iter().inspect(|set| of_secret.queue.note_due(ObjectName::of(set))).collect::<Vec<_>>()
        });
    }

    let (deadline, queue) = (settings.deadline, Arc::clone(&context.queue));
    let has_started = Arc::new(AtomicBool::new(false));
    let starts = Arc::clone(&has_started);
    // Places bound what runs, by connection: a bound of kube's own would be one for all.
    let running = sets
        .reconcile_on(waker::stream(woken).inspect(move |set| queue.note_due(ObjectName::of(set))))
        .graceful_shutdown_on(context.shutdown.clone().cancelled_owned())
        .run(
            move |object: Arc<StoredSet>, context: Arc<Context>| {
                starts.store(true, Ordering::Relaxed);
                let ended = supervise::in_place(&object, context, deadline);
                async move { Ok::<controller::Action, Infallible>(ended.await.into()) }
            },
            |_, never, _| match *never {},
            Arc::clone(&context),
        )
        .for_each(|result| {
            match result {
                Ok(_) => {}
                Err(controller::Error::ObjectNotFound(gone)) => {
                    let namespace = gone.namespace.clone().unwrap_or_default();
                    context.forget_set(&ObjectName { namespace, name: gone.name });
                }
                Err(error) => tracing::warn!(%error, "the controller of sets failed"),
            }
            futures::future::ready(())
        });

    // Before its first list has come, the controller does not look at the shutdown; nothing is in flight then.
    let idle_at_shutdown = async {
        context.shutdown.cancelled().await;
        if has_started.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = running => {}
        () = idle_at_shutdown => {}
        () = last_writes(&context) => tracing::warn!("some reconciles did not end in time: the API server does not answer"),
    }
}

// Until what the last calls to CMDB gave could have been stored.
async fn last_writes(context: &Context) {
    context.shutdown.cancelled().await;
    let mut calls_ended = Instant::now();
    while calls_ended.elapsed() < LAST_WRITES {
        sleep(LAST_WRITES / 50).await;
        let limiters = context.limiters.read();
        if limiters.in_flight + limiters.edits_waiting > 0 {
            calls_ended = Instant::now();
        }
    }
}
