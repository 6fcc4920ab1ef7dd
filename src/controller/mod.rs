//! Floor 4: the controller. From watches to reconciles, from what came of them to status and events.

mod action;
mod connection;
mod error;
mod kubernetes;
mod leader;
mod reason;
mod set;
mod snapshot;
mod watch;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::controller;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Client, CustomResourceExt, Resource as _};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

pub use connection::build::{Bounds, Description, read_credentials, read_identity};
pub use connection::grants::cover;
pub use connection::name::ConnectionName;
pub use error::Error;
pub use leader::election::{Election, Leadership, LeadershipState};
pub use leader::lease::Terms;
pub use reason::{UNJUDGED, outcomes, reasons};
pub use set::status_memory::from_status;
pub use snapshot::{ControllerState, StateSource};
pub use watch::readiness::{NO_ANSWER, ReadinessCheck};

use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, ProcessTemplateSet, ServiceTemplateSelector};
use crate::cmdb;
use crate::engine::{Engine, PlannedView, Tally};
use crate::plan::Removal;
use connection::cache::{Connections, ObjectName};
use connection::lookup::ConnectionLookup;
use kubernetes::retry_state::RetryState;
use set::stored_set::StoredSet;
use set::{events, other_sets, supervise};
use watch::cluster::Cluster;
use watch::queue::Queue;
use watch::readiness::Readiness;
use watch::streams;

// Sets of one page of the first list: a page is held in memory as a whole.
const PAGE_SIZE: u32 = 50;

// Longest wait for what is still to be stored when the last call to CMDB has ended: the intents of what is not stored stay.
const LAST_WRITES: Duration = Duration::from_secs(8);

// Longest wait for the last events before the end.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// What is done with process templates in CMDB.
pub const ACTIONS: &[&str] = &["created", "updated", "deleted"];

/// What is done about what somebody else changed in CMDB.
pub const DRIFT_OUTCOMES: &[&str] = &["corrected", "detected"];

/// The kinds whose status is written.
pub const KINDS: &[&str] = &["ProcessTemplateSet", "CmdbConnection", "ClusterCmdbConnection"];

