//! Watches: the streams of objects, whether they are healthy, and what wakes a reconcile.

pub mod cluster;
pub mod merge;
pub mod queue;
pub mod readiness;
pub mod readiness_check;
pub mod store;
pub mod streams;
pub mod waker;
