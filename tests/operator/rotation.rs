//! Credentials are exchanged under load: no call with the old ones after the switch, and no work that fails.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use cmdb_sim::{self as sim, Effect, Fault, RequestRecord, Simulator, State};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use process_template_operator::api::CmdbConnection;
use process_template_operator::cmdb::Transport;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use test_support::authority::Authority;
use test_support::world::{PATIENCE, Seen, World};
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep};

// Calls in flight that the connection allows.
const IN_FLIGHT: usize = 20;

const SETS: usize = 32;
const CHECK: &str = "list_service_category";

fn set_name(number: usize) -> String {
    format!("set-{number:02}")
}

/// The simulator takes these keys of our application from now on.
fn accept(state: &mut State, keys: &[&str]) {
    let account = |key: &&str| json!({ "app_code": "ptset", "app_secret": key });
    state.accounts = serde_json::from_value(keys.iter().map(account).collect()).unwrap();
}

/// How the simulator's memory shows a key.
fn digest(key: &str) -> String {
    Sha256::digest(key).iter().take(4).fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

/// Somebody who edits the sets, one after the other, again and again.
struct Editor {
    stop: Arc<AtomicBool>,
    edits: Arc<AtomicUsize>,
    running: JoinHandle<Vec<usize>>,
}

impl Editor {
    fn start(world: &World) -> Self {
        let (stop, edits): (Arc<AtomicBool>, Arc<AtomicUsize>) = Default::default();
        let (sets, is_over, done) = (world.sets(), Arc::clone(&stop), Arc::clone(&edits));
        let running = tokio::spawn(async move {
            let mut last = vec![0; SETS];
            for edit in 1.. {
                if is_over.load(Ordering::Relaxed) {
                    break;
                }
                let number = edit % SETS;
                sets.patch(&set_name(number), &PatchParams::apply("test").force(), &Patch::Apply(&set(number, edit)))
                    .await
                    .unwrap();
                last[number] = edit;
                done.store(edit, Ordering::Relaxed);
                // The pace of the edits, not a wait for anything.
                sleep(Duration::from_millis(40)).await;
            }
            last
        });
        Self { stop, edits, running }
    }

    /// Waits for so many more edits.
    async fn edits(&self, more: usize) {
        let until = self.edits.load(Ordering::Relaxed) + more;
        let deadline = Instant::now() + PATIENCE;
        while self.edits.load(Ordering::Relaxed) < until {
            assert!(Instant::now() < deadline && !self.running.is_finished(), "the editor stands still");
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends; gives the last edit of each set.
    async fn end(self) -> Vec<usize> {
        self.stop.store(true, Ordering::Relaxed);
        self.running.await.unwrap()
    }
}

// Each edit changes a property, and every third adds a process or takes it away again.
fn set(number: usize, edit: usize) -> Value {
    let mut processes = vec![json!({ "name": "main", "funcName": "main", "startCmd": format!("./run {edit}") })];
    if edit.is_multiple_of(3) {
        processes.push(json!({ "name": "side", "funcName": "side", "startCmd": format!("./side {edit}") }));
    }
    let name = set_name(number);
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": name },
        "spec": {
            "bizId": 2, "serviceTemplate": { "name": name }, "deletionPolicy": "Delete", "resyncIntervalSeconds": 5,
            "processes": processes,
        },
    })
}

/// A world with many sets that are edited all the time.
struct Load {
    world: World,
    editor: Editor,
    switches: usize,
    failed_edits: usize,
}

impl Load {
    async fn begin(transport: Transport, name: &str) -> Self {
        let sim = Simulator::start(sim::Options::default()).unwrap();
        let url = sim.url();
        let world = World::through(transport, name, sim, &url).await;
        world.sim.update_state(|state| accept(state, &["a-secret"]));
        Self::over(world).await
    }

    /// The connection "default" of the world is ready to be used.
    async fn over(mut world: World) -> Self {
        // No more than the limits of a connection may let through, so that nothing waits for its turn for long.
        let limits = json!({ "spec": { "limits": { "requestsPerSecond": 200, "maxConcurrent": IN_FLIGHT } } });
        connections(&world).patch("default", &PatchParams::default(), &Patch::Merge(&limits)).await.unwrap();
        for number in 0..SETS {
            world.service_template(&set_name(number));
        }
        world.start_operator(&["--removal-delay-seconds", "0", "--create-grace-seconds", "2"]).await;
        for number in 0..SETS {
            let set = Patch::Apply(set(number, 0));
            world.sets().patch(&set_name(number), &PatchParams::apply("test").force(), &set).await.unwrap();
        }
        for number in 0..SETS {
            world.until_ready(&set_name(number)).await;
        }
        // Every call takes a while, so that some are always under way.
        world.sim.add_fault(Fault::every("*", Effect::delay(100)));
        let editor = Editor::start(&world);
        editor.edits(SETS).await;
        Self { world, editor, switches: 0, failed_edits: 0 }
    }

    /// Waits until a request comes that is no check and has this key; gives its number.
    async fn until_used(&self, key: &str) -> u64 {
        let key = digest(key);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is_used = |record: &RequestRecord| record.credential == key && record.call != CHECK;
            if let Some(record) = self.world.sim.requests().into_iter().find(is_used) {
                return record.sequence;
            }
            assert!(Instant::now() < deadline, "the key is not used\n{}", self.world.operator_log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until a write comes that begins after this moment.
    async fn until_writes(&self, more: usize) {
        let writes = || {
            let is_write = |record: &RequestRecord| record.call == "update_proc_template" && record.code == Some(0);
            self.world.sim.requests().into_iter().filter(is_write).count()
        };
        let until = writes() + more;
        let deadline = Instant::now() + PATIENCE;
        while writes() < until {
            assert!(Instant::now() < deadline, "no more writes\n{}", self.world.operator_log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits until the connection says this of itself.
    async fn until_connection(&self, status: &str, reason: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let connection = connections(&self.world).get("default").await.unwrap();
            let conditions = connection.status.unwrap_or_default().conditions;
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready");
            if let Some(ready) = ready.filter(|ready| ready.status == status && ready.reason == reason) {
                return ready.message.clone();
            }
            assert!(Instant::now() < deadline, "not {reason}: {ready:?}\n{}", self.world.operator_log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn switches_logged(&self) -> usize {
        let log = std::fs::read_to_string(&self.world.operator.as_ref().unwrap().log).unwrap();
        log.matches("changed credentials are in use").count()
    }

    async fn until_logged_switches(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.switches_logged() < count {
            assert!(Instant::now() < deadline, "not switched\n{}", self.world.operator_log());
            sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the Warning that says on the connection why its newer credentials are not in use.
    async fn until_warned(&self) {
        let events: Api<Event> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let is_it = |event: &Event| {
            event.reason.as_deref() == Some("NewCredentialsRefused")
                && event.type_.as_deref() == Some("Warning")
                && event.involved_object.kind.as_deref() == Some("CmdbConnection")
        };
        let deadline = Instant::now() + PATIENCE;
        while !events.list(&ListParams::default()).await.unwrap().items.iter().any(is_it) {
            assert!(Instant::now() < deadline, "no event on the connection\n{}", self.world.operator_log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Counts the requests with this key after that one.
    fn requests_after(&self, key: &str, sequence: u64) -> usize {
        let key = digest(key);
        let requests = self.world.sim.requests();
        requests.iter().filter(|record| record.sequence > sequence && record.credential == key).count()
    }

    /// Counts the requests with an old key after the switch to another one, whose first request has this sequence number. Calls
    /// that were admitted before the switch, at most as many as may be in flight, can still arrive after that request.
    fn with_key_after(&self, key: &str, switched: u64) -> usize {
        let key = digest(key);
        let requests = self.world.sim.requests();
        let after = |sequence: u64| requests.iter().filter(move |record| record.sequence > sequence);
        let late = after(switched).filter(|record| record.credential == key).count();
        assert!(late <= IN_FLIGHT, "{late} requests with the old key");
        let settled = after(switched).filter(|record| record.credential != key).nth(2 * IN_FLIGHT);
        let settled = settled.unwrap_or_else(|| panic!("the sets do not use the new key")).sequence;
        after(settled).filter(|record| record.credential == key).count()
    }

    async fn assert_no_set_left_its_course(&self) {
        for reason in ["Unauthorized", "CredentialsIncomplete", "NotCmdb", "Unavailable", "Unreachable"] {
            let events = self.world.events(reason).await;
            assert!(events.is_empty(), "{reason}: {events:?}");
        }
    }

    /// Ends the edits; counts those that are not in CMDB.
    async fn end(mut self) -> (usize, usize) {
        let last = self.editor.end().await;
        for (number, edit) in last.iter().enumerate() {
            let seen = self.world.until_ready(&set_name(number)).await;
            assert!(seen.is_current());
            let state = self.world.sim.state();
            let id = seen.process("main").id.unwrap();
            let template = state.process_templates.iter().find(|template| template.id == id).unwrap();
            let text = serde_json::to_string(template).unwrap();
            self.failed_edits += usize::from(!text.contains(&format!("./run {edit}\"")));
            let templates = state
                .process_templates
                .iter()
                .filter(|other| other.service_template_id == template.service_template_id);
            self.failed_edits += usize::from(templates.count() != 1 + usize::from(edit.is_multiple_of(3)));
        }
        let refused = self.world.sim.requests();
        assert!(!refused.is_empty());
        self.world.end().await;
        (self.switches, self.failed_edits)
    }
}

fn connections(world: &World) -> Api<CmdbConnection> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

fn secrets(world: &World) -> Api<Secret> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

/// The old key works on for a while; then the same with one that is revoked as soon as the new one is in use.
async fn good_keys(load: &mut Load) -> usize {
    let mut old_after_switch = 0;
    let keys = ["a-secret", "b-secret", "c-secret", "d-secret"];
    for (turn, pair) in keys.windows(2).enumerate() {
        let (old, new) = (pair[0], pair[1]);
        load.world.sim.update_state(|state| accept(state, &[old, new]));
        load.editor.edits(SETS / 2).await;
        load.world.put_secret(new).await;
        let switched = load.until_used(new).await;
        if turn > 0 {
            load.world.sim.update_state(|state| accept(state, &[new]));
        }
        load.until_writes(SETS).await;
        old_after_switch += load.with_key_after(old, switched);
        assert!(load.requests_after(new, switched) > SETS, "work goes on");
        load.switches += 1;
    }
    load.assert_no_set_left_its_course().await;
    old_after_switch
}

/// A key that CMDB does not take is told, and the old one goes on; the right one is used at once.
async fn a_wrong_key(load: &mut Load) -> usize {
    load.world.put_secret("wrong-secret").await;
    let message = load.until_connection("True", "NewCredentialsRefused").await;
    assert!(message.contains("refused"), "{message}");
    load.until_warned().await;
    load.until_writes(SETS).await;
    let tried = load.world.sim.requests().into_iter().filter(|record| record.credential == digest("wrong-secret"));
    assert!(tried.clone().count() > 0 && tried.clone().all(|record| record.call == CHECK), "only a check has it");
    assert!(tried.count() <= 10, "it is not tried again and again");
    load.assert_no_set_left_its_course().await;
    load.world.sim.update_state(|state| accept(state, &["d-secret", "e-secret"]));
    let begun = Instant::now();
    load.world.put_secret("e-secret").await;
    let switched = load.until_used("e-secret").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "at once: {:?}", begun.elapsed());
    load.until_writes(SETS).await;
    load.until_connection("True", "Reachable").await;
    load.switches += 1;
    load.assert_no_set_left_its_course().await;
    load.with_key_after("d-secret", switched)
}

/// Without the Secret the sets wait; with another key they go on.
async fn a_secret_that_goes_and_comes_back(load: &mut Load) -> usize {
    load.world.sim.update_state(|state| accept(state, &["e-secret", "f-secret"]));
    secrets(&load.world).delete("cmdb", &DeleteParams::default()).await.unwrap();
    load.world.until_event("WaitingForSecret", "does not exist").await;
    let waits = |seen: &Seen| seen.reason("Ready") == "WaitingForSecret" && seen.condition("Stalled").is_empty();
    load.world.until(&set_name(0), "waiting", waits).await;
    load.world.put_secret("f-secret").await;
    let switched = load.until_used("f-secret").await;
    load.until_writes(SETS).await;
    load.switches += 1;
    load.with_key_after("e-secret", switched)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a control plane: make test"]
async fn keys_are_exchanged_under_load() {
    let (mut switches, mut old_after_switch, mut failed_edits) = (0, 0, 0);
    for transport in [Transport::Esb, Transport::Gateway] {
        let name = format!("rotation-{}", transport.as_str().to_lowercase());
        let mut load = Load::begin(transport, &name).await;
        old_after_switch += good_keys(&mut load).await;
        old_after_switch += a_wrong_key(&mut load).await;
        old_after_switch += a_secret_that_goes_and_comes_back(&mut load).await;
        let (switched, failed) = load.end().await;
        switches += switched;
        failed_edits += failed;
    }
    let (switched, failed) = certificates_are_exchanged_under_load().await;
    switches += switched;
    failed_edits += failed;
    println!("\nrotation: switches={switches} old_key_after_switch={old_after_switch} failed_edits={failed_edits}");
    assert_eq!((old_after_switch, failed_edits), (0, 0));
}

/// A certificate of another authority is refused and told; one of the same takes over.
async fn certificates_are_exchanged_under_load() -> (usize, usize) {
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let certificate = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let tls = authority.serve(folder.path(), &certificate);
    let sim = Simulator::start(sim::Options { tls: Some(tls), ..sim::Options::default() }).unwrap();
    let url = sim.url();
    let world = World::through(Transport::Direct, "rotation-direct", sim, &url).await;
    put_certificate(&world, &authority).await;
    let tls = json!({ "caBundle": authority.certificate, "clientCertificateSecretRef": { "name": "certificate" } });
    let tls = Patch::Merge(json!({ "spec": { "tls": tls } }));
    connections(&world).patch("default", &PatchParams::default(), &tls).await.unwrap();
    let mut load = Load::over(world).await;
    for _ in 0..2 {
        let before = load.switches_logged();
        put_certificate(&load.world, &authority).await;
        load.until_logged_switches(before + 1).await;
        load.until_writes(SETS).await;
        load.switches += 1;
    }
    put_certificate(&load.world, &stranger).await;
    let message = load.until_connection("True", "NewCredentialsRefused").await;
    assert!(message.contains("does not take the client certificate"), "{message}");
    load.until_writes(SETS).await;
    put_certificate(&load.world, &authority).await;
    load.until_connection("True", "Reachable").await;
    load.switches += 1;
    load.until_writes(SETS).await;
    load.assert_no_set_left_its_course().await;
    load.end().await
}

async fn put_certificate(world: &World, authority: &Authority) {
    let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "certificate" },
        "stringData": { "tls.crt": certificate, "tls.key": key } });
    let patch = PatchParams::apply("test").force();
    secrets(world).patch("certificate", &patch, &Patch::Apply(&secret)).await.unwrap();
}
