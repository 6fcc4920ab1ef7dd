//! What is put on the cluster, and, where the cluster is not ours, taken away again.

use std::cell::Cell;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use k8s_openapi::api::core::v1::{Namespace, Secret};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, ListParams, PostParams};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use process_template_operator::api::{CmdbConnection, ProcessTemplateSet};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::parts::LOOK;
use crate::say::{say, step};

/// Namespace of the examples.
pub const NAMESPACE: &str = "blueking";

/// What `kubectl apply` is given in a demo.
pub const EXAMPLES: [&str; 3] = ["examples/api-document.yaml", "examples/shop.yaml", "examples/platform/"];

// Objects with this label and our token were made by us.
const LABEL: &str = "cmdb.bk.tencent.com/sandbox";

const CRD_PATIENCE: Duration = Duration::from_mins(1);

/// The objects that this run has made.
pub struct Objects {
    client: Client,
    is_local: bool,
    token: String,
    examples_applied: Cell<bool>,
}

impl Objects {
    /// None yet.
    pub fn new(client: Client, is_local: bool) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let token = format!("{}-{}", std::process::id(), now.as_millis());
        Self { client, is_local, token, examples_applied: Cell::new(false) }
    }

    /// Makes the CRDs, a namespace, and in it a connection to a simulator. Nothing that is there already is changed.
    pub async fn apply(&self, url: &str) -> anyhow::Result<()> {
        self.check_namespace().await?;
        let (mut names, mut all_made) = (Vec::new(), true);
        for crd in crds()? {
            let name = crd["metadata"]["name"].as_str().context("a CRD without a name")?.to_owned();
            if !self.create::<CustomResourceDefinition>(None, crd).await? {
                say(&format!("         the CRD {name} is there already: kept as it is, now and at the end"));
                all_made = false;
            }
            names.push(name);
        }
        if !all_made {
            say("         if an operator runs in that cluster too, stop it meanwhile: only one may run at a time");
        }
        for name in &names {
            let crds: Api<CustomResourceDefinition> = Api::all(self.client.clone());
            let established = await_condition(crds, name, conditions::is_crd_established());
            timeout(CRD_PATIENCE, established).await.with_context(|| format!("the CRD {name} is not accepted"))??;
        }
        self.until_served().await?;
        self.check_empty().await?;
        self.create::<Namespace>(None, json!({ "metadata": { "name": NAMESPACE } })).await?;
        let secret = json!({
            "metadata": { "name": "cmdb" },
            "stringData": {
                "bk_app_code": "process-template-operator", "bk_app_secret": "simulated", "bk_username": "admin",
            },
        });
        if !self.create::<Secret>(Some(NAMESPACE), secret).await? {
            bail!("the Secret cmdb is in the namespace {NAMESPACE} already, and is not overwritten: {}", elsewhere());
        }
        let connection = json!({
            "metadata": { "name": "default" },
            // Nobody else asks the simulated CMDB.
            "spec": { "url": url, "credentialsSecretRef": { "name": "cmdb" }, "limits": { "requestsPerSecond": 1000 } },
        });
        if !self.create::<CmdbConnection>(Some(NAMESPACE), connection).await? {
            bail!("the connection default is in the namespace {NAMESPACE} already: {}", elsewhere());
        }
        Ok(())
    }

    /// Applies the examples.
    pub async fn apply_examples(&self, cluster: &Cluster) -> anyhow::Result<()> {
        // Before it is done, for it may be given up halfway.
        self.examples_applied.set(true);
        cluster.kubectl(&with_examples("apply")).await.map(drop)
    }

    /// Takes away what was made here, unless it ends with the cluster.
    pub async fn remove(&self, cluster: &Cluster) -> anyhow::Result<()> {
        if self.is_local {
            return Ok(());
        }
        let removed = step("what was made in the cluster: removed", self.remove_from(cluster)).await;
        removed.map_err(|error| {
            let label = format!("{LABEL}={}", self.token);
            anyhow!(
                "not everything that was made in {} could be removed: {error:#}\nLook with\n  \
                 kubectl get namespaces,crd -l {label}\n  kubectl -n {NAMESPACE} get secrets,ptset,cmdbconn",
                cluster.name
            )
        })
    }

    async fn remove_from(&self, cluster: &Cluster) -> anyhow::Result<()> {
        let label = format!("--selector={LABEL}={}", self.token);
        let gone_is_fine = "--ignore-not-found";
        // Nothing holds them; and kubectl would wait for one after the other.
        let at_once = [gone_is_fine, "--wait=false"];
        if self.examples_applied.get() {
            let mut arguments = with_examples("delete");
            arguments.extend(at_once);
            cluster.kubectl(&arguments).await?;
        }
        let crds = cluster.kubectl(&["get", "crd", "--output=name"]).await?;
        let served = crds.lines().filter(|line| line.ends_with(".cmdb.bk.tencent.com")).count() == self::crds()?.len();
        let kinds = if served { "cmdbconnections.cmdb.bk.tencent.com,secrets" } else { "secrets" };
        cluster.kubectl(&["delete", kinds, "--namespace", NAMESPACE, &label, at_once[0], at_once[1]]).await?;
        // Its contents go with it only where a controller manager runs; we need not wait for long.
        let namespace = cluster.kubectl(&["delete", "namespaces", &label, gone_is_fine, "--timeout=20s"]).await;
        if let Err(error) = namespace {
            let left =
                cluster.kubectl(&["get", "namespaces", &label, "--output=jsonpath={.items[*].status.phase}"]).await?;
            if left.trim() != "Terminating" {
                return Err(error);
            }
            say(&format!(
                "         the namespace {NAMESPACE} is marked for deletion; the cluster has not finished it yet"
            ));
        }
        let made = cluster.kubectl(&["get", "crd", &label, "--output=name"]).await?;
        if served && !made.is_empty() {
            let every = ["get", "processtemplatesets,cmdbconnections", "--all-namespaces", "--output=name"];
            let left = cluster.kubectl(&every).await?;
            if !left.trim().is_empty() {
                say("         the CRDs stay, for objects that were not made here need them");
                return Ok(());
            }
        }
        cluster.kubectl(&["delete", "crd", &label, gone_is_fine, "--timeout=30s"]).await.map(drop)
    }

    // A namespace that is going takes no new objects.
    async fn check_namespace(&self) -> anyhow::Result<()> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let found = namespaces.get_opt(NAMESPACE).await.context("cannot read namespaces")?;
        if found.is_some_and(|namespace| namespace.metadata.deletion_timestamp.is_some()) {
            bail!("the namespace {NAMESPACE} is still being deleted: try again when it is gone");
        }
        Ok(())
    }

    // The operator would work on whatever is there, and with the simulator's IDs.
    async fn check_empty(&self) -> anyhow::Result<()> {
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let connections: Api<CmdbConnection> = Api::namespaced(self.client.clone(), NAMESPACE);
        let (sets, connections) =
            (sets.list(&ListParams::default()).await?.items, connections.list(&ListParams::default()).await?.items);
        if !sets.is_empty() || !connections.is_empty() {
            let (sets, connections) = (sets.len(), connections.len());
            bail!(
                "the namespace {NAMESPACE} already has sets ({sets}) or connections ({connections}), which are not to \
                 be mixed up with a simulated CMDB: {}",
                elsewhere()
            );
        }
        Ok(())
    }

    // Discovery lags behind for a moment.
    async fn until_served(&self) -> anyhow::Result<()> {
        let sets: Api<ProcessTemplateSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let connections: Api<CmdbConnection> = Api::namespaced(self.client.clone(), NAMESPACE);
        let deadline = Instant::now() + CRD_PATIENCE;
        loop {
            let few = ListParams::default().limit(1);
            let served = (sets.list(&few).await, connections.list(&few).await);
            match served {
                (Ok(_), Ok(_)) => return Ok(()),
                (Err(error), _) | (_, Err(error)) if Instant::now() > deadline => {
                    return Err(error).context("the CRDs are not served");
                }
                _ => sleep(LOOK).await,
            }
        }
    }

    // Whether it was made; false when one of that name is there.
    async fn create<K>(&self, namespace: Option<&str>, mut object: Value) -> anyhow::Result<bool>
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let kind = ApiResource::erase::<K>(&());
        object["apiVersion"] = kind.api_version.clone().into();
        object["kind"] = kind.kind.clone().into();
        object["metadata"]["labels"] = json!({ LABEL: self.token });
        let object: DynamicObject = serde_json::from_value(object)?;
        let name = object.metadata.name.clone().unwrap_or_default();
        let api: Api<DynamicObject> = match namespace {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &kind),
            None => Api::all_with(self.client.clone(), &kind),
        };
        match api.create(&PostParams::default(), &object).await {
            Ok(_) => Ok(true),
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error).with_context(|| format!("the {} {name} could not be made", kind.kind)),
        }
    }
}

fn elsewhere() -> String {
    format!("remove it if it is left over (kubectl delete namespace {NAMESPACE}), or choose another context")
}

fn with_examples(verb: &str) -> Vec<&str> {
    let files = EXAMPLES.iter().flat_map(|file| ["--filename", file]);
    std::iter::once(verb).chain(files).collect()
}

fn crds() -> anyhow::Result<Vec<Value>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds");
    let mut crds = Vec::new();
    for entry in fs::read_dir(&folder).with_context(|| format!("no folder {}", folder.display()))? {
        let path = entry?.path();
        let text = fs::read_to_string(&path)?;
        crds.push(serde_saphyr::from_str(&text).with_context(|| format!("{} is not YAML", path.display()))?);
    }
    Ok(crds)
}
