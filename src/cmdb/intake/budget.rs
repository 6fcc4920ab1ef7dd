//! The budget of the process for the bodies of answers.
//!
//! Places come in three sizes. A body starts in a small buffer that needs no place; each time it outgrows what it has, it
//! takes a place of the next size and then gives the former back. The order of the sizes is what rules out a deadlock:
//! the holder of a large place needs nothing more, and each call ends at its deadline.
//!
//! Places are divided among the owners of connections: who makes a connection decides which servers answer.
//!
//! # Guarantees
//! * All places together have [`TOTAL_BYTES`].
//! * An owner that has as many places of a size as are free gets no further one, so that however many it asks for,
//!   a part is left to others. Among those that wait, the owner with the fewest places is next, then the one that got
//!   its last place the longest ago, so that they take turns.
//! * Many owners may have all places, and their servers may stall: a place that was held for long is revoked when an
//!   owner with fewer places of its size waits. The call then fails.
//! * What an owner had is forgotten when it neither holds nor waits.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::list_budget::ListBudget;
use crate::outside;

/// Places of one size.
struct Size {
    /// Bytes of a place.
    bytes: usize,
    /// How many there are.
    places: usize,
    /// How long a place is safe from owners with fewer places.
    hold: Duration,
}

/// Bytes of a body that needs no place: the buffers of its connection take as much.
pub const UNPLACED_BYTES: usize = 16 << 10;

/// The sizes, each larger than the one before.
const SIZES: [Size; 3] = [
    Size { bytes: 256 << 10, places: 48, hold: Duration::from_secs(1) },
    Size { bytes: 2 << 20, places: 10, hold: Duration::from_secs(2) },
    Size { bytes: 32 << 20, places: 1, hold: Duration::from_secs(5) },
];

/// Bytes of all places together.
#[cfg(test)]
pub const TOTAL_BYTES: usize = 64 << 20;

/// Bodies that are parsed on threads of their own at a time.
const PARSERS: usize = 2;

/// The budget of the process for the bodies of answers.
#[derive(Debug)]
pub struct ReplyBudget {
    state: Mutex<State>,
    // Notified when a place may be had.
    changed: Notify,
    /// The right to parse on a thread of its own.
    pub parsers: Arc<Semaphore>,
    /// The budget for what is parsed of lists.
    pub lists: Arc<ListBudget>,
}

#[derive(Debug, Default)]
struct State {
    sizes: [Places; SIZES.len()],
    last_ticket: u64,
    held_bytes: usize,
    most_bytes: usize,
}

#[derive(Debug, Default)]
struct Places {
    held: BTreeMap<u64, Holder>,
    // Who waits for a place, by ticket.
    waiting: BTreeMap<u64, Arc<str>>,
    owners: HashMap<Arc<str>, Standing>,
}

// Who has a place, by the ticket that it was taken with.
#[derive(Debug)]
struct Holder {
    owner: Arc<str>,
    since: Instant,
    revoked: CancellationToken,
}

// What an owner has of a size.
#[derive(Debug, Default)]
struct Standing {
    held: usize,
    waiting: usize,
    // The ticket of its last place.
    last: u64,
}

impl Default for ReplyBudget {
    fn default() -> Self {
        Self {
            state: Mutex::default(),
            changed: Notify::new(),
            parsers: Arc::new(Semaphore::new(PARSERS)),
            lists: Arc::default(),
        }
    }
}

impl ReplyBudget {
    /// Bytes of all places that are held, and the most that ever were.
    #[cfg(test)]
    pub fn bytes(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.held_bytes, state.most_bytes)
    }

    /// Whether no owner holds or waits.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.sizes.iter().all(|places| places.held.is_empty() && places.waiting.is_empty() && places.owners.is_empty())
    }

    // Waits for a place of this size. `None`: there is no such size.
    async fn place(self: &Arc<Self>, size: usize, owner: &Arc<str>) -> Option<Place> {
        let ticket = Ticket::new(self, size, owner)?;
        loop {
            // Registered before the attempt, so that a change after it is not missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(place) = ticket.try_take() {
                return Some(place);
            }
            match ticket.revocable_at() {
                Some(at) if timeout_at(at, changed.as_mut()).await.is_err() => ticket.revoke(at),
                Some(_) => {}
                None => changed.await,
            }
        }
    }
}