/// Told of what the controller does.
pub trait Observer: Send + Sync {
    /// A reconcile of a set ended: one of [`outcomes`].
    fn reconciled(&self, _outcome: &'static str) {}

    /// Somebody else changed or deleted a template of a set: one of [`DRIFT_OUTCOMES`].
    fn drifted(&self, _outcome: &'static str) {}

    /// So many process templates were written in CMDB: one of [`ACTIONS`].
    fn wrote(&self, _action: &'static str, _count: usize) {}

    /// A status was written: one of [`KINDS`].
    fn status_written(&self, _kind: &'static str) {}

    /// A generation of a set has become Ready, so long after this process first knew of it.
    fn set_became_ready(&self, _after: Duration) {}

    /// Whether a gate is open and what is to be said of it, or what to do if it is not.
    fn gate(&self, _gate: ReadinessCheck, _state: Result<String, String>) {}

    /// Whether this process leads.
    fn report_standing(&self, _standing: &LeadershipState) {}

    /// The controller begins, and tells on this what is true of it, as long as it runs.
    fn controller_started(&self, _probe: Weak<dyn StateSource>) {}
}

/// How it is learnt that a Secret has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SecretAccess {
    /// The metadata of all is watched, which takes the right to list them.
    Watch,
    /// Those that connections name are read, at each reconcile and each minute, which takes the right to get them.
    Read,
}

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which instance of the operator this is, for events.
    pub instance: String,
    /// Namespaces to watch; none: all, and the connections of the cluster.
    pub namespaces: Vec<String>,
    /// How it is learnt that a Secret has changed.
    pub secrets: SecretAccess,
    /// Reconciles at a time. Calls to CMDB are bounded for themselves, by each connection; a check of a set at rest never
    /// waits for its turn in a reconcile, so these places do not fill up before an edit.
    pub concurrency: u16,
    /// Longest time without progress before a reconcile is stopped between two calls.
    pub deadline: Duration,
    /// Time after which no CMDB server can still be working on a create.
    pub create_grace: Duration,
    /// Time for which what has left a set is not deleted yet: another set may be about to take it over.
    pub removal_delay: Duration,
    /// Where connections may lead.
    pub fence: cmdb::UrlPolicy,
    /// Whether writes to CMDB may begin.
    pub gate: Arc<dyn cmdb::WriteGate>,
}

/// What a reconcile may use.
struct Context {
    client: Client,
    engine: Engine,
    connections: Connections,
    objects: RetryState,
    connection_objects: RetryState,
    store: Store<StoredSet>,
    // What is to be looked at, whatever its watch says.
    woken: Woken,
    removal_delay: Duration,
    events: events::Events,
    observer: Arc<dyn Observer>,
    limiters: Arc<cmdb::Limiters>,
    queue: Arc<Queue>,
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct Woken {
    sets: UnboundedSender<ObjectRef<StoredSet>>,
    connections: UnboundedSender<ObjectRef<DeserializeGuard<CmdbConnection>>>,
    cluster_connections: UnboundedSender<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
}

struct ToWake {
    sets: UnboundedReceiver<ObjectRef<StoredSet>>,
    connections: UnboundedReceiver<ObjectRef<DeserializeGuard<CmdbConnection>>>,
    cluster_connections: UnboundedReceiver<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
}

fn wakers() -> (Woken, ToWake) {
    let (sets, to_sets) = mpsc::unbounded_channel();
    let (connections, to_connections) = mpsc::unbounded_channel();
    let (cluster_connections, to_cluster_connections) = mpsc::unbounded_channel();
    let to_wake = ToWake { sets: to_sets, connections: to_connections, cluster_connections: to_cluster_connections };
    (Woken { sets, connections, cluster_connections }, to_wake)
}

/// What came of a reconcile that looked at CMDB.
struct Outcome {
    view: PlannedView,
    tally: Tally,
    // What has left the set and stays in CMDB.
    released: Vec<Removal>,
    stopped: Option<Error>,
}

/// Runs until `shutdown`: then no reconcile begins, and those under way stop after their present call and save what it
/// gave. That takes no longer than this call may, and half a minute.
pub async fn run(
    client: Client,
    settings: Settings,
    observer: Arc<dyn Observer>,
    cmdb_observer: Arc<dyn cmdb::Observer>,
    shutdown: CancellationToken,
) {
    let (events, publishing) = events::queue(client.clone(), settings.instance.clone());
    let publishing = tokio::spawn(publishing);
    let namespaces = &settings.namespaces;
    let (gates, queue) = (Readiness::new(Arc::clone(&observer)), Arc::<Queue>::default());
    let gate = gates.of(ProcessTemplateSet::crd_name(), namespaces);
    let pages = watcher::Config::default().page_size(PAGE_SIZE);
    let due = Arc::clone(&queue);
    let is_due = move |set: &StoredSet| due.note_due(name_of(&ObjectRef::from_obj(set)));
    let controller = streams::controller::<StoredSet>(&client, namespaces, &pages, &gate, is_due);
    let gate = gates.of(CmdbConnection::crd_name(), namespaces);
    let connections = streams::controller(&client, namespaces, &watcher::Config::default(), &gate, |_| {});
    // Who serves some namespaces needs no rights on the cluster.
    let cluster = namespaces.is_empty().then(|| Cluster::new(&client, &gates));
    let lookup = ConnectionLookup {
        namespaced: connections.store(),
        shared: cluster.as_ref().map(|cluster| cluster.shared.clone()),
    };
    let store = controller.store();
    let (woken, to_wake) = wakers();
    let limiters = Arc::new(cmdb::Limiters::new(Arc::clone(&settings.gate), shutdown.clone()));
    let context = Arc::new(Context {
        engine: Engine::new(settings.create_grace),
        connections: Connections::new(
            client.clone(),
            settings.secrets,
            lookup,
            settings.fence.clone(),
            &limiters,
            cmdb_observer,
        ),
        objects: RetryState::default(),
        connection_objects: RetryState::default(),
        store,
        woken,
        removal_delay: settings.removal_delay,
        events,
        observer: Arc::clone(&observer),
        client: client.clone(),
        limiters,
        queue,
        shutdown,
    });
    let probe: Arc<dyn StateSource> = context.clone();
    observer.controller_started(Arc::downgrade(&probe));
    drop(probe);
    let beside = CancellationToken::new();
    tokio::spawn(connection::reconcile::run(connections, to_wake.connections, Arc::clone(&context), beside.clone()));
    if let Some(cluster) = cluster {
        cluster.run(to_wake.cluster_connections, Arc::clone(&context), beside.clone());
    }
    reconcile_sets(controller, to_wake.sets, &context, &settings, &gates).await;
    beside.cancel();
    gates.close();
    drop(context);
    if tokio::time::timeout(LAST_EVENTS, publishing).await.is_err() {
        tracing::debug!("some events were not published before the end");
    }
}

// Reconciles sets until the shutdown, and until those that are under way then have ended.
async fn reconcile_sets(
    mut controller: Controller<StoredSet>,
    to_wake: UnboundedReceiver<ObjectRef<StoredSet>>,
    context: &Arc<Context>,
    settings: &Settings,
    gates: &Readiness,
) {
    if settings.secrets == SecretAccess::Watch {
        let of_secret = Arc::clone(context);
        let gate = gates.of(&Secret::plural(&()), &settings.namespaces);
        let changed = streams::touched::<PartialObjectMeta<Secret>>(&context.client, &settings.namespaces, &gate);
        controller = controller.watches_stream(changed, move |changed| {
            let sets = of_secret.secret_changed(&changed.metadata);
            sets.into_iter().inspect(|set| of_secret.queue.note_due(name_of(set))).collect::<Vec<_>>()
        });
    }
    let (stop, deadline, queue) = (context.shutdown.clone(), settings.deadline, Arc::clone(&context.queue));
    let has_begun = Arc::new(AtomicBool::new(false));
    let note_start = Arc::clone(&has_begun);
    let running = controller
        .with_config(controller::Config::default().concurrency(settings.concurrency))
        .reconcile_on(to_wake_stream(to_wake).inspect(move |set| queue.note_due(name_of(set))))
        .graceful_shutdown_on(context.shutdown.clone().cancelled_owned())
        .run(
            move |object: Arc<StoredSet>, context: Arc<Context>| {
                note_start.store(true, Ordering::Relaxed);
                let name = name_of(&ObjectRef::from_obj(&*object));
                context.queue.note_start(&name);
                let supervised = supervise::supervised(object, Arc::clone(&context), stop.clone(), deadline);
                async move {
                    let action = supervised.await;
                    context.queue.note_end(name, action.after);
                    Ok::<controller::Action, Infallible>(action.into())
                }
            },
            |_, never, _| match *never {},
            Arc::clone(context),
        )
        .for_each(|result| {
            ended(context, result);
            futures::future::ready(())
        });
    // Before its first list has come, the controller does not look at the shutdown; nothing is under way then.
    let idle_at_shutdown = async {
        context.shutdown.cancelled().await;
        if has_begun.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = running => {}
        () = idle_at_shutdown => {}
        () = last_writes(context) => tracing::warn!("some reconciles did not end in time: the API server does not answer"),
    }
}

// Until what the last calls to CMDB gave could have been stored.
async fn last_writes(context: &Context) {
    context.shutdown.cancelled().await;
    let mut calls_ended = Instant::now();
    while calls_ended.elapsed() < LAST_WRITES {
        sleep(LAST_WRITES / 50).await;
        let readings = context.limiters.read();
        if readings.in_flight + readings.edits_waiting > 0 {
            calls_ended = Instant::now();
        }
    }
}

/// Waits for the first list of a watch.
async fn ready<K>(store: &Store<K>)
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    // kube 5.0 wakes only one of those who wait.
    let look = Duration::from_millis(200);
    while tokio::time::timeout(look, store.wait_until_ready()).await.is_err() {}
}

fn to_wake_stream<K: kube::Resource<DynamicType = ()>>(
    to_wake: UnboundedReceiver<ObjectRef<K>>,
) -> impl Stream<Item = ObjectRef<K>> {
    futures::stream::unfold(to_wake, |mut to_wake| async move { Some((to_wake.recv().await?, to_wake)) })
}

fn ended<T>(context: &Context, result: Result<T, controller::Error<Infallible, watcher::Error>>) {
    match result {
        Ok(_) => {}
        Err(controller::Error::ObjectNotFound(gone)) => {
            let name = (gone.namespace.clone().unwrap_or_default(), gone.name.clone());
            context.queue.forget(&name);
            if let Some(connection) = context.connections.forget(&name) {
                context.wake_connection(connection);
            }
            let Some((uid, names)) = context.objects.forget(&name.0, &name.1) else { return };
            context.engine.forget(&uid);
            if let Some((biz_id, selector)) = names {
                context.wake_neighbours(&uid, biz_id, &selector);
            }
        }
        Err(error) => tracing::warn!(%error, "the controller of sets failed"),
    }
}

fn name_of<K: kube::Resource<DynamicType = ()>>(object: &ObjectRef<K>) -> ObjectName {
    (object.namespace.clone().unwrap_or_default(), object.name.clone())
}

fn send<T>(to: &UnboundedSender<T>, woken: T) {
    if to.send(woken).is_err() {
        tracing::debug!("the controller ends: nobody is woken any more");
    }
}

impl Context {
    // A reconcile has ended so; within its span.
    fn reconciled(&self, outcome: &'static str) {
        cmdb::note_outcome(&tracing::Span::current(), outcome);
        self.observer.reconciled(outcome);
    }

    // What a set no longer claims, another may have waited for.
    fn wake_neighbours(&self, uid: &str, biz_id: i64, selector: &ServiceTemplateSelector) {
        for neighbour in other_sets::sets_nearby(uid, biz_id, selector, self) {
            self.objects.wake(neighbour.namespace.as_deref().unwrap_or_default(), &neighbour.name);
            send(&self.woken.sets, neighbour);
        }
    }

    // A Secret is as this metadata says: the sets that are to be looked at.
    fn secret_changed(&self, metadata: &ObjectMeta) -> Vec<ObjectRef<StoredSet>> {
        let (connections, sets) = self.connections.secret_changed(metadata);
        for connection in connections {
            self.connection_objects.wake(&connection.namespace, &connection.name);
            self.wake_connection(connection);
        }
        self.released(sets)
    }

    // The sets that a change concerns are looked at.
    fn wake_sets(&self, names: Vec<ObjectName>) {
        self.released(names).into_iter().for_each(|set| send(&self.woken.sets, set));
    }

    // What a connection says of itself may have changed.
    fn wake_connection(&self, connection: ConnectionName) {
        let ConnectionName { kind, namespace, name } = connection;
        match kind {
            ConnectionKind::CmdbConnection => {
                send(&self.woken.connections, ObjectRef::new(&name).within(&namespace));
            }
            ConnectionKind::ClusterCmdbConnection => send(&self.woken.cluster_connections, ObjectRef::new(&name)),
        }
    }

    // The sets that a change concerns; they need not wait any longer.
    fn released(&self, names: Vec<ObjectName>) -> Vec<ObjectRef<StoredSet>> {
        let names = names.into_iter().inspect(|(namespace, name)| self.objects.wake(namespace, name));
        names.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
    }
}
