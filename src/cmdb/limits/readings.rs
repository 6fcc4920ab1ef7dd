//! The state of the limiters, for metrics.

/// The state of all limiters at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LimiterReadings {
    /// Limiters that admit calls at the configured rate.
    pub full: usize,
    /// Limiters whose rate is lower, because the server throttled or reported a small quota.
    pub slowed: usize,
    /// Limiters whose circuit breaker is open: the endpoint does not answer, and is only probed.
    pub down: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Queued calls of edits and deletions.
    pub edits_waiting: usize,
    /// Polls that were rejected with a retry-after and have not come again yet.
    pub polls_waiting: usize,
}
