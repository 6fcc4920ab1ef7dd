//! A long-lived task that panics, ends, or blocks: what `/healthz`, `/readyz`, the lease and the exit status of the process do.
//!
//! The task is one beside those of `ptset run`, in a process of this test binary: [`operator_with_a_task_that_fails`].

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use clap::Parser as _;
use cmdb_sim::{Effect, Fault};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use process_template_operator::cli::{Cli, Companion};
use serde_json::json;
use test_support::world::{PATIENCE, Seen, World};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

const CREATE: &str = "batch_create_proc_template";

// The variables that the process takes: its arguments, what its task does, and the file that starts and ends that.
const ARGUMENTS: &str = "PTSET_TEST_ARGUMENTS";
const FAULT: &str = "PTSET_TEST_FAULT";
const FILE: &str = "PTSET_TEST_FILE";

const LOOK: Duration = Duration::from_millis(50);

/// The process: it does nothing where no test has started it.
#[test]
#[ignore = "needs a control plane: make test"]
fn operator_with_a_task_that_fails() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let (fault, file) = (std::env::var(FAULT).unwrap(), PathBuf::from(std::env::var(FILE).unwrap()));
    let companions: Vec<Companion> = match fault.as_str() {
        "blocks every thread" => vec![task(&fault, &file), task(&fault, &file)],
        _ => vec![task(&fault, &file)],
    };
    let status = Cli::try_parse_from(arguments).unwrap().execute_beside(companions).unwrap();
    // The harness has exit statuses of its own.
    std::process::exit(i32::from(status != ExitCode::SUCCESS));
}

fn task(fault: &str, file: &Path) -> Companion {
    let (fault, file) = (fault.to_owned(), file.to_owned());
    let run = async move {
        loop {
            while !file.exists() {
                sleep(LOOK).await;
            }
            match fault.as_str() {
                "panics" => panic!("as the test wants it"),
                "ends" => break,
                _ => {
                    while file.exists() {
                        std::thread::sleep(LOOK);
                    }
                }
            }
        }
    };
    ("task of the test", Box::pin(run))
}

/// A world with that process, which leads.
struct Faulty {
    world: World,
    process: Child,
    log: PathBuf,
    // Its task fails, or blocks, while this exists.
    file: PathBuf,
}

impl Faulty {
    async fn new(name: &str, fault: &str) -> Self {
        let world = World::new(name).await;
        world.service_template("web");
        let (log, file) = (world.plane.folder().join(format!("{name}.log")), world.plane.folder().join(name));
        let lease = ["--lease", "ptset", "--lease-namespace", name, "--lease-duration-seconds", "15"];
        let arguments =
            ["ptset", "run", "--connections-anywhere", "--listen", "127.0.0.1:0", "--watch-namespaces", name];
        let output = std::fs::File::create(&log).unwrap();
        let test = ["tasks::operator_with_a_task_that_fails", "--exact", "--include-ignored", "--nocapture"];
        let process = Command::new(std::env::current_exe().unwrap())
            .args(test)
            .env(ARGUMENTS, json!([arguments.as_slice(), &lease].concat()).to_string())
            .env(FAULT, fault)
            .env(FILE, &file)
            .env("KUBECONFIG", world.plane.kubeconfig_path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let faulty = Self { world, process, log, file };
        faulty.until("it leads", async |faulty| !faulty.holder().await.is_empty()).await;
        faulty.until("it is healthy", async |faulty| faulty.get("/healthz").await == (200, "ok\n".to_owned())).await;
        faulty
    }

    fn fail(&self) {
        std::fs::write(&self.file, "").unwrap();
    }

    fn logged(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let lease = leases.get_opt("ptset").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// What it answers; nothing once it has ended.
    async fn get(&self, path: &str) -> (u16, String) {
        let log = self.logged();
        let address = log.split("listen=").nth(1).and_then(|rest| rest.split_whitespace().next());
        let Some(address) = address else { return (0, String::new()) };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let Ok(answer) = client.get(format!("http://{address}{path}")).send().await else { return (0, String::new()) };
        (answer.status().as_u16(), answer.text().await.unwrap_or_default())
    }

    async fn until(&self, what: &str, holds: impl AsyncFn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !holds(self).await {
            assert!(Instant::now() < deadline, "{what}\n{}", self.logged());
            sleep(LOOK).await;
        }
    }

    /// Waits until both probes fail, and name this.
    async fn until_unhealthy(&self, why: &str) {
        for (path, line) in [("/healthz", String::new()), ("/readyz", "process: ".to_owned())] {
            let line = format!("{line}{why}");
            let fails = async |faulty: &Self| {
                let (status, text) = faulty.get(path).await;
                status == 503 && text.contains(&line)
            };
            self.until(&format!("{path} says {line}"), fails).await;
        }
    }

    /// Waits for its end, and gives the exit status.
    async fn ended(&mut self) -> Option<i32> {
        let ended = tokio::time::timeout(PATIENCE * 2, self.process.wait()).await;
        ended
            .unwrap_or_else(|_| panic!("it did not end\n{}", std::fs::read_to_string(&self.log).unwrap()))
            .unwrap()
            .code()
    }

    fn lines_with(&self, text: &str) -> usize {
        self.logged().lines().filter(|line| line.contains(text)).count()
    }
}

async fn fails_while_a_create_is_in_flight(name: &str, fault: &str, says: &str) {
    let mut faulty = Faulty::new(name, fault).await;
    // Long enough for both probes to be asked while it shuts down.
    faulty.world.sim.add_fault(Fault::nth(CREATE, 1, Effect::delay(10_000)));
    faulty.world.apply("web", json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })).await;
    faulty.world.until_requests(CREATE, 1).await;
    let holder = faulty.holder().await;
    faulty.fail();
    faulty.until_unhealthy(&format!("shutting down: {says}")).await;
    assert_eq!(faulty.holder().await, holder, "it holds the lease until its last write is stored");

