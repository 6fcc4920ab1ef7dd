//! Why a reconcile failed, as the status says it.

use std::fmt::Write as _;
use std::time::Duration;

use super::reason::Reason;
use crate::api::SecretRef;
use crate::cmdb::ErrorClass;
use crate::controller::connection::name::ConnectionName;
use crate::engine;
use crate::engine::Disposition;
use crate::plan::Violation;

/// Why a reconcile failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The connection that the set names does not exist.
    #[error("{connection} does not exist{}", in_this_namespace(connection))]
    ConnectionMissing {
        /// The connection.
        connection: ConnectionName,
    },
    /// The connection belongs to the cluster, and this operator serves some namespaces only.
    #[error("{connection} is not served: this operator watches some namespaces only")]
    ConnectionNotServed {
        /// The connection.
        connection: ConnectionName,
    },
    /// The connection cannot be read as one, or leads where it may not.
    #[error("{connection} cannot be used: {reason}")]
    ConnectionInvalid {
        /// The connection.
        connection: ConnectionName,
        /// What is wrong with it.
        reason: String,
    },
    /// The Secret that the connection names does not exist.
    #[error("Secret {:?}, which {connection} names, does not exist in {}", secret.name, space_of(connection, secret))]
    SecretMissing {
        /// The connection.
        connection: ConnectionName,
        /// The Secret.
        secret: SecretRef,
    },
    /// The Secret lacks a key.
    #[error("Secret {secret:?} lacks {missing}")]
    CredentialsIncomplete {
        /// Name of the Secret.
        secret: String,
        /// What is missing.
        missing: &'static str,
    },
    /// The spec breaks rules that concern the whole set.
    #[error("the spec is not valid: {}", list(.0))]
    Invalid(Vec<Violation>),
    /// The object cannot be read as a set.
    #[error("the object cannot be read as a ProcessTemplateSet: {0}")]
    Malformed(String),
    /// The engine could not carry on.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The API server could not be asked.
    #[error("the Kubernetes API server did not answer as it should: {0}")]
    ApiServer(String),
    /// The set goes, and is suspended.
    #[error("the set is suspended")]
    Suspended,
    /// A reconcile panicked. A defect of the operator.
    #[error("the operator failed on this object: a defect")]
    Panicked,
}

fn in_this_namespace(connection: &ConnectionName) -> &'static str {
    if connection.is_shared() { "" } else { " in this namespace" }
}

fn space_of(connection: &ConnectionName, secret: &SecretRef) -> String {
    if connection.is_shared() { format!("namespace {:?}", secret.namespace) } else { "this namespace".to_owned() }
}

fn list(violations: &[Violation]) -> String {
    let mut text = String::new();
    for violation in violations {
        let _ = write!(text, "{}{violation}", if text.is_empty() { "" } else { "; " });
    }
    text
}

impl Error {
    /// The reason of the condition, and the outcome in the metrics.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::ConnectionMissing { .. } => Reason::WaitingForConnection,
            Self::ConnectionNotServed { .. } => Reason::ConnectionNotServed,
            Self::ConnectionInvalid { .. } => Reason::ConnectionInvalid,
            Self::SecretMissing { .. } => Reason::WaitingForSecret,
            Self::CredentialsIncomplete { .. } => Reason::CredentialsIncomplete,
            Self::Invalid(_) => Reason::Invalid,
            Self::Malformed(_) => Reason::Malformed,
            Self::Engine(error) => engine_reason(error),
            Self::ApiServer(_) => Reason::ApiServerUnavailable,
            Self::Suspended => Reason::Suspended,
            Self::Panicked => Reason::InternalError,
        }
    }

    /// [`Self::reason`] as a word.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.reason().as_str()
    }

    /// When to look again, neither sooner nor later.
    #[must_use]
    pub fn due(&self) -> Option<Duration> {
        match self {
            Self::Engine(error) => error.due(),
            _ => None,
        }
    }

    /// Whether nothing has failed, and it is only not this set's turn.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self, Self::Engine(error) if error.is_busy())
    }

    /// What is to be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::ConnectionMissing { .. } | Self::SecretMissing { .. } | Self::ApiServer(_) | Self::Panicked => {
                Disposition::RetryLater(None)
            }
            Self::ConnectionNotServed { .. }
            | Self::ConnectionInvalid { .. }
            | Self::CredentialsIncomplete { .. }
            | Self::Invalid(_)
            | Self::Malformed(_)
            | Self::Suspended => Disposition::WaitForChange,
            Self::Engine(error) => error.disposition(),
        }
    }

    /// Whether looking succeeded and found something wrong, rather than that it could not look.
    #[must_use]
    pub fn is_finding(&self) -> bool {
        match self {
            Self::Invalid(_) | Self::Malformed(_) | Self::Suspended => true,
            Self::Engine(error) => match error {
                engine::Error::ServiceTemplateMissing { .. }
                | engine::Error::ServiceTemplateUnknown { .. }
                | engine::Error::ServiceTemplateUnconfirmed { .. }
                | engine::Error::FormerUndecided { .. }
                | engine::Error::ServiceTemplateRenamed { .. }
                | engine::Error::NotGranted { .. }
                | engine::Error::CategoryMissing { .. }
                | engine::Error::EndpointChanged { .. }
                | engine::Error::TooLarge { .. } => true,
                engine::Error::Cmdb(_)
                | engine::Error::Journal(_)
                | engine::Error::Outdated
                | engine::Error::Stopped => false,
            },
            Self::ConnectionMissing { .. }
            | Self::ConnectionNotServed { .. }
            | Self::ConnectionInvalid { .. }
            | Self::SecretMissing { .. }
            | Self::CredentialsIncomplete { .. }
            | Self::ApiServer(_)
            | Self::Panicked => false,
        }
    }

    /// What a person can do about it; empty when there is nothing to do but wait.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::ConnectionMissing { .. } => "Create it, or name another in spec.connectionRef.",
            Self::ConnectionNotServed { .. } => "Name a CmdbConnection in spec.connectionRef.",
            Self::ConnectionInvalid { .. } => "Correct its spec.",
            Self::SecretMissing { .. } => "Create it, or name another in the connection's spec.credentialsSecretRef.",
            Self::CredentialsIncomplete { .. } => {
                "It needs bk_app_code, bk_app_secret and one of bk_username, bk_token, access_token."
            }
            Self::Invalid(_) | Self::Malformed(_) => "Correct the spec.",
            Self::Engine(error) => engine_advice(error),
            Self::Suspended => "Set spec.suspend to false.",
            Self::ApiServer(_) => "",
            Self::Panicked => "Please report it; the operator's log has the place.",
        }
    }

    /// What happened and what to do, as a condition says it.
    #[must_use]
    pub fn message(&self) -> String {
        let advice = self.advice();
        let mut text = self.to_string();
        if !text.ends_with('.') {
            text.push('.');
        }
        if !advice.is_empty() {
            text.push(' ');
            text.push_str(advice);
        }
        text
    }
}

