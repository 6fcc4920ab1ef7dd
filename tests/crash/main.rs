//! The operator killed, cut off, paused and in a storm of faults: nothing is lost, nothing is doubled, and nobody has to
//! lend a hand. The runs of all tests share one control plane and one bound.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod create;
mod matrix;
mod storm;

use tokio::sync::Semaphore;

/// Runs at a time, of all tests here: most of their time is waiting.
static AT_A_TIME: Semaphore = Semaphore::const_new(8);
