//! Floor 5: logs, metrics and probes. Implements what the lower floors declare.

mod metrics;
mod server;

pub use metrics::Metrics;
pub use server::serve;

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Begins to log to standard error.
///
/// # Errors
/// When the filter cannot be read, or logging has begun already.
pub fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(std::io::stderr);
    let logs = logs.with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => logs.try_init(),
        LogFormat::Json => logs.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!(error))
}
