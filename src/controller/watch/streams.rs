//! The watches: over all namespaces, or over some of them as if they were one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use futures::stream::{self, BoxStream};
use futures::{Stream, StreamExt};
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::store::Writer;
use kube::runtime::reflector::{self, Store};
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Controller, WatchStreamExt, watcher as watch};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

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
/// `gate` is told of what the watch gives, `is_due` of each object whose reconcile that makes due.
pub fn controller<K: Object>(
    client: &Client,
    namespaces: &[String],
    config: &watcher::Config,
    gate: &WatchHealth,
    is_due: impl Fn(&K) + Send + 'static,
) -> Controller<K> {
    let (reader, writer) = reflector::store();
    let events = match namespaces {
        [] => events(Api::all(client.clone()), "", config, gate).boxed(),
        [namespace] => in_namespace(client, namespace, config, gate).boxed(),
        namespaces => merged(client, namespaces, config, reader.clone(), gate).boxed(),
    };
    over(events, reader, writer, is_due)
}

/// A controller of the objects that are watched so.
pub fn over<K>(
    events: impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static,
    reader: Store<K>,
    writer: Writer<K>,
    is_due: impl Fn(&K) + Send + 'static,
) -> Controller<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
{
    // An error would keep the controller from everything else that wakes it.
    let events = events.filter(|event| std::future::ready(event.is_ok()));
    // What goes is told of too: others may have waited for what it held.
    let touched = events.reflect(writer).touched_objects();
    let due = touched.inspect(move |touched| {
        if let Ok(object) = touched {
            is_due(object);
        }
    });
    Controller::for_stream(due, reader)
}

/// Every object of these namespaces that appears, changes or goes; none: of all.
pub fn touched<K: Object>(
    client: &Client,
    namespaces: &[String],
    gate: &WatchHealth,
) -> BoxStream<'static, Result<K, watcher::Error>> {
    let config = watcher::Config::default();
    let all = namespaces.is_empty().then(|| events(Api::all(client.clone()), "", &config, gate).boxed());
    let each = namespaces.iter().map(|namespace| in_namespace(client, namespace, &config, gate).boxed());
    let events = stream::select_all(each.chain(all));
    events.filter(|event| std::future::ready(event.is_ok())).touched_objects().boxed()
}

