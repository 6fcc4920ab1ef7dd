//! The budget of the process for lists: what was parsed of an answer, as long as anybody holds it.
//!
//! A list takes its share once it is parsed and while it still has its place for bodies, so that no more parsed lists wait
//! than there are places. The share goes with the list, through the cache and every reader, until the last one drops it.
//!
//! # Guarantees
//! * All shares together have [`TOTAL_BYTES`]. Lists of up to [`FREE_BYTES`] need none.
//! * A host that would hold more than it leaves free gets no further share. Among those that wait, the host that holds the
//!   least is next, then who came first.
//! * No deadlock. A reader holds a list while it plans, which waits for nothing, and drops it before it waits for a lock or
//!   a call; what a cache keeps is bounded far below the budget, and pays for no wait of its own. Only a list that is read
//!   page by page holds shares while it waits for a further one: every wait ends after [`LONGEST_WAIT`], the call is then
//!   `Unavailable`, and what it held is given back.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes of all shares together.
pub const TOTAL_BYTES: usize = 56 << 20;

/// Bytes of a list that needs no share: a reconcile takes as much.
pub const FREE_BYTES: usize = 16 << 10;

/// Longest wait for a share.
pub const LONGEST_WAIT: Duration = Duration::from_secs(10);

/// The budget of the process for lists.
#[derive(Debug, Default)]
pub struct ListBudget {
    state: Mutex<State>,
    // Notified when a share may be had.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: usize,
    most: usize,
    hosts: HashMap<Arc<str>, usize>,
    last_ticket: u64,
    waiting: BTreeMap<u64, (Arc<str>, usize)>,
}

impl State {
    fn held_by(&self, host: &str) -> usize {
        self.hosts.get(host).copied().unwrap_or_default()
    }

    fn fits(&self, host: &str, bytes: usize) -> bool {
        let free = TOTAL_BYTES.saturating_sub(self.held);
        bytes.saturating_add(self.held_by(host)) <= free.saturating_sub(bytes)
    }

    // The ticket that gets the next share.
    fn next(&self) -> Option<u64> {
        let fitting = self.waiting.iter().filter(|(_, (host, bytes))| self.fits(host, *bytes));
        fitting.min_by_key(|(ticket, (host, _))| (self.held_by(host), **ticket)).map(|(ticket, _)| *ticket)
    }
}

impl ListBudget {
    /// Waits for the share of a list of this host. `None`: there was none in time.
    pub async fn take(self: &Arc<Self>, host: &Arc<str>, bytes: usize) -> Option<ListShare> {
        if bytes <= FREE_BYTES {
            return Some(ListShare::default());
        }
        let ticket = Ticket::new(self, host, bytes);
        let taken = async {
            loop {
                // Registered before the attempt, so that a change after it is not missed.
                let mut changed = pin!(self.changed.notified());
                changed.as_mut().enable();
                if let Some(part) = ticket.try_take() {
                    return ListShare(vec![part]);
                }
                changed.await;
            }
        };
        timeout(LONGEST_WAIT, taken).await.ok()
    }

    /// Bytes of all shares that are held, and the most that ever were.
    #[cfg(test)]
    pub fn bytes(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.held, state.most)
    }

    /// Whether no host holds or waits.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.held == 0 && state.hosts.is_empty() && state.waiting.is_empty()
    }
}

// A wait for a share, until it is dropped.
struct Ticket<'a> {
    budget: &'a Arc<ListBudget>,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(budget: &'a Arc<ListBudget>, host: &Arc<str>, bytes: usize) -> Self {
        let mut state = budget.state.lock();
        state.last_ticket = state.last_ticket.saturating_add(1);
        let number = state.last_ticket;
        state.waiting.insert(number, (Arc::clone(host), bytes));
        Self { budget, number }
    }

    fn try_take(&self) -> Option<Part> {
        let state = &mut *self.budget.state.lock();
        if state.next() != Some(self.number) {
            return None;
        }
        let (host, bytes) = state.waiting.remove(&self.number)?;
        state.held = state.held.saturating_add(bytes);
        state.most = state.most.max(state.held);
        let held = state.hosts.entry(Arc::clone(&host)).or_default();
        *held = held.saturating_add(bytes);
        Some(Part { budget: Arc::clone(self.budget), host, bytes })
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.budget.state.lock().waiting.remove(&self.number);
        self.budget.changed.notify_waiters();
    }
}

/// What a list takes of the budget, until it is dropped.
#[derive(Debug, Default)]
pub struct ListShare(Vec<Part>);

impl ListShare {
    /// Adds the share of a further page.
    pub fn add(&mut self, mut other: Self) {
        self.0.append(&mut other.0);
    }
}

// The share of one page.
#[derive(Debug)]
struct Part {
    budget: Arc<ListBudget>,
    host: Arc<str>,
    bytes: usize,
}

impl Drop for Part {
    fn drop(&mut self) {
        let state = &mut *self.budget.state.lock();
        state.held = state.held.saturating_sub(self.bytes);
        if let Some(held) = state.hosts.get_mut(&self.host) {
            *held = held.saturating_sub(self.bytes);
            if *held == 0 {
                state.hosts.remove(&self.host);
            }
        }
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::{LONGEST_WAIT, ListBudget, ListShare, TOTAL_BYTES};
    use crate::cmdb::intake::too_large::MAX_LIST;

    fn take(budget: &Arc<ListBudget>, host: &str, bytes: usize) -> Option<ListShare> {
        budget.take(&Arc::from(host), bytes).now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_never_holds_more_than_it_leaves_to_others() {
        let budget = Arc::default();
        let mut held = Vec::new();
        let counts = ["a", "b", "c", "d"].map(|host| {
            let before = held.len();
            held.extend(std::iter::from_fn(|| take(&budget, host, 1 << 20)));
            held.len() - before
        });
        assert_eq!(counts, [28, 14, 7, 3]);
        assert!(budget.bytes().0 <= TOTAL_BYTES);
        drop(held);
        assert!(budget.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn the_largest_list_fits_beside_one_that_is_kept() {
        let budget = Arc::default();
        let kept = take(&budget, "a", MAX_LIST).unwrap();
        let read = take(&budget, "a", MAX_LIST).unwrap();
        assert!(take(&budget, "a", MAX_LIST).is_none());
        assert!(take(&budget, "b", MAX_LIST).is_some());
        drop((kept, read));
        assert!(budget.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_ends_and_the_host_that_holds_least_is_next() {
        let budget: Arc<ListBudget> = Arc::default();
        let first = take(&budget, "a", MAX_LIST * 2).unwrap();
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        let started = Instant::now();
        assert!(budget.take(&a, MAX_LIST).await.is_none());
        assert_eq!(started.elapsed(), LONGEST_WAIT);

        let second = take(&budget, "c", MAX_LIST).unwrap();
        let (greedy, other) = (budget.take(&a, MAX_LIST), budget.take(&b, MAX_LIST));
        let (greedy, other, ()) = tokio::join!(
            async { greedy.await.map(|share| (Instant::now(), share)) },
            async { other.await.map(|share| (Instant::now(), share)) },
            async {
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                drop(second);
                tokio::time::sleep(std::time::Duration::from_secs(1)).await;
                drop(first);
            }
        );
        assert!(other.unwrap().0 < greedy.unwrap().0);
        assert!(budget.is_unused());
    }
}
