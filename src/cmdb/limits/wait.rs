//! How a call waits for the limiter.

use std::sync::LazyLock;

use tokio_util::sync::CancellationToken;

use super::lanes::Lanes;

/// How a call waits for the limiter: in whose name, and until when.
#[derive(Clone, Debug, Default)]
pub struct Wait {
    /// The namespaces that wait for it.
    pub lanes: Lanes,
    /// Cancelled when the set that the call is made for has changed: a call that waits is not sent then.
    pub superseded: CancellationToken,
}

impl Wait {
    /// How a call waits that is made for no set.
    pub fn of_none() -> &'static Self {
        static OF_NONE: LazyLock<Wait> = LazyLock::new(Wait::default);
        &OF_NONE
    }
}
