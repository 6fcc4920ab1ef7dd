//! A real control plane: etcd, kube-apiserver and, where asked for, kube-controller-manager, on loopback.

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::wait::{await_condition, conditions};
use process_template_operator::api::{self, GROUP, VERSION};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::OnceCell;
use tokio::time::{Instant, sleep, timeout};

use super::held::Held;
use super::pinned::{self, BuildError};
use super::world::PATIENCE;

/// What is to be started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether kube-controller-manager is needed: garbage collection, deletion of namespaces, service accounts.
    pub controller_manager: bool,
    /// Only what was built before; else [`BuildError::NotBuilt`].
    pub cached_only: bool,
    /// A folder that stays, with all data. Default: a new one, removed at the end.
    pub data_dir: Option<PathBuf>,
    /// Further arguments of kube-apiserver.
    pub extra_apiserver_args: Vec<String>,
    /// `oldest` or `newest`: the API server and kubectl of that end of the Kubernetes versions that we support; no
    /// kube-controller-manager then.
    pub kubernetes: Option<&'static str>,
    /// Whether kube-apiserver notes every request for [`ControlPlane::audit_events`]. Default: yes.
    pub audit: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            controller_manager: false,
            cached_only: false,
            data_dir: None,
            extra_apiserver_args: Vec::new(),
            kubernetes: None,
            audit: true,
        }
    }
}

/// Why there is no control plane.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its binaries could not be had.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// A process did not become ready.
    #[error("{process} did not become ready; the end of its log:\n{log}")]
    NotReady {
        /// Its name.
        process: &'static str,
        /// The end of its log.
        log: String,
    },
    /// A certificate of rcgen takes no more.
    #[error("a user of this control plane can have two groups, not {0}")]
    Groups(usize),
    /// The machine did not let us.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Certificates could not be made.
    #[error(transparent)]
    Certificate(#[from] rcgen::Error),
}

/// A running control plane; ends when dropped, and with this process.
pub struct ControlPlane {
    folder: PathBuf,
    binaries: Binaries,
    server_url: String,
    etcd_url: String,
    issuer: Issuer<'static, KeyPair>,
    users: AtomicUsize,
    // In the order of their end: the API server first, else it waits for etcd.
    processes: Vec<Held>,
}

