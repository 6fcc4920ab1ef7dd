//! The status of a set: its conditions, what it remembers, and how it is written.

pub mod compose;
pub mod journal;
pub mod judge;
pub mod memory;
pub mod object_size;
