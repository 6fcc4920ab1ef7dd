//! Which other sets count beside a set, and what each of them claims: one rule for the controller and the command line.
//!
//! Flow: every live set is filed in an [`OtherSetIndex`], from a list or one object at a time. For one set,
//! [`OtherSetIndex::beside`] gives the sets that may live in its service template; the caller adds what only it knows,
//! the CMDB of each ([`Whereabouts`]) and its grants, and [`LiveSet::seen_from`] makes an [`OtherSetCandidate`] of it. When
//! the engine has resolved the service template, [`in_service_template`] keeps those that do live there.
//!
//! Claims change while a reconcile waits for other writers. So a job has no list of candidates but an [`OtherSets`], which the
//! engine asks each time that it decides by claims.
//!
//! Assumption: the name and the ID of a service template may mean the same one, which only CMDB's list shows. A set that
//! gives a name is therefore beside every set of the business that gives an ID, and the reverse.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;

use futures::future::BoxFuture;
use jiff::Timestamp;

use crate::api::ServiceTemplateSelector;
use crate::cmdb::{Grants, Touched};
use crate::plan::{Memory, OtherSet, SetName, Whereabouts};

/// Orders sets by age: of two sets that want the same, the lower one has it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Age {
    // The order of these fields is the order of ages.
    is_unstored: bool,
    created_at: Option<Timestamp>,
    uid: String,
    position: usize,
}

impl Age {
    /// The age of a set that the API server created at `created_at`; None: it has not been stored yet and is younger than
    /// every set that has. Equal times are ordered by `uid`, then by `position` among the manifests (0 where there are
    /// none).
    #[must_use]
    pub fn new(created_at: Option<Timestamp>, uid: Option<String>, position: usize) -> Self {
        Self { is_unstored: created_at.is_none(), created_at, uid: uid.unwrap_or_default(), position }
    }
}

/// A set as its object describes it, whatever CMDB it uses.
#[derive(Clone, Debug)]
pub struct LiveSet<'a> {
    /// Which set it is.
    pub name: &'a SetName,
    /// Its age.
    pub age: &'a Age,
    /// Whether its object is being deleted: it then wants nothing, and gives what its status remembers.
    pub is_leaving: bool,
    /// The service template that it names.
    pub service_template: &'a ServiceTemplateSelector,
    /// The process names that it wants, by key.
    pub processes: &'a BTreeMap<String, String>,
    /// What its status remembers.
    pub memory: &'a Memory,
}

impl LiveSet<'_> {
    /// What this set claims, as a set of this namespace and age sees it. The name of a set in another namespace is not
    /// shown.
    #[must_use]
    pub fn seen_from(
        &self,
        namespace: &str,
        age: &Age,
        whereabouts: Whereabouts,
        grants: Arc<dyn Grants>,
    ) -> OtherSetCandidate {
        let name = (self.name.namespace == namespace).then(|| self.name.name.clone());
        let nothing = BTreeMap::new();
        let processes = if self.is_leaving { &nothing } else { self.processes };
        let claims = OtherSet::new(name, self.age < age, processes, self.memory).at(whereabouts);
        let claims = OtherSet { uid: self.age.uid.clone(), ..claims };
        OtherSetCandidate { service_template: self.service_template.clone(), claims, grants }
    }
}

/// Finds the other live sets that may live in the service template of one set, as they are when it is asked.
pub trait OtherSets: Debug + Send + Sync {
    /// The other sets, each with what it claims at this moment.
    fn candidates(&self) -> BoxFuture<'_, Vec<OtherSetCandidate>>;
}

// Sets that do not change: those of files.
impl OtherSets for Vec<OtherSetCandidate> {
    fn candidates(&self) -> BoxFuture<'_, Vec<OtherSetCandidate>> {
        Box::pin(std::future::ready(self.clone()))
    }
}

/// Another live set of the business, before it is known whether it lives in the same service template.
#[derive(Clone, Debug)]
pub struct OtherSetCandidate {
    /// The service template that it names.
    pub service_template: ServiceTemplateSelector,
    /// What it claims there.
    pub claims: OtherSet,
    /// What it may touch: where it may not touch anything, it claims nothing.
    pub grants: Arc<dyn Grants>,
}

/// The candidates that live in one service template. Both its ID and its name are known here, so a grant by one covers a
/// set that gives the other.
#[must_use]
pub fn in_service_template(
    candidates: &[OtherSetCandidate],
    biz_id: i64,
    id: i64,
    name: Option<&str>,
) -> Vec<OtherSet> {
    let lives_here = |selector: &ServiceTemplateSelector| {
        selector.id == Some(id) || selector.name.is_some() && selector.name.as_deref() == name
    };
    let touched = Touched { biz_id, service_template_id: Some(id), service_template_name: name };
    candidates.iter().filter(|other| lives_here(&other.service_template)).map(|other| other.within(touched)).collect()
}

