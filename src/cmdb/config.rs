//! What a client is built from.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;

use super::{Credentials, Limiters, Limits, Transport, UrlPolicy, WriteGate};

/// TLS settings of a client, used when its URL is https.
#[derive(Clone, Debug, Default)]
pub struct Tls {
    /// Trusted CA certificates, in PEM. `None`: those of the system.
    pub ca_bundle: Option<String>,
    /// Client certificate and its key, in PEM.
    pub identity: Option<SecretString>,
}

/// What a client is built from: one CMDB, how it is reached, and the caller's identity.
pub struct Config {
    /// Whose connection it is: memory for answers is divided among owners, because hosts, ports and paths are easily made up.
    pub owner: String,
    /// Base URL. The transport adds its paths.
    pub url: String,
    /// How CMDB is reached.
    pub transport: Transport,
    /// TLS settings.
    pub tls: Tls,
    /// The URLs and addresses that are permitted.
    pub url_policy: Arc<UrlPolicy>,
    /// `bk_supplier_account`
    pub supplier_account: String,
    /// The application and the user that the calls are made as.
    pub credentials: Credentials,
    /// Timeout of one call, 45 s by default. It is longer than the 30 s that each server allows itself, because a write
    /// that timed out here may still be stored there.
    pub timeout: Duration,
    /// Limits of this client. Clients of the same URL and caller share the lowest limits among them.
    pub limits: Limits,
    /// The limiters that are shared with those clients.
    pub limiters: Arc<Limiters>,
    /// Checked just before each write is sent.
    pub write_gate: Arc<dyn WriteGate>,
}

impl Debug for Config {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        // A URL that was not checked yet may contain a password.
        let url = if self.url.contains('@') { "***" } else { &self.url };
        formatter
            .debug_struct("Config")
            .field("url", &url)
            .field("transport", &self.transport)
            .field("tls", &self.tls)
            .field("url_policy", &self.url_policy)
            .field("supplier_account", &self.supplier_account)
            .field("credentials", &self.credentials)
            .field("timeout", &self.timeout)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
