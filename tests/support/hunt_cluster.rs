//! An operator on a real API server, at level trace, and a CMDB that repeats every secret: all that the operator says.

use cmdb_sim::{self as sim, Effect, Fault, Simulator};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use process_template_operator::api::CmdbConnection;
use process_template_operator::cmdb::Transport;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::authority::Authority;
use super::held::Held;
use super::hunt::{Hunt, repeated};
use super::proxy::Proxy;
use super::world::{Operator, PATIENCE, Seen, World};

const FIRST: &str = "Pl4ntedFirstKey\"one\\two/three four+five&six=7%8<9>";
const SECOND: &str = "Pl4ntedSecondKey";
const WRONG: &str = "Pl4ntedWrongKey";
const TOKEN: &str = "Pl4ntedUserToken+/=x";
const BEARER: &str = "Pl4ntedBearerToken";
const PASSWORD: &str = "Pl4ntedProxyPassword";
const BROKEN: &str = "Pl4ntedBrokenKeyThatIsNoPem";

/// One operator, and what is planted around it.
pub struct Cluster {
    world: World,
    transport: Transport,
    format: &'static str,
    metrics: String,
    // What its connection says of TLS.
    tls: Value,
    identity: (String, String),
    hunt: Hunt,
    folder: tempfile::TempDir,
    // Keeps the port for as long as this.
    proxy: Proxy,
}

impl Cluster {
    /// An operator whose CMDB is reached this way, and that logs in this format.
    pub async fn new(transport: Transport, format: &'static str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let is_direct = transport == Transport::Direct;
        let tls = is_direct.then(|| server_tls(&authority, &folder));
        let sim = Simulator::start(sim::Options { tls, ..sim::Options::default() }).unwrap();
        let name = format!("hunt-{}-{format}", transport.as_str().to_lowercase());
        let url = sim.url();
        let world = World::through(transport, &name, sim, &url).await;
        let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let mut planted = vec![FIRST, SECOND, WRONG, TOKEN, BEARER, PASSWORD, BROKEN];
        planted.extend(key.lines().filter(|line| line.len() > 60));
        let tls = json!({ "caBundle": authority.certificate, "clientCertificateSecretRef": { "name": "certificate" } });
        let mut cluster = Self {
            proxy: Proxy::to_api_server(&world.plane.kubeconfig_path()).await,
            tls: if is_direct { tls } else { Value::Null },
            hunt: Hunt::new(&planted),
            identity: (certificate.clone(), key.clone()),
            metrics: String::new(),
            world,
            transport,
            format,
            folder,
        };
        cluster.put_secret("cmdb", credentials(FIRST)).await;
        cluster.put_secret("certificate", json!({ "tls.crt": certificate, "tls.key": key })).await;
        cluster.connect(&url).await;
        cluster.start().await;
        cluster
    }

