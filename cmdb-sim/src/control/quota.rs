//! Quotas: how many calls a caller has in a window of time, and how many it took.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::access::refusal::code;
use crate::clock::now;
use crate::http::transport::Transport;

/// Beyond this many windows the oldest is forgotten.
const MAXIMUM_WINDOWS: usize = 10_000;

/// How many calls each caller has. Only calls with an address and good credentials are taken from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Quota {
    /// Calls in a window.
    pub limit: u64,
    /// Length of a window in seconds. A window starts with the first call after the end of the one before.
    pub window_seconds: f64,
    /// Whether every reply of the gateway says what is left.
    #[serde(default)]
    pub headers: bool,
    /// Code of what is over the limit, instead of 1642901 of the gateway, 1306429 of the ESB and 1199997 of the
    /// apiserver.
    #[serde(default)]
    pub code: Option<i64>,
}

impl Quota {
    pub(crate) fn code(&self, transport: Transport) -> i64 {
        self.code.unwrap_or(match transport {
            Transport::Esb => code::ESB_FREQUENCY,
            Transport::Gateway => code::GATEWAY_RATE_LIMIT,
            Transport::Direct => code::TOO_MANY_REQUESTS,
        })
    }

    fn length(&self) -> Duration {
        Duration::try_from_secs_f64(self.window_seconds).unwrap_or_default()
    }
}

/// What a caller did in one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaWindow {
    /// The transport of the calls; each has quotas of its own.
    pub transport: Transport,
    /// Whose window it is: an application's, or a user's where there are no applications.
    pub caller: String,
    /// Start of the window.
    pub start: String,
    /// Calls that were within the limit.
    pub taken: u64,
    /// Calls that were over it.
    pub refused: u64,
}

/// What is left of a caller's quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct QuotaStatus {
    pub limit: u64,
    pub remaining: u64,
    /// Seconds that are left of the window.
    pub reset: u64,
    /// The code of a call that is over the limit.
    pub refusal: Option<i64>,
}

/// All windows, in the order of their starts.
#[derive(Default)]
pub(crate) struct QuotaBook {
    windows: VecDeque<(Instant, QuotaWindow)>,
}

impl QuotaBook {
    /// Takes a call, or refuses it.
    pub fn take(&mut self, quota: &Quota, transport: Transport, caller: &str) -> QuotaStatus {
        let at = self.current(quota, transport, caller).unwrap_or_else(|| self.open(transport, caller));
        let mut refusal = None;
        if let Some((_, window)) = self.windows.get_mut(at) {
            if window.taken < quota.limit {
                window.taken += 1;
            } else {
                window.refused += 1;
                refusal = Some(quota.code(transport));
            }
        }
        QuotaStatus { refusal, ..self.status(quota, Some(at)) }
    }

    /// What is left of a caller's quota, without taking from it.
    pub fn peek(&self, quota: &Quota, transport: Transport, caller: &str) -> QuotaStatus {
        self.status(quota, self.current(quota, transport, caller))
    }

    pub fn all(&self) -> impl Iterator<Item = &QuotaWindow> {
        self.windows.iter().map(|(_, window)| window)
    }

    pub fn clear(&mut self) {
        self.windows.clear();
    }

    /// Where the caller's window is that has not ended yet.
    fn current(&self, quota: &Quota, transport: Transport, caller: &str) -> Option<usize> {
        let is_callers = |window: &QuotaWindow| window.transport == transport && window.caller == caller;
        let at = self.windows.iter().rposition(|(_, window)| is_callers(window))?;
        self.windows.get(at).filter(|(began, _)| began.elapsed() < quota.length()).map(|_| at)
    }

    fn open(&mut self, transport: Transport, caller: &str) -> usize {
        if self.windows.len() >= MAXIMUM_WINDOWS {
            self.windows.pop_front();
        }
        let window = QuotaWindow { transport, caller: caller.to_owned(), start: now(), taken: 0, refused: 0 };
        self.windows.push_back((Instant::now(), window));
        self.windows.len() - 1
    }

    fn status(&self, quota: &Quota, at: Option<usize>) -> QuotaStatus {
        let window = at.and_then(|at| self.windows.get(at));
        let taken = window.map_or(0, |(_, window)| window.taken);
        let left = quota.length().saturating_sub(window.map_or(Duration::ZERO, |(began, _)| began.elapsed()));
        // A second that has started counts whole, so that a caller that waits for it is in the next window.
        let reset = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        QuotaStatus { limit: quota.limit, remaining: quota.limit.saturating_sub(taken), reset, refusal: None }
    }
}
