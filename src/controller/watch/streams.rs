//! The watches: over all namespaces, or over some of them as if they were one.

use std::fmt::Debug;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Controller, WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

use super::merge::Merge;
use super::readiness;
use super::readiness::WatchHealth;

/// What can be watched in namespaces.
pub trait Object:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl<K> Object for K where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + Debug
        + DeserializeOwned
        + Send
        + Sync
        + 'static
{
}

/// A controller of the objects of these namespaces; none: of all.
/// `health` hears what the watch gives; `is_due` gets each object whose reconcile that makes due, and whether it is gone.
pub fn controller<K: Object>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    health: &WatchHealth,
    is_due: impl Fn(&K, bool) + Send + 'static,
) -> Controller<K> {
    let (reader, writer) = reflector::store();
    let events = match namespaces {
        [] => events(Api::all(client.clone()), "", config, health).boxed(),
        [namespace] => in_namespace(client, namespace, config, health).boxed(),
        namespaces => merged(client, namespaces, config, reader.clone(), health).boxed(),
    };
    over(events, reader, writer, is_due)
}

/// A controller of the objects that are watched so.
pub fn over<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    reader: Store<K>,
    writer: Writer<K>,
    is_due: impl Fn(&K, bool) + Send + 'static,
) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    // An error would keep the controller from everything else that wakes it.
    let events = events.filter(|event| std::future::ready(event.is_ok()));
    // What goes is told of too: others may have waited for what it held.
    let touched = events.reflect(writer).touched_objects();
    let store = reader.clone();
    let due = touched.inspect(move |touched| {
        if let Ok(object) = touched {
            is_due(object, store.get(&ObjectRef::from_obj(object)).is_none());
        }
    });
    Controller::for_stream(due, reader)
}

/// Every object of these namespaces that appears, changes or goes; none: of all.
pub fn touched<K: Object>(
    client: &Client,
    namespaces: &[String],
    health: &WatchHealth,
) -> BoxStream<'static, Result<K, watcher::Error>> {
    let config = watcher::Config::default();
    let all = namespaces.is_empty().then(|| events(Api::all(client.clone()), "", &config, health).boxed());
    let each = namespaces.iter().map(|namespace| in_namespace(client, namespace, &config, health).boxed());
    let events = stream::select_all(each.chain(all));
    events.filter(|event| std::future::ready(event.is_ok())).touched_objects().boxed()
}

fn in_namespace<K: Object>(
    client: &Client,
    namespace: &str,
    config: &watcher::Config,
    health: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static {
    events(Api::namespaced(client.clone(), namespace), namespace, config, health)
}

/// What a watch delivers, noting its health; that of all namespaces, and of the cluster, has no name. A watch that fails
/// waits for itself alone.
pub fn events<K>(
    api: Api<K>,
    namespace: &str,
    config: &watcher::Config,
    health: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (health, namespace) = (health.clone(), namespace.to_owned());
    listed_again(api, config.clone()).default_backoff().inspect(move |event| {
        health.observe(&namespace, event);
        match event {
            // It was told of once.
            Err(error) if readiness::is_missing(error) => {}
            Err(error) => {
                tracing::warn!(namespace, kind = %K::kind(&()), %error, "a watch failed and is begun again");
            }
            Ok(_) => {}
        }
    })
}

// What was there and is not is listed anew: kube would go on trying to watch, which does not tell when it is there again.
fn listed_again<K>(api: Api<K>, config: watcher::Config) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let begin = move || watch(api.clone(), config.clone()).boxed();
    stream::unfold((begin(), begin), |(mut events, begin)| async move {
        // A watch has no end of its own: without one, what it feeds would never change again.
        let event = loop {
            match events.next().await {
                Some(event) => break event,
                None => events = begin(),
            }
        };
        if event.as_ref().is_err_and(readiness::is_lost) {
            events = begin();
        }
        Some((event, (events, begin)))
    })
}

fn merged<K: Object>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    reader: Store<K>,
    health: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static {
    let each = namespaces.iter().map(|namespace| {
        let of = namespace.clone();
        in_namespace(client, namespace, config, health).map(move |event| (of.clone(), event)).boxed()
    });
    let mut merge = Merge::new(namespaces);
    stream::select_all(each).flat_map(move |(namespace, event)| {
        let merged = match event {
            Ok(event) => merge.take(&namespace, event, || reader.state()),
            // That must not keep the others waiting.
            Err(error) if readiness::is_refused(&error) => merge.refused(&namespace),
            Err(_) => Vec::new(),
        };
        stream::iter(merged.into_iter().map(Ok))
    })
}
