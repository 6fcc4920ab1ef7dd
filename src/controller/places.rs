//! Places: how many reconciles of sets run at the same time, so that none holds a place that another tenant needs.
//!
//! # Flow
//! A due reconcile asks for a place ([`Places::take`]) and is spawned only once it has one; until then all that exists of it
//! is an entry in a queue. A *lane* is what the sets of one namespace use over one connection. Each lane has [`OWN`] places of
//! its own. More are borrowed from a pool that all lanes share. A place that becomes free goes to the lane of that connection
//! which was served least recently, and within a lane to the set that has waited longest.
//!
//! # Guarantees
//! * A lane with nothing running gets a place at once, whatever all others do.
//! * One connection never borrows more than is left to the others: it has at most half of the pool, the next one at most
//!   half of the rest. So no connection exhausts the pool, however slow its CMDB is.
//! * Nothing is kept of a lane without a set that runs or waits.
//!
//! # Caveats
//! A reconcile that waits for CMDB keeps its place, but only one of its own lane or one that it borrowed. The number of
//! reconciles that run is therefore bounded by the pool and [`OWN`] for each lane, and what protects CMDB are the limits of
//! each connection.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::connection::name::ConnectionName;

/// Places of a lane that no other lane can take: enough to keep a connection with the default limits busy.
const OWN: usize = 4;

/// What the sets of one namespace use over one connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LaneName {
    /// Namespace of the sets.
    pub namespace: String,
    /// The connection; None: the sets need no call to CMDB.
    pub connection: Option<ConnectionName>,
}

/// The places of all lanes.
#[derive(Debug)]
pub struct Places {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    // Places of the pool that are not borrowed.
    free: usize,
    connections: HashMap<Option<ConnectionName>, Lanes>,
    // Counts those that wait, and the places that were given.
    last: u64,
}

// The lanes of one connection, by namespace.
#[derive(Debug, Default)]
struct Lanes {
    borrowed: usize,
    by_namespace: BTreeMap<String, Lane>,
}

#[derive(Debug, Default)]
struct Lane {
    running: usize,
    borrowed: usize,
    // When it was given a place last.
    given_at: u64,
    // In the order in which they came.
    waiting: BTreeMap<u64, oneshot::Sender<Place>>,
}

/// The right of one reconcile to run, until it is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    lane: LaneName,
}

// One that waits for a place, until it is dropped.
struct Waiting<'a> {
    places: &'a Places,
    lane: &'a LaneName,
    number: u64,
    place: oneshot::Receiver<Place>,
}

impl Places {
    /// Places with a pool of this many beyond those that each lane has of its own.
    pub fn new(pool: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State { free: pool, connections: HashMap::new(), last: 0 }) })
    }

    /// Waits for a place of a lane. Dropped, it waits no longer.
    pub async fn take(self: &Arc<Self>, lane: LaneName) -> Place {
        loop {
            let mut waiting = self.queue(&lane);
            // The sender is dropped only with the lane, which has this one waiting.
            if let Ok(place) = (&mut waiting.place).await {
                return place;
            }
        }
    }

    /// How many lanes have a set that runs or waits.
    #[cfg(test)]
    fn lanes(&self) -> usize {
        self.state.lock().connections.values().map(|lanes| lanes.by_namespace.len()).sum()
    }

    fn queue<'a>(self: &'a Arc<Self>, lane: &'a LaneName) -> Waiting<'a> {
        let (sender, place) = oneshot::channel();
        let mut state = self.state.lock();
        state.last += 1;
        let number = state.last;
        let lanes = state.connections.entry(lane.connection.clone()).or_default();
        lanes.by_namespace.entry(lane.namespace.clone()).or_default().waiting.insert(number, sender);
        let given = state.next(lane.connection.as_ref());
        drop(state);
        self.give(given);
        Waiting { places: self, lane, number, place }
    }

    // Outside of the lock: a place whose waiter is gone is given back.
    fn give(self: &Arc<Self>, given: Option<(LaneName, oneshot::Sender<Place>)>) {
        if let Some((lane, sender)) = given {
            drop(sender.send(Place { places: Arc::clone(self), lane }));
        }
    }
}

impl State {
    // Takes a place for the next waiting set of a connection.
    fn next(&mut self, connection: Option<&ConnectionName>) -> Option<(LaneName, oneshot::Sender<Place>)> {
        let lanes = self.connections.get_mut(&connection.cloned())?;
        let may_borrow = lanes.borrowed < self.free;
        let waiting = lanes.by_namespace.iter_mut().filter(|(_, lane)| !lane.waiting.is_empty());
        let served = waiting.filter(|(_, lane)| lane.has_own() || may_borrow);
        let (namespace, lane) = served.min_by_key(|(_, lane)| (!lane.has_own(), lane.given_at))?;

        let (_, sender) = lane.waiting.pop_first()?;
        self.last += 1;
        lane.given_at = self.last;
        if !lane.has_own() {
            lane.borrowed += 1;
            lanes.borrowed += 1;
            self.free -= 1;
        }
        lane.running += 1;
        Some((LaneName { namespace: namespace.clone(), connection: connection.cloned() }, sender))
    }