impl Places {
    // The ticket that gets the next place.
    fn next(&self, size: usize) -> Option<u64> {
        let free = SIZES.get(size)?.places.saturating_sub(self.held.len());
        let rank = |(ticket, owner): (&u64, &Arc<str>)| {
            let standing = self.owners.get(owner)?;
            (standing.held < free).then_some((standing.held, standing.last, *ticket))
        };
        self.waiting.iter().filter_map(rank).min().map(|(_, _, ticket)| ticket)
    }

    fn held_by(&self, owner: &str) -> usize {
        self.owners.get(owner).map_or(0, |standing| standing.held)
    }

    // What may be revoked for this owner, once it was held for long. One for each ticket that waits: no more is needed.
    fn revocable(&self, owner: &str) -> impl Iterator<Item = &Holder> {
        let (open, revoked): (Vec<&Holder>, Vec<&Holder>) =
            self.held.values().partition(|holder| !holder.revoked.is_cancelled());
        let is_enough = revoked.len() >= self.waiting.len();
        let most = self.held_by(owner);
        open.into_iter().filter(move |holder| !is_enough && self.held_by(&holder.owner) > most)
    }

    fn forget_if_unused(&mut self, owner: &Arc<str>) {
        if self.owners.get(owner).is_some_and(|standing| standing.held == 0 && standing.waiting == 0) {
            self.owners.remove(owner);
        }
    }
}

// A wait for a place, until it is dropped.
struct Ticket<'a> {
    budget: &'a Arc<ReplyBudget>,
    size: usize,
    owner: &'a Arc<str>,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(budget: &'a Arc<ReplyBudget>, size: usize, owner: &'a Arc<str>) -> Option<Self> {
        let state = &mut *budget.state.lock();
        state.last_ticket = state.last_ticket.saturating_add(1);
        let (number, places) = (state.last_ticket, state.sizes.get_mut(size)?);
        places.waiting.insert(number, Arc::clone(owner));
        let standing = places.owners.entry(Arc::clone(owner)).or_default();
        standing.waiting = standing.waiting.saturating_add(1);
        Some(Self { budget, size, owner, number })
    }

    fn try_take(&self) -> Option<Place> {
        let state = &mut *self.budget.state.lock();
        let places = state.sizes.get_mut(self.size)?;
        if places.next(self.size) != Some(self.number) {
            return None;
        }
        let revoked = CancellationToken::new();
        let (owner, since) = (Arc::clone(self.owner), Instant::now());
        places.held.insert(self.number, Holder { owner, since, revoked: revoked.clone() });
        let standing = places.owners.get_mut(self.owner)?;
        standing.held = standing.held.saturating_add(1);
        standing.last = self.number;

        let bytes = SIZES.get(self.size)?.bytes;
        state.held_bytes = state.held_bytes.saturating_add(bytes);
        state.most_bytes = state.most_bytes.max(state.held_bytes);
        let (budget, owner) = (Arc::clone(self.budget), Arc::clone(self.owner));
        Some(Place { budget, size: self.size, bytes, owner, number: self.number, revoked })
    }

    // When a place may be revoked for this ticket. `None`: not as things are.
    fn revocable_at(&self) -> Option<Instant> {
        let (state, hold) = (self.budget.state.lock(), SIZES.get(self.size)?.hold);
        let since = state.sizes.get(self.size)?.revocable(self.owner).map(|holder| holder.since).min()?;
        Some(outside::later(since, hold))
    }

    // Revokes a place that was taken long before this, of the owner that has the most.
    fn revoke(&self, at: Instant) {
        let state = self.budget.state.lock();
        let (Some(places), Some(size)) = (state.sizes.get(self.size), SIZES.get(self.size)) else { return };
        let old = places.revocable(self.owner).filter(|holder| outside::later(holder.since, size.hold) <= at);
        let last = old.max_by_key(|holder| (places.held_by(&holder.owner), Reverse(holder.since)));
        if let Some(holder) = last {
            holder.revoked.cancel();
        }
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        if let Some(places) = state.sizes.get_mut(self.size) {
            places.waiting.remove(&self.number);
            if let Some(standing) = places.owners.get_mut(self.owner) {
                standing.waiting = standing.waiting.saturating_sub(1);
            }
            places.forget_if_unused(self.owner);
        }
        drop(state);
        self.budget.changed.notify_waiters();
    }
}

