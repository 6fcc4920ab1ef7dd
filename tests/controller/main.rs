//! The controller over hours, with a paused clock: an API server in miniature, a simulated CMDB and the controller in one
//! runtime.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod bulkheads;
mod claims;
mod conflicts;
mod creates;
mod drain;
mod emptied;
mod evidence;
mod flapping;
mod foreign_sets;
mod half_known;
mod in_process;
mod line;
mod memory;
mod neighbour;
mod odd_servers;
mod open_creates;
mod outage;
mod replaced_credentials;
mod rotated_user;
mod sharing;
mod strangers;
mod superseded;
mod tasks;
mod verdicts;
mod watches;
mod wire;
