//! How a call waits for the limiter.

use std::sync::{Arc, LazyLock, OnceLock};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;

/// How a call waits for the limiter: in whose name, and until when.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// The namespaces that wait for it.
    pub lanes: Lanes,
    /// Cancelled when the set that the call is made for has changed: a call that waits is not sent then.
    pub superseded: CancellationToken,
    /// Where a write notes when it is sent.
    pub sent_at: SentAt,
}

/// When a write was sent: after the wait for the limiter and all checks. Clones share it, so that who made the call knows
/// what became of it when it has failed.
#[derive(Clone, Debug, Default)]
pub struct SentAt(Arc<OnceLock<Instant>>);

impl SentAt {
    /// When the write was sent. None: it never was.
    #[must_use]
    pub fn get(&self) -> Option<Instant> {
        self.0.get().copied()
    }

    /// The write is being sent.
    pub(in crate::cmdb) fn note(&self) {
        let _ = self.0.set(Instant::now());
    }
}

impl Wait {
    /// How a call waits that is made for no set.
    pub fn of_none() -> &'static Self {
        static OF_NONE: LazyLock<Wait> = LazyLock::new(Wait::default);
        &OF_NONE
    }
}
