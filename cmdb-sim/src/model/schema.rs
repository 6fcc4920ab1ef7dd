//! The two generations of process properties.

use serde::{Deserialize, Serialize};

/// Which generation of the process property schema the server speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schema {
    /// Listening addresses are rows of `bind_info`: CMDB 3.8.14, 3.9.5 and later.
    #[default]
    BindInfo,
    /// Listening addresses are the properties `bind_ip`, `port` and `protocol`: older servers.
    Flat,
}