/// The candidates that name a service template which does not exist yet. It has no ID that a grant could name.
#[must_use]
pub fn in_new_service_template(candidates: &[OtherSetCandidate], biz_id: i64, name: &str) -> Vec<OtherSet> {
    let touched = Touched { biz_id, service_template_id: None, service_template_name: Some(name) };
    let others = candidates.iter().filter(|other| other.service_template.name.as_deref() == Some(name));
    others.map(|other| other.within(touched)).collect()
}

impl OtherSetCandidate {
    // What it claims in this service template: nothing outside its grants.
    fn within(&self, touched: Touched<'_>) -> OtherSet {
        let claims = self.claims.clone();
        if self.grants.cover(touched) { claims } else { claims.without_claims() }
    }
}

/// Sets by business and service template: finds the sets beside one without a walk over all of them.
///
/// `K` identifies a set (a uid, a name, a position), `S` is what the caller wants back for it. Sets are inserted and
/// removed one at a time, or collected from `(key, business, selector, set)`.
#[derive(Clone, Debug)]
pub struct OtherSetIndex<K, S> {
    // Where the entry of each key is.
    places: BTreeMap<K, (i64, Named)>,
    businesses: BTreeMap<i64, Business<K, S>>,
}

// The service template as a selector names it: by ID or by name.
type Named = (Option<i64>, Option<String>);

#[derive(Clone, Debug)]
struct Business<K, S> {
    by_id: BTreeMap<Named, BTreeMap<K, S>>,
    by_name: BTreeMap<Named, BTreeMap<K, S>>,
}

impl<K, S> Default for OtherSetIndex<K, S> {
    fn default() -> Self {
        Self { places: BTreeMap::new(), businesses: BTreeMap::new() }
    }
}

impl<K, S> Default for Business<K, S> {
    fn default() -> Self {
        Self { by_id: BTreeMap::new(), by_name: BTreeMap::new() }
    }
}

impl<K: Clone + Ord, S> OtherSetIndex<K, S> {
    /// Files a set, in the place of the entry that its key has, which is returned.
    pub fn insert(&mut self, key: K, biz_id: i64, service_template: &ServiceTemplateSelector, set: S) -> Option<S> {
        let before = self.remove(&key);
        let named = named(service_template);
        let business = self.businesses.entry(biz_id).or_default();
        business.named_alike(&named).entry(named.clone()).or_default().insert(key.clone(), set);
        self.places.insert(key, (biz_id, named));
        before
    }

    /// Removes the set of this key.
    pub fn remove(&mut self, key: &K) -> Option<S> {
        let (biz_id, named) = self.places.remove(key)?;
        let business = self.businesses.get_mut(&biz_id)?;
        let selectors = business.named_alike(&named);
        let sets = selectors.get_mut(&named)?;
        let removed = sets.remove(key);

        if sets.is_empty() {
            selectors.remove(&named);
        }
        if business.by_id.is_empty() && business.by_name.is_empty() {
            self.businesses.remove(&biz_id);
        }
        removed
    }

    /// How many sets are filed.
    pub fn count(&self) -> usize {
        self.places.len()
    }

    /// The set of this key.
    pub fn get(&self, key: &K) -> Option<&S> {
        let (biz_id, named) = self.places.get(key)?;
        let business = self.businesses.get(biz_id)?;
        let selectors = if named.0.is_some() { &business.by_id } else { &business.by_name };
        selectors.get(named)?.get(key)
    }

    /// The sets, but for the one of this key, that may live in this service template, in the order of their keys.
    pub fn beside(&self, key: &K, biz_id: i64, service_template: &ServiceTemplateSelector) -> Vec<(&K, &S)> {
        let Some(business) = self.businesses.get(&biz_id) else { return Vec::new() };
        let named = named(service_template);
        let (alike, otherwise) = match named {
            (Some(_), _) => (&business.by_id, &business.by_name),
            (None, _) => (&business.by_name, &business.by_id),
        };

        let sets = alike.get(&named).into_iter().chain(otherwise.values()).flatten();
        let mut beside: Vec<(&K, &S)> = sets.filter(|(other, _)| *other != key).collect();
        beside.sort_unstable_by_key(|(other, _)| *other);
        beside
    }
}

impl<K, S> Business<K, S> {
    fn named_alike(&mut self, named: &Named) -> &mut BTreeMap<Named, BTreeMap<K, S>> {
        if named.0.is_some() { &mut self.by_id } else { &mut self.by_name }
    }
}

impl<K: Clone + Ord, S> FromIterator<(K, i64, ServiceTemplateSelector, S)> for OtherSetIndex<K, S> {
    fn from_iter<I: IntoIterator<Item = (K, i64, ServiceTemplateSelector, S)>>(sets: I) -> Self {
        let mut index = Self::default();
        for (key, biz_id, service_template, set) in sets {
            index.insert(key, biz_id, &service_template, set);
        }
        index
    }
}

