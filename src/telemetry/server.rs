//! The HTTP endpoints `/healthz`, `/readyz` and `/metrics`.
//!
//! # Flow
//! They are served by a thread of their own, which also counts the ticks by which [`Liveness`] finds a stall. `/healthz` fails
//! while the process is stalled, and while it shuts down because one of its tasks has failed; `/readyz` fails then too, and
//! has a line that says why. A process that stays stalled exits.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::Metrics;
use crate::controller::{Liveness, TICK, TaskFailure, TaskResult};

// Scrapes at a time: one may wait for a lock that a stalled task of the controller holds.
const SCRAPES: usize = 4;

// Ticks of a stall after which the process shuts down, as only a restart ends it: a minute. The process exits half a minute
// later where the stall keeps it from that.
const SHUTDOWN_AFTER: u64 = 120;
const EXIT_AFTER: u64 = 180;

/// The endpoints, on a thread of their own: they answer also while every thread of the controller's runtime is blocked.
pub struct Endpoints {
    stop: CancellationToken,
    ended: oneshot::Receiver<std::io::Result<()>>,
}

impl Endpoints {
    /// Starts to serve, and to watch the progress of the runtime that it is called in; one that stays stalled cancels
    /// `shutdown`.
    ///
    /// # Errors
    /// When the thread or its runtime cannot be started.
    pub fn start(
        listener: TcpListener,
        metrics: Arc<Metrics>,
        liveness: Arc<Liveness>,
        shutdown: CancellationToken,
    ) -> std::io::Result<Self> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().max_blocking_threads(SCRAPES).enable_all().build()?;
        let stop = CancellationToken::new();
        let (end, ended) = oneshot::channel();
        let (until, observed) = (stop.clone(), Handle::current());
        let thread = std::thread::Builder::new().name("endpoints".to_owned());
        thread.spawn(move || {
            runtime.block_on(async {
                let never = watch_progress(&liveness, &observed, &shutdown);
                let served = async {
                    let served = serve(listener, metrics, Arc::clone(&liveness), until).await;
                    // The receiver is gone when the process exits anyway.
                    let _ = end.send(served);
                };
                // The progress is watched until the process exits: the rest of a shutdown may stall too.
                futures::join!(never, served)
            })
        })?;
        Ok(Self { stop, ended })
    }

    /// What stops them, when the requests in flight are answered.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Waits for their end.
    ///
    /// # Errors
    /// When they ended before they were stopped.
    pub async fn ended(self) -> TaskResult {
        const TASK: &str = "HTTP endpoints";
        let failure = match self.ended.await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => TaskFailure::Failed { task: TASK, reason: error.to_string() },
            // The sender is dropped by a panic alone.
            Err(_) => TaskFailure::Panicked { task: TASK, message: "see the lines before".to_owned() },
        };
        tracing::error!("{failure}; shutting down");
        Err(failure)
    }
}

#[derive(Clone)]
struct Served {
    metrics: Arc<Metrics>,
    liveness: Arc<Liveness>,
}

async fn serve(
    listener: TcpListener,
    metrics: Arc<Metrics>,
    liveness: Arc<Liveness>,
    stop: CancellationToken,
) -> std::io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let router = Router::new()
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/metrics", get(render))
        .with_state(Served { metrics, liveness });
    axum::serve(listener, router).with_graceful_shutdown(stop.cancelled_owned()).await
}

// Counts ticks, and ends a process that stays stalled. A task from outside is given to the runtime with each tick: it shows
// that there is progress; and where one worker is blocked that was to wait for I/O, it makes another do that.
async fn watch_progress(liveness: &Arc<Liveness>, runtime: &Handle, shutdown: &CancellationToken) -> Infallible {
    let mut is_stalled = false;
    loop {
        tokio::time::sleep(TICK).await;
        liveness.tick();
        let beaten = Arc::clone(liveness);
        drop(runtime.spawn(async move { beaten.beat() }));
        let stall = liveness.stall();
        match &stall {
            Some((ticks, why)) if *ticks >= EXIT_AFTER => {
                tracing::error!("{why}; exiting without a shutdown");
                std::process::exit(1);
            }
            Some((ticks, why)) if *ticks == SHUTDOWN_AFTER => {
                tracing::error!("{why}; shutting down: only a restart ends that");
                liveness.fail(why.clone());
                shutdown.cancel();
            }
            Some((_, why)) if !is_stalled => tracing::error!("{why}; /healthz fails until that ends"),
            None if is_stalled => tracing::info!("the process makes progress again"),
            _ => {}
        }
        is_stalled = stall.is_some();
    }
}

async fn healthy(State(Served { liveness, .. }): State<Served>) -> impl IntoResponse {
    match liveness.problem() {
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")),
        None => (StatusCode::OK, "ok\n".to_owned()),
    }
}

async fn ready(State(Served { metrics, liveness }): State<Served>) -> impl IntoResponse {
    let (is_ready, mut text) = metrics.readiness().render();
    let problem = liveness.problem();
    if let Some(why) = &problem {
        let _ = writeln!(text, "process: {why}");
    }
    (if is_ready && problem.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }, text)
}

// On another thread: a scrape that waits for the controller does not delay /healthz.
async fn render(State(Served { metrics, .. }): State<Served>, headers: HeaderMap) -> Result<Response, StatusCode> {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open_metrics = accept.contains("application/openmetrics-text");
    let rendered = tokio::task::spawn_blocking(move || metrics.render()).await;
    let text = rendered.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let (content_type, text) = if is_open_metrics {
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", text)
    } else {
        ("text/plain; version=0.0.4; charset=utf-8", to_plain_text(&text))
    };
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
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