impl ControlPlane {
    /// Starts one, building its binaries where needed.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let binaries = build(&options).await?;
        let mut tries = 0;
        loop {
            tries += 1;
            match Self::start_once(&options, &binaries).await {
                Err(StartError::NotReady { log, .. }) if tries < 5 && log.contains("address already in use") => {}
                Ok(plane) => {
                    count_start()?;
                    return Ok(plane);
                }
                failed @ Err(_) => return failed,
            }
        }
    }

    async fn start_once(options: &Options, binaries: &Binaries) -> Result<Self, StartError> {
        let folder = match &options.data_dir {
            Some(folder) => Folder::Given(folder.clone()),
            None => Folder::New(tempfile::Builder::new().prefix("control-plane-").tempdir()?),
        };
        fs::create_dir_all(folder.path())?;
        let path = fs::canonicalize(folder.path())?;
        let [etcd_port, peer_port, api_port, manager_port] = free_ports()?;
        let mut plane = Self {
            server_url: format!("https://127.0.0.1:{api_port}"),
            etcd_url: format!("http://127.0.0.1:{etcd_port}"),
            issuer: certificates(&path)?,
            folder: path,
            binaries: binaries.clone(),
            users: AtomicUsize::new(0),
            processes: Vec::new(),
        };
        plane.write_kubeconfig("admin", "admin", &["system:masters"])?;
        plane.start_etcd(peer_port, folder).await?;
        plane.start_apiserver(api_port, options).await?;
        if options.controller_manager {
            plane.start_controller_manager(manager_port).await?;
        }
        Ok(plane)
    }

    async fn start_etcd(&mut self, peer_port: u16, folder: Folder) -> Result<(), StartError> {
        let (client, peer) = (self.etcd_url.clone(), format!("http://127.0.0.1:{peer_port}"));
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut command = Command::new(self.binaries.etcd.join("etcd"));
        command
            .arg(format!("--name={name}"))
            .arg(format!("--data-dir={}", self.folder.join("etcd").display()))
            .arg("--unsafe-no-fsync")
            .arg(format!("--listen-client-urls={client}"))
            .arg(format!("--advertise-client-urls={client}"))
            .arg(format!("--listen-peer-urls={peer}"))
            .arg(format!("--initial-advertise-peer-urls={peer}"))
            .arg(format!("--initial-cluster={name}={peer}"));
        let removed = matches!(folder, Folder::New(_)).then_some(self.folder.as_path());
        let process = self.launch("etcd", &mut command, removed).await?;
        // From here on it is removed when etcd ends, also if we are killed.
        if let Folder::New(folder) = folder {
            let _ = folder.keep();
        }
        // By its name: another control plane's etcd may have taken the port since.
        let quoted = format!("\"name\":\"{name}\"");
        let http = self.http()?;
        self.ready("etcd", process, async || {
            let members = http.post(format!("{client}/v3/cluster/member/list")).body("{\"linearizable\":true}");
            match members.send().await {
                Ok(answer) => answer.text().await.is_ok_and(|text| text.contains(&quoted)),
                Err(_) => false,
            }
        })
        .await
    }

    async fn start_apiserver(&mut self, port: u16, options: &Options) -> Result<(), StartError> {
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(self.binaries.kubernetes.join("kube-apiserver"));
        command
            .arg(format!("--etcd-servers={}", self.etcd_url))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            // A loopback address cannot be advertised, and without a default route there is no other.
            .args(["--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"])
            .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
            .arg(format!("--cert-dir={}", self.folder.display()))
            .arg(format!("--client-ca-file={}", file("ca.crt")))
            .arg("--service-account-issuer=https://kubernetes.default.svc")
            .arg(format!("--service-account-key-file={}", file("service-account.pub")))
            .arg(format!("--service-account-signing-key-file={}", file("service-account.key")))
            .arg("--api-audiences=https://kubernetes.default.svc")
            .args(["--authorization-mode=RBAC", "--allow-privileged=true", "--service-cluster-ip-range=10.0.0.0/24"])
            .args(&options.extra_apiserver_args);
        if options.audit {
            let policy = json!({
                "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
                "rules": [{ "level": "Metadata" }],
            });
            fs::write(self.folder.join("audit-policy.json"), policy.to_string())?;
            command
                .arg(format!("--audit-policy-file={}", file("audit-policy.json")))
                .arg(format!("--audit-log-path={}", file("audit.log")))
                // In megabytes; it would begin another file at 100.
                .arg("--audit-log-maxsize=10000");
        }
        if !options.controller_manager {
            // Nobody makes the default service accounts that it would wait for.
            command.arg("--disable-admission-plugins=ServiceAccount");
        }
        let ready = format!("{}/readyz", self.server_url);
        let (process, http) = (self.launch("kube-apiserver", &mut command, None).await?, self.http()?);
        self.ready("kube-apiserver", process, async || is_success(&http, &ready).await).await
    }

    // It exits when the API server does not answer yet: started last.
    async fn start_controller_manager(&mut self, port: u16) -> Result<(), StartError> {
        let name = "kube-controller-manager";
        let kubeconfig = self.write_kubeconfig(name, "system:kube-controller-manager", &[])?.display().to_string();
        let file = |name: &str| self.folder.join(name).display().to_string();
        let mut command = Command::new(self.binaries.kubernetes.join(name));
        command
            .arg(format!("--kubeconfig={kubeconfig}"))
            .arg(format!("--authentication-kubeconfig={kubeconfig}"))
            .arg(format!("--authorization-kubeconfig={kubeconfig}"))
            .arg("--bind-address=127.0.0.1")
            .arg(format!("--secure-port={port}"))
            .arg(format!("--tls-cert-file={}", file("apiserver.crt")))
            .arg(format!("--tls-private-key-file={}", file("apiserver.key")))
            .args(["--leader-elect=false", "--use-service-account-credentials=true"])
            .arg(format!("--service-account-private-key-file={}", file("service-account.key")))
            .arg(format!("--root-ca-file={}", file("ca.crt")))
            .arg(format!("--controllers={}", CONTROLLERS.join(",")));
        let ready = format!("https://127.0.0.1:{port}/healthz");
        let (process, http) = (self.launch(name, &mut command, None).await?, self.http()?);
        self.ready(name, process, async || is_success(&http, &ready).await).await
    }

    fn log(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    async fn launch(&self, name: &str, command: &mut Command, removed: Option<&Path>) -> std::io::Result<Held> {
        without_proxies(command);
        // etcd refuses to start where a variable contradicts an argument.
        for (variable, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("ETCD_")) {
            command.env_remove(variable);
        }
        Held::start(command, &self.log(name), removed).await
    }

    // Trusts our own authority only: a server of somebody else at that port is not ours.
    fn http(&self) -> Result<reqwest::Client, StartError> {
        let authority = fs::read(self.folder.join("ca.crt"))?;
        let authority = reqwest::Certificate::from_pem(&authority).map_err(std::io::Error::other)?;
        let client = reqwest::Client::builder().tls_certs_only([authority]).no_proxy().timeout(Duration::from_secs(5));
        Ok(client.build().map_err(std::io::Error::other)?)
    }

    async fn ready(
        &mut self,
        name: &'static str,
        process: Held,
        is_ready: impl AsyncFn() -> bool,
    ) -> Result<(), StartError> {
        let deadline = Instant::now() + Duration::from_secs(90);
        while process.is_running() && Instant::now() < deadline {
            if is_ready().await {
                self.processes.insert(0, process);
                return Ok(());
            }
            sleep(Duration::from_millis(50)).await;
        }
        let log = fs::read_to_string(self.log(name)).unwrap_or_default();
        let mut lines: Vec<&str> = log.lines().rev().take(20).collect();
        lines.reverse();
        Err(StartError::NotReady { process: name, log: lines.join("\n") })
    }

    /// Kubeconfig of a cluster administrator.
    pub fn kubeconfig_path(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Kubeconfig of a user in up to two groups, with a new client certificate.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, StartError> {
        // A file of its own each time: the same user may be asked for with other groups.
        let number = self.users.fetch_add(1, Ordering::Relaxed);
        let name = user.replace(|letter: char| !letter.is_ascii_alphanumeric(), "-");
        self.write_kubeconfig(&format!("user-{number}-{name}"), user, groups)
    }

    fn write_kubeconfig(&self, name: &str, user: &str, groups: &[&str]) -> Result<PathBuf, StartError> {
        let key = KeyPair::generate()?;
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, user);
        // A name holds each type once; the same type by its number counts as another.
        let types = [DnType::OrganizationName, DnType::CustomDnType(vec![2, 5, 4, 10])];
        if groups.len() > types.len() {
            return Err(StartError::Groups(groups.len()));
        }
        for (kind, group) in types.into_iter().zip(groups) {
            params.distinguished_name.push(kind, *group);
        }
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &self.issuer)?;
        let file = |ending: &str| self.folder.join(format!("{name}.{ending}"));
        fs::write(file("crt"), certificate.pem())?;
        write_secret(&file("key"), &key.serialize_pem())?;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "local",
            "clusters": [{ "name": "local", "cluster":
                { "server": self.server_url, "certificate-authority": self.folder.join("ca.crt") } }],
            "users": [{ "name": user, "user": { "client-certificate": file("crt"), "client-key": file("key") } }],
            "contexts": [{ "name": "local", "context": { "cluster": "local", "user": user } }],
        });
        write_secret(&file("kubeconfig"), &kubeconfig.to_string())?;
        Ok(file("kubeconfig"))
    }

    /// URL of the API server.
    pub fn server_url(&self) -> &str {
        &self.server_url
    }

    /// URL of etcd.
    pub fn etcd_url(&self) -> &str {
        &self.etcd_url
    }

    /// A client of a cluster administrator.
    pub async fn client(&self) -> kube::Client {
        client(&self.kubeconfig_path()).await
    }

    /// kubectl as a cluster administrator, with caches of its own.
    pub fn kubectl(&self) -> Command {
        let mut command = Command::new(self.binaries.kubernetes.join("kubectl"));
        command
            .arg(format!("--cache-dir={}", self.folder.join("kubectl-cache").display()))
            .env("KUBECONFIG", self.kubeconfig_path())
            .env("HOME", &self.folder);
        without_proxies(&mut command);
        command.stdin(Stdio::null());
        command
    }

    /// Folder of kubectl and the others.
    pub fn binaries(&self) -> &Path {
        &self.binaries.kubernetes
    }

    /// The requests that the API server has answered and whose entry in its audit log contains this text; without
    /// [`Options::audit`] none. Many tests share the log: the text names who asked, or where.
    pub fn audit_events(&self, text: &str) -> Vec<Value> {
        let log = fs::read_to_string(self.folder.join("audit.log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(text)).filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Process ids.
    pub fn pids(&self) -> Vec<u32> {
        self.processes.iter().map(Held::pid).collect()
    }

    /// A folder that ends with the control plane.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it, and waits for that.
    pub async fn stop(self) {
        for process in self.processes {
            process.stop().await;
        }
    }
}

const CONTROLLERS: &[&str] = &[
    "namespace-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "root-ca-certificate-publisher-controller",
    "garbage-collector-controller",
    "clusterrole-aggregation-controller",
    "deployment-controller",
    "replicaset-controller",
    "disruption-controller",
    "validatingadmissionpolicy-status-controller",
];

// Of a data folder only that which was made here is ours to remove.
enum Folder {
    New(tempfile::TempDir),
    Given(PathBuf),
}

impl Folder {
    fn path(&self) -> &Path {
        match self {
            Self::New(folder) => folder.path(),
            Self::Given(folder) => folder,
        }
    }
}

// Everything here is on loopback.
fn without_proxies(command: &mut Command) {
    for proxy in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
        command.env_remove(proxy);
    }
}

async fn is_success(http: &reqwest::Client, url: &str) -> bool {
    http.get(url).send().await.is_ok_and(|answer| answer.status().is_success())
}

/// A client of whom a kubeconfig names.
pub async fn client(kubeconfig: &Path) -> kube::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
    let mut config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    config.proxy_url = None;
    kube::Client::try_from(config).unwrap()
}

