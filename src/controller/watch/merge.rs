//! One watch made of the watches of several namespaces.

use std::collections::{BTreeMap, BTreeSet};

use kube::ResourceExt;
use kube::runtime::watcher::Event;

/// Makes one watch of those of several namespaces.
pub enum Merge<K> {
    // Until each has delivered a whole list: what they have delivered, by namespace and name.
    First { awaited: BTreeSet<String>, known: BTreeMap<String, BTreeMap<String, K>> },
    // What a list that is being read anew has shown, by namespace.
    Going { listed: BTreeMap<String, BTreeSet<String>> },
}

impl<K: ResourceExt + Clone> Merge<K> {
    /// Nothing is delivered yet.
    pub fn new(namespaces: &[String]) -> Self {
        Self::First { awaited: namespaces.iter().cloned().collect(), known: BTreeMap::new() }
    }

    /// What the merged watch delivers when that of a namespace delivers `event`; `store` has what was delivered so far.
    pub fn take<S: AsRef<K>>(&mut self, namespace: &str, event: Event<K>, store: impl Fn() -> Vec<S>) -> Vec<Event<K>> {
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

    /// A namespace that may not be listed has no objects until it may.
    pub fn refused(&mut self, namespace: &str) -> Vec<Event<K>> {
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

    use kube::runtime::watcher::Event;

    use super::Merge;

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
