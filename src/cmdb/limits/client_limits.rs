//! The limits that a client is configured with.

/// The limits that a client is configured with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Calls that may start in a second, at least 1.
    pub requests_per_second: u32,
    /// Calls in flight at a time, at least 1.
    pub max_concurrent: usize,
}
