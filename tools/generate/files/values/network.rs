//! The network.

use k8s_openapi::api::networking::v1::{NetworkPolicyEgressRule, NetworkPolicyIngressRule, NetworkPolicyPeer};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::observation::Create;

/// What the pods may reach, and who may reach them.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NetworkPolicy {
    /// Whether there is a policy.
    pub enabled: bool,
    /// Where `apiServer.cidrs` are given, a `CiliumNetworkPolicy` besides: to Cilium no CIDR block means a node.
    /// `WhenPresent`: where the cluster has its kind.
    pub cilium: Create,
    /// Who may ask for metrics and health. Empty: everybody in the cluster.
    pub metrics_from: Vec<NetworkPolicyPeer>,
    /// The name servers of the cluster.
    pub dns: Dns,
    /// The API server.
    pub api_server: Reach,
    /// CMDB, its gateway, or the proxy on the way there. The ports of `connectionUrls` and of `proxy` come on top.
    pub cmdb: Reach,
    /// Further rules for what may reach the pods.
    pub extra_ingress: Vec<NetworkPolicyIngressRule>,
    /// Further rules for what the pods may reach.
    pub extra_egress: Vec<NetworkPolicyEgressRule>,
}

/// Name servers.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dns {
    /// Where they run. Empty: anywhere, for some run on the node itself, such as `NodeLocal DNSCache`.
    pub to: Vec<NetworkPolicyPeer>,
    /// Their ports, over UDP and TCP; 5353 is that of OpenShift's. Empty: no rule.
    #[schemars(inner(range(min = 1, max = 65535)))]
    pub ports: Vec<u16>,
}

/// Addresses and ports.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Reach {
    /// CIDR blocks. `"*"`: anything, nodes and pods too, which `0.0.0.0/0` does not mean to every network. Empty: no rule.
    #[schemars(inner(regex(pattern = r"^(\*|[0-9a-fA-F.:]+/[0-9]{1,3})$")))]
    pub cidrs: Vec<String>,
    /// TCP ports. Empty: no rule.
    #[schemars(inner(range(min = 1, max = 65535)))]
    pub ports: Vec<u16>,
}

impl Default for NetworkPolicy {
    fn default() -> Self {
        let anywhere = |ports: &[u16]| Reach { cidrs: vec!["*".to_owned()], ports: ports.to_vec() };
        Self {
            enabled: true,
            cilium: Create::WhenPresent,
            metrics_from: Vec::new(),
            dns: Dns { to: Vec::new(), ports: vec![53, 5353] },
            api_server: anywhere(&[443, 6443]),
            cmdb: anywhere(&[443]),
            extra_ingress: Vec::new(),
            extra_egress: Vec::new(),
        }
    }
}

/// Whom to trust where a connection does not say.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Trust {
    /// Certificates in PEM, in place of the public authorities that the image holds.
    #[schemars(regex(pattern = r"^(\s*-----BEGIN CERTIFICATE-----[\s\S]*)?$"))]
    pub ca_bundle: String,
    /// A `ConfigMap` that has them instead.
    #[schemars(regex(pattern = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"))]
    pub config_map: String,
    /// Key of the `ConfigMap`.
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl Default for Trust {
    fn default() -> Self {
        Self { ca_bundle: String::new(), config_map: String::new(), key: "ca.crt".to_owned() }
    }
}

/// Proxies.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Way {
    /// `HTTP_PROXY`.
    pub http: String,
    /// `HTTPS_PROXY`.
    pub https: String,
    /// `NO_PROXY`: hosts, domains and CIDR blocks, separated by commas.
    pub no_proxy: String,
}
