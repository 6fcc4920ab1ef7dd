//! `ptset run`: runs the controller until a signal.
//!
//! *Flow*: logging, HTTP endpoints, the clients of the API server, then the controller: alone, or while this instance holds
//! the lease. On SIGTERM or SIGINT the controller finishes its writes in flight before the endpoints stop. When a task fails,
//! the same happens, and the process exits with 1.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::http::Request;
use futures::future::BoxFuture;
use kube::client::retry::RetryPolicy;
use kube::client::{Body, ClientBuilder};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::BoxError;
use tower::buffer::Buffer;
use tower::filter::FilterLayer;
use tower::limit::ConcurrencyLimitLayer;
use tower::retry::RetryLayer;

use super::api_server::ApiServer;
use super::exit_status::ExitStatus;
use crate::api::FIELD_MANAGER;
use crate::cmdb::{OpenGate, UrlPolicy, WriteGate};
use crate::controller;
use crate::controller::{
    DEFAULT_SHARED_PLACES, Election, Leadership, LeadershipState, Liveness, Observer as _, SecretAccess, Settings,
    TaskFailure, TaskResult, Tasks, Terms,
};
use crate::telemetry;
use crate::telemetry::{Endpoints, LogFormat, Metrics};

// Most calls in flight to the API server: each has a connection with buffers. A watch counts until its response starts.
const API_SERVER_CALLS: usize = 16;

// Longest wait for tasks that end with the process.
const LAST_TASKS: Duration = Duration::from_secs(2);

// Tasks by name.
const CONTROLLER: &str = "controller";
const LEASE_HOLDER: &str = "lease holder";
const ENDPOINTS: &str = "HTTP endpoints";

// Longest transaction of CMDB, in seconds.
const TRANSACTION_LIMIT: u32 = 120;

/// Options of `ptset run`. The cluster is that of KUBECONFIG, else the one that the pod runs in.
#[derive(Debug, clap::Args)]
pub struct Options {
    /// Namespaces to watch; without them, all, and only then connections of the cluster are served
    #[arg(long, env = "PTSET_WATCH_NAMESPACES", value_name = "NAME", value_delimiter = ',')]
    watch_namespaces: Vec<String>,
    /// How it is learnt that a Secret has changed
    #[arg(long, env = "PTSET_SECRETS", value_name = "HOW", value_enum, default_value_t = SecretAccess::Watch)]
    secrets: SecretAccess,
    /// Deprecated, leave it out: places for reconciles beyond those that each connection has of its own, 100 if absent
    #[arg(long, env = "PTSET_CONCURRENCY", value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    concurrency: Option<u16>,
    /// Seconds without progress after which work on a set is stopped between two calls
    #[arg(long, env = "PTSET_DEADLINE_SECONDS", value_name = "SECONDS", default_value_t = 180,
          value_parser = clap::value_parser!(u32).range(1..))]
    deadline_seconds: u32,
    /// Seconds after which no CMDB server can still be storing a create; longer than CMDB's transaction limit of 120 s
    #[arg(long, env = "PTSET_CREATE_GRACE_SECONDS", value_name = "SECONDS", default_value_t = 150)]
    create_grace_seconds: u32,
    /// Seconds for which a template that has left a set is not deleted yet: another set may be about to take it over
    #[arg(long, env = "PTSET_REMOVAL_DELAY_SECONDS", value_name = "SECONDS", default_value_t = 10)]
    removal_delay_seconds: u32,
    /// Where connections may lead: their URLs begin with one of these; without any, they are https URLs
    #[arg(long, env = "PTSET_CONNECTION_URLS", value_name = "URL", value_delimiter = ',')]
    connection_urls: Vec<String>,
    /// For demonstrations: connections may lead anywhere, also to this machine and to plain http
    #[arg(long, env = "PTSET_CONNECTIONS_ANYWHERE", conflicts_with = "connection_urls")]
    connections_anywhere: bool,
    /// Lease by which one of several instances leads while the others stand by; without it, run one alone
    #[arg(long, env = "PTSET_LEASE", value_name = "NAME")]
    lease: Option<String>,
    /// Namespace of the lease; without it, that of the pod or of the kubeconfig
    #[arg(long, env = "PTSET_LEASE_NAMESPACE", value_name = "NAME", requires = "lease")]
    lease_namespace: Option<String>,
    /// Seconds without a renewal after which another instance takes the lease
    #[arg(long, env = "PTSET_LEASE_DURATION_SECONDS", value_name = "SECONDS", default_value_t = 15,
          value_parser = clap::value_parser!(u16).range(3..=300))]
    lease_duration_seconds: u16,
    /// Address of /healthz, /readyz and /metrics; the default is every address of the machine, IPv4 and IPv6
    #[arg(long, env = "PTSET_LISTEN", value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// What is logged, as a tracing filter; each write to CMDB always is
    #[arg(long, env = "PTSET_LOG", value_name = "FILTER", default_value = "info")]
    log: String,
    /// How log lines look
    #[arg(long, env = "PTSET_LOG_FORMAT", value_name = "FORMAT", value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

