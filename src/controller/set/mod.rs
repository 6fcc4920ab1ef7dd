//! One set: its reconcile, from the object that the watch delivered to status, events and the time of the next.

pub mod delete;
pub mod events;
pub mod failure;
pub mod finalizer;
pub mod identity;
pub mod job;
pub mod large_sets;
pub mod other_sets;
pub mod outcome;
pub mod read;
pub mod reconcile;
pub mod report;
pub mod schedule;
pub mod status;
pub mod stored_set;
pub mod supervise;
pub mod under_way;
