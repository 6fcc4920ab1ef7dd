//! How many calls may be in flight and how fast they may be sent.

pub mod caller;
pub mod circuit_breaker;
pub mod client_limits;
pub mod jitter;
pub mod limiter;
pub mod limiters;
pub mod poll_queue;
pub mod priority;
pub mod rate_limiter;
pub mod readings;
