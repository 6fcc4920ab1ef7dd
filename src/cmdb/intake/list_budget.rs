//! The budget of the process for lists: what was parsed of an answer, as long as anybody holds it.
//!
//! A list takes its share once it is parsed and while it still has its place for bodies, so that no more parsed lists wait
//! than there are places. The share goes with the list, through the cache and every reader, until the last one drops it.
//!
//! # Guarantees
//! * All shares together have [`TOTAL_BYTES`]. Lists of up to [`FREE_BYTES`] need none.
//! * An owner of connections that would hold more than it leaves free gets no further share. Among those that wait, the
//!   owner that holds the least is next, then who came first.
//! * Pages of lists that are not whole yet have [`PAGE_BYTES`] at most: their server decides when the next page comes, and
//!   the limiter when it is asked for.
//! * No deadlock. A reader holds a whole list while it plans, which waits for no call to CMDB and for no other list; what a
//!   cache keeps is bounded far below the budget. Only a list that is read page by page holds shares while it waits for a
//!   further one: every wait ends after [`LONGEST_WAIT`], the call is then `Unavailable`, and what it held is given back.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::timeout;

/// Bytes of all shares together.
pub const TOTAL_BYTES: usize = 56 << 20;

/// Bytes of the shares of lists that are not whole yet.
pub const PAGE_BYTES: usize = 28 << 20;

/// Bytes of a list that needs no share: a reconcile takes as much.
pub const FREE_BYTES: usize = 16 << 10;

/// Longest wait for a share. Whole lists are held much shorter; a place for bodies is held meanwhile.
pub const LONGEST_WAIT: Duration = Duration::from_secs(2);

/// What a list, or a page of one, takes.
#[derive(Clone, Copy, Debug)]
pub struct Demand {
    /// Bytes.
    pub bytes: usize,
    /// Whether it is a page of a list that has more.
    pub is_page: bool,
}

/// The budget of the process for lists.
#[derive(Debug, Default)]
pub struct ListBudget {
    state: Mutex<State>,
    // Notified when a share may be had.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    held: Held,
    most: usize,
    owners: HashMap<Arc<str>, Held>,
    last_ticket: u64,
    waiting: BTreeMap<u64, (Arc<str>, Demand)>,
}

// Bytes that are held.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    all: usize,
    // Those of pages.
    pages: usize,
}

impl Held {
    fn add(&mut self, Demand { bytes, is_page }: Demand) {
        self.all = self.all.saturating_add(bytes);
        self.pages = self.pages.saturating_add(if is_page { bytes } else { 0 });
    }

    fn subtract(&mut self, Demand { bytes, is_page }: Demand) {
        self.all = self.all.saturating_sub(bytes);
        self.pages = self.pages.saturating_sub(if is_page { bytes } else { 0 });
    }
}

impl State {
    fn held_by(&self, owner: &str) -> Held {
        self.owners.get(owner).copied().unwrap_or_default()
    }

    fn fits(&self, owner: &str, Demand { bytes, is_page }: Demand) -> bool {
        let fits = |own: usize, held: usize, total: usize| {
            let left = total.saturating_sub(held).saturating_sub(bytes);
            own.saturating_add(bytes) <= left
        };
        let own = self.held_by(owner);
        fits(own.all, self.held.all, TOTAL_BYTES) && (!is_page || fits(own.pages, self.held.pages, PAGE_BYTES))
    }

    // The ticket that gets the next share.
    fn next(&self) -> Option<u64> {
        let fitting = self.waiting.iter().filter(|(_, (owner, demand))| self.fits(owner, *demand));
        fitting.min_by_key(|(ticket, (owner, _))| (self.held_by(owner).all, **ticket)).map(|(ticket, _)| *ticket)
    }

    fn give_back(&mut self, owner: &Arc<str>, demand: Demand) {
        self.held.subtract(demand);
        if let Some(held) = self.owners.get_mut(owner) {
            held.subtract(demand);
            if held.all == 0 {
                self.owners.remove(owner);
            }
        }
    }
}

impl ListBudget {
    /// Waits for the share of a list of this owner. `None`: there was none in time.
    pub async fn take(self: &Arc<Self>, owner: &Arc<str>, demand: Demand) -> Option<ListShare> {
        if demand.bytes <= FREE_BYTES {
            return Some(ListShare::default());
        }
        let ticket = Ticket::new(self, owner, demand);
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
        (state.held.all, state.most)
    }

    /// Whether no owner holds or waits.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        let state = self.state.lock();
        (state.held.all, state.held.pages) == (0, 0) && state.owners.is_empty() && state.waiting.is_empty()
    }
}

