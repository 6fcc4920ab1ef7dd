//! What a call can end in.

use std::fmt;
use std::time::Duration;

use super::{ConnectFailure, Operation, Responder};

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
    /// What kept an answer from coming, where that can be told.
    pub obstacle: Option<ConnectFailure>,
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.operation.as_str(), self.text())
    }
}

impl Reply {
    /// A call that no answer came to.
    pub(super) fn none(operation: Operation, message: &str, request_id: &str) -> Self {
        let (message, request_id) = (message.to_owned(), Some(request_id.to_owned()));
        Self { operation, code: None, http_status: None, message, request_id, obstacle: None }
    }

    /// Its text in a form that can be shown and compared: one line, bounded, without what differs each time.
    pub(super) fn tidied(mut self) -> Self {
        if let Some(id) = self.request_id.as_deref().filter(|id| !id.is_empty()) {
            self.message = self.message.replace(id, "");
        }
        let words = self.message.split(|letter: char| letter.is_control() || letter == ' ');
        let mut text = words.filter(|word| !word.is_empty() && !is_time(word)).collect::<Vec<_>>().join(" ");
        text.truncate(text.floor_char_boundary(TEXT_BYTES));
        self.message = text;
        self
    }

    /// Who has spoken.
    #[must_use]
    pub fn speaker(&self) -> Responder {
        Responder::of(self.code, self.http_status)
    }

    // Whether CMDB itself spoke, and not the ESB, the gateway or a proxy before it.
    pub(super) fn is_of_cmdb(&self) -> bool {
        self.speaker() == Responder::Cmdb
    }

    /// What we say ourselves, without an answer.
    pub(super) fn ours(operation: Operation, message: String) -> Self {
        Self { operation, code: None, http_status: None, message, request_id: None, obstacle: None }
    }

    // A refusal without an answer is one of our own: the call was not sent.
    fn is_ours(&self) -> bool {
        self.code.is_none() && self.http_status.is_none()
    }

    // Whether CMDB or the ESB refused, and not the gateway or a proxy before them.
    fn is_theirs(&self) -> bool {
        matches!(self.speaker(), Responder::Cmdb | Responder::Esb)
    }

    fn text(&self) -> String {
        match self.code {
            Some(code) => format!("{} (code {code})", self.message),
            None => self.message.clone(),
        }
    }
}

// A date or a time of day, as logs write them: digits around `-` or `:`, at least two of these.
fn is_time(word: &str) -> bool {
    let word = word.trim_matches(|letter: char| !letter.is_ascii_alphanumeric());
    let marks = word.matches(['-', ':']).count();
    let form = |letter: char| letter.is_ascii_digit() || "-:.,+TZ/".contains(letter);
    marks >= 2 && word.starts_with(|letter: char| letter.is_ascii_digit()) && word.chars().all(form)
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
    /// No connection was made, or none was tried, since CMDB did not answer lately: the call has certainly done nothing.
    #[error("CMDB cannot be reached: {reply}")]
    Unavailable {
        /// What happened.
        reply: Reply,
        /// When CMDB is tried again, once it counts as down.
        retry_after: Option<Duration>,
    },
    /// It was not the call's turn, and it was not sent: there are limits, and others go first.
    #[error("not yet the turn of {}", .operation.as_str())]
    Busy {
        /// The call.
        operation: Operation,
        /// When its turn comes.
        retry_after: Duration,
    },
    /// This process may not write now, and it was not sent.
    #[error("{} was not sent: another instance of this operator leads now", .operation.as_str())]
    Halted {
        /// The call.
        operation: Operation,
    },
    /// This process ends, and begins no call any more: it was not sent.
    #[error("{} was not sent: the operator ends", .operation.as_str())]
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
    /// Every label of a call that was made: what was not sent, for it was not its turn, is none.
    pub const OF_CALLS: &[&str] = &[
        "invalid",
        "conflict",
        "not_found",
        "permission",
        "authentication",
        "throttled",
        "unavailable",
        "outcome_unknown",
        "protocol",
        "configuration",
    ];

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
            Self::Busy { .. } => "busy",
            Self::Halted { .. } => "halted",
            Self::Ending { .. } => "ending",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Protocol { .. } => "protocol",
            Self::Configuration { .. } => "configuration",
        }
    }

    /// What is to be done about it. A refusal for want of permission waits too: it is looked at again at the interval
    /// of all that wait, slow enough, and only a person grants it. A name that is taken, or something that is gone, is
    /// tried again: the next list shows what is there now.
    #[must_use]
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Throttled { retry_after, .. } | Self::Unavailable { retry_after, .. } => {
                Disposition::RetryLater { after: *retry_after }
            }
            Self::Busy { retry_after, .. } => Disposition::RetryLater { after: Some(*retry_after) },
            Self::Conflict { .. }
            | Self::NotFound { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Halted { .. }
            | Self::Ending { .. } => Disposition::RetryLater { after: None },
            Self::Invalid { .. }
            | Self::Permission { .. }
            | Self::Authentication { .. }
            | Self::Protocol { .. }
            | Self::Configuration { .. } => Disposition::WaitForChange,
        }
    }

    /// What a write that ended in it has done. A refusal counts as one only from CMDB or the ESB themselves: what the
    /// gateway or a proxy says may concern another try of theirs.
    #[must_use]
    pub fn outcome(&self) -> WriteOutcome {
        match self {
            Self::Invalid { reply, .. }
            | Self::Conflict { reply, .. }
            | Self::Permission { reply }
            | Self::Authentication { reply }
            | Self::Throttled { reply, .. } => {
                if reply.is_theirs() || reply.is_ours() {
                    WriteOutcome::NotStored
                } else {
                    WriteOutcome::Unknown
                }
            }
            Self::Unavailable { .. }
            | Self::Busy { .. }
            | Self::Halted { .. }
            | Self::Ending { .. }
            | Self::Configuration { .. } => WriteOutcome::NotStored,
            Self::NotFound { .. } | Self::OutcomeUnknown { .. } | Self::Protocol { .. } => WriteOutcome::Unknown,
        }
    }

    /// Whether a single item of a batch may be to blame, rather than the whole of it.
    #[must_use]
    pub fn is_item_error(&self) -> bool {
        match self {
            Self::Invalid { item, .. } | Self::Conflict { item, .. } => *item,
            Self::NotFound { .. }
            | Self::Permission { .. }
            | Self::Authentication { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Busy { .. }
            | Self::Halted { .. }
            | Self::Ending { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Protocol { .. }
            | Self::Configuration { .. } => false,
        }
    }

    /// CMDB's name of the property or parameter that it refused, if it says so: `bind_info[0].port`.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Invalid { field, .. } => field.as_deref(),
            Self::Conflict { .. }
            | Self::NotFound { .. }
            | Self::Permission { .. }
            | Self::Authentication { .. }
            | Self::Throttled { .. }
            | Self::Unavailable { .. }
            | Self::Busy { .. }
            | Self::Halted { .. }
            | Self::Ending { .. }
            | Self::OutcomeUnknown { .. }
            | Self::Protocol { .. }
            | Self::Configuration { .. } => None,
        }
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
            | Self::Unavailable { reply, .. }
            | Self::OutcomeUnknown { reply }
            | Self::Protocol { reply } => Some(reply),
            Self::Busy { .. } | Self::Halted { .. } | Self::Ending { .. } | Self::Configuration { .. } => None,
        }
    }
}
