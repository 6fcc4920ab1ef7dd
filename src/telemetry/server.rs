//! The HTTP endpoints `/healthz`, `/readyz` and `/metrics`.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::Metrics;

/// Serves the endpoints until `shutdown` is cancelled and the requests in flight are answered.
///
/// # Errors
/// When the socket fails.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>, shutdown: CancellationToken) -> std::io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| std::future::ready("ok\n")))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(metrics);
    axum::serve(listener, router).with_graceful_shutdown(shutdown.cancelled_owned()).await
}

async fn ready(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    let (is_ready, text) = metrics.readiness().render();
    (if is_ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

async fn render(State(metrics): State<Arc<Metrics>>, headers: HeaderMap) -> impl IntoResponse {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let (content_type, text) = if accept.contains("application/openmetrics-text") {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", metrics.render())
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", to_plain_text(&metrics.render()))
    };
    ([(header::CONTENT_TYPE, content_type)], text)
}

// The older Prometheus text format, for clients that do not accept OpenMetrics: it has neither units nor an end marker, and
// describes a counter under the name of its samples.
fn to_plain_text(open_metrics: &str) -> String {
    let counters: BTreeSet<&str> =
        open_metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter")).collect();
    let mut text = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(word), Some(name), Some(rest)) if counters.contains(name) => {
                let _ = writeln!(text, "# {word} {name}_total {rest}");
            }
            _ => {
                let _ = writeln!(text, "{line}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::to_plain_text;

    #[test]
    fn the_older_format_names_counters_as_their_samples_and_has_neither_units_nor_an_end() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\n# UNIT a_seconds seconds\na_seconds 1\n\
                    # HELP b Calls # of a.\n# TYPE b counter\nb_total{c=\"d\"} 2\n# EOF\n";
        let older = "# HELP a_seconds Time.\n# TYPE a_seconds gauge\na_seconds 1\n\
                     # HELP b_total Calls # of a.\n# TYPE b_total counter\nb_total{c=\"d\"} 2\n";
        assert_eq!(to_plain_text(open), older);
    }
}