    assert_eq!(faulty.ended().await, Some(1), "{}", faulty.logged());
    assert_eq!(faulty.holder().await, "", "the lease is given back\n{}", faulty.logged());
    assert_eq!(faulty.lines_with(&format!("{says}; shutting down")), 1, "{}", faulty.logged());
    let set = Seen::new(faulty.world.set("web").await);
    assert_eq!((set.ids().len(), set.status.pending.len()), (1, 0), "{}", set.describe());
    faulty.world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_task_that_panics_gives_the_lease_back_and_exits_with_1() {
    let says = "the task \"task of the test\" panicked (bug): as the test wants it";
    fails_while_a_create_is_in_flight("task-panics", "panics", says).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_task_that_ends_gives_the_lease_back_and_exits_with_1() {
    let says = "the task \"task of the test\" ended without being stopped";
    fails_while_a_create_is_in_flight("task-ends", "ends", says).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_task_that_blocks_one_thread_is_named_and_ends_the_process_in_order() {
    let mut faulty = Faulty::new("task-blocks-one", "blocks a thread").await;
    faulty.fail();
    faulty.until_unhealthy("the task \"task of the test\" blocks a thread of the runtime for ").await;
    // The other thread goes on.
    let holder = faulty.holder().await;
    faulty.world.apply("web", json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })).await;
    faulty.world.until_ready("web").await;
    assert_eq!(faulty.holder().await, holder);
    assert_eq!(faulty.ended().await, Some(1), "{}", faulty.logged());
    assert_eq!(faulty.holder().await, "", "{}", faulty.logged());
    faulty.world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_runtime_that_is_blocked_loses_the_lease_and_is_healthy_when_it_goes_on() {
    let mut faulty = Faulty::new("task-blocks-all", "blocks every thread").await;
    let blocked = faulty.holder().await;
    faulty.fail();
    faulty.until_unhealthy("the task \"task of the test\" blocks a thread of the runtime for ").await;
    faulty.world.start_operator(&["--lease", "ptset", "--lease-namespace", "task-blocks-all"]).await;
    let taken = async |faulty: &Faulty| {
        let holder = faulty.holder().await;
        !holder.is_empty() && holder != blocked
    };
    faulty.until("another takes the lease", taken).await;
    std::fs::remove_file(&faulty.file).unwrap();
    faulty.until("it is healthy again", async |faulty| faulty.get("/healthz").await == (200, "ok\n".to_owned())).await;
    faulty.until("it stands by", async |faulty| faulty.get("/readyz").await.1.contains("leader: ok: stands by")).await;

    // Blocked for ever, it exits without a shutdown.
    faulty.fail();
    assert_eq!(faulty.ended().await, Some(1), "{}", faulty.logged());
    faulty.world.end().await;
}
