//! What the other side answered.

use std::fmt;

use super::{ConnectFailure, Operation, Responder};

/// Most bytes of CMDB's own text that are passed on.
const MAX_TEXT_BYTES: usize = 512;

/// Shortest ID of a request that is removed from texts, in bytes: a shorter one may be a word of the text.
const MIN_REQUEST_ID: usize = 8;

/// What the other side answered. It never contains a raw body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The call.
    pub operation: Operation,
    /// `code`, or `bk_error_code`.
    pub code: Option<i64>,
    /// HTTP status. `None`: no answer came.
    pub http_status: Option<u16>,
    /// `message`, or `bk_error_msg`; without an answer, this client's own description.
    pub message: String,
    /// `request_id`, to find the call in the logs of the other side. It is in no message, because it differs each time.
    pub request_id: Option<String>,
    /// Why no answer came, if that is known.
    pub obstacle: Option<ConnectFailure>,
}

impl fmt::Display for Reply {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.operation.as_str(), self.text())
    }
}

impl Reply {
    /// The reply of a call that was sent, or was about to be, and got no answer.
    pub(super) fn unanswered(operation: Operation, message: &str, request_id: &str) -> Self {
        let request_id = Some(request_id.to_owned());
        Self { request_id, ..Self::local(operation, message.to_owned()) }
    }

    /// The reply of a call that this client rejected or gave up.
    pub(super) fn local(operation: Operation, mut message: String) -> Self {
        message.truncate(message.floor_char_boundary(MAX_TEXT_BYTES));
        Self { operation, code: None, http_status: None, message, request_id: None, obstacle: None }
    }

    /// The same with a message that can be shown and compared: one line, bounded, without request ID and times.
    pub(super) fn tidied(mut self) -> Self {
        if let Some(id) = self.request_id.as_deref().filter(|id| id.len() >= MIN_REQUEST_ID) {
            self.message = self.message.replace(id, "");
        }

        let words = self.message.split(|letter: char| letter.is_control() || letter == ' ');
        let mut text = words.filter(|word| !word.is_empty() && !is_time(word)).collect::<Vec<_>>().join(" ");

        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        self.message = text;
        self
    }

    /// Which server answered.
    #[must_use]
    pub fn speaker(&self) -> Responder {
        Responder::of(self.code, self.http_status)
    }

    /// Whether CMDB itself answered, and not the ESB, the gateway or a proxy in front of it.
    pub(super) fn is_from_cmdb(&self) -> bool {
        self.speaker() == Responder::Cmdb
    }

    /// Whether it proves that a rejected call was not executed: CMDB or the ESB rejected it, or it was not sent.
    pub(super) fn proves_rejection(&self) -> bool {
        let is_unsent = self.code.is_none() && self.http_status.is_none();
        is_unsent || matches!(self.speaker(), Responder::Cmdb | Responder::Esb)
    }

    /// The message with its code.
    pub(super) fn text(&self) -> String {
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