/// A long-lived task of a program that embeds the operator, with its name: it runs in the same runtime, and when it fails the
/// operator shuts down as it does for a task of its own.
pub type Companion = (&'static str, BoxFuture<'static, ()>);

/// Runs the controller until a signal, or until one of its tasks fails.
pub fn run(options: Options, companions: Vec<Companion>) -> anyhow::Result<ExitStatus> {
    let telemetry_guard = telemetry::start_logging(&options.log, options.log_format)?;
    // The workload is I/O bound: two worker threads serve thousands of sets.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let served = runtime.block_on(serve(options, companions));
    // A task that blocks its thread does not hold up the exit.
    runtime.shutdown_timeout(LAST_TASKS);
    telemetry_guard.shutdown();
    // What failed was logged where it failed.
    served.map(|ended| if ended.is_ok() { ExitStatus::Success } else { ExitStatus::Failure })
}

async fn serve(options: Options, companions: Vec<Companion>) -> anyhow::Result<TaskResult> {
    // The cluster, and where connections may lead.
    let mut config = kube::Config::infer().await.context("no cluster: set KUBECONFIG, or run in a pod")?;
    // Retries are bounded elsewhere: by the terms of the election, and by the layers of the controller's client.
    config.default_retry = false;
    config.headers.push((axum::http::header::USER_AGENT, FIELD_MANAGER.parse()?));
    let api_server = ApiServer::of(&config);
    let policy = url_policy(&options, &api_server).await?;

    // Tasks that are needed for as long as the process runs, and HTTP endpoints.
    let listener = listen(options.listen).await.with_context(|| format!("cannot listen on {}", options.listen))?;
    let address = listener.local_addr()?;
    let (metrics, liveness, shutdown) =
        (Arc::new(Metrics::default()), Arc::<Liveness>::default(), CancellationToken::new());
    let mut tasks = Tasks::new(Arc::clone(&liveness));
    tasks.spawn_fallible("signal handler", stop_on_signal(shutdown.clone()));
    for (name, companion) in companions {
        tasks.spawn(name, companion);
    }

    if options.create_grace_seconds <= TRANSACTION_LIMIT {
        let seconds = options.create_grace_seconds;
        tracing::warn!(
            "--create-grace-seconds {seconds} is no longer than a transaction of CMDB, {TRANSACTION_LIMIT} s: a CMDB \
             before 3.9.18 may store a process template twice; raise it, or leave it out"
        );
    }
    if let Some(concurrency) = options.concurrency {
        tracing::warn!(
            concurrency,
            "--concurrency is deprecated and only bounds memory: each connection has places of its own; leave it out"
        );
    }
    tracing::info!(version = env!("CARGO_PKG_VERSION"), listen = %address, "begins");

    // Without a lease this instance leads from the start.
    if options.lease.is_none() {
        metrics.report_standing(&LeadershipState::Leads);
    }
    let (listener, of_endpoints) = (listener.into_std()?, Arc::clone(&metrics));
    let endpoints = Endpoints::start(listener, of_endpoints, Arc::clone(&liveness), shutdown.clone())?;
    let stop_endpoints = endpoints.stop();
    tasks.spawn_fallible(ENDPOINTS, endpoints.ended());

    // The controller, whose client writes only while this instance leads.
    let leadership = Arc::<Leadership>::default();
    let gate: Arc<dyn WriteGate> = if options.lease.is_some() { leadership.clone() } else { Arc::new(OpenGate) };
    let client = client_behind_gate(config.clone(), &gate, &mut tasks)?;
    if !options.connections_anywhere {
        let watch = api_server.watch(client.clone(), policy.clone(), shutdown.clone());
        tasks.spawn("watch of the API server's endpoints", watch);
    }
    let settings = Settings {
        instance: instance(),
        namespaces: namespaces(options.watch_namespaces)?,
        secrets: options.secrets,
        shared_places: options.concurrency.unwrap_or(DEFAULT_SHARED_PLACES),
        deadline: Duration::from_secs(options.deadline_seconds.into()),
        create_grace: Duration::from_secs(options.create_grace_seconds.into()),
        removal_delay: Duration::from_secs(options.removal_delay_seconds.into()),
        url_policy: policy,
        write_gate: gate,
        liveness: Arc::clone(&liveness),
    };
    let work = {
        let metrics = Arc::clone(&metrics);
        move |stop| controller::run(client.clone(), settings.clone(), metrics.clone(), metrics.clone(), stop)
    };

    // Run it until the shutdown, or until a task fails.
    let ended = if let Some(name) = options.lease {
        let election = Arc::new(Election {
            namespace: options.lease_namespace.unwrap_or_else(|| config.default_namespace.clone()),
            client: kube::Client::try_from(config).map_err(unusable)?,
            name,
            identity: identity(),
            terms: Terms::of_seconds(options.lease_duration_seconds),
            working: TaskTracker::new(),
        });
        tasks.spawn_fallible(LEASE_HOLDER, {
            let (election, leadership, shutdown) = (Arc::clone(&election), Arc::clone(&leadership), shutdown.clone());
            let report_standing = move |standing: &LeadershipState| metrics.report_standing(standing);
            async move { election.run(&leadership, report_standing, work, &shutdown).await }
        });
        let ended = tasks.run_until(LEASE_HOLDER, &shutdown).await;
        if ended.is_err() {
            election.give_back(&leadership).await;
        }
        ended
    } else {
        tasks.spawn_fallible(CONTROLLER, work(shutdown.clone()));
        tasks.run_until(CONTROLLER, &shutdown).await
    };

    // A client of the endpoints that sends or reads slowly does not hold up the exit.
    stop_endpoints.cancel();
    let _ = tokio::time::timeout(LAST_TASKS, tasks.until_ended(ENDPOINTS, &shutdown)).await;
    // A stall is found outside of the tasks.
    let ended = ended.and(liveness.failure().map_or(Ok(()), |why| Err(TaskFailure::Stalled(why))));
    if ended.is_ok() {
        tracing::info!("ends: no write is under way");
    }
    Ok(ended)
}

