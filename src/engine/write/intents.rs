//! How long this process has known each intent, by its own monotonic clock.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::plan::{Intent, IntentFate, Memory};

// An intent: (uid of the set, key, hash, afterId).
type IntentKey = (String, String, String, i64);

/// The clocks of intents. A restart starts them again, because the clocks of two machines cannot be compared.
#[derive(Debug)]
pub struct IntentClocks {
    grace: Duration,
    over_since: Mutex<HashMap<IntentKey, Instant>>,
}

impl IntentClocks {
    /// Clocks with the time after which no server can still be working on a create.
    pub fn new(grace: Duration) -> Self {
        Self { grace, over_since: Mutex::default() }
    }

    /// Sets the fate of every intent of a set, for a list that was asked for at `asked_at`. An intent that is not known yet
    /// starts its grace period.
    pub fn set_fates(&self, set: &str, memory: &mut Memory, asked_at: Instant) {
        let mut clocks = self.over_since.lock();
        clocks.retain(|(owner, key, hash, after_id), _| {
            owner != set
                || memory.intents.get(key).is_some_and(|intent| intent.hash == *hash && intent.after_id == *after_id)
        });
        for (key, intent) in &mut memory.intents {
            let over = *clocks.entry(id(set, key, intent)).or_insert_with(|| Instant::now() + self.grace);
            intent.fate = if asked_at >= over { IntentFate::Over } else { IntentFate::Open };
        }
    }

    /// The create is being sent: from now on a server may be working on it.
    pub fn sent(&self, set: &str, key: &str, intent: &Intent) {
        let mut clocks = self.over_since.lock();
        clocks.insert(id(set, key, intent), Instant::now() + self.grace);
    }

    /// CMDB itself answered that this create was not stored.
    pub fn answered(&self, set: &str, key: &str, intent: &Intent) {
        let mut clocks = self.over_since.lock();
        clocks.insert(id(set, key, intent), Instant::now());
    }

    /// When the first of a set's open intents can be decided at the latest.
    pub fn decided_by(&self, set: &str, memory: &Memory) -> Option<Instant> {
        let clocks = self.over_since.lock();
        memory.intents.iter().filter_map(|(key, intent)| clocks.get(&id(set, key, intent)).copied()).min()
    }

    /// How many intents have a clock.
    pub fn len(&self) -> usize {
        self.over_since.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.over_since.lock().retain(|(owner, ..), _| owner != set);
    }
}

fn id(set: &str, key: &str, intent: &Intent) -> IntentKey {
    (set.to_owned(), key.to_owned(), intent.hash.clone(), intent.after_id)
}
