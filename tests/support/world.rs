//! One test's world: a namespace of the shared control plane, a simulated CMDB, and an operator that watches only there.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use k8s_openapi::api::core::v1::{Event, Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt};
use process_template_operator::api::{self, CmdbConnection, ProcessTemplateSet, ProcessTemplateSetStatus};
use process_template_operator::cmdb::Transport;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use super::control_plane::{ControlPlane, shared};
use super::held::Held;

/// How long a test waits for what must come: longer than it takes on a machine that does much else.
pub const PATIENCE: Duration = Duration::from_mins(2);

// How often it looks.
const LOOK: Duration = Duration::from_millis(100);

/// One test's world.
pub struct World {
    pub plane: Arc<ControlPlane>,
    pub client: Client,
    pub namespace: String,
    pub sim: Simulator,
    /// How its connections reach the simulator.
    pub transport: Transport,
    pub operator: Option<Operator>,
}

/// The transport that `PTSET_TEST_TRANSPORT` names, else the ESB.
pub fn usual_transport() -> Transport {
    let Ok(name) = std::env::var("PTSET_TEST_TRANSPORT") else { return Transport::Esb };
    Transport::ALL.iter().copied().find(|transport| transport.as_str() == name).unwrap()
}

/// A running operator.
pub struct Operator {
    pub process: Held,
    pub log: PathBuf,
}

// As Prometheus asks.
const OPEN_METRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";

impl Operator {
    /// Where it listens, once it does.
    pub async fn address(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Nothing before it has begun to log.
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let in_text = log.split("listen=").nth(1).and_then(|rest| rest.split_whitespace().next());
            let in_json = log.split("\"listen\":\"").nth(1).and_then(|rest| rest.split('"').next());
            if let Some(address) = in_text.or(in_json) {
                return address.to_owned();
            }
            assert!(Instant::now() < deadline, "it does not listen: {log}");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What it answers to a GET of this path, once it listens.
    pub async fn answer(&self, path: &str) -> (u16, String) {
        let address = self.address().await;
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let response =
            client.get(format!("http://{address}{path}")).header("Accept", OPEN_METRICS).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }
}

impl World {
    /// A namespace of that name with a connection "default" to a new simulator.
    pub async fn new(name: &str) -> Self {
        let sim = Simulator::start(sim::Options::default()).unwrap();
        let url = sim.url();
        Self::with(name, sim, &url).await
    }

    /// The same with a simulator of one's own, reached under `url`.
    pub async fn with(name: &str, sim: Simulator, url: &str) -> Self {
        Self::through(usual_transport(), name, sim, url).await
    }

    /// The same over a transport that is given.
    pub async fn through(transport: Transport, name: &str, sim: Simulator, url: &str) -> Self {
        Self::on(shared().await, transport, name, sim, url).await
    }

    /// The same on a control plane that is given.
    pub async fn on(plane: Arc<ControlPlane>, transport: Transport, name: &str, sim: Simulator, url: &str) -> Self {
        let client = plane.client().await;
        let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": name } })).unwrap();
        Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
        let world = Self { plane, client, namespace: name.to_owned(), sim, transport, operator: None };
        world.put_secret("a-secret").await;
        world.put_connection("default", url).await;
        world
    }

    pub async fn put_secret(&self, app_secret: &str) {
        self.put_secret_named("cmdb", app_secret).await;
    }

