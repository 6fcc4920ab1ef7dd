//! The connections of the cluster, and the namespaces that their grants name.

use std::collections::{BTreeMap, BTreeSet};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, PartialObjectMeta};
use kube::runtime::reflector;
use kube::runtime::reflector::store::Writer;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{Controller, WatchStreamExt as _};
use kube::{Api, Client, CustomResourceExt as _, Resource as _, ResourceExt as _};
use tokio_util::sync::CancellationToken;

use super::readiness::{Readiness, WatchHealth};
use super::streams;
use crate::api::ClusterCmdbConnection;
use crate::controller::connection::lookup::Shared;

/// The watches of an operator that serves the whole cluster.
pub struct Cluster {
    /// What they have delivered.
    pub shared: Shared,
    /// The connections of the cluster.
    pub connections: Controller<DeserializeGuard<ClusterCmdbConnection>>,
    /// The namespaces.
    pub namespaces: NamespaceWatch,
}

/// A watch of namespaces, whose labels decide about grants.
pub struct NamespaceWatch {
    api: Api<PartialObjectMeta<Namespace>>,
    writer: Writer<PartialObjectMeta<Namespace>>,
    health: WatchHealth,
}

impl Cluster {
    /// Watches nothing yet.
    pub fn new(client: &Client, readiness: &Readiness) -> Self {
        let (reader, writer) = reflector::store();
        let health = readiness.of(ClusterCmdbConnection::crd_name(), &[]);
        let events = streams::events(Api::all(client.clone()), "", &watcher::Config::default(), &health);
        let connections = streams::over(events, reader, writer, |_, _| {});

        let (namespaces, writer) = reflector::store();
        let shared = Shared { connections: connections.store(), namespaces };
        let health = readiness.of(&Namespace::plural(&()), &[]);
        Self { shared, connections, namespaces: NamespaceWatch { api: Api::all(client.clone()), writer, health } }
    }
}

impl NamespaceWatch {
    /// Watches until `shutdown`; gives `changed` each namespace whose labels have changed.
    pub async fn run(self, changed: impl Fn(&str) + Send, shutdown: CancellationToken) {
        let watch = async {
            let mut labels = Labels::default();
            let events = streams::events(self.api, "", &watcher::Config::default(), &self.health).reflect(self.writer);
            let mut events = std::pin::pin!(events);
            while let Some(event) = events.next().await {
                if let Some(namespace) = event.ok().and_then(|event| labels.changed(event)) {
                    changed(&namespace);
                }
            }
        };
        tokio::select! {
            () = watch => {}
            () = shutdown.cancelled() => {}
        }
    }
}

// The labels of the namespaces that there are.
#[derive(Default)]
struct Labels {
    by_namespace: BTreeMap<String, BTreeMap<String, String>>,
    // What a list that is being read has shown.
    listed: BTreeSet<String>,
}

impl Labels {
    // The namespace whose labels are others now.
    fn changed(&mut self, event: Event<PartialObjectMeta<Namespace>>) -> Option<String> {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(namespace) => {
                self.listed.insert(namespace.name_any());
                return self.put(&namespace);
            }
            Event::InitDone => self.by_namespace.retain(|name, _| self.listed.contains(name)),
            Event::Apply(namespace) => return self.put(&namespace),
            Event::Delete(namespace) => drop(self.by_namespace.remove(&namespace.name_any())),
        }
        None
    }

    fn put(&mut self, namespace: &PartialObjectMeta<Namespace>) -> Option<String> {
        let (name, now) = (namespace.name_any(), namespace.labels().clone());
        let before = self.by_namespace.insert(name.clone(), now.clone());
        (before != Some(now)).then_some(name)
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::core::v1::Namespace;
    use kube::api::ObjectMeta;
    use kube::core::{PartialObjectMeta, PartialObjectMetaExt as _};
    use kube::runtime::watcher::Event;

    use super::Labels;

    fn namespace(name: &str, team: &str) -> PartialObjectMeta<Namespace> {
        let labels = Some([("team".to_owned(), team.to_owned())].into());
        ObjectMeta { name: Some(name.to_owned()), labels, ..ObjectMeta::default() }.into_response_partial()
    }

    #[test]
    fn changed_labels_are_told_and_namespaces_that_are_gone_are_forgotten() {
        let mut labels = Labels::default();
        let mut tell = |event| {
            let changed = labels.changed(event);
            (changed, labels.by_namespace.keys().cloned().collect::<Vec<_>>().join(" "))
        };
        let told = |changed: Option<&str>, known: &str| (changed.map(str::to_owned), known.to_owned());
        assert_eq!(tell(Event::Init), told(None, ""));
        assert_eq!(tell(Event::InitApply(namespace("bank", "red"))), told(Some("bank"), "bank"));
        assert_eq!(tell(Event::InitApply(namespace("shop", "blue"))), told(Some("shop"), "bank shop"));
        assert_eq!(tell(Event::InitDone), told(None, "bank shop"));
        assert_eq!(tell(Event::Apply(namespace("shop", "blue"))), told(None, "bank shop"));
        assert_eq!(tell(Event::Apply(namespace("shop", "green"))), told(Some("shop"), "bank shop"));
        assert_eq!(tell(Event::Delete(namespace("shop", "green"))), told(None, "bank"));
        assert_eq!(tell(Event::Apply(namespace("shop", "green"))), told(Some("shop"), "bank shop"));
        // It went while nobody watched.
        assert_eq!(tell(Event::Init), told(None, "bank shop"));
        assert_eq!(tell(Event::InitApply(namespace("shop", "green"))), told(None, "bank shop"));
        assert_eq!(tell(Event::InitDone), told(None, "shop"));
    }
}
