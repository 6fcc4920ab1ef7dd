//! Other sets of the same business, and what they claim.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::Resource;
use kube::api::ObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};

use super::stored_set::{Claims, StoredSet};
use crate::api::{ProcessTemplateSet, ServiceTemplateSelector};
use crate::controller::connection::cache::Connections;
use crate::controller::names::ObjectName;
use crate::engine::OtherSetCandidate;
use crate::plan::{OtherSet, Whereabouts};

/// The other sets that may name the same service template in the CMDB of this URL.
pub async fn others(
    set: &ProcessTemplateSet,
    store: &Store<StoredSet>,
    connections: &Connections,
    endpoint: &str,
) -> Vec<OtherSetCandidate> {
    let mut others = Vec::new();
    for other in store.state() {
        let Some(claims) = claims_beside(set, &other) else { continue };
        let owner = ObjectName::of(&ObjectRef::from_obj(&*other));
        let url = connections.endpoint_of(&owner.namespace, &claims.connection, claims.biz_id).await;
        let nothing = BTreeMap::new();
        // What a set that goes still remembers, it gives.
        let is_leaving = other.meta().deletion_timestamp.is_some();
        let processes = if is_leaving { &nothing } else { &claims.processes };
        let Ok(grants) = connections.grants(&owner.namespace, &claims.connection).await else { continue };
        let name = Some(&owner.name).filter(|_| Some(&owner.namespace) == set.metadata.namespace.as_ref()).cloned();
        // Anybody can name this URL; who may write there has credentials.
        let has_refused_credentials = connections.has_refused_credentials(&claims.connection);
        let whereabouts = match url {
            Ok(_) if has_refused_credentials => Whereabouts::Unknown,
            Ok(url) if url == endpoint => Whereabouts::Here,
            Ok(_) => Whereabouts::Elsewhere,
            Err(_) => Whereabouts::Unknown,
        };
        let claimed = OtherSet::new(name, comes_first(&other, set), processes, &claims.memory).at(whereabouts);
        others.push(OtherSetCandidate { service_template: claims.service_template.clone(), claims: claimed, grants });
    }
    others
}

/// The sets that may have waited for what the set of this uid claimed in a service template.
pub fn nearby(
    uid: &str,
    biz_id: i64,
    selector: &ServiceTemplateSelector,
    store: &Store<StoredSet>,
) -> Vec<ObjectRef<StoredSet>> {
    let state = store.state();
    let is_near = |other: &&Arc<StoredSet>| {
        other.meta().uid.as_deref() != Some(uid)
            && other.claims().is_some_and(|claims| may_meet(biz_id, selector, claims))
    };
    state.iter().filter(is_near).map(|other| ObjectRef::from_obj(&**other)).collect()
}

fn claims_beside<'a>(set: &ProcessTemplateSet, other: &'a StoredSet) -> Option<&'a Claims> {
    if other.meta().uid == set.metadata.uid {
        return None;
    }
    other.claims().filter(|claims| may_meet(set.spec.biz_id, &set.spec.service_template, claims))
}

// A name and an ID may mean the same service template.
fn may_meet(biz_id: i64, ours: &ServiceTemplateSelector, claims: &Claims) -> bool {
    let theirs = &claims.service_template;
    claims.biz_id == biz_id
        && (ours.id.is_some() != theirs.id.is_some() || ours.id == theirs.id && ours.name == theirs.name)
}

fn comes_first(other: &StoredSet, set: &ProcessTemplateSet) -> bool {
    let order = |metadata: &ObjectMeta| {
        (metadata.creation_timestamp.as_ref().map(|time| time.0), metadata.uid.clone().unwrap_or_default())
    };
    order(other.meta()) < order(&set.metadata)
}
