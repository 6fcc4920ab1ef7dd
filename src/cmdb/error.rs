//! What a call can end in.

use std::fmt;
use std::time::Duration;

use super::Operation;

/// Most bytes of CMDB's own text that are passed on.
const TEXT_BYTES: usize = 512;

/// What the other side answered. Never a raw body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The call.
    pub operation: Operation,
    /// `code`, or `bk_error_code`.
    pub code: Option<i64>,
    /// HTTP status; None when no answer came.
    pub http_status: Option<u16>,
    /// `message`, or `bk_error_msg`, or what is to be said instead.
    pub message: String,
    /// `request_id`, for the logs of the other side. In no message: it differs each time.
    pub request_id: Option<String>,
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.operation.as_str(), self.text())
    }
}

impl Reply {
    fn text(&self) -> String {
        let printable = |letter: &char| !letter.is_control();
        let mut text: String = self.message.chars().filter(printable).collect();
        if text.len() > TEXT_BYTES {
            let end = (0..=TEXT_BYTES).rev().find(|&end| text.is_char_boundary(end)).unwrap_or_default();
            text.truncate(end);
        }
        match self.code {
            Some(code) => format!("{text} (code {code})"),
            None => text,
        }
    }
}

/// What a call can end in, named by what it means.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// What was sent is not acceptable.
    #[error("CMDB refused {reply}")]
    Invalid {
        /// The answer.
        reply: Reply,
        /// Whether a single item of a batch may be to blame.
        item: bool,
        /// CMDB's name of the offending property or parameter.
        field: Option<String>,
    },
    /// Something of that name is there already.
    #[error("CMDB has it already: {reply}")]
    Conflict {
        /// The answer.
        reply: Reply,
        /// Whether a single item of a batch may be to blame.
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
    /// The credentials were refused.
    #[error("the credentials were refused: {reply}")]
    Authentication {
        /// The answer.
        reply: Reply,
    },
    /// Too many calls.
    #[error("CMDB throttles {reply}")]
    Throttled {
        /// The answer.
        reply: Reply,
        /// How long to wait, if it says so.
        retry_after: Option<Duration>,
    },
    /// No connection was made: the call has certainly done nothing.
    #[error("CMDB cannot be reached: {reply}")]
    Unavailable {
        /// What happened.
        reply: Reply,
    },
    /// A server failed, or no answer came: a write may or may not have been stored.
    #[error("CMDB gave no clear answer to {reply}")]
    OutcomeUnknown {
        /// What happened.
        reply: Reply,
    },
    /// What answered does not speak CMDB's language.
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

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Time alone may mend it.
    RetryLater {
        /// How long to wait, if the other side says so.
        after: Option<Duration>,
    },
    /// Somebody has to change something.
    WaitForChange,
}

/// What a failed write has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Nothing.
    NotStored,
    /// Nobody knows: look before anything is sent again.
    Unknown,
}

impl Error {
    /// Its name in metrics and logs.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Invalid { .. } => "invalid",
            Self::Conflict { .. } => "conflict",
            Self::NotFound { .. } => "not_found",
            Self::Permission { .. } => "permission",
            Self::Authentication { .. } => "authentication",
            Self::Throttled { .. } => "throttled",
            Self::Unavailable { .. } => "unavailable",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Protocol { .. } => "protocol",
            Self::Configuration { .. } => "configuration",
        }
    }

    /// What is to be done about it.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Throttled { retry_after, .. } => Disposition::RetryLater { after: *retry_after },
            Self::Conflict { .. } | Self::NotFound { .. } | Self::Unavailable { .. } | Self::OutcomeUnknown { .. } => {
                Disposition::RetryLater { after: None }
            }
            Self::Invalid { .. }
            | Self::Permission { .. }
            | Self::Authentication { .. }
            | Self::Protocol { .. }
            | Self::Configuration { .. } => Disposition::WaitForChange,
        }
    }

    /// What a write that ended in it has done.
    #[must_use]
    pub fn outcome(&self) -> WriteOutcome {
        match self {
            Self::Invalid { .. }
            | Self::Conflict { .. }
            | Self::NotFound { .. }
            | Self::Permission { .. }
            | Self::Authentication { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Configuration { .. } => WriteOutcome::NotStored,
            Self::OutcomeUnknown { .. } | Self::Protocol { .. } => WriteOutcome::Unknown,
        }
    }

    /// Whether a single item of a batch may be to blame, rather than the whole of it.
    #[must_use]
    pub fn is_item_error(&self) -> bool {
        matches!(self, Self::Invalid { item: true, .. } | Self::Conflict { item: true, .. })
    }

    /// CMDB's own words with its code; bounded, without request IDs and times.
    #[must_use]
    pub fn user_message(&self) -> String {
        self.reply().map_or_else(|| self.to_string(), Reply::text)
    }

    /// The answer, if there was one.
    #[must_use]
    pub fn reply(&self) -> Option<&Reply> {
        match self {
            Self::Invalid { reply, .. }
            | Self::Conflict { reply, .. }
            | Self::NotFound { reply }
            | Self::Permission { reply }
            | Self::Authentication { reply }
            | Self::Throttled { reply, .. }
            | Self::Unavailable { reply }
            | Self::OutcomeUnknown { reply }
            | Self::Protocol { reply } => Some(reply),
            Self::Configuration { .. } => None,
        }
    }
}
