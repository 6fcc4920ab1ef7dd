//! A control plane, a simulated CMDB and the operator on this machine: `make sandbox` and `make demo`.
//!
//! Whatever ends this process, nothing that it started stays behind.

mod cluster;
mod demo;
mod objects;
mod parts;
mod say;

use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use clap::{Parser, ValueEnum};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;

use cluster::Cluster;
use objects::{NAMESPACE, Objects};
use parts::{Operator, Simulator};
use say::{say, step};

/// A Kubernetes control plane, a simulated CMDB and the operator, for you to try.
#[derive(Parser)]
#[command(name = "sandbox")]
struct Arguments {
    /// What is done with it.
    #[arg(value_enum)]
    mode: Mode,
    /// Where the objects live.
    #[arg(value_enum, default_value = "local")]
    cluster: ClusterChoice,
    /// When the command began, in seconds since 1970; the total counts from there.
    #[arg(long, value_name = "SECONDS")]
    since: Option<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Applies the examples, shows what came of them, and ends.
    Demo,
    /// Stays until Ctrl-C.
    Sandbox,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum ClusterChoice {
    /// A control plane of its own.
    Local,
    /// The cluster of kubectl's current context.
    Current,
}

/// What runs, as far as it was started.
#[derive(Default)]
struct Sandbox {
    simulator: Option<Simulator>,
    cluster: Option<Cluster>,
    objects: Option<Objects>,
    operator: Option<Operator>,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let mut sandbox = Sandbox::default();
    let ended = match Signals::new() {
        Ok(mut signals) => tokio::select! {
            result = sandbox.run(&arguments) => Some(result),
            () = signals.any() => None,
        },
        Err(error) => Some(Err(error)),
    };
    if ended.is_none() {
        say("\nstops");
    }
    if let Some(Err(error)) = &ended {
        say(&format!("\nerror: {error:#}"));
    }
    let stopped = sandbox.stop().await;
    if let Err(error) = &stopped {
        say(&format!("error: {error:#}"));
    }
    match ended {
        Some(Ok(Some(figures))) if stopped.is_ok() => {
            say(&format!("{figures} seconds={:.1}", since_begin(&arguments)));
            ExitCode::SUCCESS
        }
        None if stopped.is_ok() && arguments.mode == Mode::Sandbox => ExitCode::SUCCESS,
        None if stopped.is_ok() => ExitCode::from(130),
        _ => ExitCode::FAILURE,
    }
}

impl Sandbox {
    // The demo's figures; a sandbox has none, and comes back only when something went wrong.
    async fn run(&mut self, arguments: &Arguments) -> anyhow::Result<Option<String>> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        // make may be killed without a word to us.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
            .context("cannot ask to be told of the parent's end")?;
        let simulator = step("CMDB simulator: started", Simulator::start()).await?;
        let simulator = self.simulator.insert(simulator);
        let cluster = match arguments.cluster {
            ClusterChoice::Local => step("control plane (etcd, kube-apiserver): started", Cluster::start())
                .await
                .context("control plane")?,
            ClusterChoice::Current => {
                let cluster = step("kubectl's current context: read", Cluster::current(simulator.folder())).await?;
                say(&format!("         uses the context {}; no control plane is started", cluster.name));
                cluster
            }
        };
        let cluster = &*self.cluster.insert(cluster);
        let client = step("API server: reached", cluster.client()).await?;
        let objects = self.objects.insert(Objects::new(client.clone(), cluster.is_local()));
        let url = simulator.url.clone();
        step("CRDs, and a connection to the simulator: applied", objects.apply(&url)).await?;
        // In a cluster of others, sets of other namespaces are not ours to work on.
        let namespace = (!cluster.is_local()).then_some(NAMESPACE);
        let operator = Operator::start(simulator.folder(), &cluster.kubeconfig, namespace);
        let operator = step("operator: started, ready", operator).await?;
        self.operator = Some(operator);
        match arguments.mode {
            Mode::Demo => demo::run(self, &client).await.map(Some),
            Mode::Sandbox => self.stay().await,
        }
    }

    async fn stay(&self) -> anyhow::Result<Option<String>> {
        let (simulator, cluster, operator) = self.parts()?;
        say(&format!("\nIn another terminal:\n\n{}  export CMDB={}\n", cluster.exports(), simulator.url));
        say(&format!("{}\n", demo::WHAT_TO_TRY));
        say(&format!("The operator's log: tail -f {}", operator.log().display()));
        say("Ctrl-C ends everything and takes it away.");
        loop {
            if let Some(part) = self.ended_by_itself() {
                bail!("{part} has ended by itself; the end of the operator's log:\n{}", operator.log_end());
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    fn parts(&self) -> anyhow::Result<(&Simulator, &Cluster, &Operator)> {
        let simulator = self.simulator.as_ref().context("the simulator does not run")?;
        let cluster = self.cluster.as_ref().context("there is no cluster")?;
        let operator = self.operator.as_ref().context("the operator does not run")?;
        Ok((simulator, cluster, operator))
    }

    fn ended_by_itself(&self) -> Option<&'static str> {
        if self.operator.as_ref().is_some_and(|operator| !operator.is_running()) {
            return Some("the operator");
        }
        if self.simulator.as_ref().is_some_and(|simulator| !simulator.is_running()) {
            return Some("the simulator");
        }
        self.cluster.as_ref().is_some_and(|cluster| !cluster.is_running()).then_some("the control plane")
    }

    // In the order in which they need each other; each as far as it came to be.
    async fn stop(self) -> anyhow::Result<()> {
        let mut result = match self.operator {
            Some(operator) => operator.stop().await,
            None => Ok(()),
        };
        if let (Some(objects), Some(cluster)) = (&self.objects, &self.cluster) {
            result = objects.remove(cluster).await.and(result);
        }
        if let Some(cluster) = self.cluster {
            cluster.stop().await;
        }
        if let Some(simulator) = self.simulator {
            simulator.stop().await;
        }
        parts::until_no_children().await.and(result)
    }
}

struct Signals([Signal; 3]);

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let [interrupt, terminate, hangup] = kinds.map(signal);
        Ok(Self([interrupt?, terminate?, hangup?]))
    }

    async fn any(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
}

fn since_begin(arguments: &Arguments) -> f64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
    now - arguments.since.unwrap_or(now)
}