    // Takes a place back, first one that was borrowed, and takes it for another waiting set: of the connection that has
    // borrowed least.
    fn give_back(&mut self, lane_name: &LaneName) -> Option<(LaneName, oneshot::Sender<Place>)> {
        let lanes = self.connections.get_mut(&lane_name.connection)?;
        let lane = lanes.by_namespace.get_mut(&lane_name.namespace)?;
        lane.running -= 1;
        let was_borrowed = lane.borrowed > 0;
        if was_borrowed {
            lane.borrowed -= 1;
            lanes.borrowed -= 1;
            self.free += 1;
        }
        self.forget_if_unused(lane_name);

        let is_waiting = |lanes: &Lanes| lanes.by_namespace.values().any(|lane| !lane.waiting.is_empty());
        let waiting = self.connections.iter().filter(|(_, lanes)| was_borrowed && is_waiting(lanes));
        let least = waiting.min_by_key(|(_, lanes)| lanes.borrowed).map(|(connection, _)| connection.clone());
        self.next(least.unwrap_or_else(|| lane_name.connection.clone()).as_ref())
    }

    fn forget_if_unused(&mut self, lane: &LaneName) {
        let Some(lanes) = self.connections.get_mut(&lane.connection) else { return };
        let is_used = |lane: &Lane| lane.running > 0 || !lane.waiting.is_empty();
        if lanes.by_namespace.get(&lane.namespace).is_some_and(|lane| !is_used(lane)) {
            lanes.by_namespace.remove(&lane.namespace);
        }
        if lanes.by_namespace.is_empty() {
            self.connections.remove(&lane.connection);
        }
    }
}

impl Lane {
    // Whether one of its own places is free.
    fn has_own(&self) -> bool {
        self.running - self.borrowed < OWN
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let given = self.places.state.lock().give_back(&self.lane);
        self.places.give(given);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.places.state.lock();
        let lanes = state.connections.get_mut(&self.lane.connection);
        if let Some(lane) = lanes.and_then(|lanes| lanes.by_namespace.get_mut(&self.lane.namespace)) {
            lane.waiting.remove(&self.number);
            state.forget_if_unused(self.lane);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::FutureExt;
    use futures::future::BoxFuture;

    use super::{LaneName, OWN, Place, Places};
    use crate::api::ConnectionKind;
    use crate::controller::connection::name::ConnectionName;

    fn lane(namespace: &str, connection: &str) -> LaneName {
        let (kind, namespace) = (ConnectionKind::ClusterCmdbConnection, namespace.to_owned());
        let connection = ConnectionName { kind, namespace: String::new(), name: connection.to_owned() };
        LaneName { namespace, connection: Some(connection) }
    }

    // As many places of a lane as there are at once.
    fn all(places: &Arc<Places>, namespace: &str, connection: &str) -> Vec<Place> {
        std::iter::from_fn(|| places.take(lane(namespace, connection)).now_or_never()).collect()
    }

    fn waiting(places: &Arc<Places>, namespace: &str, connection: &str) -> BoxFuture<'static, Place> {
        let (places, lane) = (Arc::clone(places), lane(namespace, connection));
        let mut waiting = async move { places.take(lane).await }.boxed();
        assert!((&mut waiting).now_or_never().is_none());
        waiting
    }

    #[test]
    fn no_connection_exhausts_the_pool_and_every_lane_has_places_of_its_own() {
        let places = Places::new(8);
        let taken: Vec<Vec<Place>> = (0..6).map(|number| all(&places, "shop", &format!("c{number}"))).collect();
        let counts: Vec<usize> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [OWN + 4, OWN + 2, OWN + 1, OWN + 1, OWN, OWN]);
        let other = all(&places, "bank", "c0");
        assert_eq!(other.len(), OWN, "another namespace of the first connection");
        assert_eq!(places.lanes(), 7);
        drop((taken, other));
        assert_eq!(places.lanes(), 0);
        assert_eq!(all(&places, "shop", "c0").len(), OWN + 4, "all were given back");
    }

    #[test]
    fn what_becomes_free_goes_to_the_lane_that_was_served_least_recently() {
        let places = Places::new(2);
        let mut shop = all(&places, "shop", "c");
        let _bank = all(&places, "bank", "c");
        assert_eq!(shop.len(), OWN + 1);
        let mut first = waiting(&places, "shop", "c");
        let mut second = waiting(&places, "shop", "c");
        let mut other = waiting(&places, "bank", "c");
        drop(shop.pop());
        for next in [&mut first, &mut other, &mut second] {
            let place = next.now_or_never();
            assert!(place.is_some());
        }
    }

    #[test]
    fn one_that_no_longer_waits_leaves_nothing_behind() {
        let places = Places::new(0);
        let taken = all(&places, "shop", "c");
        let (gone, mut next) = (waiting(&places, "shop", "c"), waiting(&places, "shop", "c"));
        drop(gone);
        drop(taken);
        assert!((&mut next).now_or_never().is_some());
        drop(next);
        let taken = all(&places, "shop", "c");
        assert_eq!(taken.len(), OWN);
        let unused = waiting(&places, "shop", "c");
        drop(taken);
        drop(unused);
        assert_eq!(places.lanes(), 0, "a place that was given to one that is gone came back");
    }
}
