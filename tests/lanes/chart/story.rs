//! What an operator does, told with the rights that the chart gives it.

use std::sync::Arc;
use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use process_template_operator::api::{ClusterCmdbConnection, CmdbConnection};
use process_template_operator::cmdb::Transport;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::helm::NAMESPACE;
use crate::operator::{Installation, NAME};
use crate::rights::touch;
use test_support::world::{PATIENCE, World};

const ANYWHERE: &str = "--connections-anywhere";

/// A way to install the chart.
pub struct Mode {
    pub name: &'static str,
    pub values: Value,
    /// Namespaces with sets.
    pub served: &'static [&'static str],
    /// Whether connections of the cluster are served.
    pub is_cluster: bool,
}

/// Every mode of the chart.
pub fn modes() -> [Mode; 3] {
    // The simulated CMDB is on this machine.
    let arguments = json!([ANYWHERE, "--removal-delay-seconds=0", "--create-grace-seconds=2"]);
    [
        Mode {
            name: "cluster",
            values: json!({ "extraArgs": arguments }),
            served: &["team-a", "team-b"],
            is_cluster: true,
        },
        Mode {
            name: "namespaces",
            values: json!({ "extraArgs": arguments, "watchNamespaces": ["team-a", "team-b"] }),
            served: &["team-a", "team-b"],
            is_cluster: false,
        },
        Mode {
            name: "names of secrets",
            values: json!({ "extraArgs": arguments, "watchNamespaces": ["team-a"], "secrets": { "names": ["cmdb"] } }),
            served: &["team-a"],
            is_cluster: false,
        },
    ]
}

impl Mode {
    pub fn namespaces(&self) -> Vec<&'static str> {
        self.served.to_vec()
    }
}

/// The story of one installation.
pub struct Story<'a> {
    installation: &'a Installation,
    mode: &'a Mode,
    /// One for each namespace; the operator is that of the first.
    worlds: Vec<World>,
}

impl<'a> Story<'a> {
    /// A simulated CMDB, and a connection to it in each namespace.
    pub async fn begin(installation: &'a Installation, mode: &'a Mode) -> Self {
        let mut worlds = Vec::new();
        for namespace in mode.served {
            let world = World {
                plane: Arc::clone(&installation.plane),
                client: installation.client.clone(),
                namespace: (*namespace).to_owned(),
                sim: Simulator::start(sim::Options::default()).unwrap(),
                transport: Transport::Esb,
                operator: None,
            };
            world.put_secret("a-secret").await;
            world.put_connection("default", &world.sim.url()).await;
            worlds.push(world);
        }
        Self { installation, mode, worlds }
    }

    pub async fn start(&mut self) {
        self.worlds[0].operator = Some(self.installation.run(&[]).await);
    }

    /// Starts an operator whose connections may not lead everywhere: they do not reach the simulated CMDB of this machine.
    pub async fn start_restricted(&mut self) {
        self.worlds[0].operator = Some(self.installation.run(&[ANYWHERE]).await);
    }

    pub async fn kill(&mut self) {
        self.worlds[0].kill_operator().await;
    }

    /// Everything that an operator does.
    pub async fn whole(&mut self) {
        self.start().await;
        for world in &self.worlds {
            sets(world).await;
            rotation(world).await;
        }
        if self.mode.is_cluster {
            self.grants().await;
        }
        for world in &self.worlds {
            world.delete("web").await;
            world.until_gone("web").await;
            assert!(world.sim.state().process_templates.is_empty(), "what was deleted is still in CMDB");
        }
        let leases: Api<Lease> = Api::namespaced(self.installation.client.clone(), NAMESPACE);
        let holder = async || leases.get(NAME).await.unwrap().spec.unwrap().holder_identity.unwrap_or_default();
        assert!(holder().await.starts_with(NAME), "nobody leads");
        self.worlds[0].stop_operator().await;
        assert_eq!(holder().await, "", "the lease was not given back");
    }