// Binds the address; where the kernel has no IPv6, the default becomes every IPv4 address.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(_) if address.ip() == Ipv6Addr::UNSPECIFIED => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

// The namespaces to watch, sorted. An empty name is an error: the API server would take it for all namespaces.
fn namespaces(given: Vec<String>) -> anyhow::Result<Vec<String>> {
    let mut names: Vec<String> = given.into_iter().map(|name| name.trim().to_owned()).collect();
    if names.iter().any(String::is_empty) {
        return Err(anyhow!("--watch-namespaces: a name is empty; leave the option out to watch all namespaces"));
    }
    names.sort();
    names.dedup();
    Ok(names)
}

// A client that writes only while the gate is open. The gate is checked again before each retry.
fn client_behind_gate(
    config: kube::Config,
    gate: &Arc<dyn WriteGate>,
    tasks: &mut Tasks,
) -> anyhow::Result<kube::Client> {
    let gate = Arc::clone(gate);
    let check = move |request: Request<Body>| -> Result<Request<Body>, BoxError> {
        if request.method().is_safe() || gate.is_open() {
            Ok(request)
        } else {
            Err("not sent: this instance does not hold the lease at present".into())
        }
    };
    let builder = ClientBuilder::try_from(config).map_err(unusable)?;
    let gated = builder.with_layer(&FilterLayer::new(check));
    let (send_worker, worker) = std::sync::mpsc::sync_channel(1);
    let buffer = tower::layer::layer_fn(move |service| {
        let (buffer, worker) = Buffer::pair(service, API_SERVER_CALLS);
        // Received right below.
        let _ = send_worker.send(worker);
        buffer
    });
    let buffered = gated.with_layer(&buffer);
    tasks.spawn("queue of API server requests", worker.recv()?);
    let retried = buffered.with_layer(&RetryLayer::new(RetryPolicy::server_retry()));
    Ok(retried.with_layer(&ConcurrencyLimitLayer::new(API_SERVER_CALLS)).build())
}

// The name of the pod, if this process runs in one.
fn instance() -> String {
    let pod = std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
    pod.unwrap_or_else(|| FIELD_MANAGER.to_owned())
}

// The identity of this process in the lease. It differs from that of an earlier process of the same pod.
fn identity() -> String {
    format!("{}_{:016x}", instance(), fastrand::u64(..))
}

// Which URLs connections may lead to. Never that of the API server, which would take the requests for the operator's own.
async fn url_policy(options: &Options, api_server: &ApiServer) -> anyhow::Result<UrlPolicy> {
    if options.connections_anywhere {
        return Ok(UrlPolicy::none());
    }
    let forbidden = api_server.addresses().await?;
    UrlPolicy::around(&options.connection_urls, forbidden).map_err(|reason| anyhow!("--connection-urls: {reason}"))
}

fn unusable(error: kube::Error) -> anyhow::Error {
    match error {
        // The proxy's URL is not repeated: it may hold a password.
        kube::Error::ProxyProtocolUnsupported { .. } | kube::Error::ProxyProtocolDisabled { .. } => {
            anyhow!("the proxy to the cluster cannot be used: its URL is neither http nor https")
        }
        error => anyhow!(error).context("the cluster's configuration cannot be used"),
    }
}

async fn stop_on_signal(shutdown: CancellationToken) -> TaskResult {
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    let (mut terminate, mut interrupt) = match signals {
        (Ok(terminate), Ok(interrupt)) => (terminate, interrupt),
        (Err(error), _) | (_, Err(error)) => {
            let failure = TaskFailure::Failed { task: "signal handler", reason: error.to_string() };
            tracing::error!("{failure}; shutting down");
            return Err(failure);
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stops: writes under way are finished first");
    shutdown.cancel();
    Ok(())
}
