//! The simulator behaves as the real server does, as far as anybody can see from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, which clippy does not take for tests"
)]

mod apiserver;
#[path = "../../../tests/support/authority.rs"]
mod authority;
mod client;
mod create;
mod credentials;
mod delete;
mod edits;
mod esb;
mod facts;
mod faults;
mod faults_of_writes;
mod gateway;
mod https;
mod lies;
mod list;
mod program;
mod quota;
mod records;
mod service_templates;
mod state;
mod transports;
mod update;
