//! How long this process has known each intent, by its own monotonic clock.
//!
//! *Flow.* [`IntentClocks::announced`] comes before the intent is stored. Then one of these follows: [`IntentClocks::sent`] when
//! its request was sent and the answer leaves the outcome open, [`IntentClocks::refused`] when CMDB answered that
//! nothing was stored, [`IntentClocks::unsent`] when the request was never sent. [`IntentClocks::set_fates`] puts into a memory what that means for a list.
//!
//! *Guarantees.*
//! * An intent has the clock of the request that it was sent with, and of no other: an intent that is announced again forgets
//!   what its key knew of an earlier request.
//! * An intent that was never sent waits for nothing, also when the status has it although our write of it seemed to fail.
//! * An intent that this process did not announce, or lost while it was announced, may have been sent: its grace period starts
//!   when it is first seen.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::plan::{Intent, IntentFate, Memory};

// An intent: (uid of the set, key, hash, afterId).
type IntentKey = (String, String, String, i64);

// What this process knows of an intent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Clock {
    // It was announced, and its request has not been answered.
    Announced,
    // Its outcome can be decided by a list that was asked for then or later.
    Decidable(Instant),
    // CMDB itself answered then that nothing was stored.
    Refused(Instant),
    // Since then it is known that its request was never sent.
    Unsent(Instant),
}

/// The clocks of intents. A restart starts them again, because the clocks of two machines cannot be compared.
#[derive(Debug)]
pub struct IntentClocks {
    grace: Duration,
    clocks: Mutex<HashMap<IntentKey, Clock>>,
}

impl IntentClocks {
    /// Clocks with the time after which no server can still be working on a create.
    pub fn new(grace: Duration) -> Self {
        Self { grace, clocks: Mutex::default() }
    }

    /// A reconcile starts with the intents of a status. What an earlier one announced and did not end, because it panicked, may
    /// have been sent.
    pub fn start(&self, set: &str) {
        let decidable = Clock::Decidable(Instant::now() + self.grace);
        for ((owner, ..), clock) in self.clocks.lock().iter_mut() {
            if owner == set && *clock == Clock::Announced {
                *clock = decidable;
            }
        }
    }

    /// Sets the fate of every intent of a set, for a list that was asked for at `asked_at`. An intent that is not known yet
    /// starts its grace period.
    pub fn set_fates(&self, set: &str, memory: &mut Memory, asked_at: Instant) {
        let mut clocks = self.clocks.lock();
        clocks.retain(|(owner, key, hash, after_id), clock| {
            let is_remembered =
                || memory.intents.get(key).is_some_and(|intent| intent.hash == *hash && intent.after_id == *after_id);
            // The status may still have it, and show that later.
            let may_return = matches!(clock, Clock::Unsent(since) if since.elapsed() < self.grace);
            owner != set || may_return || is_remembered()
        });
        for (key, intent) in &mut memory.intents {
            let clock =
                clocks.entry(id(set, key, intent)).or_insert_with(|| Clock::Decidable(Instant::now() + self.grace));
            let is_over = match clock {
                Clock::Announced => false,
                Clock::Decidable(over) | Clock::Refused(over) => asked_at >= *over,
                Clock::Unsent(_) => true,
            };
            intent.fate = if is_over { IntentFate::Over } else { IntentFate::Open };
        }
    }

    /// The intent is about to be stored.
    pub fn announced(&self, set: &str, key: &str, intent: &Intent) {
        self.put(set, key, intent, Clock::Announced);
    }

    /// The create was sent at `sent_at`, and may still be stored until no server can be working on it.
    pub fn sent(&self, set: &str, key: &str, intent: &Intent, sent_at: Instant) {
        self.put(set, key, intent, Clock::Decidable(sent_at + self.grace));
    }

    /// CMDB itself answered that this create was not stored.
    pub fn refused(&self, set: &str, key: &str, intent: &Intent) {
        self.put(set, key, intent, Clock::Refused(Instant::now()));
    }

    /// The create will not be sent under this intent, and never was.
    pub fn unsent(&self, set: &str, key: &str, intent: &Intent) {
        self.put(set, key, intent, Clock::Unsent(Instant::now()));
    }

    /// When the first of a set's open intents can be decided at the latest.
    pub fn decided_by(&self, set: &str, memory: &Memory) -> Option<Instant> {
        let clocks = self.clocks.lock();
        let decided_by = memory.intents.iter().filter_map(|(key, intent)| match clocks.get(&id(set, key, intent))? {
            Clock::Announced => None,
            Clock::Decidable(over) | Clock::Refused(over) | Clock::Unsent(over) => Some(*over),
        });
        decided_by.min()
    }

    /// How many intents have a clock.
    pub fn len(&self) -> usize {
        self.clocks.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.clocks.lock().retain(|(owner, ..), _| owner != set);
    }

    fn put(&self, set: &str, key: &str, intent: &Intent, clock: Clock) {
        self.clocks.lock().insert(id(set, key, intent), clock);
    }
}

fn id(set: &str, key: &str, intent: &Intent) -> IntentKey {
    (set.to_owned(), key.to_owned(), intent.hash.clone(), intent.after_id)
}
