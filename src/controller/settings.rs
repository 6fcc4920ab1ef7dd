//! How the controller runs, as its caller decides it.

use std::sync::Arc;
use std::time::Duration;

use super::liveness::Liveness;
use crate::cmdb::{UrlPolicy, WriteGate};

/// [`Settings::shared_places`] without an option.
pub const DEFAULT_SHARED_PLACES: u16 = 100;

/// How Secret changes are detected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SecretAccess {
    /// The metadata of all is watched, which takes the right to list them.
    Watch,
    /// Those that connections name are read, at each reconcile and each minute, which takes the right to get them.
    Read,
}

/// How the controller runs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Which instance of the operator this is, for events.
    pub instance: String,
    /// Namespaces to watch; none: all, and the connections of the cluster.
    pub namespaces: Vec<String>,
    /// How Secret changes are detected.
    pub secrets: SecretAccess,
    /// Places for reconciles that connections share, beyond those that each has of its own: they bound memory, not calls to
    /// CMDB.
    pub shared_places: u16,
    /// Longest time without progress before a reconcile is stopped between two calls.
    pub deadline: Duration,
    /// Time after which no CMDB server can still be working on a create.
    pub create_grace: Duration,
    /// Time for which what has left a set is not deleted yet: another set may be about to adopt it.
    pub removal_delay: Duration,
    /// URLs that connections may have.
    pub url_policy: UrlPolicy,
    /// Whether writes to CMDB may begin.
    pub write_gate: Arc<dyn WriteGate>,
    /// The progress of the process, which its tasks and reconciles report.
    pub liveness: Arc<Liveness>,
}
