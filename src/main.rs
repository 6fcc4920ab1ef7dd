//! `ptset`: the controller, and the command line beside it.

use std::process::ExitCode;

use process_template_operator::cli::Cli;

fn main() -> anyhow::Result<ExitCode> {
    // Both HTTP clients take the process's default provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Cli::from_command_line().execute()
}
