//! Traces over OTLP, with the feature `otel`: a span for each reconcile of a set, and in it one for each call to CMDB.
//! Configured by OpenTelemetry's own environment variables; where they name no endpoint, nothing is traced.

use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::FilterFn;
use tracing_subscriber::layer::Layer;
use tracing_subscriber::registry::LookupSpan;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{
    OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, Protocol, SpanExporter, WithExportConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;

/// The service name, unless `OTEL_SERVICE_NAME` gives another.
const SERVICE: &str = env!("CARGO_PKG_NAME");

/// The exporter of traces, if an endpoint is configured.
#[derive(Debug, Default)]
pub struct Traces(Option<SdkTracerProvider>);

impl Traces {
    /// The exporter that the environment configures.
    ///
    /// # Errors
    /// When the environment names an endpoint that cannot be used.
    pub fn from_environment() -> anyhow::Result<Self> {
        let is_named = |name| std::env::var(name).is_ok_and(|endpoint: String| !endpoint.is_empty());
        if ![OTEL_EXPORTER_OTLP_ENDPOINT, OTEL_EXPORTER_OTLP_TRACES_ENDPOINT].into_iter().any(is_named) {
            return Ok(Self::default());
        }
        // The batch exporter has a thread of its own: no reconcile waits for it.
        let exporter = SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).build()?;
        let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        let is_ours = std::env::var("OTEL_SERVICE_NAME").is_err();
        let resource = if is_ours { resource.with_service_name(SERVICE) } else { resource };
        let provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter);
        Ok(Self(Some(provider.build())))
    }

    /// The layer that turns spans into traces; None when nothing is exported.
    pub fn layer<S>(&self) -> Option<impl Layer<S> + Send + Sync + use<S>>
    where
        S: Subscriber + for<'span> LookupSpan<'span> + Send + Sync,
    {
        let tracer = self.0.as_ref()?.tracer(SERVICE);
        let layer = tracing_opentelemetry::layer().with_tracer(tracer).with_location(false).with_threads(false);
        Some(layer.with_filter(FilterFn::new(is_traced)))
    }

    /// Exports the spans that are left.
    pub fn shutdown(self) {
        if let Some(Err(error)) = self.0.map(|provider| provider.shutdown()) {
            tracing::warn!(%error, "the last traces were not exported");
        }
    }
}

fn is_traced(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == "traces"
}
