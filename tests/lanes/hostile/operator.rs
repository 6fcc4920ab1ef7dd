//! The operator as a process: its probes, and its memory.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use test_support::held::Held;
use test_support::world;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::sleep;

// The timeout of the chart's probes.
const PROBE: Duration = Duration::from_secs(5);

/// A running operator.
pub struct Operator {
    running: world::Operator,
    address: String,
}

/// Calls the probes of an operator again and again.
pub struct Probes {
    task: JoinHandle<()>,
    lost: Arc<[AtomicBool; 2]>,
}

impl Operator {
    /// Starts it for the whole cluster, and waits until it is ready. `PTSET_HOSTILE_OPERATOR` names its program.
    pub async fn start(kubeconfig: &Path, log: PathBuf) -> Self {
        let program = std::env::var_os("PTSET_HOSTILE_OPERATOR").map_or_else(test_support::ptset, PathBuf::from);
        let mut command = Command::new(program);
        command.args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0"]).env("KUBECONFIG", kubeconfig);
        let process = Held::start(&command, &log, None).await.unwrap();
        let running = world::Operator { process, log };
        let address = running.address().await;
        let operator = Self { running, address };
        let http = client();
        for _ in 0..600 {
            if is_ok(&http, &operator.address, "readyz").await {
                return operator;
            }
            sleep(Duration::from_millis(100)).await;
        }
        panic!("the operator is not ready: {}", operator.log().display());
    }

    /// Its log file.
    pub fn log(&self) -> &Path {
        &self.running.log
    }

    /// Whether it still runs.
    pub fn is_running(&self) -> bool {
        self.running.process.is_running()
    }

    /// Starts to call its probes.
    pub fn probe(&self) -> Probes {
        let lost = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let (shared, address, http) = (Arc::clone(&lost), self.address.clone(), client());
        let task = tokio::spawn(async move {
            loop {
                for (path, lost) in ["healthz", "readyz"].into_iter().zip(&*shared) {
                    if !is_ok(&http, &address, path).await {
                        lost.store(true, Ordering::Relaxed);
                    }
                }
                sleep(Duration::from_millis(500)).await;
            }
        });
        Probes { task, lost }
    }

    /// Resets its largest resident memory to the present one.
    pub fn forget_peak(&self) {
        let _ = std::fs::write(format!("/proc/{}/clear_refs", self.running.process.pid()), "5");
    }

    /// Its largest resident memory.
    pub fn peak_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.process.pid()));
        let status = status.unwrap_or_default();
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
        peak.trim().trim_end_matches("kB").trim().parse::<f64>().unwrap_or_default() / 1024.0
    }

    /// Kills it.
    pub fn kill(&self) {
        self.running.process.signal(rustix::process::Signal::KILL);
    }

    /// Kills it, and waits until it is gone.
    pub async fn stop(self) {
        self.running.process.stop().await;
    }
}

impl Probes {
    /// Stops, and returns the probes that failed.
    pub fn lost(self) -> Vec<&'static str> {
        self.task.abort();
        let names = ["/healthz", "/readyz"].into_iter().zip(&*self.lost);
        names.filter(|(_, lost)| lost.load(Ordering::Relaxed)).map(|(name, _)| name).collect()
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().timeout(PROBE).build().unwrap()
}

async fn is_ok(http: &reqwest::Client, address: &str, path: &str) -> bool {
    let answer = http.get(format!("http://{address}/{path}")).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}
