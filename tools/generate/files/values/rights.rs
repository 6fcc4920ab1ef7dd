//! Accounts, rights and definitions.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Strings;

/// The account that the operator acts as.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ServiceAccount {
    /// Whether the chart makes it.
    pub create: bool,
    /// Its name. Empty: that of the other objects.
    #[schemars(regex(pattern = r"^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?)?$"))]
    pub name: String,
    /// Its annotations.
    pub annotations: Strings,
}

impl Default for ServiceAccount {
    fn default() -> Self {
        Self { create: true, name: String::new(), annotations: Strings::new() }
    }
}

/// Rights.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rbac {
    /// Whether the chart makes the roles of the operator, and binds them.
    pub create: bool,
    /// What the cluster's own roles for users get to do with sets and connections.
    pub aggregate: Aggregate,
}

/// The cluster's own roles.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Aggregate {
    /// `view` reads sets and connections.
    pub view: bool,
    /// `edit` reads and writes sets.
    pub edit: bool,
    /// `admin` reads and writes connections: they make the operator send requests.
    pub admin: bool,
}

impl Default for Rbac {
    fn default() -> Self {
        Self { create: true, aggregate: Aggregate { view: true, edit: true, admin: true } }
    }
}

/// The custom resource definitions.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Crds {
    /// Whether they come with the chart, and are upgraded with it. They stay when the release goes, with all sets.
    pub install: bool,
}

impl Default for Crds {
    fn default() -> Self {
        Self { install: true }
    }
}