    async fn start(&mut self) {
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.proxy.url() } }],
            "users": [{ "name": "proxy", "user": { "token": BEARER } }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        let path = self.folder.path().join("kubeconfig");
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        let log = self.folder.path().join("operator.log");
        let mut command = Command::new(crate::ptset());
        command
            .args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0", "--log", "trace"])
            .args(["--log-format", self.format, "--watch-namespaces", &self.world.namespace])
            .env("KUBECONFIG", path)
            // The simulator takes whole URLs as a proxy does; the API server's name is not one for that.
            .env("http_proxy", format!("http://ann:{PASSWORD}@{}", self.world.sim.address()))
            .env("no_proxy", self.proxy.address.to_string());
        let process = Held::start(&command, &log, None).await.unwrap();
        let operator = Operator { process, log };
        self.metrics = format!("http://{}/metrics", operator.address().await);
        self.world.operator = Some(operator);
    }

    async fn connect(&self, url: &str) {
        let is_gateway = self.transport == Transport::Gateway;
        let url = if is_gateway { format!("{url}/api/bk-cmdb/prod") } else { url.to_owned() };
        let mut connection = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection", "metadata": { "name": "default" },
            "spec": { "url": url, "transport": self.transport.as_str(), "credentialsSecretRef": { "name": "cmdb" } },
        });
        if !self.tls.is_null() {
            connection["spec"]["tls"] = self.tls.clone();
        }
        let patch = PatchParams::apply("test").force();
        self.connections().patch("default", &patch, &Patch::Apply(&connection)).await.unwrap();
    }

    // As kubectl writes it: what was applied is in an annotation too.
    async fn put_secret(&self, name: &str, data: Value) {
        let mut secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name }, "stringData": data });
        let applied = json!({ "kubectl.kubernetes.io/last-applied-configuration": secret.to_string() });
        secret["metadata"]["annotations"] = applied;
        let secrets: Api<Secret> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let patch = PatchParams::apply("test").force();
        secrets.patch(name, &patch, &Patch::Apply(&secret)).await.unwrap();
    }

    fn connections(&self) -> Api<CmdbConnection> {
        Api::namespaced(self.world.client.clone(), &self.world.namespace)
    }

    async fn apply(&self, name: &str) {
        self.world.service_template(name);
        let processes = json!([{ "name": "nginx", "funcName": "nginx" }]);
        self.world.apply(name, json!({ "processes": processes, "resyncIntervalSeconds": 5 })).await;
    }

    /// Lets happen what can, and searches all that the operator says of it. Gives what the hunt has come to.
    pub async fn search(mut self) -> Hunt {
        self.apply("good").await;
        self.world.until_ready("good").await;
        self.until_connection("Reachable").await;
        self.look("good", "Ready").await;
        self.repetitions().await;
        self.ways_that_lead_elsewhere().await;
        self.rotation().await;
        self.unreadable_secrets().await;
        let url = self.world.sim.url();
        let other =
            if url.starts_with("https:") { url.replace("https:", "http:") } else { url.replace("http:", "https:") };
        self.put_secret("cmdb", credentials(SECOND)).await;
        let (certificate, key) = self.identity.clone();
        self.put_secret("certificate", json!({ "tls.crt": certificate, "tls.key": key })).await;
        self.connect(&other).await;
        self.until_connection("Unreachable|Unavailable|NotCmdb").await;
        self.apply("other-scheme").await;
        let is_told = |seen: &Seen| seen.condition("Ready") == "False" && seen.reason("Ready") != "Progressing";
        let seen = self.world.until("other-scheme", "told", is_told).await;
        let reason = seen.reason("Ready").to_owned();
        self.look("other-scheme", &reason).await;
        self.world.end().await;
        self.hunt
    }

    async fn fails(&mut self, name: &str, call: &str, effect: Value, reason: &str) {
        let effect: Effect = serde_json::from_value(effect).unwrap();
        self.world.sim.clear_faults();
        self.world.sim.add_fault(Fault::every(call, effect));
        self.apply(name).await;
        self.world.until_reason(name, reason).await;
        self.look(name, reason).await;
        self.world.sim.clear_faults();
        self.world.delete(name).await;
        self.world.until_gone(name).await;
    }

    async fn repetitions(&mut self) {
        let secret = self.sent();
        // Some of the forms: the client alone is shown all. Direct sends no secret, so nobody can repeat one.
        let count = if self.transport == Transport::Direct { 1 } else { usize::MAX };
        for (number, form) in repeated(secret).into_iter().step_by(4).take(count).enumerate() {
            let refusal = json!({ "code": 1_199_006, "message": format!("bad request: <{form}>") });
            self.fails(&format!("repeated-{number}"), "batch_create_proc_template", refusal, "Invalid").await;
        }
        let (code, text) = match self.transport {
            Transport::Esb => (1_306_000, "APP Secret verification failed"),
            Transport::Gateway => (1_640_101, "app not known"),
            Transport::Direct => (1_199_027, "user is missing"),
        };
        let refusal = json!({ "code": code, "message": format!("{text}: {secret}") });
        self.fails("refused", "batch_create_proc_template", refusal, "Unauthorized").await;
    }

    fn sent(&self) -> &'static str {
        if self.transport == Transport::Direct { "Nothing" } else { FIRST }
    }

    async fn ways_that_lead_elsewhere(&mut self) {
        let redirect = json!({ "redirect": format!("http://127.0.0.1:1/?secret={SECOND}") });
        self.fails("redirected", "batch_create_proc_template", redirect, "NotCmdb").await;
        let html = json!({ "http_status": 404, "body": format!("<p>{SECOND}</p>") });
        self.fails("no-cmdb", "batch_create_proc_template", html, "NotCmdb").await;
    }

    async fn rotation(&mut self) {
        if self.transport == Transport::Direct {
            return;
        }
        let refusal = json!({ "code": match self.transport { Transport::Esb => 1_306_000, _ => 1_640_101 },
            "message": format!("APP Secret verification failed: {WRONG}") });
        let effect: Effect = serde_json::from_value(refusal).unwrap();
        self.world.sim.add_fault(Fault::every("list_service_category", effect));
        self.put_secret("cmdb", credentials(WRONG)).await;
        self.until_connection("NewCredentialsRefused").await;
        self.look("good", "Ready").await;
        self.world.sim.clear_faults();
        self.put_secret("cmdb", credentials(SECOND)).await;
        self.until_connection("Reachable").await;
        self.look("good", "Ready").await;
    }

    async fn unreadable_secrets(&mut self) {
        let (name, key, reason) = if self.transport == Transport::Direct {
            ("certificate", "tls.key", "ConnectionInvalid")
        } else {
            ("cmdb", "bk_app_secret", "CredentialsIncomplete")
        };
        let secrets: Api<Secret> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let mut secret = secrets.get(name).await.unwrap();
        let broken = if reason == "ConnectionInvalid" {
            BROKEN.as_bytes().to_vec()
        } else {
            [b"\xff", BROKEN.as_bytes()].concat()
        };
        secret.data.as_mut().unwrap().insert(key.to_owned(), k8s_openapi::ByteString(broken));
        secrets.replace(name, &kube::api::PostParams::default(), &secret).await.unwrap();
        self.apply("unreadable").await;
        self.world.until_reason("unreadable", reason).await;
        self.look("unreadable", reason).await;
    }

    // Waits until the connection gives one of these reasons, which stand between bars.
    async fn until_connection(&self, reasons: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let said = self.connection().await;
            if reasons.split('|').any(|reason| said.contains(&format!("\"reason\":\"{reason}\""))) {
                return;
            }
            assert!(Instant::now() < deadline, "{}\n{}", self.connection().await, self.world.operator_log());
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }

    async fn connection(&self) -> String {
        serde_json::to_string(&self.connections().get("default").await.unwrap().status).unwrap()
    }

    // Searches everything that is said at this moment.
    async fn look(&mut self, name: &str, witness: &str) {
        let place = |what: &str| format!("{what} {:?} {} {name}", self.transport, self.format);
        let [set_at, connection_at, events_at, log_at, metrics_at] =
            ["set", "connection", "events", "log", "metrics"].map(place);
        let seen = Seen::new(self.world.set(name).await);
        self.hunt.search(&set_at, &seen.describe(), witness);
        let connection = self.connection().await;
        self.hunt.search(&connection_at, &connection, "conditions");
        let events: Api<Event> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let events = events.list(&ListParams::default()).await.unwrap().items;
        self.hunt.search(&events_at, &serde_json::to_string(&events).unwrap(), "ProcessTemplateSet");
        let log = std::fs::read_to_string(&self.world.operator.as_ref().unwrap().log).unwrap();
        self.hunt.search(&log_at, &log, "TRACE");
        let metrics = reqwest::Client::builder().no_proxy().build().unwrap().get(&self.metrics);
        let metrics = metrics.send().await.unwrap().text().await.unwrap();
        self.hunt.search(&metrics_at, &metrics, "ptset_reconciles");
    }
}

fn credentials(app_secret: &str) -> Value {
    json!({ "bk_app_code": "ptset", "bk_app_secret": app_secret, "bk_username": "admin", "bk_token": TOKEN })
}

fn server_tls(authority: &Authority, folder: &tempfile::TempDir) -> sim::Tls {
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    sim::Tls {
        certificate: write("server.crt", &certificate),
        key: write("server.key", &key),
        client_ca: Some(write("ca.crt", &authority.certificate)),
    }
}
