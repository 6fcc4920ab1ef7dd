//! Two tenants who may write in their own namespaces only, a shared connection, and an operator that serves the whole
//! cluster with the rights that it needs. Everybody acts as a service account.

use std::path::{Path, PathBuf};
use std::time::Duration;

use cmdb_sim::{self as sim, RequestRecord, Simulator};
use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::core::v1::{Event, Namespace, Secret, ServiceAccount};
use kube::Client;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams,
};
use process_template_operator::api::{
    ClusterCmdbConnection, CmdbConnection, ProcessTemplateSet, RECONCILE_REQUESTED_AT,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::control_plane::{ControlPlane, client, own};
use super::held::Held;
use super::proxy::Proxy;
use super::world::{PATIENCE, Seen};

/// Where the operator and the Secret of the shared connection live.
pub const SYSTEM: &str = "ptset-system";

/// The operator's user.
pub const OPERATOR: &str = "system:serviceaccount:ptset-system:ptset";

/// All rights that the operator uses.
pub const RIGHTS: &str = include_str!("rights/operator.yaml");

/// What only the Secret of the shared connection holds.
pub const SHARED_SECRET: &str = "the-shared-secret";

/// `bk_app_code` of the shared connection.
pub const SHARED_APP: &str = "shared-app";

/// A cluster with tenants.
pub struct Tenants {
    pub plane: ControlPlane,
    /// A cluster administrator.
    pub admin: Client,
    /// The CMDB that the shared connection leads to, by way of `cmdb`.
    pub sim: Simulator,
    pub cmdb: Proxy,
    /// In front of the API server, for the operator.
    pub api_server: Proxy,
    /// Has a grant, where a step gives one.
    pub shop: Tenant,
    /// Has none.
    pub bank: Tenant,
    kubeconfig: PathBuf,
    log: PathBuf,
    operator: Option<Held>,
}

/// A namespace, and who may write there.
pub struct Tenant {
    pub namespace: String,
    pub client: Client,
    log: PathBuf,
}

impl Tenants {
    /// On a control plane of its own: its operator would serve the sets of other tests too.
    pub async fn new() -> Self {
        let plane = own().await;
        let admin = plane.client().await;
        let sim = Simulator::start(sim::Options::default()).unwrap();
        let cmdb = Proxy::to(&sim.url()).await;
        let api_server = Proxy::to_api_server_with_tokens(plane.server_url()).await;
        let log = plane.folder().join("operator.log");

        put_namespace(&admin, SYSTEM).await;
        put_account(&admin, SYSTEM, "ptset").await;
        put(&admin, None, yaml(RIGHTS)).await;
        put(&admin, None, binding("ClusterRole", "process-template-operator", SYSTEM, "ptset")).await;
        let token = token(&admin, SYSTEM, "ptset").await;
        let kubeconfig = api_server.kubeconfig_of(plane.folder(), &json!({ "token": token }));

        let shop = Tenant::new(&plane, &admin, "shop", &log).await;
        let bank = Tenant::new(&plane, &admin, "bank", &log).await;
        let world = Self { plane, admin, sim, cmdb, api_server, shop, bank, kubeconfig, log, operator: None };
        world.put_shared_secret().await;
        world.put_shared("shared", &world.cmdb.url()).await;
        world
    }

    /// Starts the operator for all namespaces, in place of the one that runs.
    pub async fn start_operator(&mut self, arguments: &[&str]) {
        self.stop_operator().await;
        let mut command = Command::new(crate::ptset());
        command
            .args(["run", "--listen", "127.0.0.1:0", "--removal-delay-seconds", "0", "--create-grace-seconds", "2"])
            .args(arguments)
            .env("KUBECONFIG", &self.kubeconfig)
            // As in a pod; nothing listens there.
            .env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
        self.operator = Some(Held::start(&command, &self.log, None).await.unwrap());
    }

    pub async fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.signal(rustix::process::Signal::TERM);
            assert!(operator.ended(PATIENCE).await, "the operator did not end on SIGTERM");
            operator.stop().await;
        }
    }

    async fn put_shared_secret(&self) {
        let secrets: Api<Secret> = Api::namespaced(self.admin.clone(), SYSTEM);
        let secret = secret("cmdb", SHARED_APP, SHARED_SECRET);
        secrets.patch("cmdb", &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// A connection of the cluster with the Secret of the shared one.
    pub async fn put_shared(&self, name: &str, url: &str) {
        let connection = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ClusterCmdbConnection", "metadata": { "name": name },
            "spec": { "url": url, "credentialsSecretRef": { "namespace": SYSTEM, "name": "cmdb" } },
        });
        let connections = self.shared_connections();
        connections.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&connection)).await.unwrap();
    }

    pub fn shared_connections(&self) -> Api<ClusterCmdbConnection> {
        Api::all(self.admin.clone())
    }

    /// Gives the shared connection these grants, in place of others.
    pub async fn grant(&self, grants: Value) {
        let patch = Patch::Merge(json!({ "spec": { "grants": grants } }));
        self.shared_connections().patch("shared", &PatchParams::default(), &patch).await.unwrap();
    }

    /// Sets a label of a namespace, or takes it away.
    pub async fn label(&self, namespace: &str, label: &str, value: Option<&str>) {
        let namespaces: Api<Namespace> = Api::all(self.admin.clone());
        let patch = Patch::Merge(json!({ "metadata": { "labels": { label: value } } }));
        namespaces.patch(namespace, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Makes a service template in the simulator, and gives its ID.
    pub fn service_template(&self, biz_id: i64, name: &str) -> i64 {
        self.sim.update_state(|state| {
            let id = 1 + state.service_templates.iter().map(|template| template.id).max().unwrap_or_default();
            let made = json!({ "id": id, "name": name, "bk_biz_id": biz_id, "service_category_id": 2 });
            state.service_templates.push(serde_json::from_value(made).unwrap());
            id
        })
    }

    /// Requests that the simulator has seen.
    pub fn requests(&self, holds: impl Fn(&RequestRecord) -> bool) -> Vec<RequestRecord> {
        self.sim.requests().into_iter().filter(|record| holds(record)).collect()
    }

    /// Waits until Ready of a shared connection has this reason.
    pub async fn until_shared(&self, name: &str, reason: &str) {
        let api = self.shared_connections();
        until_condition(&self.log, name, reason, async || {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            status.conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.reason)
        })
        .await;
    }

    pub async fn end(mut self) {
        self.stop_operator().await;
        self.sim.stop().await;
        self.plane.stop().await;
    }
}