// A place, until it is dropped.
#[derive(Debug)]
struct Place {
    budget: Arc<ReplyBudget>,
    size: usize,
    bytes: usize,
    owner: Arc<str>,
    number: u64,
    revoked: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &mut *self.budget.state.lock();
        state.held_bytes = state.held_bytes.saturating_sub(self.bytes);
        if let Some(places) = state.sizes.get_mut(self.size) {
            places.held.remove(&self.number);
            if let Some(standing) = places.owners.get_mut(&self.owner) {
                standing.held = standing.held.saturating_sub(1);
            }
            places.forget_if_unused(&self.owner);
        }
        self.budget.changed.notify_waiters();
    }
}

/// What the body of one answer takes of the budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<ReplyBudget>,
    // Whose answer it is: places are divided among owners.
    owner: Arc<str>,
    place: Option<Place>,
}

impl Share {
    /// The share of an answer of this owner. It takes nothing of the budget yet.
    pub fn new(budget: &Arc<ReplyBudget>, owner: &Arc<str>) -> Self {
        Self { budget: Arc::clone(budget), owner: Arc::clone(owner), place: None }
    }

    /// The budget.
    pub fn budget(&self) -> &Arc<ReplyBudget> {
        &self.budget
    }

    /// Whose answer it is.
    pub fn owner(&self) -> &Arc<str> {
        &self.owner
    }

    /// Bytes that the body may take now.
    pub fn bytes(&self) -> usize {
        self.place.as_ref().map_or(UNPLACED_BYTES, |place| place.bytes)
    }

    /// Waits for a larger place. Returns whether there is one; `None`: the present one was revoked.
    pub async fn grow(&mut self) -> Option<bool> {
        let size = self.place.as_ref().map_or(0, |place| place.size.saturating_add(1));
        let larger = self.while_held(self.budget.place(size, &self.owner)).await?;
        let is_there = larger.is_some();
        self.place = larger.or(self.place.take());
        Some(is_there)
    }

    /// Waits for this until the place is revoked, which `None` says.
    pub async fn while_held<T>(&self, wanted: impl Future<Output = T>) -> Option<T> {
        match &self.place {
            Some(place) => place.revoked.run_until_cancelled(wanted).await,
            None => Some(wanted.await),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::{ReplyBudget, SIZES, Share, TOTAL_BYTES};

    fn share(budget: &Arc<ReplyBudget>, owner: &str) -> Share {
        Share::new(budget, &Arc::from(owner))
    }

    // Whether it gets a place of this size at once.
    fn fits(share: &mut Share, size: usize) -> bool {
        (0..=size).all(|_| share.grow().now_or_never().is_some())
    }

    #[test]
    fn the_places_together_are_within_the_budget() {
        let bytes: usize = SIZES.iter().map(|size| size.bytes * size.places).sum();
        assert_eq!(bytes, TOTAL_BYTES);
    }

    #[tokio::test]
    async fn one_owner_never_has_more_than_half_and_others_get_a_part_of_the_rest() {
        let budget = Arc::default();
        let mut kept = Vec::new();
        let mut taken = Vec::new();
        for owner in ["a", "b", "c", "d", "e", "f"] {
            let mut count = 0;
            loop {
                let mut next = share(&budget, owner);
                if !fits(&mut next, 0) {
                    break;
                }
                kept.push(next);
                count += 1;
            }
            taken.push(count);
        }
        assert_eq!(taken, [24, 12, 6, 3, 2, 1]);
        drop(kept);
        assert!(budget.is_unused() && budget.bytes().0 == 0);
    }

    #[tokio::test]
    async fn owners_take_turns_for_the_largest_place() {
        let budget: Arc<ReplyBudget> = Arc::default();
        let mut first = share(&budget, "greedy");
        assert!(fits(&mut first, 2));
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for owner in ["greedy", "greedy", "greedy", "other", "third"] {
            let (mut next, sender) = (share(&budget, owner), sender.clone());
            assert!(fits(&mut next, 1));
            tokio::spawn(async move {
                next.grow().await;
                sender.send(owner).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop((first, sender));
        let mut got = Vec::new();
        while let Some(owner) = order.recv().await {
            got.push(owner);
        }
        assert_eq!(got, ["other", "third", "greedy", "greedy", "greedy"]);
        assert!(budget.is_unused());
    }

    #[tokio::test]
    async fn a_wait_that_is_given_up_is_forgotten() {
        let budget: Arc<ReplyBudget> = Arc::default();
        let mut first = share(&budget, "a");
        assert!(fits(&mut first, 2));
        let mut second = share(&budget, "b");
        assert!(!fits(&mut second, 2));
        drop((first, second));
        assert!(budget.is_unused());
    }
}
