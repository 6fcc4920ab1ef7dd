//! The reconciles that wait for a place or run, and how one is superseded.
//!
//! # Flow
//! A reconcile enters its set with the version that it works on ([`UnderWay::enter`]). When the watch delivers another version,
//! the reconcile is superseded ([`UnderWay::observe`]): its waits end at once (`Progress::superseded`), and the event of the
//! watch starts the next reconcile when it has ended. A deletion that needs no call to CMDB does not wait for that end: the
//! reconcile before is *detached* ([`Reconcile::detached`]), and its call in flight ends beside it.
//!
//! # Guarantees
//! * A set that is deleted, or whose deletion is under way and that is changed in any way, is superseded at once.
//! * Only a reconcile that is superseded is detached: it sends nothing more.
//! * Of two reconciles in a row at most one is superseded by an edit: a set that is edited all the time still gets on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use kube::Resource as _;
use kube::runtime::reflector::ObjectRef;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::stored_set::StoredSet;
use crate::controller::names::ObjectName;

/// The reconciles that wait for a place or run, by set.
#[derive(Debug, Default)]
pub struct UnderWay {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    by_set: HashMap<ObjectName, Entry>,
    // Sets whose last reconcile was superseded by an edit.
    edited: HashSet<ObjectName>,
}

#[derive(Debug)]
struct Entry {
    version: Version,
    superseded: CancellationToken,
    detached: CancellationToken,
    // The reconcile before was superseded by an edit, so this one is not.
    ignores_edits: bool,
    is_edited: bool,
}

// What a reconcile works on: another spec, or another object, makes its work outdated.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Version {
    uid: Option<String>,
    generation: Option<i64>,
    is_leaving: bool,
}

/// A reconcile that is under way, until this is dropped.
#[derive(Debug)]
pub struct Reconcile {
    under_way: Arc<UnderWay>,
    set: ObjectName,
    superseded: CancellationToken,
    detached: CancellationToken,
}

impl UnderWay {
    /// A reconcile of this object is under way. kube runs one of a set at a time.
    pub fn enter(self: &Arc<Self>, object: &StoredSet) -> Reconcile {
        let set = ObjectName::of(&ObjectRef::from_obj(object));
        let (superseded, detached) = (CancellationToken::new(), CancellationToken::new());
        let mut state = self.state.lock();
        let ignores_edits = state.edited.remove(&set);
        let version = Version::of(object);
        let entry = Entry {
            version,
            superseded: superseded.clone(),
            detached: detached.clone(),
            ignores_edits,
            is_edited: false,
        };
        state.by_set.insert(set.clone(), entry);
        Reconcile { under_way: Arc::clone(self), set, superseded, detached }
    }

    /// The watch delivers an object, or that it `is_gone`.
    pub fn observe(&self, object: &StoredSet, is_gone: bool) {
        let set = ObjectName::of(&ObjectRef::from_obj(object));
        let mut state = self.state.lock();
        let Some(entry) = state.by_set.get_mut(&set) else { return };
        let now = Version::of(object);
        if now == entry.version && !is_gone {
            return;
        }
        let is_edit = !is_gone && !now.is_leaving && now.uid == entry.version.uid;
        if is_edit && entry.ignores_edits {
            return;
        }
        entry.is_edited |= is_edit;
        entry.superseded.cancel();
        if now.is_leaving && !object.needs_cmdb() {
            entry.detached.cancel();
        }
    }

    /// Forgets a set that is gone.
    pub fn forget(&self, set: &ObjectName) {
        self.state.lock().edited.remove(set);
    }

    /// How many sets are known here.
    pub fn len(&self) -> usize {
        let state = self.state.lock();
        state.by_set.len() + state.edited.len()
    }
}

impl Reconcile {
    /// Cancelled when the set has changed.
    pub fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }

    /// Cancelled when the set is being deleted and that needs no call to CMDB.
    pub fn detached(&self) -> &CancellationToken {
        &self.detached
    }

    /// From now on the reconcile works with this object.
    pub fn work_on(&self, object: &StoredSet) {
        if let Some(entry) = self.under_way.state.lock().by_set.get_mut(&self.set) {
            entry.version = Version::of(object);
        }
    }
}

impl Drop for Reconcile {
    fn drop(&mut self) {
        let mut state = self.under_way.state.lock();
        let is_edited = state.by_set.remove(&self.set).is_some_and(|entry| entry.is_edited);
        if is_edited {
            state.edited.insert(self.set.clone());
        }
    }
}

impl Version {
    fn of(object: &StoredSet) -> Self {
        let metadata = object.meta();
        Self {
            uid: metadata.uid.clone(),
            generation: metadata.generation,
            is_leaving: metadata.deletion_timestamp.is_some(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::{StoredSet, UnderWay};

    fn set(generation: i64, is_leaving: bool) -> StoredSet {
        let leaving = is_leaving.then_some("2026-01-01T00:00:00Z");
        let metadata = json!({
            "namespace": "shop", "name": "web", "uid": "1", "generation": generation, "deletionTimestamp": leaving,
        });
        serde_json::from_value(json!({ "metadata": metadata })).unwrap()
    }

    #[test]
    fn another_version_supersedes_a_reconcile_and_the_same_one_does_not() {
        let under_way = Arc::<UnderWay>::default();
        let reconcile = under_way.enter(&set(1, false));
        under_way.observe(&set(1, false), false);
        assert!(!reconcile.superseded().is_cancelled());
        reconcile.work_on(&set(2, false));
        under_way.observe(&set(2, false), false);
        assert!(!reconcile.superseded().is_cancelled());
        under_way.observe(&set(2, false), true);
        assert!(reconcile.superseded().is_cancelled(), "it is gone");
        drop(reconcile);
        assert_eq!(under_way.len(), 0);
    }

    #[test]
    fn of_two_reconciles_in_a_row_one_is_not_superseded_by_edits() {
        let under_way = Arc::<UnderWay>::default();
        let mut superseded = Vec::new();
        for generation in 1..5 {
            let reconcile = under_way.enter(&set(generation, false));
            under_way.observe(&set(generation + 1, false), false);
            superseded.push(reconcile.superseded().is_cancelled());
        }
        assert_eq!(superseded, [true, false, true, false]);
        drop(under_way.enter(&set(5, false)));
        assert_eq!(under_way.len(), 0);
    }

    #[test]
    fn a_deletion_and_what_changes_during_it_always_supersede() {
        let under_way = Arc::<UnderWay>::default();
        for generation in 1..5 {
            let reconcile = under_way.enter(&set(generation, generation > 1));
            under_way.observe(&set(generation + 1, true), false);
            assert!(reconcile.superseded().is_cancelled());
        }
        assert_eq!(under_way.len(), 0);
    }
}
