//! Floor 4: the controller. From watches to reconciles, from what came of them to status and events.

mod catalogue;
mod cluster;
mod connect;
mod connection_name;
mod connection_reconcile;
mod connection_status;
mod connections;
mod deletion;
mod election;
mod error;
mod events;
mod finalizer;
mod grants;
mod journal;
mod leader;
mod memory;
mod objects;
mod reconcile;
mod report;
mod rest;
mod rivals;
mod size;
mod status;
mod supervise;
mod verdict;
mod watched;
mod watches;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::core::{DeserializeGuard, ObjectMeta, PartialObjectMeta};
use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher;
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

pub use connect::{Bounds, Description, read_credentials, read_identity};
pub use connection_name::ConnectionName;
pub use election::{Election, Leadership};
pub use error::Error;
pub use grants::cover;
pub use leader::Terms;
pub use memory::from_status;

use crate::api::{ClusterCmdbConnection, CmdbConnection, ConnectionKind, FIELD_MANAGER, ServiceTemplateSelector};
use crate::cmdb;
use crate::engine::{Engine, Tally, View};
use crate::plan::Removal;
use catalogue::Catalogue;
use cluster::Cluster;
use connections::{Connections, ObjectName};
use objects::Objects;
use watched::Watched;

// Sets of one page of the first list: a page is held in memory as a whole.
const PAGE_SIZE: u32 = 50;

// Longest wait for the last events before the end.
const LAST_EVENTS: Duration = Duration::from_secs(5);

