//! The pods.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DeploymentStrategy, RollingUpdateDeployment};
use k8s_openapi::api::core::v1::{
    Affinity, Capabilities, Container, EnvVar, HostAlias, PodDNSConfig, PodSecurityContext, ResourceRequirements,
    SeccompProfile, SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Strings;

/// The uid and gid of the image.
const NOBODY: i64 = 65532;

/// What a pod may be told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Workload {
    /// How pods are exchanged. A new instance stands by at once; the one that leads gives the lease back when it ends.
    pub strategy: DeploymentStrategy,
    /// Labels of the pods besides the chart's own.
    pub pod_labels: Strings,
    /// Annotations of the pods.
    pub pod_annotations: Strings,
    /// What the container asks for and may take: as much memory as it asks for. It stores nothing but its log.
    pub resources: ResourceRequirements,
    /// Security context of the pod: that of the standard "restricted".
    pub pod_security_context: PodSecurityContext,
    /// Security context of the container: that of the standard "restricted".
    pub security_context: SecurityContext,
    /// Whether user and groups are left to the cluster, as OpenShift wants it. `Auto`: where the cluster is OpenShift.
    pub adapt_security_context: Adapt,
    /// Labels that a node must have. The image is of one architecture: add `kubernetes.io/arch` where nodes are of several.
    pub node_selector: Strings,
    /// Where the pods should run. Empty: apart from each other, where that is possible. A rule that they must not share a
    /// node is about a release and a revision (`matchLabelKeys`), else no upgrade finds a place.
    pub affinity: Affinity,
    /// Taints that the pods tolerate.
    pub tolerations: Vec<Toleration>,
    /// How the pods spread; one without a labelSelector is about the operator's own pods.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Priority class of the pods.
    pub priority_class_name: String,
    /// Runtime class of the pods.
    pub runtime_class_name: String,
    /// Scheduler of the pods. Empty: the cluster's own.
    pub scheduler_name: String,
    /// Further entries of /etc/hosts.
    pub host_aliases: Vec<HostAlias>,
    /// How names are looked up. Empty: as Kubernetes does.
    pub dns_policy: DnsPolicy,
    /// Further settings of the resolver.
    pub dns_config: PodDNSConfig,
    /// `false`: the pods' users are other users on the node. Absent: as Kubernetes does.
    pub host_users: Option<bool>,
    /// Further variables of the environment; `PTSET_…` are options of `ptset run`.
    pub extra_env: Vec<EnvVar>,
    /// Containers that run before the operator.
    pub extra_init_containers: Vec<Container>,
    /// Containers that run beside it.
    pub extra_containers: Vec<Container>,
    /// Further volumes.
    pub extra_volumes: Vec<Volume>,
    /// Where they are mounted.
    pub extra_volume_mounts: Vec<VolumeMount>,
}

/// Whether the security contexts are adapted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum Adapt {
    Auto,
    Always,
    Never,
}

/// How names are looked up.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum DnsPolicy {
    #[serde(rename = "")]
    Unset,
    ClusterFirst,
    Default,
    None,
}

impl Default for Workload {
    fn default() -> Self {
        let quantities = |pairs: &[(&str, &str)]| -> BTreeMap<String, Quantity> {
            pairs.iter().map(|(name, amount)| ((*name).to_owned(), Quantity((*amount).to_owned()))).collect()
        };
        let seccomp = SeccompProfile { type_: "RuntimeDefault".to_owned(), ..SeccompProfile::default() };
        let exchange = RollingUpdateDeployment {
            max_surge: Some(IntOrString::Int(1)),
            max_unavailable: Some(IntOrString::Int(0)),
        };
        Self {
            strategy: DeploymentStrategy { type_: Some("RollingUpdate".to_owned()), rolling_update: Some(exchange) },
            pod_labels: Strings::new(),
            pod_annotations: Strings::new(),
            resources: ResourceRequirements {
                requests: Some(quantities(&[("cpu", "50m"), ("memory", "256Mi"), ("ephemeral-storage", "64Mi")])),
                limits: Some(quantities(&[("cpu", "1"), ("memory", "256Mi"), ("ephemeral-storage", "256Mi")])),
                ..ResourceRequirements::default()
            },
            pod_security_context: PodSecurityContext {
                run_as_non_root: Some(true),
                run_as_user: Some(NOBODY),
                run_as_group: Some(NOBODY),
                fs_group: Some(NOBODY),
                seccomp_profile: Some(seccomp.clone()),
                ..PodSecurityContext::default()
            },
            security_context: SecurityContext {
                allow_privilege_escalation: Some(false),
                privileged: Some(false),
                read_only_root_filesystem: Some(true),
                run_as_non_root: Some(true),
                run_as_user: Some(NOBODY),
                run_as_group: Some(NOBODY),
                capabilities: Some(Capabilities { drop: Some(vec!["ALL".to_owned()]), ..Capabilities::default() }),
                seccomp_profile: Some(seccomp),
                ..SecurityContext::default()
            },
            adapt_security_context: Adapt::Auto,
            node_selector: Strings::from([("kubernetes.io/os".to_owned(), "linux".to_owned())]),
            affinity: Affinity::default(),
            tolerations: Vec::new(),
            topology_spread_constraints: vec![TopologySpreadConstraint {
                max_skew: 1,
                topology_key: "topology.kubernetes.io/zone".to_owned(),
                when_unsatisfiable: "ScheduleAnyway".to_owned(),
                ..TopologySpreadConstraint::default()
            }],
            priority_class_name: String::new(),
            runtime_class_name: String::new(),
            scheduler_name: String::new(),
            host_aliases: Vec::new(),
            dns_policy: DnsPolicy::Unset,
            dns_config: PodDNSConfig::default(),
            host_users: None,
            extra_env: Vec::new(),
            extra_init_containers: Vec::new(),
            extra_containers: Vec::new(),
            extra_volumes: Vec::new(),
            extra_volume_mounts: Vec::new(),
        }
    }
}

/// How many instances may be taken away at a time.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Disruption {
    /// Whether there is a budget.
    pub enabled: bool,
    /// Instances that may be away at a time.
    #[schemars(range(min = 1, max = 10))]
    pub max_unavailable: u8,
}

impl Default for Disruption {
    fn default() -> Self {
        Self { enabled: true, max_unavailable: 1 }
    }
}
