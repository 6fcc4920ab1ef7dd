//! Lets calls through: as many at a time, as many a second, and as long as the endpoint answers. One for all that lead to
//! one endpoint as one caller.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::sync::{Mutex as AsyncMutex, Notify};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::circuit_breaker::{Breaker, Way};
use super::poll_queue::Polls;
use super::rate_limiter::{Admission, Pace, Quota, count};
use crate::cmdb::{LimiterReadings, Limits, PollKey, Priority};

/// Longest wait for work when the server has told us to stop; for more, the status is to say so.
const LONGEST_STOP: Duration = Duration::from_secs(10);

/// Longest wait of a poll for the outcome of a probe: an endpoint that is well again answers sooner, and one that hangs
/// must not hold all sets that it has.
const PROBE_PATIENCE: Duration = Duration::from_millis(500);

/// Share of one call in what is known of how long calls take.
const MEMORY: f64 = 0.1;

/// Why a call was not let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// It is not its turn; that comes after this long.
    Busy(Duration),
    /// The endpoint does not answer, for this cause; it is tried again after this long.
    Down(String, Duration),
    /// The server has told us to stop for this long.
    Stopped(Duration),
    /// The process ends.
    Ending,
}

/// What came of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// CMDB answered, or who stands before it; whatever it said.
    Reached,
    /// There were too many calls.
    Throttled,
    /// Nobody was reached, for this cause.
    NotReached(&'a str),
}

/// Lets calls through.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
    // Work, first come, first served: who holds it is the first.
    line: AsyncMutex<()>,
    changed: Notify,
    // From then on no call begins.
    ends: CancellationToken,
}

#[derive(Debug)]
struct State {
    // What each client that is alive allows.
    members: BTreeMap<u64, Limits>,
    joined: u64,
    places: usize,
    in_flight: usize,
    in_line: usize,
    polls: Polls,
    // Of a call, in seconds.
    usual_duration: f64,
    pace: Pace,
    breaker: Breaker,
}

/// A place among the calls in flight; free again when dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    sent_at: Instant,
    // Whether others wait for what becomes of it: whether the endpoint answers, whether the server goes on.
    probes_endpoint: bool,
    probes_pace: bool,
    has_ended: bool,
}

/// A client's share in a limiter, whose limits hold for all while it lives.
#[derive(Debug)]
pub struct Member {
    limiter: Arc<Limiter>,
    number: u64,
}

enum Step {
    Go(Permit),
    Refused(Rejected),
    // Look again when something has changed, or then.
    Wait(Option<Instant>),
}

impl Limiter {
    /// A limiter that lets calls through until `ends`; without members it has no limits.
    pub fn new(ends: CancellationToken) -> Arc<Self> {
        let state = State {
            members: BTreeMap::new(),
            joined: 0,
            places: usize::MAX,
            in_flight: 0,
            in_line: 0,
            polls: Polls::default(),
            usual_duration: 0.0,
            pace: Pace::new(f64::MAX, Instant::now()),
            breaker: Breaker::default(),
        };
        Arc::new(Self { state: Mutex::new(state), line: AsyncMutex::new(()), changed: Notify::new(), ends })
    }

    /// A client joins: the lowest limits of all hold.
    pub fn join(self: &Arc<Self>, limits: Limits) -> Member {
        let mut state = self.lock();
        state.joined += 1;
        let number = state.joined;
        state.members.insert(number, limits);
        state.follow_members();
        Member { limiter: Arc::clone(self), number }
    }

    /// Lets a call through, or says why not.
    pub async fn enter(self: &Arc<Self>, priority: Priority) -> Result<Permit, Rejected> {
        if let Priority::Background(_) = priority {
            return self.admitted(priority).await;
        }
        let _in_line = InLine::of(self);
        let _first = self.line.lock().await;
        self.admitted(priority).await
    }

    /// When the endpoint is tried again, and why; None: it is up.
    pub fn down(&self) -> Option<(String, Duration)> {
        let state = self.lock();
        let (cause, due) = (state.breaker.cause()?.to_owned(), state.breaker.due()?);
        Some((cause, due.saturating_duration_since(Instant::now())))
    }

    /// Requests per second that may go on.
    pub fn rate(&self) -> f64 {
        let mut state = self.lock();
        let in_flight = state.in_flight;
        state.pace.rate(Instant::now(), in_flight)
    }

    /// Adds what is true of it now.
    pub fn read(&self, readings: &mut LimiterReadings) {
        let (now, state) = (Instant::now(), &mut *self.lock());
        let in_flight = state.in_flight;
        let counted = if state.breaker.due().is_some() {
            &mut readings.down
        } else if state.pace.is_slowed(now, in_flight) {
            &mut readings.slowed
        } else {
            &mut readings.full
        };
        *counted += 1;
        readings.in_flight += in_flight;
        readings.edits_waiting += state.in_line;
        readings.polls_waiting += state.polls.waiting(now);
    }

    async fn admitted(self: &Arc<Self>, priority: Priority) -> Result<Permit, Rejected> {
        let patience = Instant::now() + PROBE_PATIENCE;
        loop {
            // Before the look: what changes after it is noticed.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            let until = match self.step(priority, patience) {
                Step::Go(permit) => return Ok(permit),
                Step::Refused(refusal) => return Err(refusal),
                Step::Wait(until) => until,
            };
            let wait = async {
                match until {
                    Some(until) => drop(timeout_at(until, changed).await),
                    None => changed.await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.ends.cancelled(), if priority != Priority::Resolve => {}
            }
        }
    }

