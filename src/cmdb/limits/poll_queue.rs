//! The polls that were sent away, in the order in which they first came. Pure: told what time it is.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::cmdb::PollKey;

/// A poll that comes this much before its time has come.
const EARLY: Duration = Duration::from_millis(100);

/// For so long after its time, no other takes the turn of a poll.
const LATE: Duration = Duration::from_secs(2);

/// For so long after its time, a poll that comes again has its place still.
const KEPT: Duration = Duration::from_mins(2);

/// The polls that are to come again.
#[derive(Debug, Default)]
pub struct Polls {
    places: BTreeMap<u64, Place>,
    numbers: HashMap<PollKey, u64>,
    last: u64,
}

#[derive(Debug)]
struct Place {
    key: PollKey,
    // When it comes again.
    due: Instant,
}

impl Polls {
    /// Polls that came before this one and whose time is now.
    pub fn due_before(&self, key: PollKey, now: Instant) -> usize {
        self.before(key).filter(|place| place.due <= now + EARLY && now < place.due + LATE).count()
    }

    /// Polls that came before this one and have not gone yet.
    pub fn waiting_before(&self, key: PollKey, now: Instant) -> usize {
        self.before(key).filter(|place| now < place.due + LATE).count()
    }

    /// Polls that are to come again.
    pub fn waiting(&self, now: Instant) -> usize {
        self.places.values().filter(|place| now < place.due + LATE).count()
    }

    /// It comes again then, in the place that it has, or behind all others.
    pub fn wait(&mut self, key: PollKey, due: Instant, now: Instant) {
        let number = self.numbers.get(&key).copied().unwrap_or(self.last + 1);
        self.last = self.last.max(number);
        self.numbers.insert(key, number);
        self.places.insert(number, Place { key, due });
        while let Some(first) = self.places.first_entry().filter(|first| first.get().due + KEPT <= now) {
            self.numbers.remove(&first.remove().key);
        }
    }

    /// It has gone.
    pub fn gone(&mut self, key: PollKey) {
        if let Some(number) = self.numbers.remove(&key) {
            self.places.remove(&number);
        }
    }

    fn before(&self, key: PollKey) -> impl Iterator<Item = &Place> {
        let number = self.numbers.get(&key).copied().unwrap_or(u64::MAX);
        self.places.range(..number).map(|(_, place)| place)
    }
}
