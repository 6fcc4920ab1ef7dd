//! The two Helms, and what they make of the chart.

use std::path::{Path, PathBuf};

use process_template_operator::api;
use serde_json::Value;
use tokio::process::Command;

use test_support::judges::Judge;

pub const CHART: &str = "charts/process-template-operator";
/// The release of every render.
pub const RELEASE: &str = "ptset";
/// Its namespace.
pub const NAMESPACE: &str = "ptset-system";

/// A Helm.
pub struct Helm {
    pub name: &'static str,
    judge: Judge,
    home: tempfile::TempDir,
}

/// What a program said.
pub struct Said {
    pub is_success: bool,
    pub text: String,
    pub errors: String,
}

impl Said {
    pub fn of(output: std::process::Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { is_success: output.status.success(), text: text(output.stdout), errors: text(output.stderr) }
    }

    /// What it printed; it must have succeeded.
    pub fn good(self, what: &str) -> String {
        assert!(self.is_success, "{what}: {}{}", self.text, self.errors);
        self.text
    }
}

impl Helm {
    /// Helm 3, and Helm 4.
    pub async fn both() -> [Self; 2] {
        [Self::named("helm3", "Helm 3").await, Self::named("helm", "Helm 4").await]
    }

    pub async fn newest() -> Self {
        Self::named("helm", "Helm 4").await
    }

    async fn named(judge: &str, name: &'static str) -> Self {
        let judge = Judge::named(judge).await;
        Self { name, judge, home: tempfile::tempdir().unwrap() }
    }

    pub async fn run(&self, arguments: &[&str]) -> Said {
        self.run_with(Path::new("/dev/null"), arguments).await
    }

    /// With a cluster.
    pub async fn run_with(&self, kubeconfig: &Path, arguments: &[&str]) -> Said {
        let mut command = Command::new(self.judge.path());
        command.args(arguments).env("HOME", self.home.path()).env("KUBECONFIG", kubeconfig).kill_on_drop(true);
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
            command.env_remove(proxy);
        }
        Said::of(command.output().await.unwrap())
    }

    /// The chart with these values for a version of Kubernetes; hooks are part of it.
    pub async fn template(&self, values: &Path, kubernetes: &str) -> Said {
        let values = values.to_str().unwrap();
        self.run(&[
            "template",
            RELEASE,
            CHART,
            "--namespace",
            NAMESPACE,
            "--values",
            values,
            "--kube-version",
            kubernetes,
            "--api-versions",
            "monitoring.coreos.com/v1/PrometheusRule",
        ])
        .await
    }
}

/// The values that stand beside the chart: a name, and the file.
pub fn values_files() -> Vec<(String, PathBuf)> {
    let folder = Path::new(CHART).join("ci");
    let mut files: Vec<(String, PathBuf)> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| {
            let name = path.file_name()?.to_str()?.strip_suffix("-values.yaml")?.to_owned();
            Some((name, path))
        })
        .collect();
    files.sort();
    files
}

/// The objects of a render, in the order of their kinds and names.
pub fn objects(render: &str) -> Vec<Value> {
    let documents = format!("\n{render}");
    let documents = documents.split("\n---\n").map(|text| serde_saphyr::from_str::<Value>(text).unwrap());
    let mut objects: Vec<Value> = documents.filter(|object| !object.is_null()).collect();
    objects.sort_by_key(title);
    objects
}

/// Kind, namespace and name of an object.
pub fn title(object: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let metadata = &object["metadata"];
    format!("{} {}/{}", text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))
}

/// The CRDs of the repository, which the chart must render as they are.
pub fn crds() -> Vec<Value> {
    api::crds().unwrap().into_iter().map(|(_, crd)| crd).collect()
}
