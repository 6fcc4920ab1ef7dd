//! The reasons of conditions and the outcomes of reconciles: closed sets, for status, events and metrics.

use strum::{EnumIter, EnumString, IntoEnumIterator as _, IntoStaticStr};

/// Why a condition is as it is, in the word that the status, the metrics and the documentation use.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, EnumIter, EnumString, IntoStaticStr, strum::Display,
)]
pub enum Reason {
    // Of sets whose templates were compared with CMDB.
    /// Every process has its template, as the set says.
    InSync,
    /// Writes are outstanding.
    Progressing,
    /// Writes are outstanding, and the last try failed. Of condition Reconciling alone.
    ProgressingWithRetry,
    /// A create was sent whose outcome is unknown.
    WaitingForOutcome,
    /// A template of this name exists and is not ours, or CMDB reported a conflict.
    Conflict,
    /// Somebody changed a template in CMDB, and `driftPolicy` is `Detect`.
    Drifted,
    /// A property has to change that CMDB cannot update.
    NeedsReplacement,
    /// The spec breaks a rule, or CMDB called a request invalid.
    Invalid,
    /// CMDB refused an item.
    Refused,
    /// The set is suspended.
    Suspended,
    /// The set was in sync and has not been checked for three intervals.
    Stale,
    /// The set is being deleted.
    Deleting,
    /// The set is being deleted, and something prevents that.
    DeletionBlocked,

    // Of sets and connections that could not be used.
    /// The connection does not exist.
    WaitingForConnection,
    /// The connection belongs to the cluster, and this operator serves some namespaces only.
    ConnectionNotServed,
    /// The connection cannot be read, or its URL is not permitted.
    ConnectionInvalid,
    /// The connection's Secret does not exist.
    WaitingForSecret,
    /// The connection's Secret lacks a key.
    CredentialsIncomplete,
    /// The object cannot be read as its kind.
    Malformed,
    /// The Kubernetes API server could not be reached.
    ApiServerUnavailable,
    /// The operator failed: a bug.
    InternalError,

    // What CMDB, or what is before it, answered.
    /// CMDB does not know what the request names.
    NotFound,
    /// CMDB denied the permission.
    PermissionDenied,
    /// The credentials were refused.
    Unauthorized,
    /// CMDB or its gateway throttles.
    Throttled,
    /// CMDB could not be reached.
    Unreachable,
    /// Rate limited by this process.
    Busy,
    /// Writes are withheld: this process does not lead.
    Halted,
    /// CMDB did not answer, and the outcome is unknown.
    Unavailable,
    /// What answers is no CMDB.
    NotCmdb,

    // What CMDB has, and what was granted.
    /// The service template does not exist.
    WaitingForServiceTemplate,
    /// There is no service template of this ID.
    ServiceTemplateNotFound,
    /// The service template has another name now.
    ServiceTemplateRenamed,
    /// The connection does not grant this.
    WaitingForGrant,
    /// The service category does not exist.
    CategoryNotFound,
    /// The connection leads to another CMDB than the one where the templates were made.
    EndpointChanged,
    /// The status could not be written.
    StatusNotWritten,
    /// The set has changed during its reconcile.
    Outdated,
    /// The object would become too large.
    TooLarge,
    /// The operator is shutting down, or the reconcile made no progress.
    Stopped,

    // Of connections alone.
    /// CMDB answers and takes the credentials.
    Reachable,
    /// Newer credentials were refused; those before them are in use.
    NewCredentialsRefused,
}

/// Stands for the reason of a set that has no condition Ready yet, or whose reason is none of ours.
pub const UNJUDGED: &str = "Unknown";

impl Reason {
    /// The word itself.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether something that the object refers to is missing, and waiting is what helps.
    #[must_use]
    pub fn is_wait(self) -> bool {
        self.as_str().starts_with("WaitingFor")
    }

    /// The reason of this word, if condition Ready of a set may have it.
    #[must_use]
    pub fn of_set(word: &str) -> Option<Self> {
        word.parse().ok().filter(|reason: &Self| reason.uses().is_of_sets())
    }

    // Where a reason is used. Exhaustive, so that a new one is not forgotten in the metrics.
    fn uses(self) -> Uses {
        match self {
            Self::InSync
            | Self::Progressing
            | Self::WaitingForOutcome
            | Self::Drifted
            | Self::NeedsReplacement
            | Self::Refused
            | Self::Stale
            | Self::Deleting
            | Self::DeletionBlocked => Uses::Sets,
            Self::Conflict
            | Self::Invalid
            | Self::Suspended
            | Self::WaitingForConnection
            | Self::ConnectionNotServed
            | Self::ConnectionInvalid
            | Self::WaitingForSecret
            | Self::CredentialsIncomplete
            | Self::Malformed
            | Self::ApiServerUnavailable
            | Self::InternalError
            | Self::NotFound
            | Self::PermissionDenied
            | Self::Unauthorized
            | Self::Throttled
            | Self::Unreachable
            | Self::Busy
            | Self::Halted
            | Self::Unavailable
            | Self::NotCmdb
            | Self::WaitingForServiceTemplate
            | Self::ServiceTemplateNotFound
            | Self::ServiceTemplateRenamed
            | Self::WaitingForGrant
            | Self::CategoryNotFound
            | Self::EndpointChanged
            | Self::StatusNotWritten
            | Self::Outdated
            | Self::TooLarge
            | Self::Stopped => Uses::Errors,
            Self::ProgressingWithRetry | Self::Reachable | Self::NewCredentialsRefused => Uses::Elsewhere,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Uses {
    // Condition Ready of sets.
    Sets,
    // Errors: condition Ready of sets, and outcomes of reconciles.
    Errors,
    // Neither.
    Elsewhere,
}

impl Uses {
    fn is_of_sets(self) -> bool {
        matches!(self, Self::Sets | Self::Errors)
    }
}

/// Every reason of condition Ready of a set, and [`UNJUDGED`], in alphabetical order.
#[must_use]
pub fn reasons() -> Vec<&'static str> {
    let mut all = words(Uses::is_of_sets);
    all.push(UNJUDGED);
    all.sort_unstable();
    all
}

/// Every outcome of a reconcile: "ok", and the reasons of errors in alphabetical order.
#[must_use]
pub fn outcomes() -> Vec<&'static str> {
    let mut errors = words(|uses| uses == Uses::Errors);
    errors.sort_unstable();
    std::iter::once("ok").chain(errors).collect()
}

fn words(of: impl Fn(Uses) -> bool) -> Vec<&'static str> {
    Reason::iter().filter(|reason| of(reason.uses())).map(Reason::as_str).collect()
}
