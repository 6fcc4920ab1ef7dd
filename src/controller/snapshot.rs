//! What is true of a running controller at a moment, for those who ask.

use std::collections::BTreeMap;
use std::time::Duration;

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
    /// Text of the sets that is kept in memory, in bytes.
    pub kept_bytes: usize,
    /// Objects, names, lists and items that are remembered in all.
    pub entries: usize,
    /// The limiters.
    pub limiters: LimiterReadings,
}

/// Tells what is true of a running controller.
pub trait StateSource: Send + Sync {
    /// What is true now.
    fn read(&self) -> ControllerState;
}
