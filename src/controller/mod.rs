//! Floor 4: the controller. From watches to reconciles, from what came of them to status and events.

mod connect;
mod connections;
mod deletion;
mod error;
mod events;
mod finalizer;
mod journal;
mod memory;
mod objects;
mod reconcile;
mod report;
mod rivals;
mod size;
mod status;
mod supervise;
mod watched;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action};
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio_util::sync::CancellationToken;

pub use connect::{connect, read_credentials, secret_credentials, secret_identity};
pub use error::Error;
pub use memory::from_status;

use crate::api::{CmdbConnection, FIELD_MANAGER, ServiceTemplateSelector};
use crate::cmdb;
use crate::engine::{Engine, Tally, View};
use crate::plan::Removal;
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
}

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces to watch; none: all.
    pub namespace: Option<String>,
    /// Reconciles at a time. Calls to CMDB are bounded for themselves, by each connection.
    pub concurrency: u16,
    /// Longest time without progress before a reconcile is stopped between two calls.
    pub deadline: Duration,
    /// Time after which no CMDB server can still be working on a create.
    pub create_grace: Duration,
    /// Time for which what has left a set is not deleted yet: another set may be about to take it over.
    pub removal_delay: Duration,
    /// Where connections may lead.
    pub fence: cmdb::Fence,
}

/// What a reconcile may use.
struct Context {
    client: Client,
    engine: Engine,
    connections: Connections,
    objects: Objects,
    store: Store<Watched>,
    // Sets that are to be looked at, whatever their watch says.
    woken: UnboundedSender<ObjectRef<Watched>>,
    removal_delay: Duration,
    events: events::Events,
    observer: Arc<dyn Observer>,
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
    let controller =
        Controller::new(api::<Watched>(&client, &settings), watcher::Config::default().page_size(PAGE_SIZE));
    let store = controller.store();
    let (woken, to_wake) = mpsc::unbounded_channel();
    let context = Arc::new(Context {
        engine: Engine::new(settings.create_grace),
        connections: Connections::new(client.clone(), settings.fence.clone(), cmdb_observer),
        objects: Objects::default(),
        store: store.clone(),
        woken,
        removal_delay: settings.removal_delay,
        events,
        observer: Arc::clone(&observer),
        client: client.clone(),
    });
    tokio::spawn(async move {
        // The controller waits for its store too, and kube 5.0 wakes only one of those who wait.
        let look = Duration::from_millis(200);
        while tokio::time::timeout(look, store.wait_until_ready()).await.is_err() {}
        observer.synced(true);
    });
    let (of_connection, of_secret) = (Arc::clone(&context), Arc::clone(&context));
    let stop = shutdown.clone();
    let has_begun = Arc::new(AtomicBool::new(false));
    let begins = Arc::clone(&has_begun);
    let running = controller
        .with_config(controller::Config::default().concurrency(settings.concurrency))
        .watches(
            api::<PartialObjectMeta<CmdbConnection>>(&client, &settings),
            watcher::Config::default(),
            move |changed| {
                let (namespace, name) = (changed.namespace().unwrap_or_default(), changed.name_any());
                of_connection.released(of_connection.connections.connection_changed(&namespace, &name))
            },
        )
        .watches(api::<PartialObjectMeta<Secret>>(&client, &settings), watcher::Config::default(), move |changed| {
            let (namespace, name) = (changed.namespace().unwrap_or_default(), changed.name_any());
            of_secret.released(of_secret.connections.secret_changed(&namespace, &name))
        })
        .reconcile_on(to_wake_stream(to_wake))
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
    drop(context);
    if tokio::time::timeout(LAST_EVENTS, publishing).await.is_err() {
        tracing::debug!("some events were not published before the end");
    }
}

fn to_wake_stream(to_wake: UnboundedReceiver<ObjectRef<Watched>>) -> impl Stream<Item = ObjectRef<Watched>> {
    futures::stream::unfold(to_wake, |mut to_wake| async move { Some((to_wake.recv().await?, to_wake)) })
}

fn ended<T>(context: &Context, result: Result<T, controller::Error<Infallible, watcher::Error>>) {
    match result {
        Ok(_) => {}
        Err(controller::Error::ObjectNotFound(gone)) => {
            let name = (gone.namespace.clone().unwrap_or_default(), gone.name.clone());
            context.connections.forget(&name);
            let Some((uid, names)) = context.objects.forget(&name.0, &name.1) else { return };
            context.engine.forget(&uid);
            if let Some((biz_id, selector)) = names {
                context.wake_neighbours(&uid, biz_id, &selector);
            }
        }
        Err(error) => tracing::warn!(%error, "a watch failed and is begun again"),
    }
}

fn api<K>(client: &Client, settings: &Settings) -> Api<K>
where
    K: kube::Resource<Scope = kube::core::NamespaceResourceScope, DynamicType = ()>,
{
    match &settings.namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

impl Context {
    // What a set no longer claims, another may have waited for.
    fn wake_neighbours(&self, uid: &str, biz_id: i64, selector: &ServiceTemplateSelector) {
        for neighbour in rivals::neighbours(uid, biz_id, selector, self) {
            self.objects.release(neighbour.namespace.as_deref().unwrap_or_default(), &neighbour.name);
            if self.woken.send(neighbour).is_err() {
                tracing::debug!("the controller ends: nobody is woken any more");
            }
        }
    }

    // The sets that a change concerns; they need not wait any longer.
    fn released(&self, names: Vec<ObjectName>) -> Vec<ObjectRef<Watched>> {
        let names = names.into_iter().inspect(|(namespace, name)| self.objects.release(namespace, name));
        names.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
    }
}
