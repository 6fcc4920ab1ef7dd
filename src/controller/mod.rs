//! Floor 4: the controller. From watches to reconciles, from what came of them to status and events.

mod connections;
mod error;
mod events;
mod journal;
mod memory;
mod objects;
mod reconcile;
mod report;
mod size;
mod status;
mod supervise;
mod watched;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use kube::core::PartialObjectMeta;
use kube::runtime::controller::{self, Action};
use kube::runtime::events::{Recorder, Reporter};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::{Controller, watcher};
use kube::{Api, Client, ResourceExt};
use tokio_util::sync::CancellationToken;

pub use error::Error;

use crate::api::{CmdbConnection, FIELD_MANAGER};
use crate::cmdb;
use crate::engine::{Engine, Tally, View};
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
}

/// What a reconcile may use.
struct Context {
    client: Client,
    engine: Engine,
    connections: Connections,
    objects: Objects,
    events: events::Events,
    observer: Arc<dyn Observer>,
}

/// What came of a reconcile that looked at CMDB.
struct Outcome {
    view: View,
    tally: Tally,
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
    let reporter = Reporter { controller: FIELD_MANAGER.to_owned(), instance: std::env::var("POD_NAME").ok() };
    let (events, publishing) = events::queue(Recorder::new(client.clone(), reporter));
    let publishing = tokio::spawn(publishing);
    let context = Arc::new(Context {
        engine: Engine::new(settings.create_grace),
        connections: Connections::new(client.clone(), cmdb_observer),
        objects: Objects::default(),
        events,
        observer: Arc::clone(&observer),
        client: client.clone(),
    });
    let controller =
        Controller::new(api::<Watched>(&client, &settings), watcher::Config::default().page_size(PAGE_SIZE));
    let store = controller.store();
    tokio::spawn(async move {
        // The controller waits for its store too, and kube 5.0 wakes only one of those who wait.
        let look = Duration::from_millis(200);
        while tokio::time::timeout(look, store.wait_until_ready()).await.is_err() {}
        observer.synced(true);
    });
    let (of_connection, of_secret) = (Arc::clone(&context), Arc::clone(&context));
    let stop = shutdown.clone();
    controller
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
        .graceful_shutdown_on(shutdown.clone().cancelled_owned())
        .run(
            move |object, context| {
                let supervised = supervise::supervised(object, context, stop.clone(), settings.deadline);
                async move { Ok::<Action, Infallible>(supervised.await) }
            },
            |_, never, _| match *never {},
            Arc::clone(&context),
        )
        .for_each(|result| {
            ended(&context, result);
            futures::future::ready(())
        })
        .await;
    drop(context);
    if tokio::time::timeout(LAST_EVENTS, publishing).await.is_err() {
        tracing::debug!("some events were not published before the end");
    }
}

fn ended<T>(context: &Context, result: Result<T, controller::Error<Infallible, watcher::Error>>) {
    match result {
        Ok(_) => {}
        Err(controller::Error::ObjectNotFound(gone)) => {
            let name = (gone.namespace.clone().unwrap_or_default(), gone.name.clone());
            context.connections.forget(&name);
            if let Some(uid) = context.objects.forget(&name.0, &name.1) {
                context.engine.forget(&uid);
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
    // The sets that a change concerns; they need not wait any longer.
    fn released(&self, names: Vec<ObjectName>) -> Vec<ObjectRef<Watched>> {
        let names = names.into_iter().inspect(|(namespace, name)| self.objects.release(namespace, name));
        names.map(|(namespace, name)| ObjectRef::new(&name).within(&namespace)).collect()
    }
}
