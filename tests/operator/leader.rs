//! Several instances of the operator with one lease: one leads, the others stand by, and never do two of them write.

use std::path::Path;
use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use rustix::process::Signal;
use serde_json::{Value, json};
use test_support::chance::chance;
use test_support::endurance;
use test_support::proxy::Proxy;
use test_support::world::{Operator, PATIENCE, Seen, World};
use tokio::time::{Instant, sleep};

const CREATE: &str = "batch_create_proc_template";

/// Sets that are there while leaders come and go, and how often one goes.
const SETS: usize = 200;
// In a sample, and in all.
const KILLS: [usize; 2] = [8, 25];

fn spec(name: &str, start_cmd: &str) -> Value {
    json!({ "processes": [{ "name": name, "funcName": "nginx", "startCmd": start_cmd }] })
}

/// Instances of one lease, the one that was started first in front.
struct Instances {
    world: World,
    running: Vec<Operator>,
    lease_seconds: &'static str,
}

impl Instances {
    async fn new(name: &str, count: usize, lease_seconds: &'static str) -> Self {
        let mut instances = Self { world: World::new(name).await, running: Vec::new(), lease_seconds };
        for _ in 0..count {
            instances.start().await;
        }
        instances
    }

    async fn start(&mut self) {
        let kubeconfig = self.world.plane.kubeconfig_path();
        self.start_as(&kubeconfig).await;
    }

    async fn start_as(&mut self, kubeconfig: &Path) {
        let namespace = self.world.namespace.clone();
        let lease =
            ["--lease", "ptset", "--lease-namespace", &namespace, "--lease-duration-seconds", self.lease_seconds];
        let grace = ["--create-grace-seconds", "3", "--removal-delay-seconds", "0"];
        self.world.start_operator_as(kubeconfig, &[lease.as_slice(), &grace].concat()).await;
        self.running.extend(self.world.operator.take());
    }

    async fn holder(&self) -> String {
        let leases: Api<Lease> = Api::namespaced(self.world.client.clone(), &self.world.namespace);
        let lease = leases.get_opt("ptset").await.unwrap();
        lease.and_then(|lease| lease.spec?.holder_identity).unwrap_or_default()
    }

    /// Waits until somebody holds the lease who is not this one, and takes it out of the instances.
    async fn leader_after(&mut self, former: &str) -> (Operator, String) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let holder = self.holder().await;
            let leads = |operator: &Operator| {
                log_of(operator).lines().any(|line| line.contains(" leads ") && line.contains(&holder))
            };
            let is_another = !holder.is_empty() && holder != former;
            if let Some(at) = self.running.iter().position(leads).filter(|_| is_another) {
                return (self.running.remove(at), holder);
            }
            assert!(Instant::now() < deadline, "nobody leads");
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn end(self) {
        for operator in self.running {
            operator.process.stop().await;
        }
        self.world.end().await;
    }
}

// Nothing before it has begun to log.
fn log_of(operator: &Operator) -> String {
    std::fs::read_to_string(&operator.log).unwrap_or_default()
}