// A wait for a share, until it is dropped.
struct Ticket<'a> {
    budget: &'a Arc<ListBudget>,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(budget: &'a Arc<ListBudget>, owner: &Arc<str>, demand: Demand) -> Self {
        let mut state = budget.state.lock();
        state.last_ticket = state.last_ticket.saturating_add(1);
        let number = state.last_ticket;
        state.waiting.insert(number, (Arc::clone(owner), demand));
        Self { budget, number }
    }

    fn try_take(&self) -> Option<Part> {
        let state = &mut *self.budget.state.lock();
        if state.next() != Some(self.number) {
            return None;
        }
        let (owner, demand) = state.waiting.remove(&self.number)?;
        state.held.add(demand);
        state.most = state.most.max(state.held.all);
        state.owners.entry(Arc::clone(&owner)).or_default().add(demand);
        Some(Part { budget: Arc::clone(self.budget), owner, demand })
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

    /// The list has no further page.
    pub fn finish(&mut self) {
        self.0.iter_mut().for_each(Part::finish);
    }
}

// The share of one page.
#[derive(Debug)]
struct Part {
    budget: Arc<ListBudget>,
    owner: Arc<str>,
    demand: Demand,
}

impl Part {
    fn finish(&mut self) {
        let state = &mut *self.budget.state.lock();
        let before = std::mem::replace(&mut self.demand.is_page, false);
        if let Some(held) = state.owners.get_mut(&self.owner).filter(|_| before) {
            held.pages = held.pages.saturating_sub(self.demand.bytes);
            state.held.pages = state.held.pages.saturating_sub(self.demand.bytes);
        }
        self.budget.changed.notify_waiters();
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.budget.state.lock().give_back(&self.owner, self.demand);
        self.budget.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt as _;
    use tokio::time::Instant;

    use super::{Demand, LONGEST_WAIT, ListBudget, ListShare, TOTAL_BYTES};
    use crate::cmdb::intake::too_large::MAX_LIST;

    const fn whole(bytes: usize) -> Demand {
        Demand { bytes, is_page: false }
    }

    fn take(budget: &Arc<ListBudget>, owner: &str, bytes: usize) -> Option<ListShare> {
        budget.take(&Arc::from(owner), whole(bytes)).now_or_never().flatten()
    }

    fn take_page(budget: &Arc<ListBudget>, owner: &str) -> Option<ListShare> {
        budget.take(&Arc::from(owner), Demand { bytes: 1 << 20, is_page: true }).now_or_never().flatten()
    }

    #[tokio::test(start_paused = true)]
    async fn lists_that_are_not_whole_leave_half_of_the_budget_to_those_that_are() {
        let budget: Arc<ListBudget> = Arc::default();
        let owners = ["a", "b", "c", "d", "e", "f"];
        let pages = |owner: &&str| std::iter::from_fn(|| take_page(&budget, owner)).collect::<Vec<_>>();
        let mut pages: Vec<Vec<ListShare>> = owners.iter().map(pages).collect();
        assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [14, 7, 3, 2, 1, 0]);
        let whole = take(&budget, "honest", MAX_LIST).unwrap();

        // One that is whole leaves its part to others.
        pages[0].iter_mut().for_each(ListShare::finish);
        assert!(take_page(&budget, "honest").is_some());
        drop((pages, whole));
        assert!(budget.is_unused());
    }

    #[tokio::test(start_paused = true)]
    async fn an_owner_never_holds_more_than_it_leaves_to_others() {
        let budget = Arc::default();
        let mut held = Vec::new();
        let counts = ["a", "b", "c", "d"].map(|owner| {
            let before = held.len();
            held.extend(std::iter::from_fn(|| take(&budget, owner, 1 << 20)));
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
    async fn a_wait_ends_and_the_owner_that_holds_least_is_next() {
        let budget: Arc<ListBudget> = Arc::default();
        let first = take(&budget, "a", MAX_LIST * 2).unwrap();
        let (a, b): (Arc<str>, Arc<str>) = (Arc::from("a"), Arc::from("b"));
        let started = Instant::now();
        assert!(budget.take(&a, whole(MAX_LIST)).await.is_none());
        assert_eq!(started.elapsed(), LONGEST_WAIT);

        let second = take(&budget, "c", MAX_LIST).unwrap();
        let (greedy, other) = (budget.take(&a, whole(MAX_LIST)), budget.take(&b, whole(MAX_LIST)));
        let (greedy, other, ()) = tokio::join!(
            async { greedy.await.map(|share| (Instant::now(), share)) },
            async { other.await.map(|share| (Instant::now(), share)) },
            async {
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                drop(second);
                tokio::time::sleep(std::time::Duration::from_millis(500)).await;
                drop(first);
            }
        );
        assert!(other.unwrap().0 < greedy.unwrap().0);
        assert!(budget.is_unused());
    }
}
