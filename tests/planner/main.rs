//! The planner: what it plans in each state of CMDB, and that carrying it out comes to an end.
#![allow(clippy::unwrap_used, clippy::panic, clippy::needless_pass_by_value, reason = "a failed step fails the test")]

mod instances;
mod life;
mod model;
mod open_creates;
mod steps;
mod upgrade;
mod words;
