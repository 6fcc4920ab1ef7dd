//! The cluster: a control plane of our own, or that of kubectl's current context.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use tokio::process::Command;
use tokio::time::timeout;

use test_support::control_plane::{ControlPlane, Options};
use test_support::held::is_running;

/// How long the API server of somebody else may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long one kubectl may take.
const KUBECTL_PATIENCE: Duration = Duration::from_mins(2);

/// Where the objects live.
pub struct Cluster {
    plane: Option<ControlPlane>,
    /// What kubectl and the operator use.
    pub kubeconfig: PathBuf,
    /// For people: name and address.
    pub name: String,
}

impl Cluster {
    /// Starts a control plane.
    pub async fn start() -> anyhow::Result<Self> {
        let plane = ControlPlane::start(Options::default()).await?;
        let name = format!("local ({})", plane.server_url());
        Ok(Self { kubeconfig: plane.kubeconfig_path(), plane: Some(plane), name })
    }

    /// That of kubectl's current context. It is kept in the folder, so that a switch of context meanwhile changes nothing.
    pub async fn current(folder: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("kubectl");
        command.args(["config", "view", "--raw", "--minify", "--flatten", "--output=json"]);
        let text = output(command).await.context(
            "kubectl has no usable context: set KUBECONFIG, or choose one with kubectl config use-context NAME",
        )?;
        let kubeconfig = folder.join("current.kubeconfig");
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(&kubeconfig)?;
        file.write_all(text.as_bytes())?;
        let config = Kubeconfig::read_from(&kubeconfig)?;
        let context = config.current_context.unwrap_or_default();
        let server = config.clusters.into_iter().find_map(|cluster| cluster.cluster?.server);
        let name = format!("{context} ({})", server.unwrap_or_default());
        Ok(Self { plane: None, kubeconfig, name })
    }

    /// Whether it is ours, and ends with us.
    pub fn is_local(&self) -> bool {
        self.plane.is_some()
    }

    /// Whether it runs, as far as it is ours.
    pub fn is_running(&self) -> bool {
        self.plane.as_ref().is_none_or(|plane| plane.pids().into_iter().all(is_running))
    }

    /// A client, once the API server has answered.
    pub async fn client(&self) -> anyhow::Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(&self.kubeconfig)?;
        let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        config.proxy_url = None;
        let client = kube::Client::try_from(config)?;
        let answer = timeout(PATIENCE, client.apiserver_version()).await;
        let reached = answer.map_err(anyhow::Error::new).and_then(|answer| answer.map_err(anyhow::Error::new));
        reached.with_context(|| format!("the API server of the context {} does not answer", self.name))?;
        Ok(client)
    }

    /// What kubectl prints.
    pub async fn kubectl(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let mut command = match &self.plane {
            Some(plane) => plane.kubectl(),
            None => Command::new("kubectl"),
        };
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).current_dir(env!("CARGO_MANIFEST_DIR"));
        output(command).await.with_context(|| format!("kubectl {} failed", arguments.join(" ")))
    }

    /// The lines with which another terminal reaches it.
    pub fn exports(&self) -> String {
        let Some(plane) = &self.plane else {
            return format!("  # kubectl uses the context {}\n", self.name);
        };
        let kubeconfig = format!("  export KUBECONFIG={}\n", self.kubeconfig.display());
        let path = std::env::var_os("PATH").unwrap_or_default();
        if std::env::split_paths(&path).any(|folder| folder.join("kubectl").is_file()) {
            return kubeconfig;
        }
        format!("{kubeconfig}  export PATH={}:$PATH    # kubectl\n", plane.binaries().display())
    }

    /// Ends what is ours of it.
    pub async fn stop(self) {
        if let Some(plane) = self.plane {
            plane.stop().await;
        }
    }
}

async fn output(mut command: Command) -> anyhow::Result<String> {
    // A group of its own: Ctrl-C in the terminal must not end a removal.
    command.stdin(Stdio::null()).process_group(0).kill_on_drop(true);
    let output = timeout(KUBECTL_PATIENCE, command.output()).await.context("no answer")??;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8(output.stdout)?)
}
