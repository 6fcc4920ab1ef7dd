//! How many calls may be in flight and how fast they may be sent.

pub mod circuit_breaker;
pub mod jitter;
pub mod limiter;
pub mod limiters;
pub mod poll_queue;
pub mod rate_limiter;