fn engine_reason(error: &engine::Error) -> Reason {
    match error {
        engine::Error::Cmdb(error) => match error.class() {
            ErrorClass::Invalid => Reason::Invalid,
            ErrorClass::Conflict => Reason::Conflict,
            ErrorClass::NotFound => Reason::NotFound,
            ErrorClass::Permission => Reason::PermissionDenied,
            ErrorClass::Authentication => Reason::Unauthorized,
            ErrorClass::Throttled => Reason::Throttled,
            ErrorClass::Unavailable => Reason::Unreachable,
            ErrorClass::Busy => Reason::Busy,
            ErrorClass::Halted => Reason::Halted,
            ErrorClass::NotGranted => Reason::WaitingForGrant,
            ErrorClass::Ending => Reason::Stopped,
            ErrorClass::OutcomeUnknown => Reason::Unavailable,
            ErrorClass::Protocol => Reason::NotCmdb,
            ErrorClass::Configuration => Reason::ConnectionInvalid,
        },
        engine::Error::ServiceTemplateMissing { .. } | engine::Error::ServiceTemplateUnconfirmed { .. } => {
            Reason::WaitingForServiceTemplate
        }
        engine::Error::FormerUndecided { .. } => Reason::WaitingForOutcome,
        engine::Error::ServiceTemplateUnknown { .. } => Reason::ServiceTemplateNotFound,
        engine::Error::ServiceTemplateRenamed { .. } => Reason::ServiceTemplateRenamed,
        engine::Error::NotGranted { .. } => Reason::WaitingForGrant,
        engine::Error::CategoryMissing { .. } => Reason::CategoryNotFound,
        engine::Error::EndpointChanged { .. } => Reason::EndpointChanged,
        engine::Error::Journal(_) => Reason::StatusNotWritten,
        engine::Error::Outdated => Reason::Outdated,
        engine::Error::TooLarge { .. } => Reason::TooLarge,
        engine::Error::Stopped => Reason::Stopped,
    }
}

fn engine_advice(error: &engine::Error) -> &'static str {
    match error {
        engine::Error::Cmdb(error) => error.advice(),
        engine::Error::ServiceTemplateMissing { none_at_all: true, .. } => {
            "It has no service template at all: check spec.bizId; or create the service template, or set \
             spec.serviceTemplate.createIfMissing."
        }
        engine::Error::ServiceTemplateMissing { .. } => {
            "Create it in CMDB, or set spec.serviceTemplate.createIfMissing."
        }
        engine::Error::ServiceTemplateUnconfirmed { .. } => "It is looked for once more.",
        engine::Error::FormerUndecided { .. } => "It is looked at again.",
        engine::Error::ServiceTemplateUnknown { .. } => {
            "Check spec.bizId; the ID cannot be changed: make a new set with the right one."
        }
        engine::Error::ServiceTemplateRenamed { .. } => {
            "Rename it back, or delete this set and apply it with the new name: with deletionPolicy Orphan its \
             templates stay and are adopted."
        }
        engine::Error::NotGranted { .. } => {
            "Have a grant for it added to the connection, or correct spec.connectionRef."
        }
        engine::Error::CategoryMissing { .. } => "Correct spec.serviceTemplate.createIfMissing.category.",
        engine::Error::EndpointChanged { .. } => "Correct spec.url of the connection.",
        engine::Error::TooLarge { .. } => "Split the set into smaller ones; nothing was sent.",
        engine::Error::Journal(_) | engine::Error::Outdated | engine::Error::Stopped => "",
    }
}