/// Told of what the controller does.
pub trait Observer: Send + Sync {
    /// A reconcile ended: "ok", or the label of what stopped it.
    fn reconciled(&self, outcome: &'static str);

    /// Somebody else changed or deleted a template of a set: "corrected" or "detected".
    fn drifted(&self, outcome: &'static str);

    /// Whether the watches have delivered what there is.
    fn synced(&self, synced: bool);

    /// Whether this process leads.
    fn leads(&self, leads: bool);
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
    pub fence: cmdb::Fence,
    /// Whether writes to CMDB may begin.
    pub gate: Arc<dyn cmdb::Gate>,
}

/// What a reconcile may use.
struct Context {
    client: Client,
    engine: Engine,
    connections: Connections,
    objects: Objects,
    connection_objects: Objects,
    store: Store<Watched>,
    // What is to be looked at, whatever its watch says.
    woken: Woken,
    removal_delay: Duration,
    events: events::Events,
    observer: Arc<dyn Observer>,
}

#[derive(Debug)]
struct Woken {
    sets: UnboundedSender<ObjectRef<Watched>>,
    connections: UnboundedSender<ObjectRef<DeserializeGuard<CmdbConnection>>>,
    cluster_connections: UnboundedSender<ObjectRef<DeserializeGuard<ClusterCmdbConnection>>>,
}

struct ToWake {
    sets: UnboundedReceiver<ObjectRef<Watched>>,
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
    view: View,
    tally: Tally,
    // What has left the set and stays in CMDB.
    released: Vec<Removal>,
    stopped: Option<Error>,
}

/// Runs until `shutdown`: then no reconcile begins, and those under way stop after their present call and save what it
/// gave.
pub async fn run(
    client: Client,
    settings: Settings,
    observer: Arc<dyn Observer>,
    cmdb_observer: Arc<dyn cmdb::Observer>,
    shutdown: CancellationToken,
) {
    let instance = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    let (events, publishing) = events::queue(client.clone(), instance.unwrap_or_else(|| FIELD_MANAGER.to_owned()));
    let publishing = tokio::spawn(publishing);
    let namespaces = &settings.namespaces;
    let mut controller =
        watches::controller::<Watched>(&client, namespaces, &watcher::Config::default().page_size(PAGE_SIZE));
    let connections =
        watches::controller::<DeserializeGuard<CmdbConnection>>(&client, namespaces, &watcher::Config::default());
    // Who serves some namespaces needs no rights on the cluster.
    let cluster = namespaces.is_empty().then(|| Cluster::new(&client));
    let catalogue =
        Catalogue { namespaced: connections.store(), shared: cluster.as_ref().map(|cluster| cluster.shared.clone()) };
    let store = controller.store();
    let (woken, to_wake) = wakers();
    let context = Arc::new(Context {
        engine: Engine::new(settings.create_grace),
        connections: Connections::new(
            client.clone(),
            settings.secrets,
            catalogue,
            settings.fence.clone(),
            &Arc::new(cmdb::Limiters::behind(Arc::clone(&settings.gate))),
            cmdb_observer,
        ),
        objects: Objects::default(),
        connection_objects: Objects::default(),
        store: store.clone(),
        woken,
        removal_delay: settings.removal_delay,
        events,
        observer: Arc::clone(&observer),
        client: client.clone(),
    });
    let syncing = tokio::spawn(async move {
        ready(&store).await;
        observer.synced(true);
    });
    let beside = CancellationToken::new();
    tokio::spawn(connection_reconcile::run(connections, to_wake.connections, Arc::clone(&context), beside.clone()));
    if let Some(cluster) = cluster {
        cluster.run(to_wake.cluster_connections, Arc::clone(&context), beside.clone());
    }
    if settings.secrets == SecretAccess::Watch {
        let of_secret = Arc::clone(&context);
        let changed = watches::touched::<PartialObjectMeta<Secret>>(&client, namespaces);
        controller = controller.watches_stream(changed, move |changed| of_secret.secret_changed(&changed.metadata));
    }
    let stop = shutdown.clone();
    let has_begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&has_begun);
    let running = controller
        .with_config(controller::Config::default().concurrency(settings.concurrency))
        .reconcile_on(to_wake_stream(to_wake.sets))
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            move |object, context| {
                begins.store(true, Ordering::Relaxed);
                let supervised = supervise::supervised(object, context, stop.clone(), settings.deadline);
                async move { Ok::<Action, Infallible>(supervised.await) }
            },
            |_, never, _| match *never {},
            Arc::clone(&context),
        )
        .for_each(|result| {
            ended(&context, result);
            futures::future::ready(())
        });
    // Before its first list has come, the controller does not look at the shutdown; nothing is under way then.
    let idle_at_shutdown = async {
        shutdown.cancelled().await;
        if has_begun.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = running => {}
        () = idle_at_shutdown => {}
    }
    beside.cancel();
    syncing.abort();
    drop(context);
    if tokio::time::timeout(LAST_EVENTS, publishing).await.is_err() {
        tracing::debug!("some events were not published before the end");
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
            if let Some(connection) = context.connections.forget(&name) {
                context.wake_connection(connection);
            }
            let Some((uid, names)) = context.objects.forget(&name.0, &name.1) else { return };
            context.engine.forget(&uid);
            if let Some((biz_id, selector)) = names {
                context.wake_neighbours(&uid, biz_id, &selector);
            }
        }
        Err(error) => tracing::warn!(%error, "a watch failed and is begun again"),
    }
}

fn send<T>(to: &UnboundedSender<T>, woken: T) {
    if to.send(woken).is_err() {
        tracing::debug!("the controller ends: nobody is woken any more");
    }
}

impl Context {
    // What a set no longer claims, another may have waited for.
    fn wake_neighbours(&self, uid: &str, biz_id: i64, selector: &ServiceTemplateSelector) {
        for neighbour in rivals::neighbours(uid, biz_id, selector, self) {
            self.objects.release(neighbour.namespace.as_deref().unwrap_or_default(), &neighbour.name);
            send(&self.woken.sets, neighbour);
        }
    }

    // A Secret is as this metadata says: the sets that are to be looked at.
    fn secret_changed(&self, metadata: &ObjectMeta) -> Vec<ObjectRef<Watched>> {
        let (connections, sets) = self.connections.secret_changed(metadata);
        for connection in connections {
            self.connection_objects.release(&connection.namespace, &connection.name);
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
    fn released(&self, names: Vec<ObjectName>) -> Vec<ObjectRef<Watched>> {
        let names = names.into_iter().inspect(|(namespace, name)| self.objects.release(namespace, name));
        names.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
    }
}
