//! Times as CMDB writes them.

use jiff::Timestamp;

/// The current time in the format of the server's lists.
pub(crate) fn now() -> String {
    stored_time(Timestamp::now())
}

/// A time in the format of the server's lists: UTC, milliseconds.
pub(crate) fn stored_time(time: Timestamp) -> String {
    format!("{time:.3}")
}
