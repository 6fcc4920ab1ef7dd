//! A world whose clock stands still and jumps: an API server, a simulated CMDB and the controller in one runtime, for
//! tests of what happens over hours. The test is `#[tokio::test(start_paused = true)]`.
//!
//! Only the way to the simulator has sockets. When every task waits, tokio looks at them before it lets the clock jump to
//! the next timer, and what one end of a loopback connection sends, the other end has at once: so both ends must be in
//! this runtime, and the way takes no time on this clock. Every call takes some, as a fault of the simulator: the operator
//! tells by the time whether it asked for a list before a write or after it.

pub mod tenant;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use cmdb_sim::{self as sim, Effect, Fault, Refuse, Simulator};
use process_template_operator::api::{GROUP, VERSION};
use process_template_operator::cmdb::{self, OpenGate, Operation, UrlPolicy};
use process_template_operator::controller::{
    self, ControllerState, ReadinessCheck, SecretAccess, Settings, StateSource, TaskFailure, TaskResult,
};
use serde_json::{Value, json};
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::in_process::{ApiServer, Place, Recorded};
use super::world::Seen;

const NAMESPACE: &str = "shop";

// How long CMDB takes for a call.
const CALL_MILLISECONDS: u64 = 20;

// CMDB's code for a server behind that did not answer.
const NO_ANSWER_BEHIND: i64 = 1_199_002;

// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(250);

/// One test's world.
pub struct Paused {
    pub api: ApiServer,
    pub told: Arc<Told>,
    /// Time without progress after which a reconcile is told to stop.
    pub deadline: Duration,
    sim: Option<Simulator>,
    outage: Option<Outage>,
    operator: Option<(CancellationToken, JoinHandle<TaskResult>)>,
}

// What CMDB comes back with, and where; the socket is not listened to, and keeps others from its port.
struct Outage {
    state: sim::State,
    address: SocketAddr,
    port: TcpSocket,
}

/// A call to CMDB that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub operation: Operation,
    /// "ok", or the label of its error.
    pub outcome: &'static str,
    pub at: Instant,
    pub took: Duration,
}

/// What the operator has told of itself.
#[derive(Default)]
pub struct Told {
    calls: Mutex<Vec<Call>>,
    reconciles: Mutex<Vec<(Instant, &'static str)>>,
    probe: Mutex<Option<Weak<dyn StateSource>>>,
    gates: Mutex<BTreeMap<ReadinessCheck, Result<String, String>>>,
    panics: Mutex<Option<Panics>>,
}

/// At what an observer panics, within the task that tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Panics {
    /// The end of each call of this operation.
    AtCall(Operation),
    /// The next thing that a watch tells of its health.
    AtWatch,
}

impl cmdb::Observer for Told {
    fn call_finished(&self, operation: Operation, outcome: &'static str, took: Duration) {
        self.calls.lock().unwrap().push(Call { operation, outcome, at: Instant::now(), took });
        self.may_panic(Panics::AtCall(operation));
    }
}

impl controller::Observer for Told {
    fn reconciled(&self, outcome: &'static str) {
        self.reconciles.lock().unwrap().push((Instant::now(), outcome));
    }

    fn readiness_changed(&self, gate: ReadinessCheck, state: Result<String, String>) {
        self.gates.lock().unwrap().insert(gate, state);
        self.may_panic(Panics::AtWatch);
    }

    fn controller_started(&self, probe: Weak<dyn StateSource>) {
        *self.probe.lock().unwrap() = Some(probe);
    }
}

impl Told {
    /// From now on it panics so.
    pub fn panic(&self, panics: Option<Panics>) {
        *self.panics.lock().unwrap() = panics;
    }

    fn may_panic(&self, at: Panics) {
        let panics = *self.panics.lock().unwrap();
        assert_ne!(panics, Some(at), "as the test wants it");
    }

    /// What is true of the operator now.
    pub fn readings(&self) -> ControllerState {
        let probe = self.probe.lock().unwrap().as_ref().and_then(Weak::upgrade).unwrap();
        probe.read()
    }

    /// What is said of a gate that is open, or why it is closed.
    pub fn said_of(&self, gate: ReadinessCheck) -> Result<String, String> {
        self.gates.lock().unwrap()[&gate].clone()
    }

    /// The calls to CMDB that ended after that; each try of a read is one.
    pub fn calls_after(&self, begun: Instant) -> Vec<Call> {
        self.calls.lock().unwrap().iter().filter(|call| call.at > begun).copied().collect()
    }

    /// The creates of process templates: the outcome and the time of each.
    pub fn creates(&self) -> Vec<(&'static str, Duration)> {
        let calls = self.calls.lock().unwrap();
        let creates = calls.iter().filter(|call| call.operation == Operation::CreateProcessTemplates);
        creates.map(|call| (call.outcome, call.took)).collect()
    }

    /// How many reconciles have ended so.
    pub fn ended_as(&self, outcome: &str) -> usize {
        self.reconciles.lock().unwrap().iter().filter(|(_, ended)| *ended == outcome).count()
    }

