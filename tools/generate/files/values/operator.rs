//! Options of the operator itself.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The Secrets that connections name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Secrets {
    /// Names of the only Secrets that may be read; they are read at each reconcile and each minute. Empty: all may be read, and
    /// their metadata is watched.
    #[schemars(inner(regex(pattern = r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")))]
    pub names: Vec<String>,
}

/// What is logged, and how.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Log {
    /// A tracing filter, such as `info` or `info,process_template_operator=debug`.
    #[schemars(length(min = 1))]
    pub filter: String,
    /// `json` for machines, `text` for people.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Json }
    }
}
