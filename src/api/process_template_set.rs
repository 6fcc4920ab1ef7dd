//! `ProcessTemplateSet`: the processes that one service template must have.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;
use super::{Process, ProcessTemplateSetStatus, Property};
use crate::outside;

/// Name of the connection that a set uses when it names none.
pub const DEFAULT_CONNECTION_NAME: &str = "default";

/// Seconds between two looks at CMDB when the set does not say.
pub const DEFAULT_RESYNC_INTERVAL_SECONDS: i32 = 600;

/// Most processes of one set.
pub const MAX_PROCESSES: usize = 500;

/// What is said when the identity of a set is changed.
pub const IMMUTABLE_MESSAGE: &str = "must not change: make a new set instead";

/// What is said when a service template is named by both or neither of its names.
pub const EXACTLY_ONE_MESSAGE: &str = "exactly one of id and name must be set";

/// What is said when a wish to create comes without a name.
pub const CREATE_NEEDS_NAME_MESSAGE: &str = "createIfMissing needs name";

/// What is said when CMDB would refuse the name of a service template that is to be created.
pub const NEW_NAME_MESSAGE: &str =
    "createIfMissing needs a name that CMDB accepts: without white space and without any of \\ | / : * , < > \" ? #";

/// What is said when a category is not named in exactly one way.
pub const CATEGORY_MESSAGE: &str = "either id, or parent and name must be set";

/// The processes that one service template of one business must have. Ready means that the templates are right; instances follow
/// only after CMDB has synchronised them.
#[allow(clippy::duplicated_attributes, reason = "each printer column has its own")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cmdb.bk.tencent.com",
    version = "v1alpha1",
    kind = "ProcessTemplateSet",
    plural = "processtemplatesets",
    singular = "processtemplateset",
    shortname = "ptset",
    category = "bkcmdb",
    namespaced,
    doc = "The processes that one service template of one business must have in CMDB.",
    derive = "PartialEq",
    status = "ProcessTemplateSetStatus",
    selectable = ".spec.bizId",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether every process template is as the set says. Instances follow only after CMDB has synchronised them."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready is what it is."
    ),
    printcolumn(
        name = "Templates",
        type_ = "string",
        json_path = ".status.summary",
        description = "Templates in sync, of those that the set names."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(
        name = "Business",
        type_ = "integer",
        json_path = ".spec.bizId",
        priority = 1,
        description = "bk_biz_id"
    ),
    printcolumn(
        name = "Service Template",
        type_ = "integer",
        json_path = ".status.serviceTemplateId",
        priority = 1,
        description = "service_template_id"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1,
        description = "What happened, and what to do."
    )
)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [schema::lists_disjoint(&["locked", "unlocked", "unmanaged"])]))]
pub struct ProcessTemplateSetSpec {
    /// `bk_biz_id`: the business, 1 or more. Immutable.
    #[schemars(
        range(min = 1, max = 9_007_199_254_740_991_i64),
        extend("x-kubernetes-validations" = [schema::rule("self == oldSelf", IMMUTABLE_MESSAGE)])
    )]
    pub biz_id: i64,
    /// `service_template_id`: the service template, by id or by name. Immutable but for createIfMissing.
    pub service_template: ServiceTemplateSelector,
    /// The connection to CMDB. Absent: the `CmdbConnection` "default" of the set's namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_ref: Option<ConnectionRef>,
    /// `processes`: the processes, 1 to 500, keyed by name.
    #[schemars(
        length(min = 1, max = MAX_PROCESSES),
        extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"])
    )]
    pub processes: Vec<Process>,
    /// What happens to templates that leave the set, or with the set. Orphan leaves them in CMDB; Delete deletes them,
    /// those that were adopted too. Absent: Orphan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_policy: Option<DeletionPolicy>,
    /// What happens to a template of the same name that this set did not create. Never leaves it alone: the process is in
    /// Conflict, and after a loss of the status every process is. `IfIdentical` takes it over, with no write, when it is as
    /// the manifest says. Always takes it over and changes it. Absent: `IfIdentical`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adoption_policy: Option<AdoptionPolicy>,
    /// What happens when somebody changes or deletes a template in CMDB. Correct puts it back; Detect only reports it.
    /// Absent: Correct.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drift_policy: Option<DriftPolicy>,
    /// What happens when funcName changes, which CMDB does not update. Never reports it. Recreate creates a new template
    /// and deletes the old one: instances lose their binding until CMDB synchronises them. Absent: Never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replace_policy: Option<ReplacePolicy>,
    /// Look at CMDB and report, but write nothing there. Absent: false.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// `as_default_value`: what a property with a value is that no list names. Absent: Locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock_policy: Option<LockPolicy>,
    /// `as_default_value` = true: properties that instances must follow, in every process whose own lists do not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub locked: Option<Vec<Property>>,
    /// `as_default_value` = false: properties in which instances may differ, in every process whose own lists do not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub unlocked: Option<Vec<Property>>,
    /// Properties that are neither sent to CMDB, nor compared, nor reported, in every process whose own lists do not name them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::property_names")]
    pub unmanaged: Option<Vec<Property>>,
    /// Seconds between two looks at CMDB when nothing changes, 5 to 86400. Absent: 600.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 5, max = 86_400))]
    pub resync_interval_seconds: Option<i32>,
}

