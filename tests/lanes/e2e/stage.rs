//! What the stories share: the cluster, the simulated CMDB, and the installations of the chart.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use cmdb_sim::RequestRecord;
use serde_json::{Value, json};

use crate::cluster::{Cluster, Pods, name};
use crate::simulator::{self, Simulator, namespace};
use crate::stand_in::OPERATOR_PODS;

/// The chart.
pub const CHART: &str = "charts/process-template-operator";

/// The installation: a release, and the namespace of that name.
pub const ONE: &str = "ptset-e2e-one";
/// The one beside it.
pub const TWO: &str = "ptset-e2e-two";
/// Namespaces of sets.
pub const SHOP: &str = "ptset-e2e-shop";
/// The same, for the installation beside.
pub const MALL: &str = "ptset-e2e-mall";

/// What the stories share.
pub struct Stage {
    pub cluster: Cluster,
    pub simulator: Simulator,
    pub image: Image,
    // Requests that were forbidden when their permissions had been uninstalled.
    forgiven: Cell<usize>,
}

/// An image as the chart's values name it.
#[derive(Clone)]
pub struct Image {
    pub registry: String,
    pub repository: String,
    pub tag: String,
}

impl Image {
    /// The parts of a name, whose registry has a dot or a port.
    pub fn parse(reference: &str) -> Self {
        let (path, tag) = reference.rsplit_once(':').unwrap_or_else(|| panic!("{reference} has no tag"));
        let (registry, repository) = match path.split_once('/') {
            Some((registry, repository)) if registry.contains(['.', ':']) => (registry, repository),
            _ => ("", path),
        };
        Self { registry: registry.to_owned(), repository: repository.to_owned(), tag: tag.to_owned() }
    }

    /// As containerd knows it.
    pub fn full_name(&self) -> String {
        let Self { registry, repository, tag } = self;
        if registry.is_empty() {
            format!("docker.io/library/{repository}:{tag}")
        } else {
            format!("{registry}/{repository}:{tag}")
        }
    }
}

impl Stage {
    /// A cluster with the images and a simulated CMDB.
    pub async fn set() -> Self {
        let cluster = Cluster::start().await;
        let reference = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run make e2e"));
        let image = Image::parse(&reference("PTSET_E2E_IMAGE"));
        let simulator = Image::parse(&reference("PTSET_E2E_SIMULATOR_IMAGE"));
        if let Some(node) = cluster.node() {
            for archive in ["ptset", "cmdb-sim"] {
                node.load(Path::new(&format!("target/image/{archive}.tar"))).await;
            }
            cluster.kubectl(&["wait", "--for=condition=Ready", "node", "--all", "--timeout=120s"]).await;
        }
        let simulator = Simulator::start(&cluster, &simulator.full_name()).await;
        Self { cluster, simulator, image, forgiven: Cell::new(0) }
    }

    /// The values of an installation, with these over them.
    pub fn values(&self, over: Value) -> Value {
        let Image { registry, repository, tag } = &self.image;
        let image = json!({ "registry": registry, "repository": repository, "tag": tag });
        // A create that a killed leader began is waited for no longer: the simulated CMDB stores at once, or not at all.
        let mut values = json!({ "image": image, "extraArgs": ["--create-grace-seconds=10"] });
        if matches!(self.cluster.pods, Pods::None(_)) {
            // The simulated CMDB is on loopback then.
            values["extraArgs"] = json!(["--create-grace-seconds=10", "--connections-anywhere"]);
        } else {
            values["connectionUrls"] = json!([self.simulator.url]);
            values["networkPolicy"] = json!({ "cmdb": { "ports": [8090] } });
            values["test"] = json!({
                "doctorArgs": ["--url", self.simulator.url, "--transport", "esb", "--biz", "2"],
                "doctorEnv": [{ "name": "PTSET_BK_APP_CODE", "value": "ptset" },
                    { "name": "PTSET_BK_APP_SECRET", "value": "a-secret" }, { "name": "PTSET_BK_USERNAME", "value": "admin" }],
            });
        }
        merge(&mut values, over);
        values
    }

    /// Installs or upgrades; what is asked of Helm must succeed.
    pub async fn helm(&self, action: &str, release: &str, values: &Value) -> String {
        let said = self.try_helm(action, release, CHART, values, &[]).await;
        said.unwrap_or_else(|said| panic!("helm {action}: {said}"))
    }

