//! The cluster that the stories are told on, and the tools that reach it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::node::Node;
use crate::stand_in::{OPERATOR_PODS, StandIn};
use test_support::command::Said;

/// How long a step of a story may take.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// Where pods run.
pub enum Pods {
    /// On a node of our own.
    Node(Node),
    /// On the cluster that KUBECONFIG points to.
    Current,
    /// Nowhere: the operator's binary stands in for each.
    None(StandIn),
}

/// A cluster.
pub struct Cluster {
    pub pods: Pods,
    kubeconfig: PathBuf,
    kubectl: PathBuf,
    helm: PathBuf,
    // Caches and other files of the tools.
    home: TempDir,
}

impl Cluster {
    /// The one that the lane's script has prepared.
    pub async fn start() -> Self {
        let home = tempfile::Builder::new().prefix("e2e-").tempdir().unwrap();
        let helm = variable("PTSET_E2E_HELM");
        let pods = match std::env::var("PTSET_E2E_PODS").as_deref() {
            Ok("real") => Pods::Node(Node::start(&home.path().join("node")).await),
            Ok("current") => Pods::Current,
            Ok("none") => Pods::None(StandIn::start(home.path()).await),
            _ => panic!("PTSET_E2E_PODS is not set: run make e2e"),
        };
        let (kubeconfig, kubectl) = match &pods {
            Pods::Node(node) => (node.kubeconfig(), variable("PTSET_NODE_KUBERNETES").join("kubectl")),
            Pods::Current => (variable("KUBECONFIG"), "kubectl".into()),
            Pods::None(stand_in) => (stand_in.kubeconfig(), stand_in.kubectl()),
        };
        Self { pods, kubeconfig, kubectl, helm, home }
    }

    /// What the figures call it.
    pub fn kind(&self) -> &'static str {
        match &self.pods {
            Pods::Node(_) | Pods::Current => "real",
            Pods::None(_) => "none",
        }
    }

    /// The node, where it is ours.
    pub fn node(&self) -> Option<&Node> {
        if let Pods::Node(node) = &self.pods { Some(node) } else { None }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = match &self.pods {
            Pods::Node(node) => node.in_network(program),
            Pods::Current | Pods::None(_) => Command::new(program),
        };
        command.env("KUBECONFIG", &self.kubeconfig).env("HOME", self.home.path()).stdin(Stdio::null());
        command.kill_on_drop(true);
        if !matches!(self.pods, Pods::Current) {
            for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
                command.env_remove(proxy).env_remove(proxy.to_lowercase());
            }
        }
        command
    }

    /// kubectl, whatever comes of it.
    pub async fn try_kubectl(&self, arguments: &[&str]) -> Said {
        Said::by(self.command(&self.kubectl).args(arguments), &[]).await
    }

    /// What kubectl prints; it must succeed.
    pub async fn kubectl(&self, arguments: &[&str]) -> String {
        let said = self.try_kubectl(arguments).await;
        assert_eq!(said.status, 0, "kubectl {}: {}{}", arguments.join(" "), said.text, said.errors);
        said.text
    }

    /// Helm, whatever comes of it.
    pub async fn try_helm(&self, arguments: &[&str]) -> Said {
        Said::by(self.command(&self.helm).args(arguments), &[]).await
    }

    /// Helm, which must succeed.
    pub async fn helm(&self, arguments: &[&str]) -> String {
        let said = self.try_helm(arguments).await;
        assert_eq!(said.status, 0, "helm {}: {}{}", arguments.join(" "), said.text, said.errors);
        said.text
    }

    /// Puts a file where the tools can read it.
    pub fn file(&self, name: &str, text: &str) -> String {
        let path = self.home.path().join(name);
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
        path.display().to_string()
    }

    /// A folder for what the tools read.
    pub fn folder(&self) -> &Path {
        self.home.path()
    }

    /// Applies objects.
    pub async fn apply(&self, objects: &[Value]) {
        let list = serde_json::json!({ "apiVersion": "v1", "kind": "List", "items": objects });
        let file = self.file("apply.json", &list.to_string());
        self.kubectl(&["apply", "--server-side", "--force-conflicts", "--filename", &file]).await;
    }

    /// An object or a list as it is read; null where there is none.
    pub async fn get(&self, arguments: &[&str]) -> Value {
        let arguments = [&["get", "--output=json", "--ignore-not-found"], arguments].concat();
        let text = self.kubectl(&arguments).await;
        if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap() }
    }

    /// Waits until something of the cluster holds.
    pub async fn until<T>(&self, what: &str, found: impl AsyncFn() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = found().await {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The names of an installation's pods that are not about to end.
    pub async fn pods_of(&self, namespace: &str) -> Vec<Value> {
        let pods = self.get(&["pods", "--namespace", namespace, "--selector", OPERATOR_PODS]).await;
        let mut pods = pods["items"].as_array().cloned().unwrap_or_default();
        pods.retain(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        pods
    }

    /// All that the operator in a pod has logged.
    pub async fn logs(&self, namespace: &str, pod: &str) -> String {
        if let Pods::None(stand_in) = &self.pods {
            return stand_in.logs(namespace, pod);
        }
        self.kubectl(&["logs", "--namespace", namespace, pod, "--container", "operator"]).await
    }

    /// What the operator in a pod answers.
    pub async fn ask(&self, namespace: &str, pod: &str, path: &str) -> String {
        if let Pods::None(stand_in) = &self.pods {
            return stand_in.ask(namespace, pod, path).await;
        }
        let url = format!("/api/v1/namespaces/{namespace}/pods/{pod}:8080/proxy{path}");
        self.kubectl(&["get", "--raw", &url]).await
    }

    /// Ends what is ours of it.
    pub async fn stop(self) {
        match self.pods {
            Pods::Node(node) => node.stop().await,
            Pods::None(stand_in) => stand_in.stop().await,
            Pods::Current => {}
        }
    }
}

/// Name of an object.
pub fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

/// A path that the lane's script gives.
pub fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run make e2e")).into()
}