    /// How many reconciles have ended since then.
    pub fn reconciles_since(&self, since: Instant) -> usize {
        self.reconciles.lock().unwrap().iter().filter(|(at, _)| *at >= since).count()
    }
}

impl Paused {
    /// A namespace with a connection "default" to a new simulator.
    pub fn new() -> Self {
        let api = ApiServer::default();
        let sim = simulator(sim::Options::default());
        let world = Self {
            api,
            told: Arc::default(),
            deadline: Duration::from_mins(3),
            sim: Some(sim),
            outage: None,
            operator: None,
        };
        world.put_secret("c2VjcmV0");
        world.connect(json!({}));
        // A deletion looks whether its kind is being removed.
        let crd = format!("processtemplatesets.{GROUP}");
        let object = json!({ "metadata": { "name": crd } });
        world.api.apply(&Place::new("apiextensions.k8s.io", "customresourcedefinitions", "", &crd), &object);
        world
    }

    /// Gives the connection this spec, but for the URL and the Secret.
    pub fn connect(&self, mut spec: Value) {
        spec["url"] = json!(self.sim().url());
        spec["credentialsSecretRef"] = json!({ "name": "cmdb" });
        let connection = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CmdbConnection", "metadata": { "name": "default" },
            "spec": spec,
        });
        self.api.apply(&Place::new(GROUP, "cmdbconnections", NAMESPACE, "default"), &connection);
    }

    /// Puts credentials into the connection's Secret, of which the simulator takes any.
    pub fn put_secret(&self, app_secret: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb" },
            "data": { "bk_app_code": "cHRzZXQ=", "bk_app_secret": app_secret, "bk_username": "YWRtaW4=" },
        });
        self.api.apply(&Place::new("", "secrets", NAMESPACE, "cmdb"), &secret);
    }

    /// The simulator, while it is up.
    pub fn sim(&self) -> &Simulator {
        self.sim.as_ref().unwrap()
    }

    /// From now on CMDB refuses connections.
    pub async fn cmdb_goes_down(&mut self) {
        let sim = self.sim.take().unwrap();
        let (state, address) = (sim.state(), sim.address());
        sim.stop().await;
        let port = TcpSocket::new_v4().unwrap();
        port.set_reuseaddr(true).unwrap();
        port.bind(address).unwrap();
        self.outage = Some(Outage { state, address, port });
    }

    /// CMDB is there again, with all that it had.
    pub fn cmdb_comes_back(&mut self) {
        let Outage { state, address, port } = self.outage.take().unwrap();
        drop(port);
        let sim = simulator(sim::Options { listen: address, ..sim::Options::default() });
        sim.update_state(|standing| *standing = state);
        self.sim = Some(sim);
    }

    /// From now on CMDB fails every call, each in other words.
    pub fn cmdb_fails(&self) {
        for request in 1..=10_000 {
            let message = Some(format!("request {request:x} failed after {} ms", 7 * request));
            let effect = Effect::Refuse(Refuse { code: NO_ANSWER_BEHIND, message, ..Refuse::default() });
            self.sim().add_fault(Fault::nth("*", request, effect));
        }
    }

    /// CMDB does as it should again.
    pub fn cmdb_works(&self) {
        self.sim().clear_faults();
        self.sim().add_fault(latency());
    }

    /// Makes service templates of these names in the simulator.
    pub fn service_templates(&self, names: impl Iterator<Item = String>) {
        self.sim().update_state(|state| {
            for name in names {
                let id = 1 + state.service_templates.iter().map(|template| template.id).max().unwrap_or_default();
                let template = json!({ "id": id, "name": name, "bk_biz_id": 2, "service_category_id": 2 });
                state.service_templates.push(serde_json::from_value(template).unwrap());
            }
        });
    }

    /// Starts the controller with what `ptset run` gives it, for one namespace.
    pub fn start_operator(&mut self) {
        self.start_operator_with(|_| {});
    }

    /// The same with other settings.
    pub fn start_operator_with(&mut self, change: impl FnOnce(&mut Settings)) {
        let mut settings = Settings {
            instance: "test".to_owned(),
            namespaces: vec![NAMESPACE.to_owned()],
            secrets: SecretAccess::Watch,
            shared_places: controller::DEFAULT_SHARED_PLACES,
            deadline: self.deadline,
            create_grace: Duration::from_secs(150),
            removal_delay: Duration::from_secs(10),
            url_policy: UrlPolicy::none(),
            write_gate: Arc::new(OpenGate),
            liveness: Arc::default(),
        };
        change(&mut settings);
        let stop = CancellationToken::new();
        let (client, told) = (self.api.client(), Arc::clone(&self.told));
        let running = controller::run(client, settings, told.clone(), told, stop.clone());
        self.operator = Some((stop, tokio::spawn(running)));
    }

    /// Waits until the controller ends by itself, and gives why.
    pub async fn operator_failed(&mut self) -> TaskFailure {
        let (_stop, running) = self.operator.take().unwrap();
        running.await.unwrap().unwrap_err()
    }

    /// A condition of the connection: its status, reason and message.
    pub fn connection_condition(&self, type_: &str) -> Option<(String, String, String)> {
        let connection = self.api.get(&Place::new(GROUP, "cmdbconnections", NAMESPACE, "default"))?;
        let conditions = connection["status"]["conditions"].as_array()?;
        let condition = conditions.iter().find(|condition| condition["type"] == type_)?;
        let text = |key: &str| condition[key].as_str().unwrap().to_owned();
        Some((text("status"), text("reason"), text("message")))
    }

    /// Whether the connection is Ready.
    pub fn is_connection_ready(&self) -> bool {
        self.connection_condition("Ready").is_some_and(|(status, ..)| status == "True")
    }

    /// Tells the controller to stop, and waits for its end; for how long.
    pub async fn stop_operator(&mut self) -> Duration {
        let (stop, running) = self.operator.take().unwrap();
        let told = Instant::now();
        stop.cancel();
        running.await.unwrap().unwrap();
        told.elapsed()
    }

    /// Applies a set of business 2.
    pub fn apply(&self, name: &str, service_template: &str, mut spec: Value) {
        spec["bizId"] = json!(2);
        spec["serviceTemplate"] = json!({ "name": service_template });
        let set = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ProcessTemplateSet",
            "metadata": { "name": name }, "spec": spec,
        });
        self.api.apply(&place(name), &set);
    }

    /// A set as it is now.
    pub fn seen(&self, name: &str) -> Seen {
        let set = self.api.get(&place(name)).unwrap();
        Seen::new(serde_json::from_value(Value::clone(&set)).unwrap())
    }

    /// Deletes a set.
    pub fn delete(&self, name: &str) {
        self.api.delete(&place(name));
    }

    /// Whether a set is there.
    pub fn is_there(&self, name: &str) -> bool {
        self.api.get(&place(name)).is_some()
    }

    /// How many sets are not Ready in their present generation.
    pub fn not_ready(&self) -> usize {
        self.not_ready_in(NAMESPACE)
    }

    /// The same of a namespace.
    pub fn not_ready_in(&self, namespace: &str) -> usize {
        let is_ready = |set: &Value| {
            let conditions = set["status"]["conditions"].as_array();
            let ready = conditions.and_then(|all| all.iter().find(|condition| condition["type"] == "Ready"));
            set["status"]["observedGeneration"] == set["metadata"]["generation"]
                && ready.is_some_and(|ready| ready["status"] == "True")
        };
        let sets = Place::new(GROUP, "processtemplatesets", namespace, "");
        self.api.list(&sets).iter().filter(|set| !is_ready(set)).count()
    }

    /// Waits until something holds; for how long.
    pub async fn until(&self, patience: Duration, what: &str, holds: impl Fn(&Self) -> bool) -> Duration {
        let begun = Instant::now();
        let wait = async {
            while !holds(self) {
                sleep(LOOK).await;
            }
        };
        let ended = timeout(patience, wait).await;
        assert!(ended.is_ok(), "not within {patience:?}: {what}; {} sets are not Ready", self.not_ready());
        begun.elapsed()
    }

    /// Waits until all sets are Ready; for how long.
    pub async fn until_all_ready(&self, patience: Duration) -> Duration {
        self.until(patience, "all sets Ready", |world| world.not_ready() == 0).await
    }

    /// Writes of statuses since then, that the API server took.
    pub fn status_writes_since(&self, since: Instant) -> Vec<Recorded> {
        self.requests_since(since, |request| request.method == "PUT" && request.path.ends_with("/status"))
    }

    /// Events that were published since then.
    pub fn events_since(&self, since: Instant) -> Vec<Recorded> {
        self.requests_since(since, |request| request.method == "POST" && request.path.ends_with("/events"))
    }

    /// The lists of process templates that CMDB has given after that: of which service template, and when. All take as
    /// long, so the nth to come was the nth to end.
    pub fn lists_after(&self, begun: Instant) -> Vec<(i64, Instant)> {
        let came = self.sim().requests().into_iter().filter(|record| record.call == "list_proc_template");
        let of: Vec<i64> = came.map(|record| record.body["service_template_id"].as_i64().unwrap()).collect();
        let calls = self.told.calls.lock().unwrap();
        let ended = calls.iter().filter(|call| call.operation == Operation::ListProcessTemplates).map(|call| call.at);
        of.into_iter().zip(ended).filter(|(_, at)| *at > begun).collect()
    }

    fn requests_since(&self, since: Instant, is: impl Fn(&Recorded) -> bool) -> Vec<Recorded> {
        let is = |request: &Recorded| request.at >= since && request.status < 300 && is(request);
        self.api.requests().into_iter().filter(is).collect()
    }
}

fn simulator(options: sim::Options) -> Simulator {
    let sim = Simulator::start(options).unwrap();
    sim.add_fault(latency());
    sim
}

fn latency() -> Fault {
    Fault::every("*", Effect::delay(CALL_MILLISECONDS))
}

fn place(name: &str) -> Place {
    Place::new(GROUP, "processtemplatesets", NAMESPACE, name)
}