impl Tenant {
    async fn new(plane: &ControlPlane, admin: &Client, namespace: &str, log: &Path) -> Self {
        put_namespace(admin, namespace).await;
        put_account(admin, namespace, "team").await;
        put(admin, Some(namespace), yaml(include_str!("rights/tenant.yaml"))).await;
        put(admin, Some(namespace), binding("Role", "team", namespace, "team")).await;
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "local",
            "clusters": [{ "name": "local", "cluster":
                { "server": plane.server_url(), "certificate-authority": plane.folder().join("ca.crt") } }],
            "users": [{ "name": "team", "user": { "token": token(admin, namespace, "team").await } }],
            "contexts": [{ "name": "local", "context": { "cluster": "local", "user": "team" } }],
        });
        let path = plane.folder().join(format!("tenant-{namespace}.kubeconfig"));
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        Self { namespace: namespace.to_owned(), client: client(&path).await, log: log.to_owned() }
    }

    pub fn sets(&self) -> Api<ProcessTemplateSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn connections(&self) -> Api<CmdbConnection> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub async fn put_secret(&self, name: &str, app_code: &str, app_secret: &str) {
        let secret = secret(name, app_code, app_secret);
        self.secrets().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// A connection of its namespace.
    pub async fn put_connection(&self, name: &str, spec: &Value) {
        let connection = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection", "metadata": { "name": name },
            "spec": spec,
        });
        let apply = PatchParams::apply("test").force();
        self.connections().patch(name, &apply, &Patch::Apply(&connection)).await.unwrap();
    }

    /// Makes an object of this project that may have fields which the schema does not know: the API server drops them.
    pub async fn create(&self, kind: &str, name: &str, spec: &Value) {
        let object = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        put(&self.client, Some(&self.namespace), object).await;
    }

    /// Applies a set as far as the API server takes it.
    pub async fn try_apply(&self, name: &str, spec: &Value) -> Result<(), kube::Error> {
        let set = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": name },
            "spec": spec,
        });
        self.sets().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&set)).await.map(drop)
    }

    /// Has a set looked at anew: lists that were taken before do not count.
    pub async fn ask_for(&self, name: &str, spec: &Value, asked: &str) {
        let asked = json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: asked } }, "spec": spec });
        self.sets().patch(name, &PatchParams::default(), &Patch::Merge(asked)).await.unwrap();
    }

    pub async fn apply(&self, name: &str, spec: &Value) {
        self.try_apply(name, spec).await.unwrap();
    }

    /// Waits until Ready of a set has this reason in the present generation.
    pub async fn until(&self, name: &str, reason: &str) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = Seen::new(self.sets().get(name).await.unwrap());
            if seen.is_current() && seen.reason("Ready") == reason {
                return seen;
            }
            let late = Instant::now() > deadline;
            assert!(!late, "{name} is not {reason} in time\n{}\n{}", seen.describe(), tail(&self.log));
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until Ready of a connection has this reason.
    pub async fn until_connection(&self, name: &str, reason: &str) {
        let api = self.connections();
        until_condition(&self.log, name, reason, async || {
            let status = api.get(name).await.unwrap().status.unwrap_or_default();
            status.conditions.into_iter().find(|condition| condition.type_ == "Ready").map(|ready| ready.reason)
        })
        .await;
    }

    /// Deletes a set and waits until it is gone.
    pub async fn remove(&self, name: &str) {
        self.sets().delete(name, &DeleteParams::default()).await.unwrap();
        self.until_gone(name).await;
    }

    pub async fn until_gone(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(set) = self.sets().get_opt(name).await.unwrap() {
            let seen = Seen::new(set);
            assert!(Instant::now() < deadline, "{name} is not gone\n{}\n{}", seen.describe(), tail(&self.log));
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// All that it can read, but for Secrets: its objects with their status, and the events about them.
    pub async fn all_words(&self) -> String {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let sets = self.sets().list(&ListParams::default()).await.unwrap().items;
        let connections = self.connections().list(&ListParams::default()).await.unwrap().items;
        let events = events.list(&ListParams::default()).await.unwrap().items;
        json!([sets, connections, events]).to_string()
    }
}

async fn until_condition(log: &Path, name: &str, wanted: &str, reason: impl AsyncFn() -> Option<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let now = reason().await;
        if now.as_deref() == Some(wanted) {
            return;
        }
        assert!(Instant::now() < deadline, "connection {name}: {now:?}, not {wanted}\n{}", tail(log));
        sleep(Duration::from_millis(50)).await;
    }
}

