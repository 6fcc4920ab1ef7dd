//! One set: its reconcile, from the object that the watch delivered to status, events and the time of the next.

pub mod delete;
pub mod events;
pub mod finalizer;
pub mod journal;
pub mod object_size;
pub mod other_sets;
pub mod reconcile;
pub mod report;
pub mod schedule;
pub mod status;
pub mod status_memory;
pub mod stored_set;
pub mod supervise;
