//! What was last heard from CMDB over a connection, from the calls of sets as from checks: the connection's verdict follows it.
//!
//! # Flow
//! The client reports each call ([`AnswerObserver`]). When answers turn from good to bad, or back, the connection is woken; a
//! set whose reconcile was stopped by the error hands it in ([`AnswerObserver::note_error`]), maybe seconds later, after the
//! retries of its call. The reconcile of the connection then judges without a call of its own ([`AnswerObserver::news`]).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::steadiness::Steadiness;
use crate::cmdb::{self, ErrorClass, Observer, Operation};

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

/// What the answers since the last verdict say of a connection.
#[derive(Clone, Debug)]
pub enum News {
    /// Nothing.
    None,
    /// CMDB answers and takes the credentials.
    Good,
    /// Calls fail, so long ago; no set has said yet why.
    Failing(Duration),
    /// Calls fail: why.
    Bad(Arc<cmdb::Error>),
}

/// Wakes a connection whose answers have turned.
pub type Turned = Box<dyn Fn() + Send + Sync>;

/// Hears what CMDB answers.
pub struct AnswerObserver {
    observer: Arc<dyn Observer>,
    turned: Turned,
    heard: Mutex<Heard>,
}

#[derive(Debug, Default)]
struct Heard {
    last: Option<Answer>,
    // Since when all answers have been good, if the last was.
    good_since: Option<Instant>,
    // How the verdict has changed.
    steadiness: Steadiness,
    // A call has succeeded.
    has_worked: bool,
    // Why calls fail, while they do.
    error: Option<Arc<cmdb::Error>>,
    // The answer that the last verdict knew.
    judged: Option<Instant>,
    // The connection was woken, and has not looked yet.
    is_woken: bool,
}

impl std::fmt::Debug for AnswerObserver {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AnswerObserver").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl AnswerObserver {
    /// Nothing is heard yet; `observer` hears it too.
    pub fn new(observer: Arc<dyn Observer>, turned: Turned) -> Self {
        Self { observer, turned, heard: Mutex::default() }
    }

    /// What was last heard.
    pub fn last(&self) -> Option<Answer> {
        self.heard.lock().last
    }

    /// Whether any call has succeeded.
    pub fn has_worked(&self) -> bool {
        self.heard.lock().has_worked
    }

    /// Notes with which error calls fail at present. A connection that has looked before and could not tell is woken again.
    pub fn note_error(&self, error: &Arc<cmdb::Error>) {
        let wakes = {
            let mut heard = self.heard.lock();
            let Some(last) = heard.last.filter(|last| is_bad(error) && !last.is_good) else { return };
            let is_first = heard.error.replace(Arc::clone(error)).is_none();
            let wakes = is_first && !heard.is_woken && heard.judged.is_none_or(|judged| judged < last.at);
            heard.is_woken |= wakes;
            wakes
        };
        if wakes {
            (self.turned)();
        }
    }

    /// What is new since the last verdict. The next turn wakes the connection again.
    pub fn news(&self) -> News {
        let mut heard = self.heard.lock();
        heard.is_woken = false;
        match (heard.last, &heard.error) {
            (Some(last), _) if heard.judged.is_some_and(|judged| last.at <= judged) => News::None,
            (None, _) => News::None,
            (Some(Answer { is_good: true, .. }), _) => News::Good,
            (Some(last), None) => News::Failing(last.at.elapsed()),
            (Some(_), Some(error)) => News::Bad(Arc::clone(error)),
        }
    }

    /// Notes that the status now has another verdict.
    pub fn note_change(&self) {
        self.heard.lock().steadiness.note_change();
    }

    /// What is left of the wait before Ready may turn True.
    pub fn until_good(&self) -> Option<Duration> {
        let heard = self.heard.lock();
        heard.steadiness.until_good(heard.good_since?.elapsed())
    }

    /// What is left of the wait before a connection that is not Ready may give another reason.
    pub fn until_reworded(&self) -> Option<Duration> {
        self.heard.lock().steadiness.until_reworded()
    }

    /// The connection asks CMDB itself: its own answer wakes nothing.
    pub fn begin_check(&self) {
        self.heard.lock().is_woken = true;
    }

    /// Notes that the connection's verdict takes this answer into account.
    pub fn judged(&self, answer: Option<Answer>) {
        let mut heard = self.heard.lock();
        heard.is_woken = false;
        heard.judged = heard.judged.max(answer.map(|answer| answer.at));
    }
}

// Whether it says that CMDB is not there, or does not take the credentials.
fn is_bad(error: &cmdb::Error) -> bool {
    match error.class() {
        ErrorClass::Authentication
        | ErrorClass::Unavailable
        | ErrorClass::OutcomeUnknown
        | ErrorClass::Protocol
        | ErrorClass::Configuration => true,
        ErrorClass::Invalid
        | ErrorClass::Conflict
        | ErrorClass::NotFound
        | ErrorClass::Permission
        | ErrorClass::NotGranted
        | ErrorClass::Throttled
        | ErrorClass::Busy
        | ErrorClass::Halted
        | ErrorClass::Ending => false,
    }
}

impl Observer for AnswerObserver {
    fn call_finished(&self, operation: Operation, outcome: &'static str, elapsed: Duration) {
        self.observer.call_finished(operation, outcome, elapsed);
        // A call that was not made, or that others took the turn of, says nothing.
        if matches!(outcome, "busy" | "throttled") {
            return;
        }
        let is_good = !matches!(outcome, "authentication" | "unavailable" | "outcome_unknown" | "protocol");
        let has_turned = {
            let mut heard = self.heard.lock();
            let answer = Answer { at: Instant::now(), is_good, refuses: outcome == "authentication" };
            let has_turned = heard.last.replace(answer).is_none_or(|before| before.is_good != is_good);
            heard.has_worked |= outcome == "ok";
            heard.good_since = is_good.then(|| heard.good_since.unwrap_or(answer.at));
            if is_good {
                heard.error = None;
            }
            // One wake is enough until the connection has looked.
            let wakes = has_turned && !heard.is_woken;
            heard.is_woken |= wakes;
            wakes
        };
        if has_turned {
            (self.turned)();
        }
    }
}