fn named(selector: &ServiceTemplateSelector) -> Named {
    (selector.id, selector.name.clone())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::{Age, LiveSet, OtherSetIndex, in_service_template};
    use crate::api::ServiceTemplateSelector;
    use crate::cmdb::Unbounded;
    use crate::plan::{Memory, SetName, Whereabouts};

    fn by_id(id: i64) -> ServiceTemplateSelector {
        ServiceTemplateSelector { id: Some(id), name: None, create_if_missing: None }
    }

    fn by_name(name: &str) -> ServiceTemplateSelector {
        ServiceTemplateSelector { id: None, name: Some(name.to_owned()), create_if_missing: None }
    }

    fn keys(index: &OtherSetIndex<u8, ()>, key: u8, biz_id: i64, selector: &ServiceTemplateSelector) -> Vec<u8> {
        index.beside(&key, biz_id, selector).into_iter().map(|(key, ())| *key).collect()
    }

    #[test]
    fn a_name_and_an_id_may_mean_the_same_service_template() {
        let index: OtherSetIndex<u8, ()> = [
            (5, 2, by_name("web"), ()),
            (1, 2, by_name("web"), ()),
            (2, 2, by_name("db"), ()),
            (3, 2, by_id(7), ()),
            (4, 2, by_id(8), ()),
            (6, 3, by_name("web"), ()),
        ]
        .into_iter()
        .collect();
        assert_eq!(keys(&index, 1, 2, &by_name("web")), [3, 4, 5]);
        assert_eq!(keys(&index, 3, 2, &by_id(7)), [1, 2, 5]);
        assert_eq!(keys(&index, 0, 2, &by_id(8)), [1, 2, 4, 5]);
        assert_eq!(keys(&index, 0, 4, &by_id(8)), [0; 0]);
    }

    #[test]
    fn a_set_is_filed_once_and_leaves_nothing_behind() {
        let mut index = OtherSetIndex::default();
        assert_eq!(index.insert(1, 2, &by_name("web"), "old"), None);
        assert_eq!(index.insert(1, 3, &by_id(7), "new"), Some("old"));
        assert!(index.beside(&0, 2, &by_name("web")).is_empty());
        assert_eq!(index.beside(&0, 3, &by_id(7)), [(&1, &"new")]);
        assert_eq!((index.remove(&1), index.remove(&1)), (Some("new"), None));
        assert!(index.businesses.is_empty() && index.places.is_empty());
    }

    #[test]
    fn stored_sets_are_older_than_those_of_manifests() {
        let stored = |seconds, uid: &str| Age::new(jiff::Timestamp::from_second(seconds).ok(), Some(uid.to_owned()), 9);
        let ages = [stored(1, "b"), stored(2, "a"), stored(2, "b"), Age::new(None, None, 0), Age::new(None, None, 1)];
        assert!(ages.is_sorted(), "{ages:?}");
    }

    #[test]
    fn a_set_of_another_namespace_has_no_name_and_a_leaving_one_wants_nothing() {
        let name = SetName { namespace: "shop".to_owned(), name: "web".to_owned() };
        let (first, second) = (Age::new(None, None, 0), Age::new(None, None, 1));
        let processes = BTreeMap::from([("nginx".to_owned(), "nginx".to_owned())]);
        let (selector, memory) = (by_name("web"), Memory::default());
        let set = LiveSet {
            name: &name,
            age: &first,
            is_leaving: false,
            service_template: &selector,
            processes: &processes,
            memory: &memory,
        };
        let seen = |set: &LiveSet<'_>, namespace| {
            set.seen_from(namespace, &second, Whereabouts::Here, Arc::new(Unbounded)).claims
        };
        let near = seen(&set, "shop");
        assert_eq!((near.name.as_deref(), near.comes_first, near.wants.len()), (Some("web"), true, 1));
        assert_eq!(seen(&set, "bank").name, None);
        assert!(seen(&LiveSet { is_leaving: true, ..set }, "shop").wants.is_empty());
    }

    #[test]
    fn only_candidates_of_the_resolved_service_template_count() {
        let name = SetName::default();
        let (age, processes, memory) = (Age::new(None, None, 0), BTreeMap::new(), Memory::default());
        let candidate = |selector: &ServiceTemplateSelector| {
            let set = LiveSet {
                name: &name,
                age: &age,
                is_leaving: false,
                service_template: selector,
                processes: &processes,
                memory: &memory,
            };
            set.seen_from("", &age, Whereabouts::Here, Arc::new(Unbounded))
        };
        let candidates = [by_id(7), by_id(8), by_name("web"), by_name("db")].map(|selector| candidate(&selector));
        assert_eq!(in_service_template(&candidates, 2, 7, Some("web")).len(), 2);
        assert_eq!(in_service_template(&candidates, 2, 7, None).len(), 1);
    }
}
