//! What the chart can be told: the types behind values.yaml, its schema and its table.

mod image;
mod network;
mod observation;
mod operator;
mod pod;
mod rights;
mod schema;
mod text;

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::LocalObjectReference;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

pub use image::Image;
pub use network::{NetworkPolicy, Trust, Way};
pub use observation::{Metrics, Test};
pub use operator::{Log, Secrets};
pub use pod::{Disruption, Workload};
pub use rights::{Crds, Rbac, ServiceAccount};
pub use schema::schema;
pub use text::{table, values_yaml};

/// Labels, annotations and the like.
pub type Strings = BTreeMap<String, String>;

/// An object of any kind; only its kind is looked at.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AnyObject {
    /// Its API group and version.
    api_version: String,
    /// Its kind.
    kind: String,
    #[serde(flatten)]
    rest: Map<String, Value>,
}

/// Everything that values.yaml may hold.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Values {
    /// What Helm gives to every chart of a release; nothing of it is read.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub global: Map<String, Value>,
    /// Name that stands in place of the chart's within object names.
    #[schemars(regex(pattern = r"^([a-z0-9]([-a-z0-9]{0,51}[a-z0-9])?)?$"))]
    pub name_override: String,
    /// Name of all objects, in place of release and chart name.
    #[schemars(regex(pattern = r"^([a-z]([-a-z0-9]{0,51}[a-z0-9])?)?$"))]
    pub fullname_override: String,
    /// Labels that every object gets.
    pub common_labels: Strings,
    /// Annotations that every object gets.
    pub common_annotations: Strings,
    /// Instances; one leads, the others stand by.
    #[schemars(range(min = 0, max = 10))]
    pub replicas: u8,
    /// The image.
    pub image: Image,
    /// Secrets with which it is pulled.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Namespaces that are served, with rights there only. Empty: all namespaces, and `ClusterCmdbConnection` objects.
    #[schemars(inner(regex(pattern = r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")))]
    pub watch_namespaces: Vec<String>,
    /// The Secrets that connections name.
    pub secrets: Secrets,
    /// Where connections may lead: their URLs begin with one of these. Empty: any https URL.
    #[schemars(inner(regex(pattern = r"^https?://[^,\s]+$")))]
    pub connection_urls: Vec<String>,
    /// The longest `timeoutSeconds` of your connections; a pod may take 30 s more to end, so that its last call is answered.
    #[schemars(range(min = 31, max = 300))]
    pub call_timeout_seconds: u16,
    /// Seconds without a renewal after which another instance leads.
    #[schemars(range(min = 3, max = 300))]
    pub lease_duration_seconds: u16,
    /// What is logged, and how.
    pub log: Log,
    /// Further arguments of `ptset run`; its help lists them.
    pub extra_args: Vec<String>,
    /// Whom to trust besides what connections say themselves.
    pub trust: Trust,
    /// The way to CMDB where there is no direct one.
    pub proxy: Way,
    #[serde(flatten)]
    pub pod: Workload,
    /// How many instances may be taken away at a time.
    pub pod_disruption_budget: Disruption,
    /// What the pods may reach, and who may reach them.
    pub network_policy: NetworkPolicy,
    /// The account that the operator acts as.
    pub service_account: ServiceAccount,
    /// Its rights, and those that your users get.
    pub rbac: Rbac,
    /// The custom resource definitions.
    pub crds: Crds,
    /// Metrics, alerts and the dashboard.
    pub metrics: Metrics,
    /// What `helm test` asks.
    pub test: Test,
    /// Objects of your own that come and go with the release; a template each.
    pub extra_objects: Vec<AnyObject>,
}

impl Default for Values {
    fn default() -> Self {
        Self {
            global: Map::new(),
            name_override: String::new(),
            fullname_override: String::new(),
            common_labels: Strings::new(),
            common_annotations: Strings::new(),
            replicas: 2,
            image: Image::default(),
            image_pull_secrets: Vec::new(),
            watch_namespaces: Vec::new(),
            secrets: Secrets::default(),
            connection_urls: Vec::new(),
            call_timeout_seconds: 300,
            lease_duration_seconds: 15,
            log: Log::default(),
            extra_args: Vec::new(),
            trust: Trust::default(),
            proxy: Way::default(),
            pod: Workload::default(),
            pod_disruption_budget: Disruption::default(),
            network_policy: NetworkPolicy::default(),
            service_account: ServiceAccount::default(),
            rbac: Rbac::default(),
            crds: Crds::default(),
            metrics: Metrics::default(),
            test: Test::default(),
            extra_objects: Vec::new(),
        }
    }
}
