//! The budget of the process for the bodies of answers.
//!
//! Places come in three sizes. A body starts in a small buffer that needs no place; each time it outgrows what it has, it
//! takes a place of the next size and then gives the former back. The order of the sizes is what rules out a deadlock:
//! the holder of a large place needs nothing more, and each call ends at its deadline.
//!
//! # Guarantees
//! * All places together have [`TOTAL_BYTES`].
//! * An endpoint that has as many places of a size as are free gets no further one, so that however many it asks for,
//!   a part is left to others. Among those that wait, the endpoint with the fewest places is next, then the one that got
//!   its last place the longest ago, so that they take turns.
//! * What an endpoint had is forgotten when it neither holds nor waits.

use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{Notify, Semaphore};

use super::list_budget::ListBudget;

/// Places of one size.
struct Size {
    /// Bytes of a place.
    bytes: usize,
    /// How many there are.
    places: usize,
}

/// Bytes of a body that needs no place: the buffers of its connection take as much.
pub const UNPLACED_BYTES: usize = 16 << 10;

/// The sizes, each larger than the one before.
const SIZES: [Size; 3] =
    [Size { bytes: 256 << 10, places: 48 }, Size { bytes: 2 << 20, places: 10 }, Size { bytes: 32 << 20, places: 1 }];

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
    taken: usize,
    // Who waits for a place, by ticket.
    waiting: BTreeMap<u64, Arc<str>>,
    endpoints: HashMap<Arc<str>, Standing>,
}

// What an endpoint has of a size.
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

    /// Whether no endpoint holds or waits.
    #[cfg(test)]
    pub fn is_unused(&self) -> bool {
        let state = self.state.lock();
        state.sizes.iter().all(|places| places.taken == 0 && places.waiting.is_empty() && places.endpoints.is_empty())
    }

    // Waits for a place of this size. `None`: there is no such size.
    async fn place(self: &Arc<Self>, size: usize, endpoint: &Arc<str>) -> Option<Place> {
        let ticket = Ticket::new(self, size, endpoint)?;
        loop {
            // Registered before the attempt, so that a change after it is not missed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(place) = ticket.try_take() {
                return Some(place);
            }
            changed.await;
        }
    }
}

impl Places {
    // The ticket that gets the next place.
    fn next(&self, size: usize) -> Option<u64> {
        let free = SIZES.get(size)?.places.saturating_sub(self.taken);
        let rank = |(ticket, endpoint): (&u64, &Arc<str>)| {
            let standing = self.endpoints.get(endpoint)?;
            (standing.held < free).then_some((standing.held, standing.last, *ticket))
        };
        self.waiting.iter().filter_map(rank).min().map(|(_, _, ticket)| ticket)
    }

    fn forget_if_unused(&mut self, endpoint: &Arc<str>) {
        if self.endpoints.get(endpoint).is_some_and(|standing| standing.held == 0 && standing.waiting == 0) {
            self.endpoints.remove(endpoint);
        }
    }
}

// A wait for a place, until it is dropped.
struct Ticket<'a> {
    budget: &'a Arc<ReplyBudget>,
    size: usize,
    endpoint: &'a Arc<str>,
    number: u64,
}

impl<'a> Ticket<'a> {
    fn new(budget: &'a Arc<ReplyBudget>, size: usize, endpoint: &'a Arc<str>) -> Option<Self> {
        let state = &mut *budget.state.lock();
        state.last_ticket = state.last_ticket.saturating_add(1);
        let (number, places) = (state.last_ticket, state.sizes.get_mut(size)?);
        places.waiting.insert(number, Arc::clone(endpoint));
        let standing = places.endpoints.entry(Arc::clone(endpoint)).or_default();
        standing.waiting = standing.waiting.saturating_add(1);
        Some(Self { budget, size, endpoint, number })
    }

