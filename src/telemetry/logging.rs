//! Logging: the subscriber of the process, with its format and filter, and the export of traces where that is built in.

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt as _, FilterFn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Registry};

#[cfg(feature = "otel")]
use super::traces::Traces;

/// A subscriber that writes the log.
pub type Logs = Box<dyn Subscriber + Send + Sync>;

/// The format of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

/// Holds what must be flushed before the process exits: the traces that are not exported yet.
#[must_use]
#[derive(Debug)]
pub struct TelemetryGuard {
    #[cfg(feature = "otel")]
    traces: Traces,
}

impl TelemetryGuard {
    /// Exports what is left, and waits for it.
    pub fn shutdown(self) {
        #[cfg(feature = "otel")]
        self.traces.shutdown();
    }
}

/// Starts logging to standard error, and exporting traces where the environment names an endpoint.
///
/// # Errors
/// When the filter is not valid, or logging has been started before.
pub fn start_logging(filter: &str, format: LogFormat) -> anyhow::Result<TelemetryGuard> {
    let lines = lines(filter, format, std::io::stderr().is_terminal(), std::io::stderr)?;
    let registry = Registry::default().with(lines);
    #[cfg(feature = "otel")]
    let traces = Traces::from_environment()?;
    #[cfg(feature = "otel")]
    let registry = registry.with(traces.layer());
    registry.try_init().map_err(|error| anyhow::anyhow!(error))?;
    Ok(TelemetryGuard {
        #[cfg(feature = "otel")]
        traces,
    })
}

/// A subscriber that writes the log to `writer`, in colours if `ansi`.
///
/// # Errors
/// When the filter is not valid.
pub fn logs<W>(filter: &str, format: LogFormat, ansi: bool, writer: W) -> anyhow::Result<Logs>
where
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    Ok(Box::new(Registry::default().with(lines(filter, format, ansi, writer)?)))
}

fn lines<S, W>(filter: &str, format: LogFormat, ansi: bool, writer: W) -> anyhow::Result<impl Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    W: for<'writer> MakeWriter<'writer> + Send + Sync + 'static,
{
    let lines = tracing_subscriber::fmt::layer().with_ansi(ansi).with_writer(writer);
    let lines = match format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let audit = FilterFn::new(is_audit).with_max_level_hint(Level::INFO);
    Ok(lines.with_filter(EnvFilter::try_new(filter)?.or(audit).and(FilterFn::new(is_harmless))))
}

// The audit log is written whatever the filter says.
fn is_audit(metadata: &Metadata<'_>) -> bool {
    metadata.target() == "audit" && *metadata.level() <= Level::INFO
}

// Left out whatever the filter says: below errors, this target logs whole answers of the API server that it cannot decode,
// and they may be Secrets.
fn is_harmless(metadata: &Metadata<'_>) -> bool {
    metadata.target() != "kube_client::client" || *metadata.level() == Level::ERROR
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read as _, Seek as _};
    use std::sync::Arc;

    use super::{LogFormat, logs};

    #[test]
    fn the_audit_log_is_written_whatever_the_filter_says() {
        for filter in ["info", "warn", "off", "process_template_operator=debug", "info,audit=warn"] {
            let mut file = tempfile::tempfile().unwrap();
            let writer: Arc<File> = Arc::new(file.try_clone().unwrap());
            tracing::subscriber::with_default(logs(filter, LogFormat::Text, false, writer).unwrap(), || {
                tracing::info!(target: "audit", "a write");
                tracing::debug!(target: "audit", "a detail");
                tracing::info!(target: "elsewhere", "a word");
            });
            let mut text = String::new();
            file.rewind().unwrap();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text.matches("a write").count(), 1, "{filter}: {text}");
            assert!(!text.contains("a detail"), "{filter}: {text}");
            assert_eq!(text.contains("a word"), filter.starts_with("info"), "{filter}: {text}");
        }
    }
}
