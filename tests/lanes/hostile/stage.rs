//! The processes: a control plane, the operator, the CMDB of the healthy tenant and the hostile CMDB.

use std::path::Path;
use std::time::Duration;

use kube::Client;
use serde_json::json;
use test_support::control_plane::{ControlPlane, Options, install_crds};
use test_support::held::Held;
use test_support::hostile::Ports;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::healthy::{Healthy, TEMPLATE};
use super::operator::Operator;

/// Number of edits between two behaviours, for the usual latency.
const USUAL_EDITS: usize = 15;

/// All processes, and the healthy tenant.
pub struct Stage {
    plane: ControlPlane,
    /// A cluster administrator.
    pub client: Client,
    /// The operator.
    pub operator: Operator,
    /// The healthy tenant.
    pub healthy: Healthy,
    /// URL of its CMDB.
    pub healthy_url: String,
    /// Ports of the hostile CMDB.
    pub ports: Ports,
    processes: Vec<Held>,
    operators: usize,
}

impl Stage {
    /// Starts everything.
    pub async fn start() -> Self {
        let options = Options { audit: false, ..Options::default() };
        let plane = ControlPlane::start(options).await.unwrap_or_else(|error| panic!("no control plane: {error}"));
        let client = plane.client().await;
        install_crds(&client).await;
        let (simulator, healthy_url) = serve("serve-simulator", 0, plane.folder()).await;
        // It competes less for the processors: outside of a test it runs on another machine.
        let (hostile, ports) = serve("serve-hostile", 5, plane.folder()).await;
        put_service_template(&healthy_url).await;
        let operator = Operator::start(&plane.kubeconfig_path(), plane.folder().join("operator-0.log")).await;
        let healthy = Healthy::new(&client, &healthy_url).await;
        Self {
            client,
            operator,
            healthy,
            healthy_url,
            ports: serde_json::from_str(&ports).unwrap(),
            processes: vec![simulator, hostile],
            operators: 1,
            plane,
        }
    }

    /// Latencies of the healthy tenant's edits while nothing else happens.
    pub async fn usual(&mut self) -> Vec<Duration> {
        let mut usual = Vec::new();
        for _ in 0..USUAL_EDITS {
            usual.push(self.healthy.edit(Duration::from_mins(1)).await);
        }
        usual
    }

    /// Replaces the operator. The log of the old one is copied into the folder that `PTSET_HOSTILE_LOGS` names.
    pub async fn replace_operator(&mut self, name: &str) {
        if let Some(folder) = std::env::var_os("PTSET_HOSTILE_LOGS") {
            let _ = std::fs::copy(self.operator.log(), Path::new(&folder).join(format!("{name}.log")));
        }
        self.operator.kill();
        let log = self.plane.folder().join(format!("operator-{}.log", self.operators));
        self.operators += 1;
        let operator = Operator::start(&self.plane.kubeconfig_path(), log).await;
        std::mem::replace(&mut self.operator, operator).stop().await;
    }

    /// Stops everything.
    pub async fn stop(self) {
        self.operator.stop().await;
        for process in self.processes {
            process.stop().await;
        }
        self.plane.stop().await;
    }
}

// Starts this program in another role, and returns what it prints about where it listens.
async fn serve(role: &str, nice: u32, folder: &Path) -> (Held, String) {
    let log = folder.join(format!("{role}.log"));
    let mut command = Command::new("nice");
    command.args(["-n", &nice.to_string()]).arg(std::env::current_exe().unwrap()).arg(role);
    let process = Held::start(&command, &log, None).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    loop {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        if let Some((line, _)) = text.strip_prefix("listening ").and_then(|text| text.split_once('\n')) {
            return (process, line.to_owned());
        }
        assert!(process.is_running() && Instant::now() < deadline, "{role} does not listen: {text}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn put_service_template(url: &str) {
    let template = json!({ "id": 1, "name": TEMPLATE, "bk_biz_id": 2, "service_category_id": 2 });
    let state = json!({ "service_templates": [template] });
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let put = http.put(format!("{url}/sim/state")).json(&state).send().await.unwrap();
    put.error_for_status().unwrap();
}