/// When it has logged this.
fn time_of(operator: &Operator, text: &str) -> String {
    let log = log_of(operator);
    let line = log.lines().find(|line| line.contains(text)).unwrap();
    line.split_whitespace().next().unwrap().to_owned()
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_leader_that_is_told_to_end_finishes_its_write_and_gives_the_lease_back() {
    let mut instances = Instances::new("leader-ends", 2, "12").await;
    let (leader, holder) = instances.leader_after("").await;
    instances.world.service_template("web");
    instances.world.sim.add_fault(Fault::nth(CREATE, 1, Effect::delay(18_000)));
    instances.world.apply("web", spec("nginx", "./run")).await;
    instances.world.until_requests(CREATE, 1).await;
    leader.process.signal(Signal::TERM);
    assert!(leader.process.ended(PATIENCE).await);
    let ended = Instant::now();
    assert!(log_of(&leader).contains("the lease is given back"), "{}", log_of(&leader));
    let (next, _) = instances.leader_after(&holder).await;
    // The write took longer than a lease lasts: it was renewed meanwhile.
    assert!(time_of(&next, " leads ") >= time_of(&leader, "the lease is given back"));
    println!("leader ends: handover_ms={}", ended.elapsed().as_millis());
    instances.world.until_ready("web").await;
    assert_eq!(instances.world.requests(CREATE).len(), 1);
    instances.running.push(next);
    instances.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn who_stands_by_is_ready_and_asks_for_nothing_but_the_lease() {
    let mut instances = Instances::new("leader-standby", 1, "15").await;
    let (leader, holder) = instances.leader_after("").await;
    let api_server = Proxy::to_api_server(&instances.world.plane.kubeconfig_path()).await;
    let kubeconfig = api_server.kubeconfig(instances.world.plane.folder());
    instances.start_as(&kubeconfig).await;
    instances.world.service_template("web");
    instances.world.apply("web", spec("nginx", "./run")).await;
    instances.world.until_ready("web").await;
    let standby = &instances.running[0];
    for (operator, leads) in [(&leader, 1), (standby, 0)] {
        let deadline = Instant::now() + PATIENCE;
        while operator.answer("/readyz").await.0 != 200 {
            assert!(Instant::now() < deadline, "not ready");
            sleep(Duration::from_millis(50)).await;
        }
        // The leader's own watch may deliver the status later than ours.
        let in_sync = format!("ptset_sets{{reason=\"InSync\"}} {leads}\n");
        let mut metrics = operator.answer("/metrics").await.1;
        while !metrics.contains(&in_sync) {
            assert!(Instant::now() < deadline, "who stands by has none: {metrics}");
            sleep(Duration::from_millis(50)).await;
            metrics = operator.answer("/metrics").await.1;
        }
        let readyz = operator.answer("/readyz").await.1;
        assert_eq!(readyz.contains("leader: ok: stands by\n"), leads == 0, "{readyz}");
        assert!(metrics.contains(&format!("ptset_leader {leads}\n")), "{metrics}");
    }
    let mut calls = Vec::new();
    while calls.len() < 5 {
        sleep(Duration::from_millis(50)).await;
        calls.extend(api_server.take_calls());
    }
    assert!(calls.iter().all(|(method, path)| method == "GET" && path.ends_with("/leases/ptset")), "{calls:?}");

    leader.process.signal(Signal::TERM);
    let (next, _) = instances.leader_after(&holder).await;
    instances.world.apply("web", spec("nginx", "./changed")).await;
    instances.world.until_ready("web").await;
    instances.running.push(next);
    instances.end().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn leaders_that_are_killed_at_random_lose_and_double_nothing() {
    let mut instances = Instances::new("leader-kills", 2, "10").await;
    for number in 0..SETS {
        instances.world.service_template(&format!("s{number:03}"));
    }
    let mut former = String::new();
    let kills = KILLS[usize::from(endurance::is_whole())];
    for kill in 0..kills {
        // Each time there is work: new sets, and a change of all that are there.
        for number in 0..SETS * (kill + 1) / kills {
            let name = format!("s{number:03}");
            instances.world.apply(&name, spec(&name, &format!("./run-{kill}"))).await;
        }
        let (leader, holder) = instances.leader_after(&former).await;
        sleep(Duration::from_millis(chance(0, kill as u64) % 1500)).await;
        leader.process.stop().await;
        instances.start().await;
        former = holder;
    }
    let deadline = Instant::now() + PATIENCE * 3;
    let unfinished = async |world: &World| {
        let sets = world.sets().list(&kube::api::ListParams::default()).await.unwrap().items;
        sets.into_iter().map(Seen::new).filter(|seen| !seen.is_ready()).collect::<Vec<_>>()
    };
    loop {
        let unfinished = unfinished(&instances.world).await;
        if unfinished.is_empty() {
            break;
        }
        let logs = || instances.running.iter().map(log_of).collect::<Vec<_>>().join("\n\n");
        let late = Instant::now() >= deadline;
        assert!(!late, "{} sets are not Ready: {}\n{}", unfinished.len(), unfinished[0].describe(), logs());
        sleep(Duration::from_millis(200)).await;
    }
    let stored = instances.world.sim.state().process_templates;
    let (leader, holder) = instances.leader_after(&former).await;
    leader.process.signal(Signal::TERM);
    assert!(leader.process.ended(PATIENCE).await);
    let ended = Instant::now();
    let (next, _) = instances.leader_after(&holder).await;
    let handover_ms = ended.elapsed().as_millis();
    instances.running.push(next);

    let last = format!("./run-{}", kills - 1);
    let is_right = |template: &&cmdb_sim::ProcessTemplate| {
        serde_json::to_value(&template.property).unwrap()["start_cmd"]["value"] == json!(last)
    };
    let lost = SETS.abs_diff(stored.iter().filter(is_right).count());
    let duplicates = stored.len().saturating_sub(SETS) + instances.world.names_sent_twice_without_a_list();
    println!("leader: kills={kills} duplicates={duplicates} lost={lost} handover_ms={handover_ms}");
    assert_eq!((duplicates, lost), (0, 0));
    instances.end().await;
}
