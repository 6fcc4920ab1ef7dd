//! The classes of errors, and what each of them means: one row for each class.
//!
//! A new class is a variant here, its row in [`ErrorClass::row`], and a variant of [`Error`](super::Error); the
//! compiler finds the rest. Labels of metrics and of the audit log, dispositions, outcomes of writes and advice are all
//! read from here.

use std::time::Duration;

use strum::{IntoStaticStr, VariantArray};

/// What an error means, whatever its code and its text. The label is the name in `snake_case`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum ErrorClass {
    /// What was sent is not acceptable.
    Invalid,
    /// The name is taken already.
    Conflict,
    /// It does not exist.
    NotFound,
    /// The user or the application may not do it.
    Permission,
    /// The credentials were rejected.
    Authentication,
    /// Too many calls.
    Throttled,
    /// No connection was made, or the circuit breaker is open: the call has certainly done nothing.
    Unavailable,
    /// Rate limited here: the call was not sent.
    Busy,
    /// Another instance leads: the write was not sent.
    Halted,
    /// The connection does not grant it: the call was not sent.
    NotGranted,
    /// The process is shutting down, or the set has changed: the call was not sent.
    Ending,
    /// A server failed, or no answer came: a write may or may not have been stored.
    OutcomeUnknown,
    /// What answered is not a CMDB.
    Protocol,
    /// The client cannot be built from its configuration.
    Configuration,
}

/// What to do about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// Retry: time alone may resolve it.
    RetryLater {
        /// Time to wait, if the other side says so.
        after: Option<Duration>,
    },
    /// Do not retry: a person has to change something.
    WaitForChange,
}

/// What a failed write has done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOutcome {
    /// Nothing.
    NotStored,
    /// Not known: list before anything is sent again.
    Unknown,
}

/// How the outcome of a failed write follows from its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FailedWrite {
    /// It stored nothing.
    NotStored,
    /// It stored nothing if CMDB, the ESB or this client rejected it. What the gateway or a proxy says may concern
    /// another attempt of theirs, so the outcome is then unknown.
    NotStoredIfRejected,
    /// The same, and nothing was stored if the gateway rejected it: it counts calls before it passes them on. A proxy of
    /// another kind may have tried elsewhere before.
    NotStoredIfThrottled,
    /// Its outcome is not known.
    Unknown,
}

/// What is known of a class.
struct Row {
    is_counted: bool,
    disposition: Disposition,
    failed_write: FailedWrite,
    advice: &'static str,
}

const RETRY: Disposition = Disposition::RetryLater { after: None };
const WAIT: Disposition = Disposition::WaitForChange;

impl ErrorClass {
    /// Every class.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// Every class that a call can be counted with in metrics: a call that was not sent, because of the rate limit,
    /// another leader, a missing grant or the shutdown, is not counted.
    pub fn counted() -> impl Iterator<Item = Self> {
        Self::ALL.iter().copied().filter(|class| class.row().is_counted)
    }

    /// The name in metrics and logs.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.into()
    }

    /// What to do about it.
    #[must_use]
    pub fn disposition(self) -> Disposition {
        self.row().disposition
    }

    /// What a person can do about it, as a condition says it.
    #[must_use]
    pub fn advice(self) -> &'static str {
        self.row().advice
    }

    pub(super) fn failed_write(self) -> FailedWrite {
        self.row().failed_write
    }

    // A missing permission is not retried: it is checked again at the long interval of all that wait for a person, who
    // alone can grant it. A name that is taken, or something that is gone, is retried: the next list shows the present
    // state.
    #[rustfmt::skip]
    #[expect(clippy::match_same_arms, reason = "a row for each class")]
    fn row(self) -> Row {
        use FailedWrite::{NotStored, NotStoredIfRejected, NotStoredIfThrottled, Unknown};
        let row = |is_counted, disposition, failed_write, advice| Row { is_counted, disposition, failed_write, advice };
        match self {
            //                         counted, disposition, failed write,  advice
            Self::Invalid        => row(true,  WAIT,  NotStoredIfRejected, "Check spec.bizId and spec.serviceTemplate."),
            Self::Conflict       => row(true,  RETRY, NotStoredIfRejected, AGAIN),
            Self::NotFound       => row(true,  RETRY, Unknown,             AGAIN),
            Self::Permission     => row(true,  WAIT,  NotStoredIfRejected, GRANT),
            Self::Authentication => row(true,  WAIT,  NotStoredIfRejected, CREDENTIALS),
            Self::Throttled      => row(true,  RETRY, NotStoredIfThrottled, AGAIN),
            Self::Unavailable    => row(true,  RETRY, NotStored,           UNREACHABLE),
            Self::Busy           => row(false, RETRY, NotStored,           AGAIN),
            Self::Halted         => row(false, RETRY, NotStored,           AGAIN),
            Self::NotGranted     => row(false, RETRY, NotStored,           NOT_GRANTED),
            Self::Ending         => row(false, RETRY, NotStored,           AGAIN),
            Self::OutcomeUnknown => row(true,  RETRY, Unknown,             AGAIN),
            Self::Protocol       => row(true,  WAIT,  Unknown,             ENDPOINT),
            Self::Configuration  => row(true,  WAIT,  NotStored,           ENDPOINT),
        }
    }
}

const AGAIN: &str = "It is tried again.";
const UNREACHABLE: &str = "It is tried again; check spec.url of the connection, and the way there.";
const CREDENTIALS: &str =
    "Check the credentials in the connection's Secret, and spec.transport; ptset doctor looks closer.";
const GRANT: &str =
    "Have the connection's user granted \"edit service template\" for this business, and the app this API.";
const NOT_GRANTED: &str = "Have a grant for it added to the connection, or correct spec.connectionRef.";
const ENDPOINT: &str = "Check spec.url and spec.transport of the connection; ptset doctor looks closer.";

#[cfg(test)]
mod tests {
    use super::ErrorClass;

    #[test]
    fn labels_are_those_that_metrics_and_the_audit_log_document() {
        let labels: Vec<_> = ErrorClass::counted().map(ErrorClass::label).collect();
        let documented = [
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
        assert_eq!(labels, documented);
        let others = ErrorClass::ALL.iter().map(|class| class.label()).filter(|label| !documented.contains(label));
        assert_eq!(others.collect::<Vec<_>>(), ["busy", "halted", "not_granted", "ending"]);
    }
}
