//! Other sets of the same business, and what they claim. Which of them count is decided by [`crate::engine`]'s rule; here they
//! are found without a walk over all sets.

use kube::Resource;
use kube::runtime::reflector::{ObjectRef, Store};
use parking_lot::Mutex;

use super::identity::CurrentSet;
use super::stored_set::StoredSet;
use crate::api::ServiceTemplateSelector;
use crate::controller::connection::cache::{Connections, Lead};
use crate::controller::names::ObjectName;
use crate::engine::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, whereabouts};
use crate::plan::{SetName, Whereabouts};

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
        let lead = connections.lead(&name.namespace, &claims.connection, claims.biz_id).await.ok();
        let Ok(grants) = connections.grants(&name.namespace, &claims.connection).await else { continue };
        let Some(whereabouts) = locate(lead.as_ref(), claims.endpoint.as_deref(), endpoint) else { continue };
        let live_set = LiveSet {
            name: &SetName { namespace: name.namespace.clone(), name: name.name.clone() },
            age: &self::age(other.meta()),
            is_leaving: other.meta().deletion_timestamp.is_some(),
            service_template: &claims.service_template,
            processes: &claims.processes,
            memory: &claims.memory,
        };
        others.push(live_set.seen_from(&set.name.namespace, &age, whereabouts, grants));
    }
    others
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
