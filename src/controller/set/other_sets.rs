//! Other sets of the same business, and what they claim. Which of them count is decided by [`crate::engine`]'s rule; here they
//! are found without a walk over all sets.

use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::identity::CurrentSet;
use super::stored_set::StoredSet;
use crate::api::ServiceTemplateSelector;
use crate::controller::connection::cache::Connections;
use crate::controller::names::ObjectName;
use crate::engine::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, whereabouts};
use crate::plan::SetName;

/// The names of the sets that the watch delivered, by business and service template.
#[derive(Default)]
pub struct SetIndex {
    sets: Mutex<OtherSetIndex<ObjectName, ()>>,
}

impl SetIndex {
    /// Indexes a set as the watch delivered it. One that cannot be read claims nothing.
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

/// The other sets that may live in the same service template, as this set sees them from the CMDB of this URL.
pub async fn others(
    set: &CurrentSet<'_>,
    index: &SetIndex,
    store: &Store<StoredSet>,
    connections: &Connections,
    endpoint: &str,
) -> Vec<OtherSetCandidate> {
    let spec = &set.object.spec;
    let age = age(&set.object.metadata);
    let mut others = Vec::new();
    for name in index.beside(&set.name, spec.biz_id, &spec.service_template) {
        // It may be gone by now, or have another spec.
        let Some(other) = store.get(&name.reference()) else { continue };
        let Some(claims) = other.claims() else { continue };
        let url = connections.endpoint_of(&name.namespace, &claims.connection, claims.biz_id).await;
        let Ok(grants) = connections.grants(&name.namespace, &claims.connection).await else { continue };

        // Every tenant can name this URL; only one whose credentials CMDB takes can write there.
        let url = url.ok().filter(|_| !connections.has_refused_credentials(&claims.connection));
        let live_set = LiveSet {
            name: &SetName { namespace: name.namespace.clone(), name: name.name.clone() },
            age: &self::age(other.meta()),
            is_leaving: other.meta().deletion_timestamp.is_some(),
            service_template: &claims.service_template,
            processes: &claims.processes,
            memory: &claims.memory,
        };
        let whereabouts = whereabouts(url.as_deref(), endpoint);
        others.push(live_set.seen_from(&set.name.namespace, &age, whereabouts, grants));
    }
    others
}

fn age(metadata: &kube::api::ObjectMeta) -> Age {
    Age::new(metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.uid.clone(), 0)
}
