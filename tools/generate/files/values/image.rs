//! The image.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The image of the operator.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// Registry, with its port. Empty: what the node takes for a name without one.
    #[schemars(regex(pattern = r"^([A-Za-z0-9.-]+(:[0-9]+)?)?$"))]
    pub registry: String,
    /// Repository within the registry.
    #[schemars(regex(pattern = r"^[a-z0-9]+([._/-]+[a-z0-9]+)*$"))]
    pub repository: String,
    /// Tag. Empty: the chart's `appVersion`.
    #[schemars(regex(pattern = r"^([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?$"))]
    pub tag: String,
    /// Digest, which wins over the tag.
    #[schemars(regex(pattern = r"^(sha256:[0-9a-f]{64})?$"))]
    pub digest: String,
    /// When it is pulled.
    pub pull_policy: PullPolicy,
}

/// When an image is pulled.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl Default for Image {
    fn default() -> Self {
        Self {
            registry: String::new(),
            repository: "process-template-operator".to_owned(),
            tag: String::new(),
            digest: String::new(),
            pull_policy: PullPolicy::IfNotPresent,
        }
    }
}
