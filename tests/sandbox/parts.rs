//! The programs of this project that run beside this one: the simulator and the operator.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Signal, WaitOptions};
use serde::Deserialize;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use test_support::held::Held;

/// How long a start may take.
const START_PATIENCE: Duration = Duration::from_mins(1);

/// How long the operator may finish writes that are under way.
const STOP_PATIENCE: Duration = Duration::from_mins(1);

/// Pause between two looks at what is waited for.
pub const LOOK: Duration = Duration::from_millis(50);

const LISTENING: &str = "cmdb-sim listening on ";

/// The simulated CMDB.
pub struct Simulator {
    process: Held,
    folder: PathBuf,
    /// Its base URL.
    pub url: String,
}

/// Counts of what the simulator received.
#[derive(Deserialize)]
pub struct Summary {
    /// By name of the call.
    pub calls: BTreeMap<String, Calls>,
}

/// Counts of one call.
#[derive(Deserialize)]
pub struct Calls {
    /// How often it came.
    pub count: usize,
    /// How often each outcome, "0" being success.
    pub outcomes: BTreeMap<String, usize>,
}

impl Simulator {
    /// Starts it, with a folder that ends with it.
    pub async fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("sandbox-").tempdir().context("no temporary folder")?.keep();
        let log = folder.join("simulator.log");
        let mut command = Command::new(beside("cmdb-sim")?);
        command.args(["--listen", "127.0.0.1:0"]).env_remove("RUST_LOG");
        let process = Held::start(&command, &log, Some(&folder)).await.context("the simulator cannot be started")?;
        let deadline = Instant::now() + START_PATIENCE;
        while process.is_running() && Instant::now() < deadline {
            let text = fs::read_to_string(&log).unwrap_or_default();
            let mut complete = text.lines().zip(text.match_indices('\n')).map(|(line, _)| line);
            if let Some(url) = complete.find_map(|line| line.strip_prefix(LISTENING)) {
                return Ok(Self { process, url: url.to_owned(), folder });
            }
            sleep(LOOK).await;
        }
        bail!("the simulator did not start; the end of its log:\n{}", end_of(&log))
    }

    /// A folder that ends with it.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// What it received.
    pub async fn summary(&self) -> anyhow::Result<Summary> {
        let text = get(&format!("{}/sim/requests?summary=true", self.url)).await.context("the simulator")?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Every request that it received, oldest first.
    pub async fn requests(&self) -> anyhow::Result<Vec<Value>> {
        let text = get(&format!("{}/sim/requests", self.url)).await.context("the simulator")?;
        let mut answer: Value = serde_json::from_str(&text)?;
        Ok(serde_json::from_value(answer["requests"].take())?)
    }

    /// Ends it.
    pub async fn stop(self) {
        self.process.stop().await;
    }
}

/// The operator.
pub struct Operator {
    process: Held,
    log: PathBuf,
    url: String,
}

impl Operator {
    /// Starts it against the cluster of a kubeconfig, for one namespace or all, and waits until it is ready.
    pub async fn start(folder: &Path, kubeconfig: &Path, namespace: Option<&str>) -> anyhow::Result<Self> {
        let log = folder.join("operator.log");
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(&log, kubeconfig, namespace).await {
                Err(_) if tries < 5 && end_of(&log).contains("cannot listen on") => {}
                result => return result,
            }
        }
    }

    async fn start_once(log: &Path, kubeconfig: &Path, namespace: Option<&str>) -> anyhow::Result<Self> {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr())?;
        let mut command = Command::new(beside("ptset")?);
        command.args([
            "run",
            "--connections-anywhere",
            "--listen",
            &address.to_string(),
            "--log=info",
            "--log-format=text",
        ]);
        match namespace {
            Some(namespace) => command.args(["--watch-namespaces", namespace]),
            None => command.env_remove("PTSET_WATCH_NAMESPACES"),
        };
        command.env("KUBECONFIG", kubeconfig).env("NO_COLOR", "1");
        // The simulator is on this machine, and the operator reaches no cluster through a proxy.
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        let process = Held::start(&command, log, None).await.context("the operator cannot be started")?;
        let operator = Self { process, log: log.to_owned(), url: format!("http://{address}") };
        let ready = format!("{}/readyz", operator.url);
        let deadline = Instant::now() + START_PATIENCE;
        while operator.is_running() && Instant::now() < deadline {
            if get(&ready).await.is_ok() {
                return Ok(operator);
            }
            sleep(LOOK).await;
        }
        bail!("the operator did not become ready; the end of its log:\n{}", operator.log_end())
    }

    /// Whether it runs.
    pub fn is_running(&self) -> bool {
        self.process.is_running()
    }

    /// Where it logs to.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// The end of its log.
    pub fn log_end(&self) -> String {
        end_of(&self.log)
    }

    /// How many reconciles have ended well.
    pub async fn good_reconciles(&self) -> anyhow::Result<usize> {
        let text = get(&format!("{}/metrics", self.url)).await.context("the operator")?;
        let count = text.lines().find_map(|line| line.strip_prefix("ptset_reconciles_total{outcome=\"ok\"} "));
        Ok(count.context("the operator counts no reconciles")?.parse()?)
    }

    /// Asks it to end, and waits for that.
    pub async fn stop(self) -> anyhow::Result<()> {
        let crashed = !self.is_running();
        self.process.signal(Signal::TERM);
        let ended = self.process.ended(STOP_PATIENCE).await;
        let log_end = self.log_end();
        self.process.stop().await;
        if crashed || !ended {
            let what = if crashed { "had ended by itself" } else { "did not end on SIGTERM" };
            bail!("the operator {what}; the end of its log:\n{log_end}");
        }
        Ok(())
    }
}

/// Waits until every child process has ended, also those whose start was given up halfway.
pub async fn until_no_children() -> anyhow::Result<()> {
    let deadline = Instant::now() + STOP_PATIENCE;
    while Instant::now() < deadline {
        match rustix::process::wait(WaitOptions::NOHANG) {
            Ok(Some(_)) => {}
            Ok(None) => sleep(LOOK).await,
            Err(_) => return Ok(()),
        }
    }
    bail!("a process that was started here does not end")
}

// The text of an answer that says success.
async fn get(url: &str) -> anyhow::Result<String> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build()?;
    Ok(http.get(url).send().await?.error_for_status()?.text().await?)
}

// Cargo puts examples one folder below the programs.
fn beside(program: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where is this program?")?;
    let found = own.ancestors().skip(1).take(2).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is not built: cargo build --bins"))
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
