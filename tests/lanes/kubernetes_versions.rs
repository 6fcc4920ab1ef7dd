//! The oldest and the newest Kubernetes that we support take the CRDs and every example, in both ways of `kubectl apply`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use process_template_operator::api;
use serde_json::{Value, json};
use test_support::control_plane::{ControlPlane, Options};
use test_support::examples::{NAMESPACES, all};
use tokio::time::{Instant, sleep};

const SERVER_SIDE: &[&str] = &["apply", "--server-side", "--validate=strict", "--recursive", "--filename"];
const CLIENT_SIDE: &[&str] = &["apply", "--validate=strict", "--recursive", "--filename"];
const OURS: &str = "processtemplatesets,cmdbconnections,clustercmdbconnections";

async fn start(kubernetes: &'static str) -> ControlPlane {
    let options = Options { kubernetes: Some(kubernetes), audit: false, ..Options::default() };
    let plane = ControlPlane::start(options).await;
    plane.unwrap_or_else(|error| panic!("no control plane of the {kubernetes} Kubernetes: {error}"))
}

// A server that takes one way of applying, and nothing yet.
struct Server {
    plane: ControlPlane,
    apply: &'static [&'static str],
}

impl Server {
    async fn kubectl(&self, arguments: &[&str]) -> Output {
        self.plane.kubectl().args(arguments).output().await.unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let output = self.kubectl(&[arguments, &["--output", "json"]].concat()).await;
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn file(&self, name: &str, object: &Value) -> PathBuf {
        let path = self.plane.folder().join(name);
        std::fs::write(&path, object.to_string()).unwrap();
        path
    }

    async fn apply(&self, path: &Path) -> Output {
        self.plane.kubectl().args(self.apply).arg(path).output().await.unwrap()
    }

    // How many objects were taken; each, and without a warning.
    async fn takes(&self, path: &Path) -> usize {
        let output = self.apply(path).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    async fn refuses(&self, object: &Value, reason: &str) {
        let output = self.apply(&self.file("refused.json", object)).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains(reason), "{said}");
    }

    async fn install(&self) -> usize {
        let crds = self.takes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("crds")).await;
        let output = self.kubectl(&["wait", "--for=condition=Established", "crd", "--all", "--timeout=60s"]).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let deadline = Instant::now() + Duration::from_mins(1);
        while !self.kubectl(&["get", OURS, "--all-namespaces"]).await.status.success() {
            assert!(Instant::now() < deadline, "the CRDs are not served");
            sleep(Duration::from_millis(100)).await;
        }
        for name in NAMESPACES {
            let namespace = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } });
            self.takes(&self.file(name, &namespace)).await;
        }
        crds
    }

    async fn judges_a_set(&self) {
        // A rule over one object, and one that compares with what was there.
        self.refuses(&set(&json!({ "id": 1, "name": "web" })), "exactly one of id and name must be set").await;
        let path = self.file("judged.json", &set(&json!({ "id": 1 })));
        self.takes(&path).await;
        self.refuses(&set(&json!({ "id": 2 })), "must not change: make a new set instead").await;

        // Until a status is written, each server-side apply is a write of what was there.
        let get = ["get", "ptset", "--namespace", NAMESPACES[0], "judged"];
        let patch = ["patch", "ptset", "--namespace", NAMESPACES[0], "judged", "--subresource=status", "--type=merge"];
        let seen = [&patch[..], &["--patch", r#"{"status":{"observedGeneration":1}}"#]].concat();
        assert!(self.kubectl(&seen).await.status.success());
        let before = self.json(&get).await;
        assert_eq!(before["status"], json!({ "observedGeneration": 1 }));
        self.takes(&path).await;
        assert_eq!(self.json(&get).await, before, "the same again is a change");
    }

    async fn ours(&self) -> Vec<Value> {
        self.json(&["get", OURS, "--all-namespaces"]).await["items"].as_array().unwrap().clone()
    }

    // What kubectl and the server say of themselves, without the v.
    async fn version(&self) -> String {
        let versions = self.json(&["version"]).await;
        let server = versions["serverVersion"]["gitVersion"].as_str().unwrap();
        assert_eq!(versions["clientVersion"]["gitVersion"], server);
        server.trim_start_matches('v').to_owned()
    }
}

fn set(service_template: &Value) -> Value {
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": "judged", "namespace": NAMESPACES[0] },
        "spec": { "bizId": 2, "serviceTemplate": service_template, "processes": [{ "name": "web", "funcName": "web" }] },
    })
}

struct Taken {
    version: String,
    crds: usize,
    documents: usize,
}

async fn is_taken_by(kubernetes: &'static str, apply: &'static [&'static str]) -> Taken {
    let server = Server { plane: start(kubernetes).await, apply };
    let version = server.version().await;
    let crds = server.install().await;
    let examples = server.file("examples.json", &json!({ "apiVersion": "v1", "kind": "List", "items": all() }));
    let documents = server.takes(&examples).await;

    let ours = server.ours().await;
    let kinds: Vec<&str> = ours.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    for kind in ["ProcessTemplateSet", "CmdbConnection", "ClusterCmdbConnection"] {
        assert!(kinds.contains(&kind), "{version} has no {kind}");
    }
    for object in &ours {
        assert_eq!(object["status"], json!({ "observedGeneration": -1 }), "{version}: {}", object["metadata"]);
    }
    server.takes(&examples).await;
    for object in server.ours().await {
        assert_eq!(
            object["metadata"]["generation"], 1,
            "{version}: the same again is a change: {}",
            object["metadata"]
        );
    }
    server.judges_a_set().await;

    server.plane.stop().await;
    Taken { version, crds, documents }
}

fn minor(version: &str) -> u32 {
    version.split('.').nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
async fn both_ends_of_kubernetes_take_the_crds_and_every_example() {
    let expected = all().len();
    let (mut versions, mut refused) = (Vec::new(), 0);
    for kubernetes in ["oldest", "newest"] {
        for apply in [SERVER_SIDE, CLIENT_SIDE] {
            let taken = is_taken_by(kubernetes, apply).await;
            assert_eq!(taken.crds, api::crds().unwrap().len());
            refused += expected.abs_diff(taken.documents);
            versions.push(taken.version);
        }
    }
    let [oldest, again, newest, newest_again] = &versions[..] else { panic!("{versions:?}") };
    assert_eq!((oldest, newest), (again, newest_again));
    assert!(minor(oldest) < 36 && 36 < minor(newest), "the version between them is what all other tests run on");
    assert_eq!(refused, 0);
    let crds = api::crds().unwrap().len();
    println!("kubernetes versions: oldest={oldest} newest={newest} crds={crds} documents={expected} refused={refused}");
}