/// The control plane that all tests of this binary share, with our CRDs; it ends with the test run.
pub async fn shared() -> Arc<ControlPlane> {
    static SHARED: OnceCell<Arc<ControlPlane>> = OnceCell::const_new();
    Arc::clone(SHARED.get_or_init(async || Arc::new(own().await)).await)
}

/// A control plane like the shared one, with our CRDs, for one test or for one group of them.
pub async fn own() -> ControlPlane {
    let plane = with_controller_manager().await;
    install_crds(&plane.client().await).await;
    plane
}

/// The same without our CRDs.
pub async fn with_controller_manager() -> ControlPlane {
    let options = Options { controller_manager: true, ..Options::default() };
    ControlPlane::start(options).await.unwrap_or_else(|error| panic!("no control plane: {error}"))
}

/// Applies our CRDs, and waits until they are served.
pub async fn install_crds(client: &kube::Client) {
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    for (_, crd) in api::crds().unwrap() {
        let name = crd["metadata"]["name"].as_str().unwrap();
        crds.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&crd)).await.unwrap();
        let established = await_condition(crds.clone(), name, conditions::is_crd_established());
        timeout(PATIENCE, established).await.unwrap().unwrap();
    }
    // Discovery lags behind for a moment.
    let deadline = Instant::now() + PATIENCE;
    for (_, crd) in api::crds().unwrap() {
        let kind = GroupVersionKind::gvk(GROUP, VERSION, crd["spec"]["names"]["kind"].as_str().unwrap());
        let objects: Api<DynamicObject> = Api::all_with(client.clone(), &ApiResource::from_gvk(&kind));
        while objects.list(&ListParams::default()).await.is_err() {
            assert!(Instant::now() < deadline, "the CRDs are not served");
            sleep(Duration::from_millis(50)).await;
        }
    }
}

