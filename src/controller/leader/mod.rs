//! Leader election over a Lease.

pub mod election;
pub mod lease;
pub mod state;
