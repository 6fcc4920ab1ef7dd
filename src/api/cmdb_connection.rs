//! `CmdbConnection`: how to reach one CMDB, usable in its own namespace.

use kube::CustomResource;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ConnectionStatus, EndpointSpec, TlsSpec};

/// Endpoint and credentials of one CMDB, for the `ProcessTemplateSet` objects of its namespace.
#[allow(clippy::duplicated_attributes, reason = "each printer column has its own")]
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "cmdb.bk.tencent.com",
    version = "v1alpha1",
    kind = "CmdbConnection",
    plural = "cmdbconnections",
    singular = "cmdbconnection",
    shortname = "cmdbconn",
    category = "bkcmdb",
    namespaced,
    doc = "How to reach one CMDB, for the ProcessTemplateSet objects of its namespace.",
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
pub struct CmdbConnectionSpec {
    /// The CMDB, and how it is to be spoken to.
    #[serde(flatten)]
    pub endpoint: EndpointSpec,
    /// `bk_app_code`, `bk_app_secret` and one of `bk_username`, `bk_token`, `access_token`: a Secret of this namespace with these keys. With
    /// transport Direct only `bk_username` is read.
    pub credentials_secret_ref: LocalSecretRef,
    /// Whom we trust, and who we are, when url is https.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsSpec<LocalSecretRef>>,
}

/// A Secret in the namespace of the object that names it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalSecretRef {
    /// Name of the Secret, 1 to 253 characters.
    #[schemars(length(min = 1, max = 253), regex(pattern = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))]
    pub name: String,
}
