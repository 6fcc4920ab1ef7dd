//! What a running controller consists of, and what follows from one part to another.
//!
//! Only the reconciles of sets and connections and what runs them use it whole. Everything else is given the parts that it
//! needs.

use std::sync::Arc;
use std::time::Duration;

use kube::api::ObjectMeta;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::connection::cache::Connections;
use super::connection::name::ConnectionName;
use super::kubernetes::events::Events;
use super::kubernetes::retry_state::{Reach, RetryState};
use super::liveness::Liveness;
use super::names::ObjectName;
use super::observer::Observer;
use super::places::Places;
use super::reason::UNJUDGED;
use super::set::events::SetEvents;
use super::set::identity::CurrentSet;
use super::set::large_sets::LargeSets;
use super::set::other_sets::SetIndex;
use super::set::status::journal::StatusJournal;
use super::set::stored_set::StoredSet;
use super::set::under_way::UnderWay;
use super::snapshot::{ControllerState, StateSource};
use super::watch::queue::Queue;
use super::watch::waker::Waker;
use crate::cmdb::{self, Limiters};
use crate::engine::{Engine, PlannedView, Tally};

/// What a reconcile may use.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Reads CMDB, plans and writes.
    pub engine: Engine,
    /// The connections in use.
    pub connections: Arc<Connections>,
    /// State of each set.
    pub sets: RetryState,
    /// State of each connection.
    pub connection_states: Arc<RetryState>,
    /// The sets as the watch delivered them.
    pub store: Store<StoredSet>,
    /// The same by business and service template.
    pub index: Arc<SetIndex>,
    /// Wakes reconciles.
    pub waker: Arc<Waker>,
    /// Time for which what has left a set is not deleted yet.
    pub removal_delay: Duration,
    /// Events that wait to be published.
    pub events: Events,
    /// Told what the controller does.
    pub observer: Arc<dyn Observer>,
    /// The limiters of all connections.
    pub limiters: Arc<Limiters>,
    /// The sets whose reconcile is due.
    pub queue: Arc<Queue>,
    /// The reconciles that wait for a place or run.
    pub under_way: Arc<UnderWay>,
    /// The places of reconciles.
    pub places: Arc<Places>,
    /// Whether the rights are given in some namespaces only: they go with the namespace.
    pub is_namespaced: bool,
    /// How many large sets are reconciled at once.
    pub large_sets: LargeSets,
    /// Ends the controller.
    pub shutdown: CancellationToken,
    /// The progress of the process.
    pub liveness: Arc<Liveness>,
    /// The reconciles of sets in flight. They go on when what started them has failed.
    pub reconciles: TaskTracker,
}

impl Context {
    /// Counts a reconcile and notes its outcome in the span that it runs in.
    pub fn note_outcome(&self, outcome: &'static str) {
        cmdb::note_outcome(&tracing::Span::current(), outcome);
        self.observer.reconciled(outcome);
    }

