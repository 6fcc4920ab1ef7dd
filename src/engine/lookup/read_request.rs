//! How CMDB is read for a set: how fresh a list must be, and who waits for it.

use std::time::Duration;

use tokio::time::Instant;

use crate::cmdb::{PollKey, Priority};

/// How fresh a list must be.
#[derive(Clone, Copy, Debug)]
pub enum Freshness {
    /// Not older than this.
    AtMost(Duration),
    /// Asked for at this moment or later.
    Since(Instant),
}

impl Freshness {
    /// Fresh enough to write by. Names are unique in CMDB, so an older list could only cost a call that CMDB refuses.
    pub(crate) const TO_WRITE: Self = Self::AtMost(Duration::from_secs(5));

    /// The earliest moment at which a list may have been asked for.
    #[must_use]
    pub fn not_before(self) -> Instant {
        match self {
            // A machine that was started less than that ago has no older list.
            Self::AtMost(age) => Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            Self::Since(moment) => moment,
        }
    }
}

/// How fresh a list must be, and with which priority it is asked for.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// How fresh a list must be.
    pub freshness: Freshness,
    /// Who waits for it.
    pub priority: Priority,
}

impl ReadRequest {
    /// A person or a write waits for it: the call queues for the rate limit.
    #[must_use]
    pub fn interactive(freshness: Freshness) -> Self {
        Self { freshness, priority: Priority::Interactive }
    }

    /// Nothing is outstanding: the call gives way to all other work, and is rejected at once when it is rate limited.
    #[must_use]
    pub fn background(freshness: Freshness, poll: PollKey) -> Self {
        Self { freshness, priority: Priority::Background(poll) }
    }

    /// Finds out the outcome of a write whose answer does not tell.
    pub(crate) fn resolving() -> Self {
        Self { freshness: Freshness::Since(Instant::now()), priority: Priority::Resolve }
    }

    /// The same, not older than this moment.
    pub(crate) fn since(self, moment: Instant) -> Self {
        Self { freshness: Freshness::Since(moment), ..self }
    }

    /// The same after a first call of its own: rejected between two calls, it would make the first one again.
    pub(crate) fn has_begun(self) -> Self {
        Self { priority: Priority::Interactive, ..self }
    }
}