    fn try_take(&self) -> Option<Place> {
        let state = &mut *self.budget.state.lock();
        let places = state.sizes.get_mut(self.size)?;
        if places.next(self.size) != Some(self.number) {
            return None;
        }
        places.taken = places.taken.saturating_add(1);
        let standing = places.endpoints.get_mut(self.endpoint)?;
        standing.held = standing.held.saturating_add(1);
        standing.last = self.number;

        let bytes = SIZES.get(self.size)?.bytes;
        state.held_bytes = state.held_bytes.saturating_add(bytes);
        state.most_bytes = state.most_bytes.max(state.held_bytes);
        let (budget, endpoint) = (Arc::clone(self.budget), Arc::clone(self.endpoint));
        Some(Place { budget, size: self.size, bytes, endpoint })
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        if let Some(places) = state.sizes.get_mut(self.size) {
            places.waiting.remove(&self.number);
            if let Some(standing) = places.endpoints.get_mut(self.endpoint) {
                standing.waiting = standing.waiting.saturating_sub(1);
            }
            places.forget_if_unused(self.endpoint);
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
    endpoint: Arc<str>,
}

impl Drop for Place {
    fn drop(&mut self) {
        let state = &mut *self.budget.state.lock();
        state.held_bytes = state.held_bytes.saturating_sub(self.bytes);
        if let Some(places) = state.sizes.get_mut(self.size) {
            places.taken = places.taken.saturating_sub(1);
            if let Some(standing) = places.endpoints.get_mut(&self.endpoint) {
                standing.held = standing.held.saturating_sub(1);
            }
            places.forget_if_unused(&self.endpoint);
        }
        self.budget.changed.notify_waiters();
    }
}

/// What the body of one answer takes of the budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<ReplyBudget>,
    // Whose answer it is: places are divided among these.
    endpoint: Arc<str>,
    place: Option<Place>,
}

impl Share {
    /// The share of an answer of this endpoint. It takes nothing of the budget yet.
    pub fn new(budget: &Arc<ReplyBudget>, endpoint: &Arc<str>) -> Self {
        Self { budget: Arc::clone(budget), endpoint: Arc::clone(endpoint), place: None }
    }

    /// The budget.
    pub fn budget(&self) -> &Arc<ReplyBudget> {
        &self.budget
    }

    /// Whose answer it is.
    pub fn endpoint(&self) -> &Arc<str> {
        &self.endpoint
    }

    /// Bytes that the body may take now.
    pub fn bytes(&self) -> usize {
        self.place.as_ref().map_or(UNPLACED_BYTES, |place| place.bytes)
    }

    /// Waits for a larger place. Returns whether there is one.
    pub async fn grow(&mut self) -> bool {
        let size = self.place.as_ref().map_or(0, |place| place.size.saturating_add(1));
        let Some(place) = self.budget.place(size, &self.endpoint).await else { return false };
        self.place = Some(place);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;

    use super::{ReplyBudget, SIZES, Share, TOTAL_BYTES};

    fn share(budget: &Arc<ReplyBudget>, endpoint: &str) -> Share {
        Share::new(budget, &Arc::from(endpoint))
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

    #[test]
    fn one_endpoint_never_has_more_than_half_and_others_get_a_part_of_the_rest() {
        let budget = Arc::default();
        let mut kept = Vec::new();
        let mut taken = Vec::new();
        for endpoint in ["a", "b", "c", "d", "e", "f"] {
            let mut count = 0;
            loop {
                let mut next = share(&budget, endpoint);
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
    async fn endpoints_take_turns_for_the_largest_place() {
        let budget: Arc<ReplyBudget> = Arc::default();
        let mut first = share(&budget, "greedy");
        assert!(fits(&mut first, 2));
        let (sender, mut order) = tokio::sync::mpsc::unbounded_channel();
        for endpoint in ["greedy", "greedy", "greedy", "other", "third"] {
            let (mut next, sender) = (share(&budget, endpoint), sender.clone());
            assert!(fits(&mut next, 1));
            tokio::spawn(async move {
                next.grow().await;
                sender.send(endpoint).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop((first, sender));
        let mut got = Vec::new();
        while let Some(endpoint) = order.recv().await {
            got.push(endpoint);
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
