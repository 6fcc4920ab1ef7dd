//! Items that CMDB rejected: they are sent again when anything about them changes, else at most once an hour, alone.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::scope::Scope;
use crate::plan::{Desired, Memory};

// After this time an item is sent again although nothing about it has changed.
const AGAIN_AFTER: Duration = Duration::from_hours(1);

#[derive(Debug)]
struct Rejection {
    scope: Scope,
    content: String,
    reason: String,
    at: Instant,
}

/// What CMDB rejected, by set and key.
#[derive(Debug, Default)]
pub struct RejectedItems {
    by_item: Mutex<HashMap<(String, String), Rejection>>,
}

impl RejectedItems {
    /// Puts into the memory which items are not sent again yet.
    pub fn remind(&self, set: &str, scope: &Scope, desired: &Desired, memory: &mut Memory) {
        let rejected_items = self.by_item.lock();
        memory.refused.clear();
        for item in &desired.items {
            let Some(rejection) = rejected_items.get(&(set.to_owned(), item.key.clone())) else { continue };
            let still_holds = rejection.scope == *scope
                && item.content_hash() == rejection.content
                && rejection.at.elapsed() < AGAIN_AFTER;
            if still_holds {
                memory.refused.insert(item.key.clone(), rejection.reason.clone());
            }
        }
    }

    /// Whether the item was rejected before, and is therefore sent alone.
    pub fn contains(&self, set: &str, key: &str) -> bool {
        let rejected_items = self.by_item.lock();
        rejected_items.contains_key(&(set.to_owned(), key.to_owned()))
    }

    /// CMDB rejected the item with this content.
    pub fn add(&self, set: &str, key: &str, scope: &Scope, content: String, reason: String) {
        let rejection = Rejection { scope: scope.clone(), content, reason, at: Instant::now() };
        let mut rejected_items = self.by_item.lock();
        rejected_items.insert((set.to_owned(), key.to_owned()), rejection);
    }

    /// The item was stored after all.
    pub fn remove(&self, set: &str, key: &str) {
        let mut rejected_items = self.by_item.lock();
        rejected_items.remove(&(set.to_owned(), key.to_owned()));
    }

    /// How many items are remembered.
    pub fn len(&self) -> usize {
        self.by_item.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.by_item.lock().retain(|(owner, _), _| owner != set);
    }
}
