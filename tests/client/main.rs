//! The client of CMDB against a server that is scripted or simulated: calls, transports, errors and limits.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod calls;
mod errors;
mod limits;
mod transports;
