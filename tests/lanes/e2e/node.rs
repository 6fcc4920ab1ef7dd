//! A node of our own, whose processes can be looked at: tests/lanes/node.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::cluster::{PATIENCE, variable};
use test_support::command::Said;
use test_support::held::is_running;

/// A running node; ends with this process.
pub struct Node {
    // Lives for as long as the other end of its standard input is held.
    run: Child,
    first_process: u32,
    folder: PathBuf,
}

/// A process in a container, as the kernel shows it.
pub struct Process {
    status: String,
    mounts: String,
    /// What stands in the root of its file system.
    pub root: Vec<String>,
}

impl Node {
    /// Starts one; the folder is removed at the end.
    pub async fn start(folder: &Path) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lanes/node/run");
        let mut run = Command::new(script);
        run.arg(folder).process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut run = run.spawn().unwrap();
        let mut pid = String::new();
        BufReader::new(run.stdout.take().unwrap()).read_line(&mut pid).await.unwrap();
        let first_process = pid.trim().parse().unwrap_or_else(|_| panic!("the node did not start"));
        let node = Self { run, first_process, folder: folder.to_owned() };
        let deadline = Instant::now() + PATIENCE;
        while !folder.join("started").exists() {
            let is_late = Instant::now() > deadline || !is_running(first_process);
            assert!(!is_late, "the node did not start: {}", node.log());
            sleep(Duration::from_millis(50)).await;
        }
        node
    }

    /// Kubeconfig of an administrator; of use in the node's network only.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// What the node says of itself.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("node.log")).unwrap_or_default()
    }

    /// Every request that the API server has answered.
    pub fn audit_events(&self) -> Vec<Value> {
        let log = std::fs::read_to_string(self.folder.join("log/audit.log")).unwrap_or_default();
        log.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// A program that runs in the node's network, and otherwise on this machine.
    pub fn in_network(&self, program: &Path) -> Command {
        self.within(&["--net"], program)
    }

    fn within(&self, namespaces: &[&str], program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--target={}", self.first_process)).args(namespaces).arg("--").arg(program);
        command
    }

    // On the node itself: its files and processes.
    async fn on_node(&self, program: &Path, arguments: &[&str]) -> Said {
        let mut command = self.within(&["--net", "--mount", "--pid"], program);
        Said::by(command.args(arguments), &[]).await
    }

    async fn ctr(&self, arguments: &[&str]) -> String {
        let ctr = variable("PTSET_NODE_CONTAINERD").join("ctr");
        let said = self.on_node(&ctr, &[&["--namespace=k8s.io"], arguments].concat()).await;
        assert_eq!(said.status, 0, "ctr {arguments:?}: {}{}", said.text, said.errors);
        said.text
    }

    /// Loads an OCI archive.
    pub async fn load(&self, archive: &Path) {
        let archive = std::fs::canonicalize(archive).unwrap();
        self.ctr(&["images", "import", archive.to_str().unwrap()]).await;
    }

    /// Gives an image another name.
    pub async fn tag(&self, name: &str, other: &str) {
        self.ctr(&["images", "tag", name, other]).await;
    }

    /// Digest of a loaded image.
    pub async fn digest(&self, name: &str) -> String {
        let images = self.ctr(&["images", "list", &format!("name=={name}")]).await;
        let digest = images.split_whitespace().find(|word| word.starts_with("sha256:"));
        digest.unwrap_or_else(|| panic!("{name} is not loaded: {images}")).to_owned()
    }

    /// Process of a pod's only container.
    pub async fn process(&self, pod: &Value) -> Process {
        let pid = self.pid(pod).await;
        let read = async |path: &str| self.must(&["cat", &format!("/proc/{pid}/{path}")]).await;
        let root = self.must(&["ls", "-A", &format!("/proc/{pid}/root")]).await;
        Process {
            status: read("status").await,
            mounts: read("mountinfo").await,
            root: root.lines().map(str::to_owned).collect(),
        }
    }

    /// SIGKILL to the process of a pod's only container.
    pub async fn kill(&self, pod: &Value) {
        let pid = self.pid(pod).await;
        self.must(&["kill", "-KILL", &pid]).await;
    }

    async fn must(&self, command: &[&str]) -> String {
        let said = self.on_node(Path::new(command[0]), &command[1..]).await;
        assert_eq!(said.status, 0, "{command:?}: {}", said.errors);
        said.text
    }

    // As the node counts processes.
    async fn pid(&self, pod: &Value) -> String {
        let container = pod["status"]["containerStatuses"][0]["containerID"].as_str().unwrap();
        let container = container.strip_prefix("containerd://").unwrap();
        let tasks = self.ctr(&["tasks", "list"]).await;
        let task = tasks.lines().find(|line| line.starts_with(container));
        task.and_then(|task| task.split_whitespace().nth(1)).unwrap_or_else(|| panic!("{tasks}")).to_owned()
    }

    /// Ends it, and waits until nothing of it is left.
    pub async fn stop(mut self) {
        drop(self.run.stdin.take());
        let _ = self.run.wait().await;
    }
}

impl Process {
    /// A line of its status.
    pub fn status(&self, key: &str) -> &str {
        let line = self.status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {key}: {}", self.status)).trim()
    }

    /// Whether its root is mounted read-only.
    pub fn has_read_only_root(&self) -> bool {
        let root = self.mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap();
        root.split(' ').nth(5).unwrap().split(',').any(|option| option == "ro")
    }
}