/// The service template, by id or by name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule("has(self.id) != has(self.name)", EXACTLY_ONE_MESSAGE),
    schema::rule("!has(self.createIfMissing) || has(self.name)", CREATE_NEEDS_NAME_MESSAGE),
    schema::rule(
        r#"!has(self.createIfMissing) || !has(self.name) || !self.name.matches('[\\s\\\\|/:*,<>"?#]')"#,
        NEW_NAME_MESSAGE,
    ),
    schema::rule(
        "(has(self.id) ? has(oldSelf.id) && self.id == oldSelf.id : !has(oldSelf.id)) && (has(self.name) ? has(oldSelf.name) && self.name == oldSelf.name : !has(oldSelf.name))",
        IMMUTABLE_MESSAGE,
    ),
]))]
pub struct ServiceTemplateSelector {
    /// `service_template_id`: its ID, 1 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub id: Option<i64>,
    /// `name`: its name in the business, 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::service_template_name")]
    pub name: Option<String>,
    /// Create the service template when the business has none of that name, which then has no white space and none of \ | / : * , < > " ? #. What it made is never deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub create_if_missing: Option<CreateIfMissing>,
}

/// How a missing service template is created.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateIfMissing {
    /// `service_category_id`: the category that the new service template gets: a leaf of CMDB's two-level tree.
    pub category: CategorySelector,
}

/// A service category, by id, or by its own name and that of its parent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = [
    schema::rule("has(self.id) ? !has(self.parent) && !has(self.name) : has(self.parent) && has(self.name)", CATEGORY_MESSAGE),
]))]
pub struct CategorySelector {
    /// `service_category_id`: its ID, 1 or more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub id: Option<i64>,
    /// `name` of the parent category, 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub parent: Option<String>,
    /// `name` of the category, 1 to 256 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub name: Option<String>,
}

/// A connection: of the set's own namespace, or one of the cluster whose grants name that namespace.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionRef {
    /// Kind of the connection. Absent: `CmdbConnection`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ConnectionKind>,
    /// Its name, 1 to 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}

/// Kinds of connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum ConnectionKind {
    #[default]
    CmdbConnection,
    ClusterCmdbConnection,
}

impl ConnectionKind {
    /// Its name in Kubernetes.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CmdbConnection => "CmdbConnection",
            Self::ClusterCmdbConnection => "ClusterCmdbConnection",
        }
    }
}

/// What happens to templates that leave the set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum DeletionPolicy {
    #[default]
    Orphan,
    Delete,
}

/// What happens to a template of the same name that the set did not create.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum AdoptionPolicy {
    Never,
    #[default]
    IfIdentical,
    Always,
}

/// What happens when somebody changes a template in CMDB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum DriftPolicy {
    #[default]
    Correct,
    Detect,
}

/// What happens when a property changes that CMDB does not update.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum ReplacePolicy {
    #[default]
    Never,
    Recreate,
}

/// The lock of a property with a value that no list names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum LockPolicy {
    Locked,
    Unlocked,
}

impl ProcessTemplateSetSpec {
    /// Kind of the connection that this set uses.
    #[must_use]
    pub fn connection_kind(&self) -> ConnectionKind {
        self.connection_ref.as_ref().and_then(|reference| reference.kind).unwrap_or_default()
    }

    /// Name of the connection that this set uses.
    #[must_use]
    pub fn connection_name(&self) -> &str {
        self.connection_ref.as_ref().map_or(DEFAULT_CONNECTION_NAME, |reference| &reference.name)
    }

    /// What happens to templates that leave the set, or with it.
    #[must_use]
    pub fn deletion(&self) -> DeletionPolicy {
        self.deletion_policy.unwrap_or_default()
    }

    /// Whether nothing may be written to CMDB.
    #[must_use]
    pub fn is_suspended(&self) -> bool {
        self.suspend == Some(true)
    }

    /// Time between two looks at CMDB when nothing changes.
    #[must_use]
    pub fn resync_interval(&self) -> std::time::Duration {
        let seconds = self.resync_interval_seconds.unwrap_or(DEFAULT_RESYNC_INTERVAL_SECONDS);
        outside::interval(seconds.into())
    }
}
