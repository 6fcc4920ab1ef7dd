//! Other sets of the same business, and what they claim. Which of them count is decided by [`crate::engine`]'s rule; here they
//! are found without a walk over all sets.

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
use crate::engine::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, OtherSets, whereabouts};
use crate::plan::{SetName, Whereabouts};

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
            let made_in = claims.endpoint.as_deref();
            let Some(whereabouts) = locate(lead.as_ref(), made_in, &self.endpoint) else { continue };
            let live_set = LiveSet {
                name: &SetName { namespace: name.namespace.clone(), name: name.name.clone() },
                age: &age(other.meta()),
                is_leaving: other.meta().deletion_timestamp.is_some(),
                service_template: &claims.service_template,
                processes: &claims.processes,
                memory: &claims.memory,
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

// Where a set lives, as seen from the CMDB of this URL; `made_in`: the CMDB that its status names. None: nothing shows that it
// was ever reconciled, or that its connection ever worked. Every tenant can name this URL; only one whose credentials CMDB
// takes can write there.
fn locate(lead: Option<&Lead>, made_in: Option<&str>, here: &str) -> Option<Whereabouts> {
    let proven = lead.filter(|lead| lead.is_proven(made_in));
    match proven {
        Some(lead) if !lead.is_broken => Some(whereabouts(Some(&lead.url), here)),
        None if made_in.is_none() => None,
        // It cannot write now. What it wants here stays.
        _ if made_in == Some(here) || proven.is_some_and(|lead| lead.url == here) => Some(Whereabouts::Unknown),
        _ => Some(Whereabouts::Elsewhere),
    }
}

fn age(metadata: &kube::api::ObjectMeta) -> Age {
    Age::new(metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.uid.clone(), 0)
}
