//! How many calls may be in flight, how fast they are sent, and when an endpoint counts as down. Start at `limiter.rs`.

pub mod caller;
pub mod circuit_breaker;
pub mod client_limits;
pub mod convert;
pub mod jitter;
pub mod lanes;
pub mod limiter;
pub mod limiters;
pub mod priority;
pub mod quota;
pub mod rate_limiter;
pub mod readings;
pub mod rejected_polls;
pub mod wait;
