//! What both Helms render, and whether Kubernetes takes it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::helm::{self, CHART, Helm, NAMESPACE, RELEASE, objects, title, values_files};
use crate::tools;
use test_support::control_plane::{ControlPlane, Options};
use test_support::world::PATIENCE;

// The ends of the versions that the chart supports: as Helm and the schemas say it, and as our control plane does.
const KUBERNETES: [(&str, &str, &str); 2] = [("1.33.0", "1.33", "oldest"), ("1.37.0", "1.37", "newest")];

// No offline schema knows these; the API server does, with the CRDs of those who have made them.
const FOREIGN: [&str; 4] = ["ServiceMonitor", "PodMonitor", "PrometheusRule", "CiliumNetworkPolicy"];

/// How many renders there were, and what is wrong with them.
pub async fn judge() -> (usize, Vec<String>) {
    let helms = Helm::both().await;
    let folder = tempfile::tempdir().unwrap();
    let (mut renders, mut invalid) = (0, Vec::new());
    assert!(values_files().len() >= 6, "fewer values than promised");
    for helm in &helms {
        for (name, values) in values_files() {
            let values = values.to_str().unwrap();
            let said =
                helm.run(&["lint", "--strict", "--kube-version", KUBERNETES[0].0, "--values", values, CHART]).await;
            assert!(said.is_success, "{}: lint of {name}: {}{}", helm.name, said.text, said.errors);
        }
    }
    for (version, schemas, plane) in KUBERNETES {
        let plane = Options { kubernetes: Some(plane), ..Options::default() };
        let plane = ControlPlane::start(plane).await.unwrap_or_else(|error| panic!("{error}"));
        prepare(&plane).await;
        for (name, values) in values_files() {
            let mut same: Option<Vec<Value>> = None;
            for helm in &helms {
                let what = format!("{} renders {name} for {version}", helm.name);
                let text = helm.template(&values, version).await.good(&what);
                renders += 1;
                let file = folder.path().join(format!("{name}.yaml"));
                std::fs::write(&file, &text).unwrap();
                invalid.extend(by_schemas(&file, schemas).await.map(|reason| format!("{what}: {reason}")));
                let objects = objects(&text);
                invalid.extend(crds_are_ours(&objects).map(|reason| format!("{what}: {reason}")));
                // Of two renders that are the same, the API server is asked about one.
                if let Some(first) = &same {
                    assert_eq!(*first, objects, "{what}: not as the other Helm does");
                } else {
                    invalid.extend(by_server(&plane, &file).await.map(|reason| format!("{what}: {reason}")));
                    same = Some(objects);
                }
            }
        }
        installs(&plane, &helms).await;
        plane.stop().await;
    }
    (renders, invalid)
}

// What the values name, and the kinds of others.
async fn prepare(plane: &ControlPlane) {
    for namespace in [NAMESPACE, "team-a", "team-b"] {
        kubectl(plane, &["create", "namespace", namespace]).await.good("a namespace");
    }
    let class = json!({ "apiVersion": "node.k8s.io/v1", "kind": "RuntimeClass", "metadata": { "name": "kata" }, "handler": "kata" });
    let file = plane.folder().join("runtime-class.json");
    std::fs::write(&file, class.to_string()).unwrap();
    kubectl(plane, &["create", "--filename", file.to_str().unwrap()]).await.good("a class of runtimes");
    for crd in tools::foreign_crds() {
        let crd = crd.to_str().unwrap();
        kubectl(plane, &["apply", "--server-side", "--filename", crd]).await.good("a CRD of others");
        until_served(plane, &["--filename", crd]).await;
    }
}

/// Waits until CRDs are served. `kubectl wait` fails where there are no conditions yet.
pub async fn until_served(plane: &ControlPlane, which: &[&str]) {
    let arguments = [&["wait", "--for=condition=Established"], which].concat();
    let deadline = Instant::now() + PATIENCE;
    loop {
        let said = kubectl(plane, &arguments).await;
        if said.is_success {
            return;
        }
        assert!(Instant::now() < deadline, "{which:?}: {}", said.errors);
        sleep(Duration::from_millis(50)).await;
    }
}

async fn kubectl(plane: &ControlPlane, arguments: &[&str]) -> helm::Said {
    helm::Said::of(plane.kubectl().args(arguments).output().await.unwrap())
}

// What the schemas of a version of Kubernetes refuse.
async fn by_schemas(file: &Path, version: &str) -> Option<String> {
    let arguments = ["--kubernetes-version", version, "--strict", file.to_str().unwrap()];
    let said = tools::run("kubernetes-validate", &arguments).await;
    let words: Vec<String> = [said.text.lines(), said.errors.lines()]
        .into_iter()
        .flatten()
        .filter(|line| !line.starts_with("INFO "))
        .filter(|line| !FOREIGN.iter().any(|kind| line.contains(&format!("find schema for kind {kind} "))))
        .map(str::to_owned)
        .collect();
    (!said.is_success || !words.is_empty()).then(|| words.join("\n"))
}

