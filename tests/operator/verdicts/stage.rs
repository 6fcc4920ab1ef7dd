//! Where the states are made: a namespace, an operator that serves the whole cluster, and one simulated CMDB for each way
//! in which one can fail.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use test_support::control_plane::own;
use test_support::world::{self, PATIENCE, World, usual_transport};

/// Kinds, as kubectl names them, and as their objects do.
const KINDS: [(&str, &str); 3] =
    [("ptset", "ProcessTemplateSet"), ("cmdbconn", "CmdbConnection"), ("ccmdbconn", "ClusterCmdbConnection")];

/// An object in a state that is to be judged.
pub struct Golden {
    /// The state, in a few words.
    pub state: &'static str,
    /// The object as the API server has it.
    pub live: Value,
    /// What was applied.
    pub desired: Value,
    /// Whether `kubectl wait --for=condition=Ready` ends at once.
    pub wait_ends: bool,
}

impl Golden {
    /// What the conditions say, in a few words.
    pub fn said(&self) -> String {
        let conditions = self.live["status"]["conditions"].as_array();
        let said = conditions.into_iter().flatten().map(|condition| {
            let (name, status) = (condition["type"].as_str().unwrap(), condition["status"].as_str().unwrap());
            let reason = condition["reason"].as_str().unwrap();
            format!("{name}={status}/{reason}")
        });
        said.collect::<Vec<_>>().join(" ")
    }
}

/// Where the states are made.
pub struct Stage {
    pub world: World,
    applied: BTreeMap<(String, String), Value>,
    goldens: Vec<Golden>,
    cmdbs: BTreeMap<String, Simulator>,
}

impl Stage {
    /// On a control plane of its own: its operator would serve the sets of other tests too.
    pub async fn new(namespace: &str) -> Self {
        let sim = Simulator::start(sim::Options::default()).unwrap();
        let url = sim.url();
        let world = World::on(Arc::new(own().await), usual_transport(), namespace, sim, &url).await;
        let mut stage = Self { world, applied: BTreeMap::new(), goldens: Vec::new(), cmdbs: BTreeMap::new() };
        stage.put_connection("default", json!({})).await;
        stage
    }

    /// A CMDB of its own, with a connection of that name that leads there.
    pub async fn cmdb(&mut self, name: &str) -> &Simulator {
        let sim = Simulator::start(sim::Options::default()).unwrap();
        self.put_connection(name, json!({ "url": sim.url() })).await;
        self.cmdbs.entry(name.to_owned()).or_insert(sim)
    }

    /// The CMDB that the connection of that name leads to.
    pub fn at(&self, name: &str) -> &Simulator {
        &self.cmdbs[name]
    }

    /// A connection; what is not said leads to the default CMDB with the usual credentials.
    pub async fn put_connection(&mut self, name: &str, said: Value) {
        let mut spec =
            json!({ "url": self.world.sim.url(), "transport": "Esb", "credentialsSecretRef": { "name": "cmdb" } });
        merge(&mut spec, said);
        self.put("cmdbconn", name, spec).await;
    }

    /// A set whose connection and service template have its name where `spec` says nothing else, in its CMDB.
    pub async fn put_set(&mut self, name: &str, said: Value) {
        let connection = said["connectionRef"]["name"].as_str().unwrap_or("default");
        let sim = self.cmdbs.get(connection).unwrap_or(&self.world.sim);
        if said.get("serviceTemplate").is_none() && !sim.state().service_templates.iter().any(|one| one.name == name) {
            world::put_service_template(sim, name);
        }
        let mut spec = json!({ "bizId": 2, "serviceTemplate": { "name": name }, "resyncIntervalSeconds": 5,
            "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": "./run" }] });
        merge(&mut spec, said);
        self.put("ptset", name, spec).await;
    }

    /// Applies an object.
    pub async fn put(&mut self, kind: &str, name: &str, spec: Value) {
        let (_, full) = KINDS.iter().find(|(short, _)| *short == kind).unwrap();
        let mut metadata = json!({ "name": name });
        if kind != "ccmdbconn" {
            metadata["namespace"] = self.world.namespace.clone().into();
        }
        let object = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": full, "metadata": metadata, "spec": spec,
        });
        self.api(kind).patch(name, &PatchParams::apply("test").force(), &Patch::Apply(&object)).await.unwrap();
        self.applied.insert((kind.to_owned(), name.to_owned()), object);
    }

    /// Deletes an object; what holds it goes on holding it.
    pub async fn delete(&self, kind: &str, name: &str) {
        self.api(kind).delete(name, &DeleteParams::default()).await.unwrap();
    }

    /// Waits until Ready has this reason in the present generation, and keeps the object.
    pub async fn capture(&mut self, state: &'static str, kind: &str, name: &str, reason: &str) {
        self.until(kind, name, reason).await;
        self.capture_as_it_is(state, kind, name).await;
    }

    /// Waits until Ready has this reason in the present generation.
    pub async fn until(&self, kind: &str, name: &str, reason: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let live = self.live(kind, name).await;
            let is_current = live["status"]["observedGeneration"] == live["metadata"]["generation"];
            let conditions = live["status"]["conditions"].as_array().cloned().unwrap_or_default();
            if is_current && conditions.iter().any(|said| said["type"] == "Ready" && said["reason"] == reason) {
                return;
            }
            assert!(Instant::now() < deadline, "{name}: not {reason}: {live:#}\n{}", self.world.operator_log());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Keeps the object, and what `kubectl wait` makes of it.
    pub async fn capture_as_it_is(&mut self, state: &'static str, kind: &str, name: &str) {
        let live = self.live(kind, name).await;
        let what = format!("{kind}/{name}");
        let mut wait = self.world.plane.kubectl();
        wait.args(["wait", "--for=condition=Ready", "--timeout=0s", "--namespace", &self.world.namespace, &what]);
        let wait_ends = wait.output().await.unwrap().status.success();
        let desired = self.applied[&(kind.to_owned(), name.to_owned())].clone();
        self.goldens.push(Golden { state, live, desired, wait_ends });
    }

    /// The object as it is.
    pub async fn live(&self, kind: &str, name: &str) -> Value {
        let mut live = serde_json::to_value(self.api(kind).get(name).await.unwrap()).unwrap();
        live["metadata"].as_object_mut().unwrap().remove("managedFields");
        live
    }

    /// What was kept.
    pub async fn end(self) -> Vec<Golden> {
        self.world.end().await;
        for sim in self.cmdbs.into_values() {
            sim.stop().await;
        }
        self.goldens
    }

    fn api(&self, kind: &str) -> Api<DynamicObject> {
        let (_, full) = KINDS.iter().find(|(short, _)| *short == kind).unwrap();
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("cmdb.bk.tencent.com", "v1alpha1", full));
        let client = self.world.client.clone();
        if kind == "ccmdbconn" {
            Api::all_with(client, &resource)
        } else {
            Api::namespaced_with(client, &self.world.namespace, &resource)
        }
    }
}

// What is said replaces what is usual.
fn merge(usual: &mut Value, said: Value) {
    let Value::Object(said) = said else { return };
    usual.as_object_mut().unwrap().extend(said);
}
