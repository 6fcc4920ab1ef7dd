//! Why a call failed.

use std::time::Duration;

use super::error_class::{Disposition, ErrorClass, FailedWrite, WriteOutcome};
use super::rejected::{Rejected, rejected};
use super::reply::Reply;
use super::{Operation, Responder};

/// Why a set may not make a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No grant covers it.
    NotGranted,
    /// The connection that the client was built from is gone, or has been replaced or edited. Look it up again.
    ConnectionChanged,
}

/// Why a call failed. Each variant is a class of errors: [`Error::class`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was sent is not acceptable.
    #[error("CMDB refused {reply}")]
    Invalid {
        /// The answer.
        reply: Reply,
        /// Whether a single item of a batch may have caused it.
        item: bool,
        /// CMDB's name of the offending property or parameter.
        field: Option<String>,
    },
    /// The name is taken already.
    #[error("CMDB has it already: {reply}")]
    Conflict {
        /// The answer.
        reply: Reply,
        /// Whether a single item of a batch may have caused it.
        item: bool,
    },
    /// It does not exist.
    #[error("CMDB does not have it: {reply}")]
    NotFound {
        /// The answer.
        reply: Reply,
    },
    /// The user or the application may not do it.
    #[error("CMDB does not permit {reply}")]
    Permission {
        /// The answer.
        reply: Reply,
    },
    /// The credentials were rejected.
    #[error("the credentials were refused: {reply}")]
    Authentication {
        /// The answer.
        reply: Reply,
        /// Whether others were in use when the answer to a write came: it then says nothing of those.
        were_replaced: bool,
    },
    /// Too many calls.
    #[error("CMDB throttles {reply}")]
    Throttled {
        /// The answer.
        reply: Reply,
        /// Time to wait, if the answer says so.
        retry_after: Option<Duration>,
    },
    /// No connection was made, or none was tried because the circuit breaker is open: the call has certainly done
    /// nothing.
    #[error("CMDB cannot be reached: {reply}")]
    Unavailable {
        /// What happened.
        reply: Reply,
        /// Time until the circuit breaker probes CMDB again, once it is open.
        retry_after: Option<Duration>,
    },
    /// Rate limited here: the call was not sent.
    #[error("not yet the turn of {}", .operation.as_str())]
    Busy {
        /// The call.
        operation: Operation,
        /// Time until it may be sent.
        retry_after: Duration,
    },
    /// The write gate is closed, because another instance leads: the write was not sent.
    #[error("{} was not sent: another instance of this operator leads now", .operation.as_str())]
    Halted {
        /// The call.
        operation: Operation,
    },
    /// The set may not make the call, or no longer: it was not sent.
    #[error("{} was not sent: the connection does not grant it", .operation.as_str())]
    NotGranted {
        /// The call.
        operation: Operation,
        /// Why.
        refusal: Refusal,
    },
    /// The process is shutting down, or the set has changed: the call was not sent.
    #[error("{} was not sent: the operator ends, or the set has changed", .operation.as_str())]
    Ending {
        /// The call.
        operation: Operation,
    },
    /// A server failed, or no answer came: a write may or may not have been stored.
    #[error("CMDB gave no clear answer to {reply}")]
    OutcomeUnknown {
        /// What happened.
        reply: Reply,
    },
    /// What answered is not a CMDB.
    #[error("the answer is not that of a CMDB: {reply}")]
    Protocol {
        /// What happened.
        reply: Reply,
    },
    /// The client cannot be built from its configuration.
    #[error("the connection cannot be used: {message}")]
    Configuration {
        /// What is wrong.
        message: String,
    },
}

impl Error {
    /// Its class, which says what it means.
    #[must_use]
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Invalid { .. } => ErrorClass::Invalid,
            Self::Conflict { .. } => ErrorClass::Conflict,
            Self::NotFound { .. } => ErrorClass::NotFound,
            Self::Permission { .. } => ErrorClass::Permission,
            Self::Authentication { .. } => ErrorClass::Authentication,
            Self::Throttled { .. } => ErrorClass::Throttled,
            Self::Unavailable { .. } => ErrorClass::Unavailable,
            Self::Busy { .. } => ErrorClass::Busy,
            Self::Halted { .. } => ErrorClass::Halted,
            Self::NotGranted { .. } => ErrorClass::NotGranted,
            Self::Ending { .. } => ErrorClass::Ending,
            Self::OutcomeUnknown { .. } => ErrorClass::OutcomeUnknown,
            Self::Protocol { .. } => ErrorClass::Protocol,
            Self::Configuration { .. } => ErrorClass::Configuration,
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        self.class().label()
    }

    /// What to do about it, with the time to wait.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self.class().disposition() {
            Disposition::RetryLater { .. } => Disposition::RetryLater { after: self.retry_after() },
            Disposition::WaitForChange => Disposition::WaitForChange,
        }
    }

    /// What a person can do about it, as a condition says it.
    #[must_use]
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Authentication { reply, .. } => match rejected(reply) {
                Some(Rejected::App) => "Check bk_app_code and bk_app_secret in the connection's Secret.",
                Some(Rejected::EsbUser) => {
                    "Have the app put on the ESB's white list of apps that need no user login, which a bk_username needs; \
                     or check the token in the connection's Secret."
                }
                Some(Rejected::GatewayUser) => {
                    "Check the user in the connection's Secret, and whether the gateway takes a bk_username from this app."
                }
                None => self.class().advice(),
            },
            _ => self.class().advice(),
        }
    }

    /// What a write that failed with it has done.
    #[must_use]
    pub fn outcome(&self) -> WriteOutcome {
        let is_rejected = || self.reply().is_some_and(Reply::proves_rejection);
        let is_gateways = || self.reply().is_some_and(|reply| reply.speaker() == Responder::Gateway);
        let is_not_stored = match self.class().failed_write() {
            FailedWrite::NotStored => true,
            FailedWrite::NotStoredIfRejected => is_rejected(),
            FailedWrite::NotStoredIfThrottled => is_rejected() || is_gateways(),
            FailedWrite::Unknown => false,
        };
        if is_not_stored { WriteOutcome::NotStored } else { WriteOutcome::Unknown }
    }

    /// Whether a single item of a batch may have caused it, rather than the batch as a whole.
    #[must_use]
    pub fn is_item_error(&self) -> bool {
        matches!(self, Self::Invalid { item: true, .. } | Self::Conflict { item: true, .. })
    }

    /// CMDB's name of the property or parameter that it rejected, if it says so: `bind_info[0].port`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        if let Self::Invalid { field, .. } = self { field.as_deref() } else { None }
    }

    /// CMDB's own words with its code; bounded, without request IDs and times.
    #[must_use]
    pub fn user_message(&self) -> String {
        self.reply().map_or_else(|| self.to_string(), Reply::text)
    }

    /// The answer, or the description of why none came. `None`: the call was not sent.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Invalid { reply, .. }
            | Self::Conflict { reply, .. }
            | Self::NotFound { reply }
            | Self::Permission { reply }
            | Self::Authentication { reply, .. }
            | Self::Throttled { reply, .. }
            | Self::Unavailable { reply, .. }
            | Self::OutcomeUnknown { reply }
            | Self::Protocol { reply } => Some(reply),
            Self::Busy { .. }
            | Self::Halted { .. }
            | Self::NotGranted { .. }
            | Self::Ending { .. }
            | Self::Configuration { .. } => None,
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => *retry_after,
            Self::Busy { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }
}
