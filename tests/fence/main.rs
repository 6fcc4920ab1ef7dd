//! The fence around a shared connection, seen from the wire: what CMDB receives after the moment at which a set lost the
//! right to ask for it. An API server, a simulated CMDB and the controller in one runtime, on a paused clock.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod deletion;
mod matrix;
mod new_service_templates;
mod silence;
mod stories;
mod takings;
mod world;
