//! `ClusterCmdbConnection`: how to reach one CMDB, shared between namespaces, with grants.

use std::collections::BTreeMap;

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionStatus, EndpointSpec, TlsSpec};

/// Endpoint and credentials of one CMDB, and who may touch what there.
#[allow(clippy::duplicated_attributes, reason = "each printer column has its own")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cmdb.bk.tencent.com",
    version = "v1alpha1",
    kind = "ClusterCmdbConnection",
    plural = "clustercmdbconnections",
    singular = "clustercmdbconnection",
    shortname = "ccmdbconn",
    category = "bkcmdb",
    doc = "How to reach one CMDB, for the ProcessTemplateSet objects of the namespaces that its grants name.",
    derive = "PartialEq",
    status = "ConnectionStatus",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether CMDB answers and takes the credentials."
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why Ready is what it is."
    ),
    printcolumn(
        name = "Sets",
        type_ = "integer",
        json_path = ".status.sets",
        description = "ProcessTemplateSet objects that use the connection."
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "URL", type_ = "string", json_path = ".spec.url", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1,
        description = "What happened, and what to do."
    )
)]
#[serde(rename_all = "camelCase")]
pub struct ClusterCmdbConnectionSpec {
    /// The CMDB, and how it is to be spoken to.
    #[serde(flatten)]
    pub endpoint: EndpointSpec,
    /// `bk_app_code`, `bk_app_secret` and one of `bk_username`, `bk_token`, `access_token`: a Secret with these keys. With transport Direct only
    /// `bk_username` is read.
    pub credentials_secret_ref: SecretRef,
    /// Whom we trust, and who we are, when url is https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec<SecretRef>>,
    /// Who may touch what; one grant suffices, at most 100. Looked at again before every write to CMDB: a grant that is taken back stops the
    /// next. Absent or empty: nobody.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    pub grants: Vec<Grant>,
}

/// Lets the sets of some namespaces touch some businesses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Grant {
    /// The namespaces, by name or by label.
    pub namespaces: NamespaceSelection,
    /// `bk_biz_id` of each business, 1 to 1000 of them.
    #[schemars(
        length(min = 1, max = 1000),
        inner(range(min = 1, max = 9_007_199_254_740_991_i64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub biz_ids: Vec<i64>,
    /// The service templates of these businesses. Absent: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_templates: Option<ServiceTemplateSelection>,
}

/// Namespaces: those that have one of the names, and those whose labels the selector matches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NamespaceSelection {
    /// Names of namespaces, at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub match_names: Vec<String>,
    /// Labels of namespaces. Absent or empty: none, so that a mistyped one opens nothing; matchExpressions with
    /// kubernetes.io/metadata.name and Exists matches every namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelection>,
}

/// Labels that an object must have: all that is said must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelSelection {
    /// Labels with their values, at most 32.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, String>,
    /// What else is asked of labels, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub match_expressions: Vec<LabelExpression>,
}

/// What is asked of one label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LabelExpression {
    /// Name of the label, at most 317 characters.
    #[schemars(length(min = 1, max = 317))]
    pub key: String,
    /// How its value is judged. In and `NotIn` look at values, and match nothing without any; Exists and `DoesNotExist` do not.
    pub operator: LabelOperator,
    /// The values, at most 100.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 63)), extend("x-kubernetes-list-type" = "set"))]
    pub values: Vec<String>,
}

/// How the value of a label is judged, as selectors of Kubernetes do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// Service templates: those that have one of the names, and those that have one of the IDs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServiceTemplateSelection {
    /// Names of service templates, as CMDB has them at the time, at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000), inner(length(min = 1, max = 256)), extend("x-kubernetes-list-type" = "set"))]
    pub match_names: Vec<String>,
    /// `service_template_id` of each, at most 1000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 1000),
        inner(range(min = 1, max = 9_007_199_254_740_991_i64)),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub match_ids: Vec<i64>,
}

/// A Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Namespace of the Secret, 1 to 63 characters.
    #[schemars(length(min = 1, max = 63), regex(pattern = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"))]
    pub namespace: String,
    /// Name of the Secret, 1 to 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}
