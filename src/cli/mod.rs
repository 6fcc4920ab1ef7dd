//! Floor 6: the command line.

mod api_server;
mod command_line;
mod connect;
mod crd;
mod doctor;
mod exit_status;
mod manifest;
mod output;
mod plan;
mod probe;
mod run;
mod validate;

pub use command_line::{Cli, command};
pub use run::Companion;