    /// The same with a chart of one's own and further arguments; what Helm said, good or bad.
    pub async fn try_helm(
        &self,
        action: &str,
        release: &str,
        chart: &str,
        values: &Value,
        arguments: &[&str],
    ) -> Result<String, String> {
        let file = self.cluster.file("values.json", &values.to_string());
        let usual = [action, release, chart, "--namespace", release, "--values", &file, "--wait", "--timeout", "120s"];
        let said = self.cluster.try_helm(&[&usual, arguments].concat()).await;
        let text = format!("{}{}", said.text, said.errors);
        if said.status == 0 { Ok(text) } else { Err(text) }
    }

    /// Uninstalls, and waits until the pods are gone. What they ask for meanwhile may be forbidden: they end after their
    /// permissions.
    pub async fn uninstall(&self, release: &str) {
        self.assert_nothing_forbidden();
        self.cluster.helm(&["uninstall", release, "--namespace", release, "--wait"]).await;
        self.until_pods(release, 0).await;
        self.forgiven.set(self.forbidden().len());
    }

    /// The API server has forbidden nothing that the installations asked for.
    pub fn assert_nothing_forbidden(&self) {
        assert_eq!(self.forbidden()[self.forgiven.get()..], Vec::<String>::new());
    }

    /// Waits until none of an installation's pods is left but so many.
    pub async fn until_pods(&self, release: &str, count: usize) -> Vec<Value> {
        let settled = async || {
            let all = self.cluster.get(&["pods", "--namespace", release, "--selector", OPERATOR_PODS]).await;
            let pods = self.cluster.pods_of(release).await;
            // Of nothing kubectl prints nothing.
            let all = all["items"].as_array().map_or(0, Vec::len);
            (all == count && pods.len() == count && pods.iter().all(is_ready)).then_some(pods)
        };
        self.cluster.until(&format!("{count} pods of {release}, all ready"), settled).await
    }

    /// The pod that holds the lease of an installation.
    pub async fn leader(&self, release: &str) -> Value {
        let leader = async || {
            let leases = self.cluster.get(&["leases", "--namespace", release]).await;
            let holder = leases["items"][0]["spec"]["holderIdentity"].as_str()?.to_owned();
            let (holder, _) = holder.rsplit_once('_')?;
            self.cluster.pods_of(release).await.into_iter().find(|pod| name(pod) == holder)
        };
        self.cluster.until("a pod holds the lease", leader).await
    }

