//! The simulated CMDB: a pod behind a service, or where no pods run a process on this machine.

use std::collections::BTreeMap;

use cmdb_sim::{RequestRecord, State};
use serde_json::{Value, json};

use crate::cluster::{Cluster, Pods};

/// Namespace of the simulated CMDB.
pub const NAMESPACE: &str = "ptset-e2e-cmdb";

/// What a container says that may do nothing.
pub const RESTRICTED: &str = r#"{
    "allowPrivilegeEscalation": false, "capabilities": { "drop": ["ALL"] }, "readOnlyRootFilesystem": true,
    "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "seccompProfile": { "type": "RuntimeDefault" }
}"#;

/// Calls that change something.
const WRITES: [&str; 4] =
    ["batch_create_proc_template", "create_service_template", "update_proc_template", "delete_proc_template"];

/// A running simulator.
pub struct Simulator {
    /// How connections name it.
    pub url: String,
    /// Its image.
    pub image: String,
    process: Option<cmdb_sim::Simulator>,
}

impl Simulator {
    /// Starts one; its pod runs this image.
    pub async fn start(cluster: &Cluster, image: &str) -> Self {
        if matches!(cluster.pods, Pods::None(_)) {
            let options = cmdb_sim::Options::default();
            let process = cmdb_sim::Simulator::start(options).unwrap();
            return Self { url: process.url(), image: image.to_owned(), process: Some(process) };
        }
        let metadata = json!({ "name": "cmdb-sim", "namespace": NAMESPACE, "labels": { "app": "cmdb-sim" } });
        let restricted: Value = serde_json::from_str(RESTRICTED).unwrap();
        let container = json!({ "name": "cmdb-sim", "image": image, "args": ["--listen", "0.0.0.0:8090"],
            "ports": [{ "containerPort": 8090 }], "securityContext": restricted,
            "readinessProbe": { "tcpSocket": { "port": 8090 }, "periodSeconds": 1 } });
        cluster
            .apply(&[
                namespace(NAMESPACE),
                json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
                    "spec": { "containers": [container], "automountServiceAccountToken": false } }),
                json!({ "apiVersion": "v1", "kind": "Service", "metadata": metadata,
                    "spec": { "selector": { "app": "cmdb-sim" }, "ports": [{ "port": 8090 }] } }),
            ])
            .await;
        let wait = ["wait", "--for=condition=Ready", "pod/cmdb-sim", "--timeout=120s", "--namespace", NAMESPACE];
        cluster.kubectl(&wait).await;
        Self { url: format!("http://cmdb-sim.{NAMESPACE}.svc:8090"), image: image.to_owned(), process: None }
    }

    async fn ask(&self, cluster: &Cluster, path: &str) -> Value {
        let service = format!("/api/v1/namespaces/{NAMESPACE}/services/cmdb-sim:8090/proxy/sim/{path}");
        serde_json::from_str(&cluster.kubectl(&["get", "--raw", &service]).await).unwrap()
    }

    /// Every request that changes something, oldest first.
    pub async fn writes(&self, cluster: &Cluster) -> Vec<RequestRecord> {
        let mut requests: Vec<RequestRecord> = match &self.process {
            Some(process) => process.requests(),
            None => serde_json::from_value(self.ask(cluster, "requests").await["requests"].take()).unwrap(),
        };
        requests.retain(|record| WRITES.contains(&record.call.as_str()));
        requests
    }

    async fn state(&self, cluster: &Cluster) -> State {
        match &self.process {
            Some(process) => process.state(),
            None => serde_json::from_value(self.ask(cluster, "state").await).unwrap(),
        }
    }

    /// The process templates: service template and process name, and their IDs. Two of one name have two.
    pub async fn templates(&self, cluster: &Cluster) -> BTreeMap<(String, String), Vec<i64>> {
        let state = self.state(cluster).await;
        let service = |id: i64| state.service_templates.iter().find(|found| found.id == id).unwrap().name.clone();
        let mut templates = BTreeMap::<_, Vec<i64>>::new();
        for template in &state.process_templates {
            let key = (service(template.service_template_id), template.bk_process_name.clone());
            templates.entry(key).or_default().push(template.id);
        }
        templates
    }

    /// Ends it, where it is a process.
    pub async fn stop(self) {
        if let Some(process) = self.process {
            process.stop().await;
        }
    }
}

/// A namespace in which only pods run that may do nothing.
pub fn namespace(name: &str) -> Value {
    json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name, "labels": {
        "pod-security.kubernetes.io/enforce": "restricted", "pod-security.kubernetes.io/enforce-version": "latest",
    } } })
}
