//! Tenants of a paused world: a namespace of their own each, with a connection, sets, and a CMDB if they bring one.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Options, Simulator};
use process_template_operator::api::{GROUP, VERSION};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Paused;
use crate::in_process::Place;
use crate::world::Seen;

// How often the end of an edit is looked for: finer than what an edit takes, and by a hundredth of what it has taken.
const FINE: Duration = Duration::from_millis(5);

/// A tenant: a namespace of a world.
pub struct Tenant<'a> {
    world: &'a Paused,
    namespace: &'static str,
}

/// A CMDB of a tenant's own that takes this long for each call.
pub fn cmdb(latency: Duration) -> Simulator {
    let sim = Simulator::start(Options::default()).unwrap();
    sim.add_fault(Fault::every("*", Effect::delay(u64::try_from(latency.as_millis()).unwrap())));
    sim
}

/// Gives a CMDB a service template "web" in each of these businesses.
pub fn serve_businesses(sim: &Simulator, businesses: impl Iterator<Item = i64>) {
    sim.update_state(|state| {
        for biz_id in businesses {
            let id = 1 + state.service_templates.iter().map(|template| template.id).max().unwrap_or_default();
            let template = json!({ "id": id, "name": "web", "bk_biz_id": biz_id, "service_category_id": 2 });
            state.service_templates.push(serde_json::from_value(template).unwrap());
            if state.businesses.iter().all(|business| business.bk_biz_id != biz_id) {
                let business = json!({ "bk_biz_id": biz_id, "bk_biz_name": format!("b{biz_id}") });
                state.businesses.push(serde_json::from_value(business).unwrap());
            }
        }
    });
}

/// A set of one process over a connection of the set's namespace.
pub fn spec(biz_id: i64, process: &str, start_cmd: &str) -> Value {
    json!({
        "bizId": biz_id, "serviceTemplate": { "name": "web" },
        "processes": [{ "name": process, "funcName": process, "startCmd": start_cmd }],
    })
}

impl Paused {
    /// The tenant of a namespace.
    pub fn tenant(&self, namespace: &'static str) -> Tenant<'_> {
        let object = json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace } });
        self.api.apply(&Place::new("", "namespaces", "", namespace), &object);
        Tenant { world: self, namespace }
    }

    /// Creates or changes a connection of the cluster, with its Secret in namespace "system".
    pub fn share(&self, name: &str, url: &str, mut spec: Value) {
        self.put_secret_in("system", name);
        spec["url"] = json!(url);
        spec["credentialsSecretRef"] = json!({ "name": name, "namespace": "system" });
        let connection = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ClusterCmdbConnection", "metadata": { "name": name },
            "spec": spec,
        });
        self.api.apply(&Place::new(GROUP, "clustercmdbconnections", "", name), &connection);
    }

    fn put_secret_in(&self, namespace: &str, name: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "data": { "bk_app_code": "cHRzZXQ=", "bk_app_secret": "c2VjcmV0", "bk_username": "YWRtaW4=" },
        });
        self.api.apply(&Place::new("", "secrets", namespace, name), &secret);
    }
}

impl Tenant<'_> {
    /// Creates or changes a connection, with a Secret of the same name.
    pub fn connect(&self, name: &str, url: &str, spec: Value) {
        self.world.put_secret_in(self.namespace, name);
        self.connect_without_secret(name, url, spec);
    }

    /// The same whose Secret does not exist.
    pub fn connect_without_secret(&self, name: &str, url: &str, mut spec: Value) {
        spec["url"] = json!(url);
        spec["credentialsSecretRef"] = json!({ "name": name });
        let connection = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CmdbConnection", "metadata": { "name": name },
            "spec": spec,
        });
        self.world.api.apply(&Place::new(GROUP, "cmdbconnections", self.namespace, name), &connection);
    }

    /// Creates or changes a set.
    pub fn apply(&self, name: &str, spec: &Value) {
        let set = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ProcessTemplateSet",
            "metadata": { "name": name }, "spec": spec,
        });
        self.world.api.apply(&self.place(name), &set);
    }

    /// Deletes a set.
    pub fn delete(&self, name: &str) {
        self.world.api.delete(&self.place(name));
    }

    /// A set as it is now; None: it is gone.
    pub fn seen(&self, name: &str) -> Option<Seen> {
        let set = self.world.api.get(&self.place(name))?;
        Some(Seen::new(serde_json::from_value(Value::clone(&set)).unwrap()))
    }

    /// How many sets there are.
    pub fn sets(&self) -> usize {
        self.world.api.list(&self.place("")).len()
    }

    /// Applies a set and waits until it is Ready; for how long.
    pub async fn edit(&self, name: &str, spec: &Value, patience: Duration) -> Duration {
        self.apply(name, spec);
        let edited = Instant::now();
        while !self.seen(name).is_some_and(|set| set.is_ready()) {
            let is_late = edited.elapsed() >= patience;
            assert!(
                !is_late,
                "not Ready within {patience:?}: {}",
                self.seen(name).map(|set| set.describe()).unwrap_or_default()
            );
            sleep(FINE.max(edited.elapsed() / 100)).await;
        }
        edited.elapsed()
    }

    fn place(&self, name: &str) -> Place {
        Place::new(GROUP, "processtemplatesets", self.namespace, name)
    }
}