    /// Who holds the lease now, pod and process.
    pub async fn holder(&self, release: &str) -> String {
        let leases = self.cluster.get(&["leases", "--namespace", release]).await;
        leases["items"][0]["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned()
    }

    /// The pod that does not lead.
    pub async fn standby(&self, release: &str) -> Value {
        let leader = self.leader(release).await;
        let pods = self.cluster.pods_of(release).await;
        pods.into_iter().find(|pod| name(pod) != name(&leader)).unwrap()
    }

    /// A namespace for sets, with a connection to the simulated CMDB.
    pub async fn put_connection(&self, shop: &str) {
        let metadata = |name: &str| json!({ "name": name, "namespace": shop });
        self.cluster
            .apply(&[
                namespace(shop),
                json!({ "apiVersion": "v1", "kind": "Secret", "metadata": metadata("cmdb"), "stringData":
                    { "bk_app_code": "ptset", "bk_app_secret": "a-secret", "bk_username": "admin" } }),
                json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
                    "metadata": metadata("default"), "spec": { "url": self.simulator.url, "transport": "Esb",
                        "credentialsSecretRef": { "name": "cmdb" } } }),
            ])
            .await;
    }

    /// Applies a set whose service template has its name.
    pub async fn put_set(&self, shop: &str, set: &str, processes: &[(String, &str)], over: Value) {
        let process = |(name, command): &(String, &str)| json!({ "name": name, "funcName": name, "startCmd": command });
        let processes: Vec<Value> = processes.iter().map(process).collect();
        let category = json!({ "category": { "parent": "Default", "name": "Default" } });
        let mut spec = json!({ "bizId": 2, "processes": processes,
            "serviceTemplate": { "name": format!("{shop}-{set}"), "createIfMissing": category } });
        merge(&mut spec, over);
        let metadata = json!({ "name": set, "namespace": shop });
        let set = json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
            "metadata": metadata, "spec": spec });
        self.cluster.apply(&[set]).await;
    }

    /// Waits, as people do, until a set is Ready.
    pub async fn until_ready(&self, shop: &str, set: &str) {
        let set = format!("ptset/{set}");
        self.cluster.kubectl(&["wait", "--for=condition=Ready", &set, "--namespace", shop, "--timeout=120s"]).await;
    }

    /// Has the leader look at a set, and waits until it has.
    pub async fn look_at(&self, shop: &str, set: &str, word: &str) {
        let annotation = format!("cmdb.bk.tencent.com/reconcile-requested-at={word}");
        self.cluster.kubectl(&["annotate", "ptset", set, "--namespace", shop, "--overwrite", &annotation]).await;
        let looked = async || {
            let set = self.cluster.get(&["ptset", set, "--namespace", shop]).await;
            (set["status"]["lastHandledReconcileAt"] == word).then_some(())
        };
        self.cluster.until("the leader looks at a set when asked", looked).await;
        self.until_ready(shop, set).await;
    }

    /// The IDs in the status of every set of a namespace: set and process, and its ID.
    pub async fn ids(&self, shop: &str) -> BTreeMap<(String, String), i64> {
        let sets = self.cluster.get(&["ptset", "--namespace", shop]).await;
        let mut ids = BTreeMap::new();
        for set in sets["items"].as_array().unwrap() {
            for process in set["status"]["processes"].as_array().into_iter().flatten() {
                if let Some(id) = process["id"].as_i64() {
                    ids.insert((name(set).to_owned(), process["name"].as_str().unwrap().to_owned()), id);
                }
            }
        }
        ids
    }

    /// Every request that changed something in the simulated CMDB.
    pub async fn writes(&self) -> Vec<RequestRecord> {
        self.simulator.writes(&self.cluster).await
    }

    /// The simulated CMDB has the templates of these sets, each once, under the IDs in their status.
    pub async fn assert_in_cmdb(&self, shop: &str) {
        let (ids, templates) = (self.ids(shop).await, self.simulator.templates(&self.cluster).await);
        assert!(!ids.is_empty());
        for ((set, process), id) in ids {
            assert_eq!(templates.get(&(format!("{shop}-{set}"), process.clone())), Some(&vec![id]), "{set} {process}");
        }
    }

    // None where the log of the API server is not ours.
    fn forbidden(&self) -> Vec<String> {
        let events = match &self.cluster.pods {
            Pods::Node(node) => node.audit_events(),
            Pods::None(stand_in) => stand_in.audit_events(),
            Pods::Current => Vec::new(),
        };
        let is_ours = |event: &&Value| {
            let user = event["user"]["username"].as_str().unwrap_or_default();
            user.starts_with("system:serviceaccount:ptset-e2e-")
        };
        let ours: Vec<&Value> = events.iter().filter(is_ours).collect();
        assert!(matches!(self.cluster.pods, Pods::Current) || !ours.is_empty(), "the API server has noted nothing");
        let is_forbidden = |event: &&&Value| event["responseStatus"]["code"] == 403;
        ours.iter().filter(is_forbidden).map(|event| format!("{} {}", event["verb"], event["requestURI"])).collect()
    }

    /// The end of what every operator has logged.
    pub async fn logs(&self) -> String {
        let mut text = String::new();
        for release in [ONE, TWO] {
            for pod in self.cluster.pods_of(release).await {
                let log = self.cluster.logs(release, name(&pod)).await;
                let lines: Vec<&str> = log.lines().collect();
                let end = lines[lines.len().saturating_sub(20)..].join("\n");
                text.extend([name(&pod), ":\n", &end, "\n"]);
            }
        }
        text
    }

    /// Ends what is ours, and takes out of a cluster of somebody else what was put there, but for the CRDs.
    pub async fn end(self) {
        if matches!(self.cluster.pods, Pods::Current) {
            for release in [ONE, TWO] {
                self.cluster.try_helm(&["uninstall", release, "--namespace", release, "--wait"]).await;
            }
            // What a story that failed has left goes too, although nobody takes its finalizer off any more.
            for namespace in [SHOP, MALL] {
                let sets =
                    self.cluster.try_kubectl(&["--namespace", namespace, "get", "ptset", "--output", "name"]).await;
                for set in sets.text.lines().filter(|_| sets.status == 0) {
                    let free = r#"{"metadata":{"finalizers":null}}"#;
                    let patch = ["--namespace", namespace, "patch", set, "--type", "merge", "--patch", free];
                    self.cluster.try_kubectl(&patch).await;
                }
            }
            let namespaces = [ONE, TWO, SHOP, MALL, simulator::NAMESPACE];
            let delete = ["delete", "namespace", "--ignore-not-found", "--timeout=120s"];
            self.cluster.try_kubectl(&[&delete, &namespaces[..]].concat()).await;
        }
        self.simulator.stop().await;
        self.cluster.stop().await;
    }
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
}

/// Puts objects into objects; what is no object replaces what was there.
fn merge(into: &mut Value, over: Value) {
    match (into, over) {
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, over) => *into = over,
    }
}

/// How long the chart lets a leader be silent.
pub const LEASE: Duration = Duration::from_secs(15);
