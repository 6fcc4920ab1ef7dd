//! What is true of a running controller at a moment, for those who ask.

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{Resource, ResourceExt};

use super::{Context, UNJUDGED};
use crate::cmdb::LimiterReadings;

/// What is true of a running controller at a moment.
#[derive(Clone, Debug, Default)]
pub struct ControllerState {
    /// Sets by the reason of their condition Ready.
    pub sets: BTreeMap<&'static str, usize>,
    /// Creates that were announced in a status and whose outcome is not known yet.
    pub pending_intents: usize,
    /// Reconciles of sets that are due and have not begun.
    pub waiting: usize,
    /// Reconciles of sets that are running.
    pub running: usize,
    /// Age of the oldest look at CMDB that a set at rest relies on.
    pub oldest_look: Option<Duration>,
    /// The limiters.
    pub limiters: LimiterReadings,
}

/// Tells what is true of a running controller.
pub trait StateSource: Send + Sync {
    /// What is true now.
    fn read(&self) -> ControllerState;
}

impl StateSource for Context {
    fn read(&self) -> ControllerState {
        let mut readings = ControllerState {
            running: self.queue.running(),
            limiters: self.limiters.read(),
            ..ControllerState::default()
        };
        // None begins any more, and the sets are another's soon.
        if self.shutdown.is_cancelled() {
            return readings;
        }
        readings.waiting = self.queue.waiting();
        for set in self.store.state() {
            *readings.sets.entry(set.reason().unwrap_or(UNJUDGED)).or_default() += 1;
            readings.pending_intents += set.pending();
            let uid = set.meta().uid.as_deref().unwrap_or_default();
            let look =
                self.objects.listing_relied_on(set.namespace().as_deref().unwrap_or_default(), &set.name_any(), uid);
            readings.oldest_look = readings.oldest_look.max(look.map(|look| look.elapsed()));
        }
        readings
    }
}
