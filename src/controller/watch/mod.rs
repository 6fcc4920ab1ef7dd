//! Watches: the streams of objects, whether they are healthy, and what wakes a reconcile.

pub mod cluster;
pub mod queue;
pub mod readiness;
pub mod streams;
