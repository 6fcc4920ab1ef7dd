//! In whose name a call waits for the limiter: namespaces take turns there, so that the many calls of one do not delay the
//! few of another.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;

/// The namespaces that wait for one call: that of the set whose call it is, and those of the sets that share its result.
/// Clones are the same lanes.
#[derive(Clone, Debug, Default)]
pub struct Lanes {
    // How many sets of each namespace wait for it.
    namespaces: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// A set that waits for a call, until this is dropped.
#[derive(Debug)]
pub struct LaneMember {
    lanes: Lanes,
    namespace: String,
}

/// When each namespace was served last, as a count of calls.
#[derive(Debug, Default)]
pub struct Served {
    calls: u64,
    last: HashMap<String, u64>,
}

impl Lanes {
    /// The lane of one namespace.
    pub fn of(namespace: &str) -> Self {
        Self { namespaces: Arc::new(Mutex::new(BTreeMap::from([(namespace.to_owned(), 1)]))) }
    }

    /// From now on a set of this namespace waits for the call too.
    pub fn join(&self, namespace: &str) -> LaneMember {
        let mut namespaces = self.namespaces.lock();
        let members = namespaces.entry(namespace.to_owned()).or_default();
        *members = members.saturating_add(1);
        drop(namespaces);
        LaneMember { lanes: self.clone(), namespace: namespace.to_owned() }
    }
}

impl Served {
    /// When the one of these namespaces was served last that has waited longest.
    pub fn least_recent(&self, lanes: &Lanes) -> u64 {
        let last = |namespace: &String| self.last.get(namespace).copied().unwrap_or_default();
        lanes.namespaces.lock().keys().map(last).min().unwrap_or_default()
    }

    /// Notes a call that is sent for all of these namespaces.
    pub fn note(&mut self, lanes: &Lanes) {
        self.calls = self.calls.saturating_add(1);
        for namespace in lanes.namespaces.lock().keys() {
            self.last.insert(namespace.clone(), self.calls);
        }
    }

    /// Forgets all: no call waits.
    pub fn clear(&mut self) {
        self.last.clear();
    }
}

impl Drop for LaneMember {
    fn drop(&mut self) {
        let mut namespaces = self.lanes.namespaces.lock();
        if let Some(members) = namespaces.get_mut(&self.namespace) {
            *members = members.saturating_sub(1);
            if *members == 0 {
                namespaces.remove(&self.namespace);
            }
        }
    }
}