    pub async fn put_secret_named(&self, name: &str, app_secret: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "stringData": { "bk_app_code": "ptset", "bk_app_secret": app_secret, "bk_username": "admin" },
        });
        let secrets: Api<Secret> = Api::namespaced(self.client.clone(), &self.namespace);
        secrets.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    }

    /// A connection to a simulator, over this world's transport.
    pub async fn put_connection(&self, name: &str, url: &str) {
        let is_gateway = self.transport == Transport::Gateway;
        let url = if is_gateway { format!("{url}/api/bk-cmdb/prod") } else { url.to_owned() };
        let connection = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection", "metadata": { "name": name },
            "spec": { "url": url, "transport": self.transport.as_str(), "credentialsSecretRef": { "name": "cmdb" } },
        });
        let connections: Api<CmdbConnection> = Api::namespaced(self.client.clone(), &self.namespace);
        connections.patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&connection)).await.unwrap();
    }

    /// Limits how many calls the connection "default" makes at a time.
    pub async fn limit_calls_in_flight(&self, max_concurrent: i32) {
        let patch = json!({ "spec": { "limits": { "maxConcurrent": max_concurrent } } });
        let connections: Api<CmdbConnection> = Api::namespaced(self.client.clone(), &self.namespace);
        connections.patch("default", &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// Makes a service template in the simulator, and gives its ID.
    pub fn service_template(&self, name: &str) -> i64 {
        put_service_template(&self.sim, name)
    }

    /// Starts the operator for this namespace only, with further arguments.
    pub async fn start_operator(&mut self, arguments: &[&str]) {
        let kubeconfig = self.plane.kubeconfig_path();
        self.start_operator_as(&kubeconfig, arguments).await;
    }

    /// The same with another kubeconfig.
    pub async fn start_operator_as(&mut self, kubeconfig: &std::path::Path, arguments: &[&str]) {
        let namespace = self.namespace.clone();
        self.start(kubeconfig, &[&["--watch-namespaces", &namespace], arguments].concat(), &[]).await;
    }

    /// The same for all namespaces.
    pub async fn start_operator_of_the_cluster(&mut self, arguments: &[&str]) {
        let kubeconfig = self.plane.kubeconfig_path();
        self.start(&kubeconfig, arguments, &[]).await;
    }

    /// The same with another kubeconfig.
    pub async fn start_operator_of_the_cluster_as(&mut self, kubeconfig: &std::path::Path, arguments: &[&str]) {
        self.start(kubeconfig, arguments, &[]).await;
    }

    /// Starts it for this namespace only, with further variables of its environment.
    pub async fn start_operator_with(&mut self, variables: &[(&str, &str)]) {
        let (kubeconfig, namespace) = (self.plane.kubeconfig_path(), self.namespace.clone());
        self.start(&kubeconfig, &["--watch-namespaces", &namespace], variables).await;
    }

    async fn start(&mut self, kubeconfig: &std::path::Path, arguments: &[&str], variables: &[(&str, &str)]) {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let log = self.plane.folder().join(format!("operator-{}-{number}.log", self.namespace));
        let mut command = Command::new(crate::ptset());
        command
            .args(["run", "--connections-anywhere", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .envs(variables.iter().copied())
            .env("KUBECONFIG", kubeconfig);
        let process = Held::start(&command, &log, None).await.unwrap();
        self.operator = Some(Operator { process, log });
    }

    /// SIGKILL.
    pub async fn kill_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.process.stop().await;
        }
    }

    /// SIGTERM, and the wait for its end.
    pub async fn stop_operator(&mut self) {
        if let Some(operator) = self.operator.take() {
            operator.process.signal(rustix::process::Signal::TERM);
            assert!(operator.process.ended(PATIENCE).await, "the operator did not end on SIGTERM");
            operator.process.stop().await;
        }
    }

    pub fn sets(&self) -> Api<ProcessTemplateSet> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Deletes a set; what holds it goes on holding it.
    pub async fn delete(&self, name: &str) {
        self.sets().delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until a set is gone.
    pub async fn until_gone(&self, name: &str) {
        let deadline = Instant::now() + PATIENCE;
        while let Some(set) = self.sets().get_opt(name).await.unwrap() {
            let seen = Seen::new(set);
            assert!(
                Instant::now() <= deadline,
                "{name} is not gone in time\n{}\n{}",
                seen.describe(),
                self.operator_log()
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until the namespace is gone, with all that was in it.
    pub async fn until_namespace_gone(&self) {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let deadline = Instant::now() + PATIENCE;
        while let Some(namespace) = namespaces.get_opt(&self.namespace).await.unwrap() {
            assert!(Instant::now() <= deadline, "{namespace:#?}\n{}", self.operator_log());
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Waits for an event of this reason whose message has this text.
    pub async fn until_event(&self, reason: &str, text: &str) {
        self.until_told(reason, |notes| notes.iter().any(|note| note.contains(text))).await;
    }

    /// Waits for so many events of this reason.
    pub async fn until_events(&self, reason: &str, count: usize) {
        self.until_told(reason, |notes| notes.len() >= count).await;
    }

    async fn until_told(&self, reason: &str, holds: impl Fn(&[String]) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let notes = self.events(reason).await;
            if holds(&notes) {
                return;
            }
            assert!(Instant::now() <= deadline, "{reason}: {notes:?}\n{}", self.operator_log());
            sleep(LOOK).await;
        }
    }

    /// The messages of all events of this reason.
    pub async fn events(&self, reason: &str) -> Vec<String> {
        let events: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let all = events.list(&ListParams::default()).await.unwrap().items;
        let of_reason = all.into_iter().filter(|event| event.reason.as_deref() == Some(reason));
        of_reason.filter_map(|event| event.message).collect()
    }

    /// Waits until the simulator has seen so many requests of one call.
    pub async fn until_requests(&self, call: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.requests(call).len() < count {
            assert!(Instant::now() <= deadline, "fewer than {count} of {call}\n{}", self.operator_log());
            sleep(LOOK).await;
        }
    }

    /// Applies a set whose spec is given but for business (2) and, if absent, service template (by the set's name).
    pub async fn apply(&self, name: &str, spec: Value) {
        self.apply_with(name, spec, json!({})).await;
    }

    /// The same with annotations.
    pub async fn apply_with(&self, name: &str, mut spec: Value, annotations: Value) {
        spec["bizId"] = spec.get("bizId").cloned().unwrap_or(json!(2));
        if spec.get("serviceTemplate").is_none() {
            spec["serviceTemplate"] = json!({ "name": name });
        }
        let set = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
            "metadata": { "name": name, "annotations": annotations }, "spec": spec,
        });
        self.sets().patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&set)).await.unwrap();
    }

    pub async fn set(&self, name: &str) -> ProcessTemplateSet {
        self.sets().get(name).await.unwrap()
    }

    /// Waits until a set's status is as it must become.
    pub async fn until(&self, name: &str, what: &str, holds: impl Fn(&Seen) -> bool) -> Seen {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let seen = Seen::new(self.set(name).await);
            if holds(&seen) {
                return seen;
            }
            assert!(
                Instant::now() <= deadline,
                "{name}: not in time: {what}\n{}\n{}",
                seen.describe(),
                self.operator_log()
            );
            sleep(LOOK).await;
        }
    }

    /// Waits until a set is Ready in its present generation.
    pub async fn until_ready(&self, name: &str) -> Seen {
        self.until(name, "Ready", Seen::is_ready).await
    }

    /// Waits until Ready has this reason in the present generation.
    pub async fn until_reason(&self, name: &str, reason: &str) -> Seen {
        self.until(name, reason, |seen| seen.is_current() && seen.reason("Ready") == reason).await
    }

    pub fn operator_log(&self) -> String {
        let Some(operator) = &self.operator else { return "no operator".to_owned() };
        let log = std::fs::read_to_string(&operator.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }

    /// How many lines of the running operator's log have this.
    pub fn logged(&self, text: &str) -> usize {
        let log = self.operator.as_ref().map(|operator| std::fs::read_to_string(&operator.log).unwrap_or_default());
        log.unwrap_or_default().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits until the operator has logged this.
    pub async fn until_logged(&self, text: &str) {
        self.until_logged_again(text, 0).await;
    }

    /// Waits until the operator has logged this more often than so many times.
    pub async fn until_logged_again(&self, text: &str, before: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.logged(text) <= before {
            assert!(Instant::now() <= deadline, "{text:?} is not logged\n{}", self.operator_log());
            sleep(LOOK).await;
        }
    }

    /// Requests of one call that the simulator has seen.
    pub fn requests(&self, call: &str) -> Vec<sim::RequestRecord> {
        self.sim.requests().into_iter().filter(|record| record.call == call).collect()
    }

    /// How many process names were sent twice with no list in between.
    pub fn names_sent_twice_without_a_list(&self) -> usize {
        let mut since_list: Vec<String> = Vec::new();
        let mut doubled = 0;
        for record in self.sim.requests() {
            match record.call.as_str() {
                "list_proc_template" => since_list.clear(),
                "batch_create_proc_template" => {
                    for process in record.body["processes"].as_array().unwrap() {
                        let name = process["spec"]["bk_process_name"]["value"].as_str().unwrap().to_owned();
                        doubled += usize::from(since_list.contains(&name));
                        since_list.push(name);
                    }
                }
                _ => {}
            }
        }
        doubled
    }

    /// Takes everything out of a set's status.
    pub async fn wipe_status(&self, name: &str) {
        let wiped = Patch::Merge(json!({ "status": null }));
        self.sets().patch_status(name, &PatchParams::default(), &wiped).await.unwrap();
    }

    /// From now on the API server takes sets of any shape; it needs a moment to serve that.
    pub async fn loosen_the_schema(&self) {
        let (_, mut crd) = api::crds().unwrap().remove(0);
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] = json!({
            "type": "object", "x-kubernetes-preserve-unknown-fields": true,
            "properties": { "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true } },
        });
        crd["spec"]["versions"][0]["additionalPrinterColumns"] = json!([]);
        crd["spec"]["versions"][0]["selectableFields"] = json!([]);
        self.replace_crd(crd).await;
    }

    /// The schema is again that of this version.
    pub async fn restore_the_schema(&self) {
        self.replace_crd(api::crds().unwrap().remove(0).1).await;
    }

    async fn replace_crd(&self, mut crd: Value) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        let name = crd["metadata"]["name"].as_str().unwrap().to_owned();
        crd["metadata"]["resourceVersion"] = crds.get(&name).await.unwrap().resource_version().into();
        let crd: CustomResourceDefinition = serde_json::from_value(crd).unwrap();
        crds.replace(&name, &PostParams::default(), &crd).await.unwrap();
    }

    /// Ends the operator and the simulator.
    pub async fn end(mut self) {
        self.kill_operator().await;
        self.sim.stop().await;
    }
}

/// A set as it was seen.
pub struct Seen {
    pub set: ProcessTemplateSet,
    pub status: ProcessTemplateSetStatus,
}

impl Seen {
    pub fn new(set: ProcessTemplateSet) -> Self {
        let status = set.status.clone().unwrap_or_default();
        Self { set, status }
    }

    pub fn is_current(&self) -> bool {
        self.status.observed_generation == self.set.metadata.generation
    }

    /// Status of a condition, empty when absent.
    pub fn condition(&self, type_: &str) -> &str {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or("", |condition| &condition.status)
    }

    pub fn reason(&self, type_: &str) -> &str {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == type_);
        found.map_or("", |condition| &condition.reason)
    }

    pub fn message(&self) -> &str {
        let found = self.status.conditions.iter().find(|condition| condition.type_ == "Ready");
        found.map_or("", |condition| &condition.message)
    }

    pub fn is_ready(&self) -> bool {
        self.is_current() && self.condition("Ready") == "True"
    }

    pub fn ids(&self) -> Vec<i64> {
        self.status.processes.iter().filter_map(|process| process.id).collect()
    }

    pub fn process(&self, name: &str) -> &api::ProcessStatus {
        self.status.processes.iter().find(|process| process.name == name).unwrap()
    }

    pub fn describe(&self) -> String {
        let status = serde_json::to_string_pretty(&self.status).unwrap();
        format!("{} generation {:?}\n{status}", self.set.name_any(), self.set.metadata.generation)
    }
}

/// Makes a service template of business 2 in a simulator, and gives its ID.
pub fn put_service_template(sim: &Simulator, name: &str) -> i64 {
    sim.update_state(|state| {
        let id = 1 + state.service_templates.iter().map(|template| template.id).max().unwrap_or_default();
        let template = json!({ "id": id, "name": name, "bk_biz_id": 2, "service_category_id": 2 });
        state.service_templates.push(serde_json::from_value(template).unwrap());
        id
    })
}
