//! How many calls may be in flight and how fast they may be sent.

pub mod caller;
pub mod circuit_breaker;
pub mod client_limits;
pub mod convert;
pub mod jitter;
pub mod limiter;
pub mod limiters;
pub mod priority;
pub mod quota;
pub mod rate_limiter;
pub mod readings;
pub mod rejected_polls;
