//! The commands of `ptset`: reads the command line and runs what it names.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use super::exit_status::ExitStatus;
use super::run::Companion;
use super::{crd, doctor, plan, probe, run, validate};

/// Declarative process templates for BlueKing CMDB.
#[derive(Debug, Parser)]
#[command(name = "ptset", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller until SIGTERM or SIGINT
    Run(Box<run::Options>),
    /// Judge manifests without a cluster and without CMDB
    Validate(validate::Options),
    /// Show what the controller would do, without a cluster and without a write
    Plan(plan::Options),
    /// Check a connection step by step, and say what to do; nothing is written
    Doctor(Box<doctor::Options>),
    /// Ask a running operator whether it is ready, where there is no other program to ask with
    Probe(probe::Options),
    /// Print the CRDs, or write each into a file of a folder
    Crd(crd::Options),
}

/// The commands with their options, for reference pages and tests.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

impl Cli {
    /// Parses the command line. One that is not valid ends the process with 1, not with clap's own 2, which means changes.
    pub fn from_command_line() -> Self {
        Self::try_parse().unwrap_or_else(|error| {
            let _ = error.print();
            std::process::exit(i32::from(error.use_stderr()))
        })
    }

    /// Runs the command.
    ///
    /// # Errors
    /// Why the command failed, for people.
    pub fn execute(self) -> anyhow::Result<ExitCode> {
        self.execute_beside(Vec::new())
    }

    /// The same with long-lived tasks beside those of `ptset run`: for a program that embeds the operator, and for tests of what
    /// a task that fails does to the process.
    ///
    /// # Errors
    /// Why the command failed, for people.
    pub fn execute_beside(self, companions: Vec<Companion>) -> anyhow::Result<ExitCode> {
        let status = match self.command {
            Command::Run(options) => run::run(*options, companions),
            Command::Validate(options) => validate::validate(&options),
            Command::Plan(options) => plan::plan(&options),
            Command::Doctor(options) => doctor::doctor(&options),
            Command::Probe(options) => probe::probe(options),
            Command::Crd(options) => crd::crd(&options).map(|()| ExitStatus::Success),
        };
        status.map(ExitCode::from)
    }
}