// A line for each, in the file that this variable names: `make test` counts them.
fn count_start() -> std::io::Result<()> {
    let Some(path) = std::env::var_os("PTSET_CONTROL_PLANES_STARTED") else { return Ok(()) };
    writeln!(fs::OpenOptions::new().create(true).append(true).open(path)?, "started")
}

// The folders of the programs.
#[derive(Clone)]
struct Binaries {
    etcd: PathBuf,
    kubernetes: PathBuf,
}

async fn build(options: &Options) -> Result<Binaries, StartError> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = async |programs: &[&str]| {
        let printed = pinned::build("tests/controlplane/build", programs, options.cached_only).await?;
        printed.into_iter().next().ok_or(StartError::Build(BuildError::Failed("tests/controlplane/build")))
    };
    let mut kubernetes = vec!["kube-apiserver", "kubectl"];
    if options.controller_manager {
        kubernetes.push("kube-controller-manager");
    }
    if let Some(version) = options.kubernetes {
        kubernetes.splice(0..0, ["--kubernetes", version]);
        return Ok(Binaries { etcd: folder(&["etcd"]).await?, kubernetes: folder(&kubernetes).await? });
    }
    kubernetes.push("etcd");
    let both = folder(&kubernetes).await?;
    Ok(Binaries { etcd: both.clone(), kubernetes: both })
}

// All at once, so that they differ; free again just before they are used.
fn free_ports<const N: usize>() -> std::io::Result<[u16; N]> {
    let listeners: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<std::io::Result<_>>()?;
    let mut ports = [0; N];
    for (port, listener) in ports.iter_mut().zip(&listeners) {
        *port = listener.local_addr()?.port();
    }
    Ok(ports)
}

fn certificates(folder: &Path) -> Result<Issuer<'static, KeyPair>, StartError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "control-plane");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    fs::write(folder.join("ca.crt"), params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);

    let names = ["127.0.0.1", "10.0.0.1", "localhost", "kubernetes.default.svc"].map(str::to_owned);
    let mut server = CertificateParams::new(names.to_vec())?;
    server.distinguished_name.push(DnType::CommonName, "kube-apiserver");
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server_key = KeyPair::generate()?;
    fs::write(folder.join("apiserver.crt"), server.signed_by(&server_key, &issuer)?.pem())?;
    write_secret(&folder.join("apiserver.key"), &server_key.serialize_pem())?;

    let service_account = KeyPair::generate()?;
    fs::write(folder.join("service-account.pub"), service_account.public_key_pem())?;
    write_secret(&folder.join("service-account.key"), &service_account.serialize_pem())?;
    Ok(issuer)
}

fn write_secret(path: &Path, text: &str) -> std::io::Result<()> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