    fn step(self: &Arc<Self>, priority: Priority, patience: Instant) -> Step {
        if priority != Priority::Resolve && self.ends.is_cancelled() {
            return Step::Refused(Rejected::Ending);
        }
        let now = Instant::now();
        let state = &mut *self.lock();
        let poll = if let Priority::Background(key) = priority { Some(key) } else { None };
        let busy = |state: &mut State, poll| Step::Refused(Rejected::Busy(state.ticket(poll, now)));
        let way = state.breaker.way(now);
        match way {
            Way::Open | Way::Probe => {}
            Way::Probing => {
                return match poll {
                    None => Step::Wait(None),
                    Some(_) if now < patience => Step::Wait(Some(patience)),
                    Some(poll) => busy(state, poll),
                };
            }
            Way::Closed(due) => {
                let cause = state.breaker.cause().unwrap_or_default().to_owned();
                return Step::Refused(Rejected::Down(cause, due.saturating_duration_since(now)));
            }
        }
        let before = poll.map_or(0, |poll| state.polls.due_before(poll, now));
        let has_place = state.in_flight + before < state.places_for(poll.is_some());
        if let Some(poll) = poll
            && (state.in_line > 0 || !has_place)
        {
            return busy(state, poll);
        }
        let turn = state.pace.turn(priority, before, now, state.in_flight);
        let waits_until = match turn {
            Admission::Now | Admission::Probe if has_place => {
                state.pace.take();
                if let Some(poll) = poll {
                    state.polls.gone(poll);
                }
                state.in_flight += 1;
                if way == Way::Probe {
                    state.breaker.probe();
                }
                return Step::Go(Permit {
                    limiter: Arc::clone(self),
                    sent_at: now,
                    probes_endpoint: way == Way::Probe,
                    probes_pace: turn == Admission::Probe,
                    has_ended: false,
                });
            }
            Admission::Now | Admission::Probe | Admission::AfterProbe => None,
            Admission::Stopped(until) if poll.is_none() && until > now + LONGEST_STOP => {
                return Step::Refused(Rejected::Stopped(until.saturating_duration_since(now)));
            }
            Admission::At(until) | Admission::Stopped(until) => Some(until),
        };
        match poll {
            Some(poll) => busy(state, poll),
            None => Step::Wait(waits_until),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    // Of several places, one is kept for work.
    fn places_for(&self, is_poll: bool) -> usize {
        self.places - usize::from(is_poll && self.places > 1)
    }

    // When a poll is to come again: those that came before it go first, at the rate, and as long as they take.
    fn ticket(&mut self, poll: PollKey, now: Instant) -> Duration {
        let before = self.polls.waiting_before(poll, now);
        let places = self.places_for(true);
        let longest_rate = count(places) / self.usual_duration;
        let wait = self.pace.ticket(before, longest_rate, now, self.in_flight);
        self.polls.wait(poll, now + wait, now);
        wait
    }

    fn follow_members(&mut self) {
        let places = self.members.values().map(|limits| limits.max_concurrent).min();
        let rate = self.members.values().map(|limits| limits.requests_per_second).min();
        if let (Some(places), Some(rate)) = (places, rate) {
            self.places = places.max(1);
            self.pace.set_ceiling(f64::from(rate.max(1)));
        }
    }
}

impl Permit {
    /// The limiter that gave it.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// Whether the endpoint is down, and this call tries it.
    pub fn probes_endpoint(&self) -> bool {
        self.probes_endpoint
    }

    /// The call has ended so; the quota as its answer told it.
    pub fn ended(mut self, answer: Answer<'_>, quota: Option<Quota>) {
        self.has_ended = true;
        let now = Instant::now();
        let mut state = self.limiter.lock();
        match answer {
            Answer::NotReached(cause) => state.breaker.failed(self.probes_endpoint, cause, now),
            Answer::Reached | Answer::Throttled => state.breaker.reached(),
        }
        let took = now.saturating_duration_since(self.sent_at).as_secs_f64();
        state.usual_duration += MEMORY * (took - state.usual_duration);
        let is_throttled = answer == Answer::Throttled;
        state.pace.answered(is_throttled, quota, self.sent_at, now);
        if self.probes_pace {
            let is_known = !matches!(answer, Answer::NotReached(_));
            state.pace.probed(is_known.then_some(is_throttled), now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.in_flight -= 1;
        if !self.has_ended && self.probes_endpoint {
            state.breaker.probe_lost();
        }
        if !self.has_ended && self.probes_pace {
            state.pace.probed(None, Instant::now());
        }
        drop(state);
        self.limiter.changed.notify_waiters();
    }
}

impl Member {
    /// The limiter.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.limiter.lock();
        state.members.remove(&self.number);
        state.follow_members();
        drop(state);
        self.limiter.changed.notify_waiters();
    }
}

// Work that waits in line, or is the first of it.
struct InLine<'a>(&'a Limiter);

impl<'a> InLine<'a> {
    fn of(limiter: &'a Limiter) -> Self {
        limiter.lock().in_line += 1;
        Self(limiter)
    }
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        self.0.lock().in_line -= 1;
    }
}

#[cfg(test)]
mod tests;
