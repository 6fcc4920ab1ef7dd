//! How many large sets are reconciled at once. A set that is too large to be kept is read from the API server by its
//! reconcile, which holds it several times over while it runs: as text, as an object, and as what is wanted.
//!
//! The bound is one in bytes for each namespace, so no tenant's large sets wait for those of another. Sets that need no call
//! to CMDB have a bound of their own, as they have places of their own. Sets that are kept whole are not bounded here.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::stored_set::LARGEST_KEPT;
use crate::controller::places::LaneName;

// Text of the large sets of one namespace that are reconciled at once, in KiB. One set alone may be larger. It also bounds
// what the API server has to do at once for one tenant: what a status costs it grows with the processes.
const RUNNING_KIB: u32 = 512;

/// The bounds of all namespaces.
#[derive(Debug, Default)]
pub struct LargeSets {
    // By namespace, and whether the sets need CMDB.
    running: Mutex<HashMap<(String, bool), Weak<Semaphore>>>,
}

/// The right to reconcile a set of this size, until it is dropped.
#[derive(Debug)]
pub struct Share {
    size: usize,
    _permit: Option<OwnedSemaphorePermit>,
}

impl LargeSets {
    /// Waits until a set of this size, in bytes, may be reconciled. Dropped, it waits no longer.
    pub async fn take(&self, lane: &LaneName, size: usize) -> Share {
        if size <= LARGEST_KEPT {
            return Share { size: LARGEST_KEPT, _permit: None };
        }
        let semaphore = self.of((lane.namespace.clone(), lane.connection.is_some()));
        let kib = u32::try_from(size.div_ceil(1024)).unwrap_or(RUNNING_KIB).min(RUNNING_KIB);
        // It is never closed.
        let permit = semaphore.acquire_many_owned(kib).await.ok();
        Share { size, _permit: permit }
    }

    /// How many namespaces have a large set that runs or waits.
    pub fn len(&self) -> usize {
        self.running.lock().values().filter(|semaphore| semaphore.strong_count() > 0).count()
    }

    fn of(&self, key: (String, bool)) -> Arc<Semaphore> {
        let mut running = self.running.lock();
        running.retain(|_, semaphore| semaphore.strong_count() > 0);
        let kept = running.entry(key).or_default();
        kept.upgrade().unwrap_or_else(|| {
            let semaphore = Arc::new(Semaphore::new(RUNNING_KIB as usize));
            *kept = Arc::downgrade(&semaphore);
            semaphore
        })
    }
}

impl Share {
    /// Whether it is enough for a set of this size.
    pub fn covers(&self, size: usize) -> bool {
        size <= self.size
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::{LargeSets, Share};
    use crate::controller::places::LaneName;

    const MIB: usize = 1 << 20;

    fn lane(namespace: &str) -> LaneName {
        LaneName { namespace: namespace.to_owned(), connection: None }
    }

    // As many as run at once, of a hundred.
    fn running(large: &LargeSets, namespace: &str, size: usize) -> Vec<Share> {
        (0..100).filter_map(|_| large.take(&lane(namespace), size).now_or_never()).collect()
    }

    #[test]
    fn a_few_large_sets_of_a_namespace_run_at_once_and_all_small_ones() {
        let large = LargeSets::default();
        let first = running(&large, "shop", MIB);
        assert_eq!(first.len(), 1, "one alone may be larger");
        assert!(first[0].covers(MIB) && !first[0].covers(MIB + 1));
        assert_eq!(running(&large, "bank", 128 * 1024).len(), 4, "those of another namespace do not wait");
        assert_eq!(running(&large, "shop", 64 * 1024).len(), 100);
        drop(first);
        assert_eq!(large.len(), 0);
        assert_eq!(running(&large, "shop", 100 * MIB).len(), 1);
    }
}
