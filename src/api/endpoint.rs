//! What both kinds of connection say of the CMDB that they lead to.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Seconds that one call may take when the connection does not say: above every server's own limit.
pub const DEFAULT_TIMEOUT_SECONDS: i32 = 45;

/// Calls in flight when the connection does not say.
pub const DEFAULT_MAX_CONCURRENT: i32 = 4;

/// Calls that may begin in a second when the connection does not say.
pub const DEFAULT_REQUESTS_PER_SECOND: i32 = 20;

/// A CMDB, the way there, and how it is to be spoken to.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EndpointSpec {
    /// The base URL, for example <https://bkapi.example.com>, at most 2048 characters, without user, query or fragment; the transport adds its
    /// paths.
    #[schemars(length(min = 1, max = 2048), regex(pattern = r"^https?://[^/?#@\s]+(/[^?#\s]*)?$"))]
    pub url: String,
    /// How CMDB is reached. Esb: the BlueKing ESB. Gateway: the BlueKing API gateway; url then has the gateway's name and stage, as in
    /// <https://bkapi.example.com/api/bk-cmdb/prod>. Direct: CMDB's own API server, which trusts whoever reaches it. Absent: Esb.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transport: Option<TransportChoice>,
    /// How the server keeps sockets. Flat: `bind_ip`, `port` and `protocol` (before CMDB 3.8.14 and 3.9.5). `BindInfo`: `bind_info` rows. Auto: as the
    /// first listed template shows; until one does, both forms are sent. Absent: Auto.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<SchemaChoice>,
    /// `bk_supplier_account`: the supplier account, at most 64 characters. Absent: "0".
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub supplier_account: Option<String>,
    /// Seconds that one call may take, 31 to 300: above the servers' own 30, for a call that is given up may still be stored. Absent: 45.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 31, max = 300))]
    pub timeout_seconds: Option<i32>,
    /// Bounds of what this connection may ask of CMDB.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
}

impl fmt::Debug for EndpointSpec {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // One that no schema has judged yet may hold a password.
        let url = if self.url.contains('@') { "***" } else { &self.url };
        formatter
            .debug_struct("EndpointSpec")
            .field("url", &url)
            .field("transport", &self.transport)
            .field("schema", &self.schema)
            .field("supplier_account", &self.supplier_account)
            .field("timeout_seconds", &self.timeout_seconds)
            .field("limits", &self.limits)
            .finish()
    }
}

/// Bounds of what a connection may ask of CMDB. Connections that lead to one url with the same credentials share the lowest of theirs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Calls in flight at a time, 1 to 100. Absent: 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: Option<i32>,
    /// Calls that may begin in a second, 1 to 1000; fewer when CMDB says that these are too many. Absent: 20.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub requests_per_second: Option<i32>,
}

/// Whom we trust, and who we are, on a connection with TLS. `R`: how its kind names a Secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", bound(deserialize = "R: Deserialize<'de>"))]
pub struct TlsSpec<R> {
    /// Certificates in PEM, at most 65536 characters: only what they have signed is trusted. Absent: the system's certificate authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 65_536))]
    pub ca_bundle: Option<String>,
    /// A Secret with our certificate and key in PEM, under the keys tls.crt and tls.key. CMDB's own API server asks for one when it speaks TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_secret_ref: Option<R>,
}

/// Ways to reach CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum TransportChoice {
    Esb,
    Gateway,
    Direct,
}

/// How the server keeps sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "a documented variant changes the schema")]
pub enum SchemaChoice {
    Auto,
    Flat,
    BindInfo,
}