// What a real API server refuses, with fields that it does not know.
async fn by_server(plane: &ControlPlane, file: &Path) -> Option<String> {
    let file = file.to_str().unwrap();
    let arguments = ["apply", "--server-side", "--dry-run=server", "--validate=strict", "--filename", file];
    let said = kubectl(plane, &arguments).await;
    (!said.is_success || said.errors.contains("Warning")).then_some(said.errors)
}

// The CRDs of a render are those of the repository, but for labels and annotations.
fn crds_are_ours(objects: &[Value]) -> Option<String> {
    let mut rendered: BTreeMap<String, Value> = BTreeMap::new();
    for object in objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition") {
        let mut crd = object.clone();
        let metadata = crd["metadata"].as_object_mut().unwrap();
        metadata.retain(|key, _| key == "name");
        rendered.insert(title(&crd), crd);
    }
    let ours: BTreeMap<String, Value> = helm::crds().into_iter().map(|crd| (title(&crd), crd)).collect();
    (!rendered.is_empty() && rendered != ours).then(|| "the CRDs are not those of crds/".to_owned())
}

// Both Helms install, upgrade and uninstall on the real API server what has a say in everything; without a node, so that
// nothing is waited for. What they install is what they have packed.
async fn installs(plane: &ControlPlane, helms: &[Helm; 2]) {
    let values = format!("{CHART}/ci/everything-on-values.yaml");
    for helm in helms {
        takes_over(plane, helm, &values).await;
        let folder = plane.folder().to_str().unwrap();
        helm.run(&["package", CHART, "--destination", folder]).await.good(&format!("{} package", helm.name));
        let packed = format!("{folder}/{}-{}.tgz", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"));
        for action in ["install", "upgrade"] {
            let arguments = [action, RELEASE, packed.as_str(), "--namespace", NAMESPACE, "--values", &values];
            helm.run_with(&plane.kubeconfig_path(), &arguments).await.good(&format!("{} {action}", helm.name));
        }
        let text = helm.template(Path::new(&values), "1.37.0").await.good("a render");
        let rendered: BTreeSet<String> = objects(&text)
            .iter()
            .filter(|object| object["metadata"]["annotations"]["helm.sh/hook"].is_null())
            .map(title)
            .collect();
        let kubeconfig = plane.kubeconfig_path();
        let of_release = async |words: &[&str]| {
            let arguments = [words, &[RELEASE, "--namespace", NAMESPACE]].concat();
            helm.run_with(&kubeconfig, &arguments).await.good(&format!("{} {words:?}", helm.name))
        };
        let installed: BTreeSet<String> = objects(&of_release(&["get", "manifest"]).await).iter().map(title).collect();
        assert_eq!(installed, rendered, "{}", helm.name);
        of_release(&["uninstall"]).await;
        for crd in helm::crds() {
            let name = crd["metadata"]["name"].as_str().unwrap();
            kubectl(plane, &["get", "crd", name]).await.good("a CRD that stays");
        }
    }
}

// The way of the chart's README to take over CRDs that `kubectl apply` has brought, though they are not the same.
async fn takes_over(plane: &ControlPlane, helm: &Helm, values: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut names = Vec::new();
    for mut crd in helm::crds() {
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        let version = &mut crd["spec"]["versions"][0];
        version["additionalPrinterColumns"].as_array_mut().unwrap().pop();
        version["schema"]["openAPIV3Schema"]["description"] = json!("As it was.");
        std::fs::write(folder.path().join(format!("{name}.json")), crd.to_string()).unwrap();
        names.push(name);
    }
    let crds: Vec<&str> =
        ["delete", "crd", "--ignore-not-found"].into_iter().chain(names.iter().map(String::as_str)).collect();
    kubectl(plane, &crds).await.good("no CRDs");
    kubectl(plane, &["apply", "--filename", folder.path().to_str().unwrap()]).await.good("older CRDs");
    let kubeconfig = plane.kubeconfig_path();
    let install = ["install", RELEASE, CHART, "--namespace", NAMESPACE, "--values", values, "--take-ownership"];
    if helm.name == "Helm 4" {
        let said = helm.run_with(&kubeconfig, &install).await;
        assert!(!said.is_success && said.errors.contains("conflict"), "{}{}", said.text, said.errors);
        helm.run_with(&kubeconfig, &["uninstall", RELEASE, "--namespace", NAMESPACE]).await.good("what was begun goes");
        helm.run_with(&kubeconfig, &[&install[..], &["--force-conflicts"]].concat()).await.good("Helm 4 takes over");
    } else {
        helm.run_with(&kubeconfig, &install).await.good("Helm 3 takes over");
    }
    for crd in helm::crds() {
        let name = crd["metadata"]["name"].as_str().unwrap();
        let text = kubectl(plane, &["get", "crd", name, "--output", "json"]).await.good("a CRD");
        let version = &serde_json::from_str::<Value>(&text).unwrap()["spec"]["versions"][0];
        for part in ["additionalPrinterColumns", "schema"] {
            assert_eq!(version[part], crd["spec"]["versions"][0][part], "{}: {name} is as it was", helm.name);
        }
    }
    helm.run_with(&kubeconfig, &["uninstall", RELEASE, "--namespace", NAMESPACE]).await.good("it goes");
}
