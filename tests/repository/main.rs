//! The repository itself: what its tests and scripts promise about themselves.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod builds;
mod floors;
mod ignored;
mod outside;
mod tasks;
