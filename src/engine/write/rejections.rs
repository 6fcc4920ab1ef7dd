//! Items that CMDB refused: sent again when anything about them changes, else at most hourly, alone.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::Scope;
use crate::plan::{Desired, Memory};

const AGAIN_AFTER: Duration = Duration::from_hours(1);

#[derive(Debug)]
struct Refusal {
    scope: Scope,
    content: String,
    reason: String,
    at: Instant,
}

/// What CMDB refused, by set and key.
#[derive(Debug, Default)]
pub struct RejectedItems {
    by_item: Mutex<HashMap<(String, String), Refusal>>,
}

impl RejectedItems {
    /// Puts into the memory which items are not sent again yet.
    pub fn recall(&self, set: &str, scope: &Scope, desired: &Desired, memory: &mut Memory) {
        let rejected_items = self.by_item.lock().unwrap_or_else(PoisonError::into_inner);
        memory.refused.clear();
        for item in &desired.items {
            let Some(refusal) = rejected_items.get(&(set.to_owned(), item.key.clone())) else { continue };
            let stands =
                refusal.scope == *scope && item.content_hash() == refusal.content && refusal.at.elapsed() < AGAIN_AFTER;
            if stands {
                memory.refused.insert(item.key.clone(), refusal.reason.clone());
            }
        }
    }

    /// Whether the item was refused before, and is therefore sent alone.
    pub fn contains(&self, set: &str, key: &str) -> bool {
        let rejected_items = self.by_item.lock().unwrap_or_else(PoisonError::into_inner);
        rejected_items.contains_key(&(set.to_owned(), key.to_owned()))
    }

    /// CMDB refused the item of this content.
    pub fn add(&self, set: &str, key: &str, scope: &Scope, content: String, reason: String) {
        let refusal = Refusal { scope: scope.clone(), content, reason, at: Instant::now() };
        let mut rejected_items = self.by_item.lock().unwrap_or_else(PoisonError::into_inner);
        rejected_items.insert((set.to_owned(), key.to_owned()), refusal);
    }

    /// The item was stored after all.
    pub fn remove(&self, set: &str, key: &str) {
        let mut rejected_items = self.by_item.lock().unwrap_or_else(PoisonError::into_inner);
        rejected_items.remove(&(set.to_owned(), key.to_owned()));
    }

    /// Forgets a set that is gone.
    pub fn forget(&self, set: &str) {
        self.by_item.lock().unwrap_or_else(PoisonError::into_inner).retain(|(owner, _), _| owner != set);
    }
}
