//! The polls that were rejected with a retry-after, in the order in which they first came. Pure: the time is a
//! parameter.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tokio::time::Instant;

use crate::cmdb::PollKey;
use crate::outside::later;

/// A poll that comes this much too early counts as due.
const EARLY: Duration = Duration::from_millis(100);

/// Time after its due time for which a poll that has not come again goes before others.
const LATE: Duration = Duration::from_secs(2);

/// Time after its due time for which a poll that comes again keeps its place.
const KEPT: Duration = Duration::from_mins(2);

/// Number of polls up to which none is looked for that has not come again.
const MIN_SWEEP: usize = 64;

/// The polls that were rejected and are expected again.
#[derive(Debug, Default)]
pub struct RejectedPolls {
    // In the order in which they first came.
    by_number: BTreeMap<u64, RejectedPoll>,
    numbers: HashMap<PollKey, u64>,
    last_number: u64,
    // Number of polls above which all that have not come again are removed.
    sweep_above: usize,
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
        self.before(key).filter(|poll| poll.due <= later(now, EARLY) && now < later(poll.due, LATE)).count()
    }

    /// Number of polls that came before this one and are still expected.
    pub fn waiting_before(&self, key: PollKey, now: Instant) -> usize {
        self.before(key).filter(|poll| now < later(poll.due, LATE)).count()
    }

    /// Number of polls that are still expected.
    pub fn waiting(&self, now: Instant) -> usize {
        self.by_number.values().filter(|poll| now < later(poll.due, LATE)).count()
    }

    /// Expects a poll at `due`, in the place that it has, or after all others.
    pub fn insert(&mut self, key: PollKey, due: Instant, now: Instant) {
        let number = self.numbers.get(&key).copied().unwrap_or(self.last_number.saturating_add(1));
        self.last_number = self.last_number.max(number);
        self.numbers.insert(key, number);
        self.by_number.insert(number, RejectedPoll { key, due });

        // Those in front of this one that have not come again; and now and then all such, because one in front that
        // keeps coming keeps its place.
        while let Some(first) = self.by_number.first_entry().filter(|first| later(first.get().due, KEPT) <= now) {
            self.numbers.remove(&first.remove().key);
        }
        if self.by_number.len() > self.sweep_above {
            self.by_number.retain(|_, poll| later(poll.due, KEPT) > now);
            let by_number = &self.by_number;
            self.numbers.retain(|_, number| by_number.contains_key(number));
            self.sweep_above = self.by_number.len().saturating_mul(2).max(MIN_SWEEP);
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::RejectedPolls;
    use crate::cmdb::PollKey;

    #[test]
    fn polls_that_do_not_come_again_are_forgotten_behind_one_that_does() {
        let mut polls = RejectedPolls::default();
        let mut now = Instant::now();
        for number in 0..10_000 {
            let key = PollKey::of(number);
            polls.insert(PollKey::of("keeps coming"), now, now);
            polls.insert(key, now, now);
            now += Duration::from_secs(1);
            assert!(polls.by_number.len() <= 500 && polls.numbers.len() == polls.by_number.len());
        }
    }
}
