//! An operator of the whole cluster with a shared connection, a namespace that may use it, and one that may not.

use std::time::Duration;

use cmdb_sim::RequestRecord;
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use process_template_operator::api::{FINALIZER, GROUP, ProcessTemplateSet, VERSION};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use test_support::world::Seen;
use tokio::time::{Instant, sleep};

/// The namespace that is granted something.
pub const SHOP: &str = "shop";

/// A namespace that is granted nothing.
pub const BANK: &str = "bank";

/// The business that is granted.
pub const GRANTED: i64 = 2;

/// A business that is never granted.
pub const FOREIGN: i64 = 7;

/// `bk_app_code` of the shared connection.
pub const SHARED_APP: &str = "shared";

/// Longer than every wait of the operator: retries, backoffs, grace periods.
pub const LONG: Duration = Duration::from_mins(30);

/// One world.
pub struct Fence {
    pub paused: Paused,
    /// Requests per second of the connections.
    pub rate: u32,
}

impl Fence {
    /// A world whose operator does not run yet. The shared connection grants the business to the shop.
    pub fn new() -> Self {
        let fence = Self { paused: Paused::new(), rate: 20 };
        let api = &fence.paused.api;
        // An operator that cannot see the CRD takes it for deleted, and leaves the templates of every set.
        let crd = json!({ "metadata": { "name": format!("processtemplatesets.{GROUP}") } });
        let crds = Place::new(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            "",
            &format!("processtemplatesets.{GROUP}"),
        );
        api.apply(&crds, &crd);
        for namespace in [SHOP, BANK, "system"] {
            let object = json!({
                "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": namespace, "labels": { "team": namespace } },
            });
            api.apply(&Place::new("", "namespaces", "", namespace), &object);
        }
        fence.put_secret("system", "cmdb", "c2hhcmVk");
        fence.put_secret(SHOP, "cmdb", "b3du");
        fence.put_secret("system", "other", "b3RoZXI=");
        fence.put_secret(SHOP, "other", "b3RoZXI=");
        fence.share("shared", &to_shop());
        fence.service_template(GRANTED, "web");
        fence.service_template(FOREIGN, "web");
        fence
    }

    /// The same with a running operator.
    pub fn running() -> Self {
        let mut fence = Self::new();
        fence.start();
        fence
    }

    /// Starts the operator for all namespaces.
    pub fn start(&mut self) {
        self.paused.start_operator_with(|settings| {
            settings.namespaces = Vec::new();
            settings.removal_delay = Duration::ZERO;
        });
    }

    /// Puts credentials of an application, in base64, into a Secret.
    pub fn put_secret(&self, namespace: &str, name: &str, app_code: &str) {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name },
            "data": { "bk_app_code": app_code, "bk_app_secret": "c2VjcmV0", "bk_username": "YWRtaW4=" },
        });
        self.paused.api.apply(&Place::new("", "secrets", namespace, name), &secret);
    }

    /// Makes a shared connection, or gives it these grants.
    pub fn share(&self, name: &str, grants: &Value) {
        let spec = json!({
            "url": self.paused.sim().url(), "grants": grants,
            "credentialsSecretRef": { "namespace": "system", "name": "cmdb" },
        });
        self.put_shared(name, &spec);
    }

    /// Makes a shared connection with this spec, or gives it this spec.
    pub fn put_shared(&self, name: &str, spec: &Value) {
        let connection = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ClusterCmdbConnection", "metadata": { "name": name },
            "spec": spec,
        });
        self.paused.api.apply(&shared(name), &connection);
    }

    /// Makes a connection of the shop with this spec, or gives it this spec.
    pub fn put_own(&self, name: &str, spec: &Value) {
        let connection = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "CmdbConnection", "metadata": { "name": name },
            "spec": spec,
        });
        self.paused.api.apply(&own(name), &connection);
    }

    /// The ID of a service template.
    pub fn id_of(&self, biz_id: i64, name: &str) -> i64 {
        let state = self.paused.sim().state();
        state.service_templates.iter().find(|it| it.bk_biz_id == biz_id && it.name == name).unwrap().id
    }

    /// Makes a service template, and gives its ID.
    pub fn service_template(&self, biz_id: i64, name: &str) -> i64 {
        self.service_templates(biz_id, [name])[0]
    }

    /// Makes service templates, and gives their IDs.
    pub fn service_templates<'n>(&self, biz_id: i64, names: impl IntoIterator<Item = &'n str>) -> Vec<i64> {
        self.paused.sim().update_state(|state| {
            if !state.businesses.iter().any(|business| business.bk_biz_id == biz_id) {
                state.businesses.push(serde_json::from_value(json!({ "bk_biz_id": biz_id })).unwrap());
            }
            let last = state.service_templates.iter().map(|template| template.id).max().unwrap_or_default();
            let named = (last + 1..).zip(names).map(|(id, name)| {
                let template = json!({ "id": id, "name": name, "bk_biz_id": biz_id, "service_category_id": 2 });
                state.service_templates.push(serde_json::from_value(template).unwrap());
                id
            });
            named.collect()
        })
    }

    /// A user of CMDB makes a process template.
    pub fn by_hand(&self, service_template_id: i64, name: &str, function: &str, start_cmd: &str) -> i64 {
        let property = json!({
            "bk_process_name": { "value": name, "as_default_value": true },
            "bk_func_name": { "value": function, "as_default_value": true },
            "start_cmd": { "value": start_cmd, "as_default_value": true },
        });
        let property = serde_json::from_value(property).unwrap();
        self.paused.sim().add_process_template(service_template_id, "somebody", &property).unwrap()
    }

    /// Applies a set of the shop.
    pub fn apply(&self, name: &str, spec: &Value) {
        self.apply_object(SHOP, name, &json!({ "name": name }), spec);
    }

    /// Applies a set with these metadata.
    pub fn apply_object(&self, namespace: &str, name: &str, metadata: &Value, spec: &Value) {
        let set = json!({
            "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ProcessTemplateSet", "metadata": metadata, "spec": spec,
        });
        self.paused.api.apply(&set_of(namespace, name), &set);
    }

    /// Applies a set that has the operator's finalizer already.
    pub fn apply_held(&self, name: &str, spec: &Value) {
        self.apply_object(SHOP, name, &json!({ "name": name, "finalizers": [FINALIZER] }), spec);
    }

    /// Deletes a set; what holds it goes on holding it.
    pub fn delete(&self, name: &str) {
        self.paused.api.delete(&set_of(SHOP, name));
    }

    /// Takes every finalizer off a set, as its owner may.
    pub async fn release(&self, name: &str) {
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.paused.api.client(), SHOP);
        let patch = Patch::Merge(json!({ "metadata": { "finalizers": [] } }));
        sets.patch_metadata(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Gives the namespace of the shop another label.
    pub async fn label(&self, team: &str) {
        let namespaces: Api<Namespace> = Api::all(self.paused.api.client());
        let patch = Patch::Merge(json!({ "metadata": { "labels": { "team": team } } }));
        namespaces.patch_metadata(SHOP, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Gives a set a reference to another connection.
    pub async fn repoint(&self, name: &str, connection: &Value) {
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.paused.api.client(), SHOP);
        let mut connection = connection.clone();
        // A kind that the reference does not name must not stay.
        connection["kind"] = connection["kind"].take();
        let patch = Patch::Merge(json!({ "spec": { "connectionRef": connection } }));
        sets.patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// A set as it is now; None: it is gone.
    pub fn seen(&self, namespace: &str, name: &str) -> Option<Seen> {
        let set = self.paused.api.get(&set_of(namespace, name))?;
        Some(Seen::new(serde_json::from_value(Value::clone(&set)).unwrap()))
    }

    /// Waits until a set of the shop is Ready.
    pub async fn until_ready(&self, name: &str) {
        let is_ready = |_: &Paused| self.seen(SHOP, name).is_some_and(|seen| seen.is_ready());
        self.paused.until(LONG, "the set is Ready", is_ready).await;
    }

    /// Waits until a set of the shop is gone.
    pub async fn until_gone(&self, name: &str) {
        self.paused.until(LONG, "the set is gone", |_| self.seen(SHOP, name).is_none()).await;
    }

    /// Waits until a call is in flight: CMDB has it, and has not answered it.
    pub async fn until_in_flight(&self, call: &str) {
        let begun = Instant::now();
        while !self.requests().iter().any(|record| record.call == call && !record.finished) {
            assert!(begun.elapsed() < LONG, "{call} never comes");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// The requests that CMDB has received.
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.paused.sim().requests()
    }

    /// The requests that were made for sets: a connection that is checked names no business, or none that it lists.
    pub fn of_businesses(&self) -> Vec<RequestRecord> {
        self.requests().into_iter().filter(|record| record.body["bk_biz_id"] != 0).collect()
    }

    /// The requests of one call.
    pub fn calls(&self, call: &str) -> Vec<RequestRecord> {
        self.requests().into_iter().filter(|record| record.call == call).collect()
    }
}

/// A set over a connection.
pub fn spec(connection: &Value, biz_id: i64, service_template: &str, start_cmd: &str) -> Value {
    json!({
        "connectionRef": connection, "bizId": biz_id, "serviceTemplate": { "name": service_template },
        "deletionPolicy": "Delete",
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }],
    })
}

/// The spec with another value of one field.
pub fn with(mut spec: Value, field: &str, value: Value) -> Value {
    spec[field] = value;
    spec
}

/// A reference to a shared connection.
pub fn to_shared(name: &str) -> Value {
    json!({ "kind": "ClusterCmdbConnection", "name": name })
}

/// A grant of the business to the shop.
pub fn to_shop() -> Value {
    json!([{ "namespaces": { "matchNames": [SHOP] }, "bizIds": [GRANTED] }])
}

/// Where a shared connection is.
pub fn shared(name: &str) -> Place {
    Place::new(GROUP, "clustercmdbconnections", "", name)
}

/// Where a connection of the shop is.
pub fn own(name: &str) -> Place {
    Place::new(GROUP, "cmdbconnections", SHOP, name)
}

fn set_of(namespace: &str, name: &str) -> Place {
    Place::new(GROUP, "processtemplatesets", namespace, name)
}