fn tail(log: &Path) -> String {
    let log = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}

pub fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

fn secret(name: &str, app_code: &str, app_secret: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
        "stringData": { "bk_app_code": app_code, "bk_app_secret": app_secret, "bk_username": "admin" },
    })
}

fn binding(kind: &str, role: &str, namespace: &str, account: &str) -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": format!("{kind}Binding"), "metadata": { "name": role },
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role },
        "subjects": [{ "kind": "ServiceAccount", "namespace": namespace, "name": account }],
    })
}

async fn put(client: &Client, namespace: Option<&str>, object: Value) {
    let object: DynamicObject = serde_json::from_value(object).unwrap();
    let kind = GroupVersionKind::try_from(object.types.as_ref().unwrap()).unwrap();
    let resource = ApiResource::from_gvk(&kind);
    let api: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    api.create(&PostParams::default(), &object).await.unwrap();
}

async fn put_namespace(admin: &Client, name: &str) {
    put(admin, None, json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": name } })).await;
}

async fn put_account(admin: &Client, namespace: &str, name: &str) {
    let account = json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": name } });
    put(admin, Some(namespace), account).await;
}

async fn token(admin: &Client, namespace: &str, name: &str) -> String {
    let accounts: Api<ServiceAccount> = Api::namespaced(admin.clone(), namespace);
    let request: TokenRequest = serde_json::from_value(json!({ "spec": { "audiences": [] } })).unwrap();
    let answer = accounts.create_token_request(name, &PostParams::default(), &request).await.unwrap();
    answer.status.unwrap().token.unwrap()
}
