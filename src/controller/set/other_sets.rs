//! Other sets of the same business, and what they claim. Which of them count is decided by [`crate::engine`]'s rule; here they
//! are found without a walk over all sets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use futures::future::BoxFuture;
use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::identity::CurrentSet;
use super::stored_set::StoredSet;
use crate::api::ServiceTemplateSelector;
use crate::controller::connection::cache::{Connections, Lead};
use crate::controller::names::ObjectName;
use crate::controller::reason::Reason;
use crate::engine::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, OtherSets};
use crate::plan::{Memory, SetName, Whereabouts};

/// The names of the sets that the watch delivered, by business and service template.
#[derive(Default)]
pub struct SetIndex {
    sets: Mutex<OtherSetIndex<ObjectName, ()>>,
}

impl SetIndex {
    /// Indexes a set as the watch delivered it. One that does not say where its templates are claims nothing.
    pub fn insert(&self, set: &StoredSet) {
        let name = ObjectName::of(&ObjectRef::from_obj(set));
        let mut sets = self.sets.lock();
        match set.claims() {
            Some(claims) => drop(sets.insert(name, claims.biz_id, &claims.service_template, ())),
            None => drop(sets.remove(&name)),
        }
    }

    /// Removes a set that is gone.
    pub fn remove(&self, name: &ObjectName) {
        self.sets.lock().remove(name);
    }

    /// How many sets are indexed.
    pub fn len(&self) -> usize {
        self.sets.lock().count()
    }

    /// The sets that may live in the same service template as the one of this name.
    pub fn beside(&self, name: &ObjectName, biz_id: i64, selector: &ServiceTemplateSelector) -> Vec<ObjectName> {
        let sets = self.sets.lock();
        sets.beside(name, biz_id, selector).into_iter().map(|(other, ())| other.clone()).collect()
    }
}

/// The other sets that may live in the same service template as one set, as that set sees them from the CMDB of one URL and as
/// the watch has delivered them at the time of asking.
pub struct WatchedSets {
    name: ObjectName,
    biz_id: i64,
    service_template: ServiceTemplateSelector,
    age: Age,
    endpoint: String,
    index: Arc<SetIndex>,
    store: Store<StoredSet>,
    connections: Arc<Connections>,
}

impl WatchedSets {
    /// The other sets beside this one, which uses the CMDB at `endpoint`.
    pub fn beside(
        set: &CurrentSet<'_>,
        endpoint: &str,
        index: Arc<SetIndex>,
        store: Store<StoredSet>,
        connections: Arc<Connections>,
    ) -> Self {
        let spec = &set.object.spec;
        Self {
            name: set.name.clone(),
            biz_id: spec.biz_id,
            service_template: spec.service_template.clone(),
            age: age(&set.object.metadata),
            endpoint: endpoint.to_owned(),
            index,
            store,
            connections,
        }
    }

    async fn find(&self) -> Vec<OtherSetCandidate> {
        let mut others = Vec::new();
        for name in self.index.beside(&self.name, self.biz_id, &self.service_template) {
            // It may be gone by now, or have another spec.
            let Some(other) = self.store.get(&name.reference()) else { continue };
            let Some(claims) = other.claims() else { continue };
            let lead = self.connections.lead(&name.namespace, &claims.connection, claims.biz_id).await.ok();
            let Ok(grants) = self.connections.grants(&name.namespace, &claims.connection).await else { continue };
            let standing = Standing {
                made_in: claims.endpoint.as_deref(),
                is_judged: other.reason().is_some(),
                is_refused: other.reason() == Some(Reason::PermissionDenied),
                is_trusted: name.namespace == self.name.namespace || claims.connection.is_shared(),
            };
            let Some(whereabouts) = locate(lead.as_ref(), standing, &self.endpoint) else { continue };
            // Creates that it has announced elsewhere are not stored here.
            let memory = if standing.made_in == Some(self.endpoint.as_str()) {
                Cow::Borrowed(&claims.memory)
            } else {
                Cow::Owned(Memory { intents: BTreeMap::new(), ..claims.memory.clone() })
            };
            let live_set = LiveSet {
                name: &SetName { namespace: name.namespace.clone(), name: name.name.clone() },
                age: &age(other.meta()),
                is_leaving: other.meta().deletion_timestamp.is_some(),
                service_template: &claims.service_template,
                processes: &claims.processes,
                memory: &memory,
            };
            others.push(live_set.seen_from(&self.name.namespace, &self.age, whereabouts, grants));
        }
        others
    }
}

impl OtherSets for WatchedSets {
    fn candidates(&self) -> BoxFuture<'_, Vec<OtherSetCandidate>> {
        Box::pin(self.find())
    }
}

impl fmt::Debug for WatchedSets {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WatchedSets").field("beside", &self.name).finish_non_exhaustive()
    }
}

// What is known of another set without its connection.
#[derive(Clone, Copy, Debug)]
struct Standing<'a> {
    // The CMDB that its status names: one that has shown it its service template.
    made_in: Option<&'a str>,
    // Whether its status has a verdict.
    is_judged: bool,
    // Whether CMDB permits it nothing there.
    is_refused: bool,
    // Whether its namespace is ours, or its connection was made for the cluster.
    is_trusted: bool,
}

// Where a set lives, as seen from the CMDB of this URL. None: it claims nothing there.
//
// Every tenant can name this URL, and any URL of its own with a server that says what the tenant likes. So what counts is that
// the CMDB of this URL has shown the set its service template. Before that, a set that has no verdict yet counts for a while
// where its connection has worked. Another URL counts only from where its server can be trusted.
fn locate(lead: Option<&Lead>, standing: Standing<'_>, here: &str) -> Option<Whereabouts> {
    let working = lead.filter(|lead| !lead.is_broken);
    let leads_here = working.is_some_and(|lead| lead.url == here);
    match standing.made_in {
        Some(made_in) if made_in == here && standing.is_refused => Some(Whereabouts::Refused),
        Some(made_in) if made_in == here && leads_here => Some(Whereabouts::Here),
        // Its connection leads somewhere else now.
        Some(made_in) if made_in == here && working.is_some_and(|lead| lead.has_worked) => Some(Whereabouts::Elsewhere),
        // It cannot write now. What it wants here stays.
        Some(made_in) if made_in == here => Some(Whereabouts::Unknown),
        Some(_) => standing.is_trusted.then_some(Whereabouts::Elsewhere),
        None if standing.is_judged => None,
        None => working.filter(|lead| lead.url == here && lead.has_worked).map(|_| Whereabouts::Unread),
    }
}

fn age(metadata: &kube::api::ObjectMeta) -> Age {
    Age::new(metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.uid.clone(), 0)
}
