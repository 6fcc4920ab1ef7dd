//! What the controller reports about itself, for metrics and probes.

use std::sync::Weak;
use std::time::Duration;

use super::leader::state::LeadershipState;
use super::snapshot::StateSource;
use super::watch::readiness_check::ReadinessCheck;

/// What is done with process templates in CMDB.
pub const ACTIONS: &[&str] = &["created", "updated", "deleted"];

/// What is done about what somebody else changed in CMDB.
pub const DRIFT_OUTCOMES: &[&str] = &["corrected", "detected"];

/// The kinds whose status is written.
pub const KINDS: &[&str] = &["ProcessTemplateSet", "CmdbConnection", "ClusterCmdbConnection"];

/// Observes what the controller does.
pub trait Observer: Send + Sync {
    /// A reconcile of a set ended: one of [`super::outcomes`].
    fn reconciled(&self, _outcome: &'static str) {}

    /// Somebody else changed or deleted a template of a set: one of [`DRIFT_OUTCOMES`].
    fn drifted(&self, _outcome: &'static str) {}

    /// So many process templates were written in CMDB: one of [`ACTIONS`].
    fn wrote(&self, _action: &'static str, _count: usize) {}

    /// A status was written: one of [`KINDS`].
    fn status_written(&self, _kind: &'static str) {}

    /// A generation of a set has become Ready, so long after this process first knew of it.
    fn set_became_ready(&self, _after: Duration) {}

    /// Whether a readiness check passes and what its line of `/readyz` says, or what to do if it does not.
    fn readiness_changed(&self, _check: ReadinessCheck, _state: Result<String, String>) {}

    /// Whether this process leads.
    fn report_standing(&self, _standing: &LeadershipState) {}

    /// The controller has started; `source` gives its state while it runs.
    fn controller_started(&self, _source: Weak<dyn StateSource>) {}
}
