//! The polls that were rejected with a retry-after, in the order in which they first came. Pure: the time is a
//! parameter.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::cmdb::PollKey;

/// A poll that comes this much too early counts as due.
const EARLY: Duration = Duration::from_millis(100);

/// Time after its due time for which a poll that has not come again goes before others.
const LATE: Duration = Duration::from_secs(2);

/// Time after its due time for which a poll that comes again keeps its place.
const KEPT: Duration = Duration::from_mins(2);

/// The polls that were rejected and are expected again.
#[derive(Debug, Default)]
pub struct RejectedPolls {
    // In the order in which they first came.
    by_number: BTreeMap<u64, RejectedPoll>,
    numbers: HashMap<PollKey, u64>,
    last_number: u64,
}

#[derive(Debug)]
struct RejectedPoll {
    key: PollKey,
    // When it is expected again.
    due: Instant,
}

impl RejectedPolls {
    /// Number of polls that came before this one and are due now.
    pub fn due_before(&self, key: PollKey, now: Instant) -> usize {
        self.before(key).filter(|poll| poll.due <= now + EARLY && now < poll.due + LATE).count()
    }

    /// Number of polls that came before this one and are still expected.
    pub fn waiting_before(&self, key: PollKey, now: Instant) -> usize {
        self.before(key).filter(|poll| now < poll.due + LATE).count()
    }

    /// Number of polls that are still expected.
    pub fn waiting(&self, now: Instant) -> usize {
        self.by_number.values().filter(|poll| now < poll.due + LATE).count()
    }

    /// Expects a poll at `due`, in the place that it has, or after all others.
    pub fn insert(&mut self, key: PollKey, due: Instant, now: Instant) {
        let number = self.numbers.get(&key).copied().unwrap_or(self.last_number + 1);
        self.last_number = self.last_number.max(number);
        self.numbers.insert(key, number);
        self.by_number.insert(number, RejectedPoll { key, due });

        while let Some(first) = self.by_number.first_entry().filter(|first| first.get().due + KEPT <= now) {
            self.numbers.remove(&first.remove().key);
        }
    }

    /// Removes a poll that was sent.
    pub fn remove(&mut self, key: PollKey) {
        if let Some(number) = self.numbers.remove(&key) {
            self.by_number.remove(&number);
        }
    }

    fn before(&self, key: PollKey) -> impl Iterator<Item = &RejectedPoll> {
        let number = self.numbers.get(&key).copied().unwrap_or(u64::MAX);
        self.by_number.range(..number).map(|(_, poll)| poll)
    }
}
