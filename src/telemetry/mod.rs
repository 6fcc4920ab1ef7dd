//! Floor 5: logs, metrics, traces, and the HTTP endpoints that serve metrics and readiness. Implements the observer traits
//! that the lower floors declare.

mod logging;
pub mod metric_table;
mod metrics;
mod readiness;
mod server;
#[cfg(feature = "otel")]
mod traces;

pub use logging::{LogFormat, Logs, TelemetryGuard, logs, start_logging};
pub use metrics::Metrics;
pub use readiness::ReadinessReport;
pub use server::Endpoints;
