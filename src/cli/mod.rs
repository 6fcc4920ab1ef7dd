//! Floor 6: the command line.

mod crd;
mod run;

use clap::{Parser, Subcommand};

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
    /// Print the CRDs, or write each into a file of a folder
    Crd(crd::Options),
}

impl Cli {
    /// Does what was asked for.
    ///
    /// # Errors
    /// What kept it from being done, for people.
    pub fn execute(self) -> anyhow::Result<()> {
        match self.command {
            Command::Run(options) => run::run(*options),
            Command::Crd(options) => crd::crd(&options),
        }
    }
}