    /// The journal of one reconcile.
    pub fn journal<'a>(&'a self, set: &'a CurrentSet<'_>) -> StatusJournal<'a> {
        StatusJournal::new(&self.client, &*self.observer, &set.state, set.subject(), set.target())
    }

    /// Events about a set.
    pub fn events_of<'a>(&'a self, set: &CurrentSet<'a>) -> SetEvents<'a> {
        SetEvents::new(&self.events, &*self.observer, set.object)
    }

    /// Wakes the sets that may have waited for what the set of this name no longer claims: those of the same CMDB, and those
    /// of its namespace.
    pub fn wake_other_sets(&self, name: &ObjectName, reach: &Reach) {
        self.wake_beside(name, reach, |other| other.namespace == name.namespace || self.is_reached(other, reach));
    }

    /// Wakes the other sets that claim what a set has just deleted in the CMDB of this URL. Claims are looked at before a delete
    /// is sent; a set that was applied while it was in flight may have seen the template in a list.
    pub fn wake_claimants(&self, set: &CurrentSet<'_>, endpoint: &str, tally: &Tally) {
        if !tally.deleted.is_empty() {
            self.wake_concerned(set, endpoint, &tally.deleted_names, &tally.deleted);
        }
    }

    /// Notes that the status of a set was stored with what was seen last, and wakes the other sets that have waited for its creates.
    pub fn note_stored(&self, set: &CurrentSet<'_>, view: &PlannedView) {
        let ended = self.engine.note_stored(&set.uid, &view.memory);
        if !ended.is_empty() {
            self.wake_concerned(set, &view.listing.scope.endpoint, &ended, &[]);
        }
    }

    // Wakes the other sets that want one of these names in the CMDB of this URL, or remember one of these templates.
    fn wake_concerned(&self, set: &CurrentSet<'_>, endpoint: &str, names: &[String], templates: &[i64]) {
        let spec = &set.object.spec;
        let service_template = spec.service_template.clone();
        let reach = Reach { biz_id: spec.biz_id, service_template, urls: vec![endpoint.to_owned()] };
        let is_concerned = |other: &ObjectName| {
            let stored = self.store.get(&other.reference());
            stored.as_ref().and_then(|set| set.claims()).is_some_and(|claims| {
                let mut items = claims.memory.items.values();
                claims.processes.values().any(|name| names.contains(name))
                    || items.any(|remembered| {
                        templates.contains(&remembered.id) || names.contains(&remembered.process_name)
                    })
            })
        };
        self.wake_beside(&set.name, &reach, |other| is_concerned(other) && self.is_reached(other, &reach));
    }

    fn wake_beside(&self, name: &ObjectName, reach: &Reach, is_meant: impl Fn(&ObjectName) -> bool) {
        let mut beside = self.index.beside(name, reach.biz_id, &reach.service_template);
        beside.retain(is_meant);
        self.wake_sets(&beside);
    }

    // Whether a set uses a CMDB that is reached.
    fn is_reached(&self, name: &ObjectName, reach: &Reach) -> bool {
        let stored = self.store.get(&name.reference());
        let Some(claims) = stored.as_ref().and_then(|set| set.claims()) else { return false };
        let here = |url: &String| reach.urls.contains(url);
        claims.endpoint.as_ref().is_some_and(here)
            || self.connections.url_of(&claims.connection).is_some_and(|url| here(&url))
    }

    /// Ends the backoff of the sets and connections that a changed Secret concerns, and wakes the connections. Returns the
    /// sets.
    pub fn secret_changed(&self, metadata: &ObjectMeta) -> Vec<ObjectRef<StoredSet>> {
        let (connections, sets) = self.connections.secret_changed(metadata);
        for connection in connections {
            self.connection_states.wake(&connection.object());
            self.waker.connection(&connection);
        }
        self.end_backoff(&sets)
    }

    /// Wakes sets.
    pub fn wake_sets(&self, names: &[ObjectName]) {
        self.end_backoff(names).into_iter().for_each(|set| self.waker.set(set));
    }

    /// Forgets a set that is gone.
    pub fn forget_set(&self, name: &ObjectName) {
        self.forget_replaced();
        self.queue.forget(name);
        self.under_way.forget(name);
        self.index.remove(name);
        if let Some(connection) = self.connections.forget(name) {
            self.waker.connection(&connection);
        }
        let Some((uid, reach)) = self.sets.forget(name) else { return };
        self.engine.forget(&uid);
        if let Some(reach) = reach {
            self.wake_other_sets(name, &reach);
        }
    }

    /// Forgets sets and connections that were replaced by others of the same name.
    pub fn forget_replaced(&self) {
        for uid in self.sets.take_replaced() {
            self.engine.forget(&uid);
        }
        for uid in self.connection_states.take_replaced() {
            self.engine.forget_connection(&uid);
        }
    }

    /// Forgets a connection that is gone, and wakes the sets that used it.
    pub fn forget_connection(&self, name: &ConnectionName) {
        self.connection_states.forget(&name.object());
        self.forget_replaced();
        let (uid, users) = self.connections.gone(name);
        if let Some(uid) = uid {
            self.engine.forget_connection(&uid);
        }
        self.wake_sets(&users);
    }

    // How many objects, names, lists and items are remembered in all.
    fn entries(&self) -> usize {
        self.engine.entries()
            + self.connections.entries()
            + self.sets.len()
            + self.connection_states.len()
            + self.index.len()
            + self.queue.len()
            + self.under_way.len()
            + self.large_sets.len()
    }

    fn end_backoff(&self, names: &[ObjectName]) -> Vec<ObjectRef<StoredSet>> {
        names.iter().inspect(|name| self.sets.wake(name)).map(ObjectName::reference).collect()
    }
}

impl StateSource for Context {
    fn read(&self) -> ControllerState {
        let mut state = ControllerState {
            running: self.queue.running(),
            limiters: self.limiters.read(),
            entries: self.entries(),
            ..ControllerState::default()
        };
        // No reconcile starts any more, and the sets are another's soon.
        if self.shutdown.is_cancelled() {
            return state;
        }
        state.waiting = self.queue.waiting();
        for set in self.store.state() {
            *state.sets.entry(set.reason().map_or(UNJUDGED, |reason| reason.as_str())).or_default() += 1;
            state.pending_intents += set.pending();
            state.kept_bytes += set.kept_bytes();
            let uid = set.meta().uid.as_deref().unwrap_or_default();
            let listing = self.sets.of(&ObjectName::of(&ObjectRef::from_obj(&*set)), uid).listing_relied_on();
            state.oldest_look = state.oldest_look.max(listing.map(|listing| listing.elapsed()));
        }
        state
    }
}