    /// What takes each right at least once, in the namespace given or the first. It ends when all of it is done.
    pub async fn short(&self, number: usize, namespace: Option<&str>) {
        let served = |world: &&World| Some(world.namespace.as_str()) == namespace;
        let world = self.worlds.iter().find(served).unwrap_or(&self.worlds[0]);
        // Another generation of each connection, so that their status is written.
        let spec = Patch::Merge(json!({ "spec": { "timeoutSeconds": 31 + number } }));
        let connections: Api<CmdbConnection> = Api::namespaced(world.client.clone(), &world.namespace);
        connections.patch("default", &PatchParams::default(), &spec).await.unwrap();
        if self.mode.is_cluster {
            let shared: Api<ClusterCmdbConnection> = Api::all(world.client.clone());
            shared.patch("shared", &PatchParams::default(), &spec).await.unwrap();
        }
        let name = format!("short-{number}");
        world.service_template(&name);
        world.apply(&name, process("./run", "Delete")).await;
        let told = async {
            world.until_ready(&name).await;
            world.apply(&name, process("./changed", "Delete")).await;
            world.until_ready(&name).await;
        };
        // Somebody else changes the set at the same time, so that a status meets another version of it.
        let disturbed = async {
            let (sets, mut number) = (world.sets(), 0);
            loop {
                number += 1;
                touch(&sets, &name, number).await;
                sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            () = told => {}
            () = disturbed => {}
        }
        world.delete(&name).await;
        world.until_gone(&name).await;
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), NAMESPACE);
        until("the lease is renewed", async || {
            let lease = leases.get(NAME).await.unwrap().spec.unwrap_or_default();
            lease.renew_time > lease.acquire_time
        })
        .await;
    }

    /// Takes away what a short story left.
    pub async fn tidy(&self) {
        for world in &self.worlds {
            let arguments = ["delete", "ptset", "--all", "--namespace", &world.namespace, "--wait=false"];
            self.installation.kubectl(&arguments).await;
            for set in world.sets().list(&kube::api::ListParams::default()).await.unwrap() {
                let name = set.metadata.name.unwrap();
                let free = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                // It may be gone by now.
                let _ = world.sets().patch(&name, &PatchParams::default(), &free).await;
            }
        }
    }

    pub async fn end(self) {
        for world in self.worlds {
            world.end().await;
        }
    }

    // A connection of the cluster, and a namespace that gets its grant by a label.
    async fn grants(&self) {
        let world = &self.worlds[0];
        let shared = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ClusterCmdbConnection",
            "metadata": { "name": "shared" },
            "spec": {
                "url": world.sim.url(),
                "credentialsSecretRef": { "namespace": world.namespace, "name": "cmdb" },
                "grants": [{ "namespaces": { "selector": { "matchLabels": { "cmdb": "yes" } } }, "bizIds": [2] }],
            },
        });
        let connections: Api<ClusterCmdbConnection> = Api::all(world.client.clone());
        connections.patch("shared", &PatchParams::apply("test"), &Patch::Apply(&shared)).await.unwrap();
        world.service_template("granted");
        let mut spec = process("./run", "Delete");
        spec["connectionRef"] = json!({ "kind": "ClusterCmdbConnection", "name": "shared" });
        world.apply("granted", spec).await;
        world.until_reason("granted", "WaitingForGrant").await;
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        let label = Patch::Merge(json!({ "metadata": { "labels": { "cmdb": "yes" } } }));
        namespaces.patch(&world.namespace, &PatchParams::default(), &label).await.unwrap();
        world.until_ready("granted").await;
        world.delete("granted").await;
        world.until_gone("granted").await;
    }
}

fn process(start_cmd: &str, deletion_policy: &str) -> Value {
    json!({
        "deletionPolicy": deletion_policy,
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }],
    })
}

// A set is created, changed and put right; its connection and its events say so.
async fn sets(world: &World) {
    world.service_template("web");
    world.apply("web", process("./run", "Delete")).await;
    let created = world.until_ready("web").await;
    assert_eq!(created.ids().len(), 1);
    world.until_events("Created", 1).await;
    let connections: Api<CmdbConnection> = Api::namespaced(world.client.clone(), &world.namespace);
    until("the connection is Reachable", async || {
        let status = connections.get("default").await.unwrap().status.unwrap_or_default();
        status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.reason == "Reachable")
    })
    .await;

    world.apply("web", process("./changed", "Delete")).await;
    assert_eq!(world.until_ready("web").await.ids(), created.ids());
    assert_eq!(stored(world), "./changed");

    world.sim.update_state(|state| {
        let mut property = serde_json::to_value(&state.process_templates[0].property).unwrap();
        property["start_cmd"]["value"] = "./drifted".into();
        state.process_templates[0].property = serde_json::from_value(property).unwrap();
    });
    look(world, "drift").await;
    until("drift is corrected", async || stored(world) == "./changed").await;
    world.until_events("DriftCorrected", 1).await;
}

// From now on CMDB takes another secret, and the operator has it.
async fn rotation(world: &World) {
    let accept = |secret: &str| {
        let accounts = json!([{ "app_code": "ptset", "app_secret": secret }]);
        world.sim.update_state(|state| state.accounts = serde_json::from_value(accounts).unwrap());
    };
    accept("b-secret");
    world.put_secret("b-secret").await;
    look(world, "rotation").await;
    world.apply("web", process("./rotated", "Delete")).await;
    world.until_ready("web").await;
    assert_eq!(stored(world), "./rotated");
}

async fn look(world: &World, word: &str) {
    let annotation = json!({ "cmdb.bk.tencent.com/reconcile-requested-at": word });
    let asked = Patch::Merge(json!({ "metadata": { "annotations": annotation } }));
    world.sets().patch("web", &PatchParams::default(), &asked).await.unwrap();
}

fn stored(world: &World) -> String {
    let stored = serde_json::to_value(&world.sim.state().process_templates[0].property).unwrap();
    stored["start_cmd"]["value"].as_str().unwrap_or_default().to_owned()
}

async fn until(what: &str, holds: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not within a minute: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
