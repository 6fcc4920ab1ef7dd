//! What a run costs, seen from outside.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::Value;

use test_support::control_plane::ControlPlane;

/// Calls to CMDB in flight at a time, of the operator and of the bare loop.
pub const IN_FLIGHT: usize = 10;

/// What a run cost.
#[derive(Clone, Debug, Default)]
pub struct Cost {
    /// Until every process had its ID in the status.
    pub ids: Duration,
    /// Until every set was Ready; the bare loop has no such thing.
    pub ready: Duration,
    /// Calls to CMDB.
    pub calls: u64,
    /// Writes of status.
    pub status_writes: usize,
    /// Events written.
    pub events: usize,
    /// Largest resident memory, in MiB.
    pub peak_mib: f64,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
}

/// Reads memory and processor time of a process.
pub fn process(pid: u32, cost: &mut Cost) -> anyhow::Result<()> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default();
    let kib: f64 = peak.trim().trim_end_matches("kB").trim().parse()?;
    cost.peak_mib = kib / 1024.0;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").unwrap_or_default();
    let ticks: u32 = fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap_or_default()).sum();
    // USER_HZ is 100 on every Linux that this runs on.
    cost.cpu_seconds = f64::from(ticks) / 100.0;
    Ok(())
}

/// Counts a user agent's writes in a namespace in the audit log.
pub fn api_writes(plane: &ControlPlane, namespace: &str, agent: &str, cost: &mut Cost) {
    let ours = |event: &&Value| {
        event["objectRef"]["namespace"] == namespace
            && event["userAgent"].as_str().is_some_and(|said| said.starts_with(agent))
            && !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default())
    };
    let events = plane.audit_events(agent);
    let writes: Vec<&Value> = events.iter().filter(ours).collect();
    let is_status = |event: &&&Value| event["objectRef"]["resource"] == "processtemplatesets";
    cost.status_writes = writes.iter().filter(is_status).count();
    cost.events = writes.len() - cost.status_writes;
}

/// A client with a user agent of its own.
pub async fn client_of(kubeconfig: &Path, agent: &str) -> anyhow::Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    config.headers.push((axum::http::header::USER_AGENT, agent.parse()?));
    Ok(Client::try_from(config)?)
}
