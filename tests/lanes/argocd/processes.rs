//! Redis and the two processes of Argo CD that a sync needs, on loopback, with an administrator's rights on the shared
//! control plane.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use test_support::control_plane::{ControlPlane, shared};
use test_support::held::Held;

/// Where Argo CD keeps what is its own.
pub const NAMESPACE: &str = "argocd";

/// How long a step of a story may take.
pub const PATIENCE: Duration = Duration::from_mins(3);

/// A running Argo CD.
pub struct ArgoCd {
    pub plane: Arc<ControlPlane>,
    pub client: Client,
    folder: PathBuf,
    // In the order of their end.
    processes: Vec<Held>,
}

impl ArgoCd {
    pub async fn start() -> Self {
        let plane = shared().await;
        let client = plane.client().await;
        let folder = plane.folder().join("argocd");
        fs::create_dir_all(folder.join("bin")).unwrap();
        let mut argo = Self { plane, client, folder, processes: Vec::new() };
        argo.install().await;
        let [redis, repo_server, repo_metrics, metrics] = free_ports();
        argo.start_redis(redis).await;
        argo.start_repo_server(redis, repo_server, repo_metrics).await;
        argo.start_controller(redis, repo_server, metrics).await;
        argo
    }

    // Its kinds, its settings, and what the examples tell people to add to them.
    async fn install(&self) {
        let crds = module().join("manifests/crds");
        for name in ["application-crd.yaml", "appproject-crd.yaml"] {
            self.apply(&["--server-side", "--filename", crds.join(name).to_str().unwrap()]).await;
        }
        let deadline = Instant::now() + PATIENCE;
        while !self.succeeds(&["get", "applications.argoproj.io,appprojects.argoproj.io"]).await {
            assert!(Instant::now() < deadline, "the kinds of Argo CD are not served");
            sleep(Duration::from_millis(200)).await;
        }
        let labels = json!({ "app.kubernetes.io/part-of": "argocd" });
        let mut items = vec![json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": NAMESPACE } })];
        for name in ["cm", "rbac-cm", "tls-certs-cm", "ssh-known-hosts-cm", "gpg-keys-cm", "cmd-params-cm"] {
            let metadata = json!({ "name": format!("argocd-{name}"), "namespace": NAMESPACE, "labels": labels });
            items.push(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata }));
        }
        let metadata = json!({ "name": "argocd-secret", "namespace": NAMESPACE, "labels": labels });
        let keys = json!({ "server.secretkey": "of-a-test" });
        items.push(json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys }));
        let any = json!([{ "group": "*", "kind": "*" }]);
        items.push(json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject",
            "metadata": { "name": "default", "namespace": NAMESPACE },
            "spec": { "sourceRepos": ["*"], "destinations": [{ "namespace": "*", "server": "*" }],
                "clusterResourceWhitelist": any },
        }));
        let list = self.folder.join("settings.json");
        fs::write(&list, json!({ "apiVersion": "v1", "kind": "List", "items": items }).to_string()).unwrap();
        self.apply(&["--server-side", "--filename", list.to_str().unwrap()]).await;
        self.follow_the_examples().await;
    }

    // The patch and the component say the same to Argo CD, and its API takes the applications.
    async fn follow_the_examples(&self) {
        let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/argocd");
        let file = |name: &str| examples.join(name).display().to_string();
        let namespace = format!("--namespace={NAMESPACE}");
        let before = self.get(&["configmap", "argocd-cm", &namespace]).await;
        let patch = ["patch", "configmap", "argocd-cm", "--patch-file", &file("argocd-cm-patch.yaml"), &namespace];
        self.kubectl(&patch).await;
        let after = self.get(&["configmap", "argocd-cm", &namespace]).await;
        assert_ne!(after["data"], before["data"]);

        let install = self.folder.join("install");
        fs::create_dir_all(install.join("component")).unwrap();
        for name in ["kustomization.yaml", "argocd-cm-patch.yaml"] {
            fs::copy(file(name), install.join("component").join(name)).unwrap();
        }
        fs::write(install.join("argocd-cm.yaml"), before.to_string()).unwrap();
        let kustomization = json!({ "resources": ["argocd-cm.yaml"], "components": ["component"] });
        fs::write(install.join("kustomization.yaml"), kustomization.to_string()).unwrap();
        let rendered = self.plane.kubectl().args(["kustomize", install.to_str().unwrap()]).output().await.unwrap();
        assert!(rendered.status.success(), "{}", String::from_utf8_lossy(&rendered.stderr));
        let rendered: Value = serde_saphyr::from_str(&String::from_utf8_lossy(&rendered.stdout)).unwrap();
        assert_eq!(rendered["data"], after["data"], "the component");

        for name in ["application.yaml", "application-server-side.yaml"] {
            self.apply(&["--server-side", "--dry-run=server", "--validate=strict", "--filename", &file(name)]).await;
        }
    }

    async fn apply(&self, arguments: &[&str]) {
        self.kubectl(&[&["apply"], arguments].concat()).await;
    }

    /// kubectl as an administrator, which must succeed.
    pub async fn kubectl(&self, arguments: &[&str]) {
        let output = self.plane.kubectl().args(arguments).output().await.unwrap();
        assert!(output.status.success(), "kubectl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    async fn succeeds(&self, arguments: &[&str]) -> bool {
        self.plane.kubectl().args(arguments).output().await.unwrap().status.success()
    }

    async fn start_redis(&mut self, port: u16) {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--port").arg(port.to_string()).arg("--dir").arg(&self.folder);
        self.launch("redis", &command).await;
        let listens = async || tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_ok();
        self.until_ready("redis", listens).await;
    }

    async fn start_repo_server(&mut self, redis: u16, port: u16, metrics: u16) {
        // It refuses to start without these on its PATH; they come without run bits.
        for name in ["git-verify-wrapper.sh", "gpg-wrapper.sh"] {
            let path = self.folder.join("bin").join(name);
            fs::write(&path, fs::read(module().join("hack").join(name)).unwrap()).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let mut command = self.argocd("argocd-repo-server");
        command
            .arg(format!("--port={port}"))
            .args(["--address=127.0.0.1", "--metrics-address=127.0.0.1"])
            .arg(format!("--metrics-port={metrics}"))
            .arg(format!("--redis=127.0.0.1:{redis}"))
            .args(["--disable-tls", "--client-ca-path="]);
        self.launch("repo-server", &command).await;
        self.until_served("repo-server", format!("http://127.0.0.1:{metrics}/healthz")).await;
    }

    async fn start_controller(&mut self, redis: u16, repo_server: u16, metrics: u16) {
        let mut command = self.argocd("argocd-application-controller");
        command
            .arg(format!("--namespace={NAMESPACE}"))
            .arg(format!("--redis=127.0.0.1:{redis}"))
            .arg(format!("--repo-server=127.0.0.1:{repo_server}"))
            .args(["--repo-server-plaintext", "--app-resync=30", "--persist-resource-health"])
            // Of this port it takes no address.
            .arg(format!("--metrics-port={metrics}"));
        self.launch("application-controller", &command).await;
        self.until_served("application-controller", format!("http://127.0.0.1:{metrics}/healthz")).await;
    }

    fn argocd(&self, name: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = Command::new(variable("PTSET_ARGOCD"));
        for data in ["tls", "ssh", "gpg", "tmp"] {
            fs::create_dir_all(self.folder.join(data)).unwrap();
        }
        command
            .env("ARGOCD_BINARY_NAME", name)
            .env("ARGOCD_FAKE_IN_CLUSTER", "true")
            .env("ARGOCD_GPG_ENABLED", "false")
            .env("ARGOCD_TLS_DATA_PATH", self.folder.join("tls"))
            .env("ARGOCD_SSH_DATA_PATH", self.folder.join("ssh"))
            .env("ARGOCD_GNUPGHOME", self.folder.join("gpg"))
            .env("ARGOCD_ASK_PASS_SOCK", self.folder.join("ask-pass.sock"))
            .env("TMPDIR", self.folder.join("tmp"))
            .env("HOME", &self.folder)
            .env("KUBECONFIG", self.plane.kubeconfig_path())
            .env("PATH", format!("{}:{path}", self.folder.join("bin").display()));
        for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
            command.env_remove(proxy);
        }
        command
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    async fn launch(&mut self, name: &str, command: &Command) {
        let process = Held::start(command, &self.log(name), None).await;
        self.processes.insert(0, process.unwrap_or_else(|error| panic!("{name}: {error}")));
    }

    async fn until_served(&self, name: &str, url: String) {
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap();
        let served = async || http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success());
        self.until_ready(name, served).await;
    }

    async fn until_ready(&self, name: &str, is_ready: impl AsyncFn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_ready().await {
            let process = self.processes.first().unwrap();
            let late = !process.is_running() || Instant::now() > deadline;
            assert!(!late, "{name} did not become ready\n{}", end_of(&self.log(name)));
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// The ends of its logs.
    pub fn logs(&self) -> String {
        let of = |name: &str| format!("{name}:\n{}", end_of(&self.log(name)));
        [of("application-controller"), of("repo-server")].join("\n")
    }

    /// An operator with further arguments, which ends with the value.
    pub async fn operator(&self, name: &str, arguments: &[&str]) -> Held {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
        command
            .args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env("KUBECONFIG", self.plane.kubeconfig_path());
        Held::start(&command, &self.folder.join(format!("operator-{name}.log")), None).await.unwrap()
    }

    /// A folder for what a story needs.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// An object of the cluster as it is read, null where there is none.
    pub async fn get(&self, arguments: &[&str]) -> Value {
        let command = [&["get", "--output=json", "--ignore-not-found"], arguments].concat();
        let output = self.plane.kubectl().args(command).output().await.unwrap();
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }
}

fn variable(name: &str) -> PathBuf {
    std::env::var_os(name).unwrap_or_else(|| panic!("{name} is not set: run make test-argocd")).into()
}

/// Folder of Argo CD's module.
fn module() -> PathBuf {
    variable("PTSET_ARGOCD_MODULE")
}

fn end_of(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: Vec<TcpListener> = (0..N).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    std::array::from_fn(|index| listeners[index].local_addr().unwrap().port())
}
