//! What the operator reports about a connection of either kind.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::SchemaChoice;

/// The state of a connection as the operator last saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionStatus {
    /// Ready; and, only while they are True, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status judges; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = -1))]
    pub observed_generation: Option<i64>,
    /// How the server keeps sockets, once a process template has shown it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaChoice>,
    /// Version of CMDB; only transport Direct shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The last value of the annotation cmdb.bk.tencent.com/reconcile-requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
    /// `ProcessTemplateSet` objects that use the connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sets: Option<i32>,
    /// Calls a second that CMDB is asked at most at present, learned from how it answers; never above the spec's limit. At least 1 is shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<i32>,
    /// `resourceVersion` of the Secret whose credentials are in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_version: Option<String>,
}
