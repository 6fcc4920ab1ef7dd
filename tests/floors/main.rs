//! The structure of the source tree.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod layers;
