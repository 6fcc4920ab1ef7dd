//! What was last heard from CMDB over a connection.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::cmdb::{Observer, Operation};

/// What was last heard from CMDB over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    /// When.
    pub at: Instant,
    /// Whether it shows that CMDB is there and takes the credentials.
    pub is_good: bool,
    /// Whether it refuses the credentials.
    pub refuses: bool,
}

/// Hears what CMDB answers.
pub struct AnswerObserver {
    observer: Arc<dyn Observer>,
    last: Mutex<Option<Answer>>,
}

impl std::fmt::Debug for AnswerObserver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AnswerObserver").field("last", &self.last).finish_non_exhaustive()
    }
}

impl AnswerObserver {
    /// Nothing is heard yet; `observer` hears it too.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        Self { observer, last: Mutex::default() }
    }

    /// What was last heard.
    pub fn last(&self) -> Option<Answer> {
        *self.last.lock()
    }
}

impl Observer for AnswerObserver {
    fn call_finished(&self, operation: Operation, outcome: &'static str, elapsed: Duration) {
        self.observer.call_finished(operation, outcome, elapsed);
        // A call that was not made, or that others took the turn of, says nothing.
        if !matches!(outcome, "busy" | "throttled") {
            let is_bad = matches!(outcome, "authentication" | "unavailable" | "outcome_unknown" | "protocol");
            let refuses = outcome == "authentication";
            let answer = Answer { at: Instant::now(), is_good: !is_bad, refuses };
            *self.last.lock() = Some(answer);
        }
    }
}
