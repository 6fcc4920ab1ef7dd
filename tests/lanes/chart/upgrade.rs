//! How the chart comes and goes: what stands in CMDB stays as it is.

use std::collections::BTreeMap;
use std::path::Path;

use cmdb_sim::{self as sim, Simulator};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, ResourceExt as _};
use process_template_operator::api::{CmdbConnection, ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::helm::{self, CHART, Helm, NAMESPACE, RELEASE};
use crate::next_chart::{NEW_FIELD, next_chart};
use crate::stand_in::StandIn;
use crate::users;
use test_support::control_plane::client;
use test_support::world::{PATIENCE, Seen, put_service_template};

const SETS: [&str; 3] = ["web", "queue", "kept"];
const SHOP: &str = "team-a";

/// What stays is all that there is to learn; a step that fails ends the test.
pub struct Learnt {
    pub steps: usize,
    pub writes: usize,
    pub ids_kept: usize,
}

struct Cluster {
    stand_in: StandIn,
    client: Client,
    folder: tempfile::TempDir,
    sim: Simulator,
    looks: usize,
}

/// Install, upgrade, roll back, uninstall and install again, with one Helm after the other.
pub async fn judge() -> Learnt {
    let mut cluster = Cluster::start().await;
    let next = next_version(cluster.folder.path());
    let values = cluster.folder.path().join("values.json");
    // Leaders that change soon, and a simulated CMDB on this machine.
    let arguments = json!({ "extraArgs": ["--connections-anywhere"], "leaseDurationSeconds": 3 });
    std::fs::write(&values, arguments.to_string()).unwrap();
    let values = values.to_str().unwrap();
    let mut learnt = Learnt { steps: 0, writes: 0, ids_kept: 0 };
    let mut first: Option<(BTreeMap<String, Vec<i64>>, usize)> = None;
    for helm in Helm::both().await {
        let steps: [(&str, Vec<&str>, bool); 5] = [
            ("install", vec![CHART, "--create-namespace", "--values", values], false),
            ("upgrade", vec![&next, "--values", values], true),
            ("rollback", vec!["1"], false),
            ("uninstall", vec![], false),
            ("install", vec![CHART, "--values", values], false),
        ];
        for (action, arguments, has_field) in steps {
            let usual = [action, RELEASE];
            let waits = ["--namespace", NAMESPACE, "--wait", "--timeout", "120s"];
            let arguments = [&usual[..], &arguments, &waits].concat();
            helm.run_with(&cluster.stand_in.kubeconfig(), &arguments).await.good(&format!("{} {action}", helm.name));
            learnt.steps += 1;
            if first.is_none() {
                cluster.apply().await;
                users::assert_roles(&cluster.client, SHOP).await;
            }
            if action == "uninstall" {
                cluster.assert_crds_stay().await;
            } else {
                assert_eq!(cluster.has_new_field().await, has_field, "{} {action}", helm.name);
                cluster.look().await;
            }
            if has_field {
                cluster.use_new_field().await;
            }
            let (ids, writes) = first.get_or_insert((cluster.ids().await, cluster.writes()));
            assert_eq!(cluster.ids().await, *ids, "{} {action}", helm.name);
            assert_ne!(*writes, 0, "what was written first was not counted");
            learnt.writes = cluster.writes() - *writes;
            learnt.ids_kept = ids.values().map(Vec::len).sum();
        }
        // The other one begins anew.
        let arguments = ["uninstall", RELEASE, "--namespace", NAMESPACE, "--wait"];
        helm.run_with(&cluster.stand_in.kubeconfig(), &arguments).await.good("uninstall");
    }
    cluster.stand_in.stop().await;
    cluster.sim.stop().await;
    learnt
}

// The chart of the next version, by its number too.
fn next_version(folder: &Path) -> String {
    let chart = next_chart(CHART, folder);
    // With another version of the chart, its pods are others.
    let description = chart.join("Chart.yaml");
    let text = std::fs::read_to_string(&description).unwrap();
    let version = format!("\nversion: \"{}\"\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(text.matches(&version).count(), 1);
    std::fs::write(&description, text.replace(&version, "\nversion: 99.0.0\n")).unwrap();
    chart.display().to_string()
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let stand_in = StandIn::start(folder.path()).await;
        let client = client(&stand_in.kubeconfig()).await;
        Self { stand_in, client, folder, sim: Simulator::start(sim::Options::default()).unwrap(), looks: 0 }
    }

    fn sets(&self) -> Api<ProcessTemplateSet> {
        Api::namespaced(self.client.clone(), SHOP)
    }

    // A namespace with a connection and sets, one of which would take its templates with it.
    async fn apply(&self) {
        let namespace = serde_json::from_value(json!({ "metadata": { "name": SHOP } })).unwrap();
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(self.client.clone());
        namespaces.create(&PostParams::default(), &namespace).await.unwrap();
        let secret = serde_json::from_value(json!({ "metadata": { "name": "cmdb" }, "stringData":
            { "bk_app_code": "ptset", "bk_app_secret": "a-secret", "bk_username": "admin" } }));
        let secrets: Api<k8s_openapi::api::core::v1::Secret> = Api::namespaced(self.client.clone(), SHOP);
        secrets.create(&PostParams::default(), &secret.unwrap()).await.unwrap();
        let connection = json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
            "metadata": { "name": "default" },
            "spec": { "url": self.sim.url(), "credentialsSecretRef": { "name": "cmdb" } } });
        let connections: Api<CmdbConnection> = Api::namespaced(self.client.clone(), SHOP);
        connections.create(&PostParams::default(), &serde_json::from_value(connection).unwrap()).await.unwrap();
        for set in SETS {
            put_service_template(&self.sim, set);
            let deletion = if set == "kept" { "Orphan" } else { "Delete" };
            let processes = ["first", "second"].map(|name| json!({ "name": name, "funcName": name }));
            let object = json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
                "metadata": { "name": set },
                "spec": { "bizId": 2, "serviceTemplate": { "name": set }, "processes": processes,
                    "deletionPolicy": deletion } });
            self.sets().create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        }
    }

    // Has every set looked at, and waits until it was, and is Ready.
    async fn look(&mut self) {
        self.looks += 1;
        let word = format!("look-{}", self.looks);
        let asked = Patch::Merge(json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: word } } }));
        for name in SETS {
            self.sets().patch(name, &PatchParams::default(), &asked).await.unwrap();
            let deadline = Instant::now() + PATIENCE;
            loop {
                let seen = Seen::new(self.sets().get(name).await.unwrap());
                if seen.is_ready() && seen.status.last_handled_reconcile_at.as_deref() == Some(&word) {
                    break;
                }
                assert!(Instant::now() < deadline, "{name} is not looked at within a minute\n{}", seen.describe());
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    async fn ids(&self) -> BTreeMap<String, Vec<i64>> {
        let sets = self.sets().list(&ListParams::default()).await.unwrap().items;
        let ids: BTreeMap<_, _> = sets.into_iter().map(|set| (set.name_any(), Seen::new(set).ids())).collect();
        assert!(ids.len() == SETS.len() && ids.values().all(|ids| ids.len() == 2), "{ids:?}");
        ids
    }

    fn writes(&self) -> usize {
        let is_read = |call: &str| call.starts_with("list_") || call.starts_with("search_") || call.starts_with("get_");
        self.sim.requests().iter().filter(|record| !is_read(&record.call)).count()
    }

    async fn crd(&self) -> Value {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        serde_json::to_value(crds.get("processtemplatesets.cmdb.bk.tencent.com").await.unwrap()).unwrap()
    }

    async fn has_new_field(&self) -> bool {
        let crd = self.crd().await;
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        schema["properties"]["spec"]["properties"].get(NEW_FIELD).is_some()
    }

    // A set has the field of the next version; the rollback must cope with it.
    async fn use_new_field(&self) {
        let resource = kube::api::ApiResource::erase::<ProcessTemplateSet>(&());
        let sets: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), SHOP, &resource);
        let patch = Patch::Merge(json!({ "spec": { NEW_FIELD: "new" } }));
        let deadline = Instant::now() + PATIENCE;
        // The API server needs a moment to serve a changed CRD.
        while sets.patch("web", &PatchParams::default(), &patch).await.unwrap().data["spec"][NEW_FIELD] != "new" {
            assert!(Instant::now() < deadline, "the new field is not kept");
            sleep(Duration::from_millis(50)).await;
        }
    }

    async fn assert_crds_stay(&self) {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
        for crd in helm::crds() {
            let name = crd["metadata"]["name"].as_str().unwrap();
            let crd = crds.get(name).await.unwrap();
            assert!(crd.metadata.deletion_timestamp.is_none(), "{name} goes");
        }
    }
}
