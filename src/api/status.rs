//! What the operator reports about a `ProcessTemplateSet`.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The state of a set as the operator last saw it. A cache: everything in it can be found again from the spec and CMDB.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessTemplateSetStatus {
    /// Ready; and, only while they are True, Reconciling and Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The generation of the spec that this status judges; -1 before the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("default" = -1))]
    pub observed_generation: Option<i64>,
    /// URL of the CMDB in which the IDs below were made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// `service_template_id` that the set's service template was found under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_template_id: Option<i64>,
    /// True while the set has made nothing in CMDB, so that its deletion needs no CMDB. Absent: it has, or that is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub made_nothing: Option<bool>,
    /// Processes that the spec names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_count: Option<i32>,
    /// Processes whose template is as the spec says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready_count: Option<i32>,
    /// For people: `readyCount` of `processCount`, for example 2/2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// One entry for each process of the spec, and for each that left it and whose template is still to be deleted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub processes: Vec<ProcessStatus>,
    /// Creates that were begun and whose end is not recorded yet. Each stands for one request, ever.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub pending: Vec<PendingIntent>,
    /// The last value of the annotation cmdb.bk.tencent.com/reconcile-requested-at that was acted on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

/// The state of one process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProcessStatus {
    /// Key of the process in the spec.
    pub name: String,
    /// ID of its process template in CMDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<i64>,
    /// `create_time` of that template, to the millisecond: an ID counts only together with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub created_at: Option<String>,
    /// User (`bk_username`) that created it, until a list has shown its `createdAt`; empty where the credentials have a token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// ID of the process template that is to take its place and still has a temporary name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replacement_id: Option<i64>,
    /// `bk_process_name` under which it was last in line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process_name: Option<String>,
    /// Where the process stands: `InSync`, Missing, Created, Undecided, Conflict, Differs, Drifted, `NeedsReplacement`, Removing, Invalid,
    /// Refused, or Unknown: nobody has looked since the spec was changed.
    #[schemars(schema_with = "state_schema")]
    pub state: ItemState,
    /// What is wrong, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Properties that this server does not have: sent once, never compared.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub ignored: Vec<String>,
    /// What somebody changed in CMDB, while it stands.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift: Option<Drift>,
    /// Hash of the wanted state when the template was last in line with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied_hash: Option<String>,
}

/// What somebody changed in CMDB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Drift {
    /// Properties that differ from the manifest; none when the template is gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub properties: Vec<String>,
    /// `modifier`: who changed the template last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub modifier: Option<String>,
    /// `last_time`: when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    pub changed_at: Option<String>,
}

/// Where a process stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ItemState {
    /// The template is as the spec says.
    InSync,
    /// It is to be created.
    Missing,
    /// CMDB answered that it is created; no list has shown it yet.
    Created,
    /// A create was begun, and it cannot be told yet whether it was stored.
    Undecided,
    /// A template of that name exists, differs, and is not ours.
    Conflict,
    /// The template is ours and is to be changed.
    Differs,
    /// Somebody changed or deleted the template in CMDB, and the set only reports that.
    Drifted,
    /// It differs in what CMDB does not update.
    NeedsReplacement,
    /// The process has left the spec; its template is to be deleted.
    Removing,
    /// The spec of this process cannot be carried out as it is.
    Invalid,
    /// CMDB refused it.
    Refused,
    /// Nobody has looked since the spec was changed; or a value that this version does not know.
    #[serde(other)]
    Unknown,
}

/// A create that was begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingIntent {
    /// Key of the process in the spec.
    pub name: String,
    /// `bk_process_name` that was sent.
    pub process_name: String,
    /// Hash of what was sent, without what differs between CMDB's schemas.
    pub hash: String,
    /// Highest template ID in the list that showed the name free: a template of ours has a higher one.
    pub after_id: i64,
    /// User (`bk_username`) that the create was sent with; empty where the credentials have a token, absent where an older version has
    /// announced it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

// An open string: a state added later must not make an older operator's objects invalid.
fn state_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({ "type": "string", "pattern": "^[A-Z][A-Za-z]*$", "maxLength": 64 })
}
