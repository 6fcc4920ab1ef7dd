//! The commands of `ptset` for people: what they say, and how they exit.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod doctor;
mod narrowed_grants;
mod plan;
mod probe;
mod validate;
