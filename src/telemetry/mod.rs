//! Floor 5: logs, metrics and probes. Implements what the lower floors declare.

pub mod metrics;
mod readiness;
mod record;
mod server;

pub use readiness::Readiness;
pub use record::Metrics;
pub use server::serve;

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What writes the log.
pub type Logs = Box<dyn Subscriber + Send + Sync>;

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
    let logs = logs(filter, format, std::io::stderr().is_terminal(), std::io::stderr)?;
    logs.try_init().map_err(|error| anyhow::anyhow!(error))
}

/// What writes the log, in colours if `ansi`.
///
/// # Errors
/// When the filter cannot be read.
pub fn logs<W>(filter: &str, format: LogFormat, ansi: bool, writer: W) -> anyhow::Result<Logs>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let logs = tracing_subscriber::fmt().with_env_filter(EnvFilter::try_new(filter)?).with_writer(writer);
    let logs = logs.with_ansi(ansi);
    let harmless = FilterFn::new(is_harmless);
    Ok(match format {
        LogFormat::Text => Box::new(logs.finish().with(harmless)),
        LogFormat::Json => Box::new(logs.json().finish().with(harmless)),
    })
}

// Whatever the filter says: below errors, this target logs whole answers of the API server that it cannot decode, and they
// may be Secrets.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    metadata.target() != "kube_client::client" || *metadata.level() == Level::ERROR
}
