//! When an object is looked at again, if nothing wakes it before.

use std::time::Duration;

use kube::runtime::controller;

/// When an object is looked at again. kube's own does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// After this long; None: when something changes.
    pub after: Option<Duration>,
}

impl Action {
    /// After this long.
    pub const fn requeue(after: Duration) -> Self {
        Self { after: Some(after) }
    }

    /// When the backoff of the object is over; the reconcile ends at once.
    pub fn in_backoff(left: Duration) -> Self {
        tracing::Span::current().record("outcome", "held");
        Self::requeue(left)
    }

    /// When something changes.
    pub const fn await_change() -> Self {
        Self { after: None }
    }
}

impl From<Action> for controller::Action {
    fn from(action: Action) -> Self {
        action.after.map_or_else(Self::await_change, Self::requeue)
    }
}