fn in_namespace<K: Object>(
    client: &Client,
    namespace: &str,
    config: &watcher::Config,
    gate: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static {
    events(Api::namespaced(client.clone(), namespace), namespace, config, gate)
}

/// What a watch gives, and tells its gate; that of all namespaces, and of what is in none, has no name. A watch that fails
/// waits for itself alone.
pub fn events<K>(
    api: Api<K>,
    namespace: &str,
    config: &watcher::Config,
    gate: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + use<K>
where
    K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
{
    let (gate, namespace) = (gate.clone(), namespace.to_owned());
    listed_again(api, config.clone()).default_backoff().inspect(move |event| {
        gate.hears(&namespace, event);
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
        let event = events.next().await?;
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
    gate: &WatchHealth,
) -> impl Stream<Item = Result<Event<K>, watcher::Error>> + Send + 'static {
    let each = namespaces.iter().map(|namespace| {
        let of = namespace.clone();
        in_namespace(client, namespace, config, gate).map(move |event| (of.clone(), event)).boxed()
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

/// Makes one watch of those of several namespaces.
enum Merge<K> {
    // Until each has delivered a whole list: what they have delivered, by namespace and name.
    First { awaited: BTreeSet<String>, known: BTreeMap<String, BTreeMap<String, K>> },
    // What a list that is being read anew has shown, by namespace.
    Going { listed: BTreeMap<String, BTreeSet<String>> },
}

impl<K: ResourceExt + Clone> Merge<K> {
    fn new(namespaces: &[String]) -> Self {
        Self::First { awaited: namespaces.iter().cloned().collect(), known: BTreeMap::new() }
    }

    // `store` has what was given so far.
    fn take<S: AsRef<K>>(&mut self, namespace: &str, event: Event<K>, store: impl Fn() -> Vec<S>) -> Vec<Event<K>> {
        match self {
            Self::First { awaited, known } => {
                let known = known.entry(namespace.to_owned()).or_default();
                match event {
                    Event::Init => {
                        known.clear();
                        awaited.insert(namespace.to_owned());
                    }
                    Event::InitApply(object) | Event::Apply(object) => drop(known.insert(object.name_any(), object)),
                    Event::Delete(object) => drop(known.remove(&object.name_any())),
                    Event::InitDone => drop(awaited.remove(namespace)),
                }
                self.all_there()
            }
            Self::Going { listed } => match event {
                Event::Init => {
                    listed.insert(namespace.to_owned(), BTreeSet::new());
                    Vec::new()
                }
                Event::InitApply(object) => {
                    listed.entry(namespace.to_owned()).or_default().insert(object.name_any());
                    vec![Event::Apply(object)]
                }
                Event::InitDone => {
                    let listed = listed.remove(namespace).unwrap_or_default();
                    let store = store();
                    let here = store
                        .iter()
                        .map(AsRef::as_ref)
                        .filter(|object| object.namespace().as_deref() == Some(namespace));
                    here.filter(|object| !listed.contains(&object.name_any())).cloned().map(Event::Delete).collect()
                }
                event @ (Event::Apply(_) | Event::Delete(_)) => vec![event],
            },
        }
    }

    // A namespace that we may not list has nothing for us until we may.
    fn refused(&mut self, namespace: &str) -> Vec<Event<K>> {
        match self {
            Self::First { awaited, .. } => {
                awaited.remove(namespace);
                self.all_there()
            }
            Self::Going { .. } => Vec::new(),
        }
    }

    fn all_there(&mut self) -> Vec<Event<K>> {
        let Self::First { awaited, known } = self else { return Vec::new() };
        if !awaited.is_empty() {
            return Vec::new();
        }
        let objects = std::mem::take(known).into_values().flat_map(BTreeMap::into_values);
        let events = std::iter::once(Event::Init).chain(objects.map(Event::InitApply));
        let events = events.chain([Event::InitDone]).collect();
        *self = Self::Going { listed: BTreeMap::new() };
        events
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::api::ObjectMeta;
    use kube::runtime::reflector::{self, store::Writer};

    use super::{Event, Merge};

    /// Two watches, merged into a store.
    struct Watches {
        merge: Merge<ConfigMap>,
        writer: Writer<ConfigMap>,
        store: reflector::Store<ConfigMap>,
    }

    impl Watches {
        fn new() -> Self {
            let (store, writer) = reflector::store();
            Self { merge: Merge::new(&["a".to_owned(), "b".to_owned()]), writer, store }
        }

        fn gets(&mut self, namespace: &str, events: Vec<Event<ConfigMap>>) {
            for event in events {
                let store = self.store.clone();
                let merged = self.merge.take(namespace, event, move || store.state());
                self.apply(&merged);
            }
        }

        fn apply(&mut self, merged: &[Event<ConfigMap>]) {
            for event in merged {
                self.writer.apply_watcher_event(event);
            }
        }

        fn names(&self) -> Vec<String> {
            let name = |object: Arc<ConfigMap>| {
                format!(
                    "{}/{}",
                    object.metadata.namespace.as_deref().unwrap(),
                    object.metadata.name.as_deref().unwrap()
                )
            };
            let mut names: Vec<String> = self.store.state().into_iter().map(name).collect();
            names.sort();
            names
        }
    }

    fn object(namespace: &str, name: &str) -> ConfigMap {
        let (name, namespace) = (Some(name.to_owned()), Some(namespace.to_owned()));
        ConfigMap { metadata: ObjectMeta { name, namespace, ..ObjectMeta::default() }, ..ConfigMap::default() }
    }

    fn list(namespace: &str, names: &[&str]) -> Vec<Event<ConfigMap>> {
        let objects = names.iter().map(|name| Event::InitApply(object(namespace, name)));
        std::iter::once(Event::Init).chain(objects).chain([Event::InitDone]).collect()
    }

    #[test]
    fn nothing_is_there_until_each_namespace_has_delivered_its_first_list() {
        let mut watches = Watches::new();
        watches.gets("a", list("a", &["one", "two"]));
        watches.gets("a", vec![Event::Delete(object("a", "two")), Event::Apply(object("a", "three"))]);
        assert!(watches.names().is_empty());
        // A first list that breaks off begins anew.
        watches.gets("b", vec![Event::Init, Event::InitApply(object("b", "gone"))]);
        watches.gets("b", list("b", &["one"]));
        assert_eq!(watches.names(), ["a/one", "a/three", "b/one"]);
    }

    #[test]
    fn a_namespace_whose_list_is_being_read_anew_is_awaited_again() {
        let mut watches = Watches::new();
        watches.gets("a", list("a", &["one", "two"]));
        watches.gets("a", vec![Event::Init, Event::InitApply(object("a", "one"))]);
        watches.gets("b", list("b", &["one"]));
        assert!(watches.names().is_empty(), "half a list");
        watches.gets("a", vec![Event::InitApply(object("a", "two")), Event::InitDone]);
        assert_eq!(watches.names(), ["a/one", "a/two", "b/one"]);
    }

    #[test]
    fn a_list_that_is_read_anew_takes_away_what_it_does_not_show_in_its_namespace_alone() {
        let mut watches = Watches::new();
        watches.gets("a", list("a", &["one", "two"]));
        watches.gets("b", list("b", &["one"]));
        watches.gets("b", vec![Event::Apply(object("b", "two"))]);
        watches.gets("a", list("a", &["two", "three"]));
        assert_eq!(watches.names(), ["a/three", "a/two", "b/one", "b/two"]);
        watches.gets("b", vec![Event::Delete(object("b", "one"))]);
        assert_eq!(watches.names(), ["a/three", "a/two", "b/two"]);
    }

    #[test]
    fn a_namespace_that_may_not_be_listed_does_not_keep_the_others_waiting() {
        let mut watches = Watches::new();
        watches.gets("a", list("a", &["one"]));
        let merged = watches.merge.refused("b");
        watches.apply(&merged);
        assert_eq!(watches.names(), ["a/one"]);
        watches.gets("b", list("b", &["one"]));
        assert_eq!(watches.names(), ["a/one", "b/one"]);
    }
}
