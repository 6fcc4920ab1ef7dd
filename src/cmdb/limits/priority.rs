//! How urgent a call is.

use std::hash::{DefaultHasher, Hash, Hasher};

/// How urgent a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Priority {
    /// Work: an edit, a deletion, and the reads that they need. It queues.
    Interactive,
    /// A write whose outcome is unknown, and the list that may find it. It queues too, and is sent even while the
    /// process is shutting down, when all other calls are rejected.
    Resolve,
    /// A poll of a set at rest. Polls never queue (an edit of the same set must be able to overtake them); they are
    /// rejected with a retry-after, and keep the order in which they first came.
    Background(PollKey),
}

impl Priority {
    /// The key of a poll. `None`: it is work.
    pub(in crate::cmdb) fn poll(self) -> Option<PollKey> {
        match self {
            Self::Interactive | Self::Resolve => None,
            Self::Background(key) => Some(key),
        }
    }
}

/// Identifies a poll, so that a poll that comes again after a rejection keeps its place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PollKey(u64);

impl PollKey {
    /// The key of what is polled.
    pub fn of(what: impl Hash) -> Self {
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        Self(hasher.finish())
    }
}
