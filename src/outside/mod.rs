//! Below all floors: numbers from outside.
//!
//! Every number of a reply, a header, a Secret, an object or the environment is read here and nowhere else, which
//! `tests/repository/outside.rs` checks. It is checked, and capped to what it can reasonably be, so that no
//! calculation with it overflows, no wait is longer than it should be, and no ID is zero or negative.

mod number;
mod size;
mod wait;
mod wire;

pub use number::{
    MAX_ID, calls_in_flight, calls_per_second, index, integer, is_natural, json_bound, json_float, json_integer,
    natural, port, resource_version, time, whole,
};
pub use size::{json_bytes, map_bytes};
pub use wait::{MAX_STOP, MAX_WINDOW, call_timeout, fraction, interval, later, lease, seconds, window};
pub use wire::{Code, count, id, ids, optional_id};
