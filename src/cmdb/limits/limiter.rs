//! Admits calls to one endpoint for one caller: a number in flight at most, at a rate, and only while the endpoint
//! answers.
//!
//! This is where the rate limit and HTTP 429 are handled, together with `classify.rs`, which says what a throttled
//! answer is, and the caller, which retries after the time in the error.
//!
//! # Flow
//! 1. The sender asks [`Limiter::admit`] before each request. Work (an edit, a deletion) queues and waits: namespaces take
//!    turns (`lanes.rs`), and within a namespace the first to come is the first to be served. A poll never waits, but is
//!    rejected with a retry-after and keeps its place (`rejected_polls.rs`).
//! 2. A call is admitted when the circuit breaker is closed (`circuit_breaker.rs`), fewer than `max_concurrent` calls
//!    are in flight, and the rate limiter admits it (`rate_limiter.rs`). It holds a [`Permit`] while it is in flight.
//! 3. The sender reports what came of the call: [`Permit::finish`], with the quota that the answer reports
//!    (`X-Bkapi-RateLimit-*`, `quota.rs`).
//! 4. A throttled answer (HTTP 429, or a code of CMDB, the ESB or the gateway that means the same) is handled in one of
//!    two ways. If it says when to continue, no call is sent until then, and the rate stays. If not, the rate is cut to
//!    70 % and all calls pause: 500 ms first, then up to 8 s. After the pause one call probes, and the others wait for
//!    its answer. Once it is not throttled, all continue, and the rate grows back over minutes.
//! 5. The throttled call itself fails with `Error::Throttled`, with the server's retry-after if there is one. It is not
//!    retried here: the set retries, after the longer of that time and its backoff.
//!
//! # Guarantees
//! * Clients with the same URL and caller share one limiter, and the lowest of their limits applies
//!   ([`Limiter::join`]).
//! * The rate is never above the configured one and never zero, so that it always recovers.
//! * What a server reports of its quota is believed for five minutes at most: then one call probes.
//! * Several throttled answers to calls that were in flight together count as one.
//! * Work overtakes polls: while work is queued no poll is admitted, and polls leave a reserve of tokens, of quota and,
//!   if there are several, one call in flight.
//! * Of the namespaces whose work is queued, the one that was served least recently is next: a call of a namespace
//!   waits for at most one call of each other, however many they have.
//! * Polls are admitted in the order in which they first came, so that each set is polled equally often.
//! * Work that would wait longer than [`MAX_QUOTA_WAIT`] for the server's window is rejected instead, so that its
//!   status can say so.
//! * On shutdown every waiting call is rejected, except one that resolves a write whose outcome is unknown. A call whose
//!   set has changed meanwhile is rejected in any case: the next reconcile of the set makes it again.
//!
//! # Assumptions
//! * A permit is always dropped: that of a call whose future is dropped too. It then reports no outcome.
//! * The gateway's quota headers count calls in flight as used only when they are answered; they are subtracted here.
//!
//! # Caveats
//! * What was learned is lost with the last client of an endpoint and with the process: nothing is stored.
//! * The limits apply to one process. A second operator, or another program with the same application, is only noticed
//!   by its effect on answers and quotas.
//! * The retry-after of a poll is an estimate. A poll that comes more than two seconds late no longer holds back others,
//!   and one that comes more than two minutes late has lost its place.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::circuit_breaker::{CircuitBreaker, CircuitState};
use super::convert::from_usize;
use super::lanes::{Lanes, Served};
use super::quota::Quota;
use super::rate_limiter::{Admission, RateLimiter};
use super::rejected_polls::RejectedPolls;
use super::wait::Wait;
use crate::cmdb::{LimiterReadings, Limits, PollKey, Priority};
use crate::outside::later;

/// Longest time that work waits for the server's window to reset. It is rejected when it would have to wait longer, so
/// that the status of the set says so.
const MAX_QUOTA_WAIT: Duration = Duration::from_secs(10);

/// Longest time that a poll waits for the outcome of a probe. An endpoint that has recovered answers sooner, and one
/// that hangs must not block the polls of all its sets.
const POLL_PROBE_WAIT: Duration = Duration::from_millis(500);

/// Weight of one call in the moving average of call durations.
const DURATION_WEIGHT: f64 = 0.1;

/// Why a call was not admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// Rate limited here. It may come again after this time.
    Busy(Duration),
    /// The endpoint does not answer, for this cause. It is probed again after this time.
    Down(String, Duration),
    /// Nothing remains of the server's quota for this time.
    QuotaExhausted(Duration),
    /// The process is shutting down.
    ShuttingDown,
    /// The set that the call is made for has changed.
    Superseded,
}

/// What came of a call, as far as the limiter is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOutcome<'a> {
    /// The endpoint answered, whatever it said.
    Reached,
    /// The endpoint answered that there were too many calls.
    Throttled,
    /// The endpoint was not reached, for this cause.
    NotReached(&'a str),
}

/// Admits calls to one endpoint for one caller.
#[derive(Debug)]
pub struct Limiter {
    state: Mutex<State>,
    // Notified when a waiting poll may be admitted. A call of work has a notification of its own.
    changed: Notify,
    // Once cancelled, only calls that resolve a write are admitted.
    shutdown: CancellationToken,
}

#[derive(Debug)]
struct State {
    // The limits of each client that is alive, by its number.
    clients: BTreeMap<u64, Limits>,
    last_client: u64,
    max_in_flight: usize,
    in_flight: usize,
    // Calls of work in the queue, in the order in which they came.
    queue: BTreeMap<u64, QueuedCall>,
    last_queued: u64,
    served: Served,
    rejected_polls: RejectedPolls,
    // Moving average of call durations, in seconds.
    mean_duration: f64,
    rate_limiter: RateLimiter,
    circuit_breaker: CircuitBreaker,
}

#[derive(Debug)]
struct QueuedCall {
    lanes: Lanes,
    // Notified when it may be the next.
    changed: Arc<Notify>,
}

/// The right to have one call in flight, until it is dropped.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    sent_at: Instant,
    // Whether other calls wait for its outcome, because it probes a down endpoint, or a server that throttled.
    probes_endpoint: bool,
    probes_rate: bool,
    is_finished: bool,
}

/// A limiter as one client uses it. The limits of the client apply to all clients of the limiter until this is dropped.
#[derive(Debug)]
pub struct LimiterHandle {
    limiter: Arc<Limiter>,
    client: u64,
}

// The outcome of one attempt to admit a call.
enum Attempt {
    Admitted(Permit),
    Rejected(Rejected),
    // Attempt again when something has changed, or at this time.
    Wait(Option<Instant>),
}

impl Limiter {
    /// A limiter that admits calls until `shutdown`. Without clients it has no limits.
    pub fn new(shutdown: CancellationToken) -> Arc<Self> {
        let state = State {
            clients: BTreeMap::new(),
            last_client: 0,
            max_in_flight: usize::MAX,
            in_flight: 0,
            queue: BTreeMap::new(),
            last_queued: 0,
            served: Served::default(),
            rejected_polls: RejectedPolls::default(),
            mean_duration: 0.0,
            rate_limiter: RateLimiter::new(f64::MAX, Instant::now()),
            circuit_breaker: CircuitBreaker::default(),
        };
        Arc::new(Self { state: Mutex::new(state), changed: Notify::new(), shutdown })
    }

    /// Adds a client. The lowest limits of all clients apply.
    pub fn join(self: &Arc<Self>, limits: Limits) -> LimiterHandle {
        let mut state = self.state.lock();
        state.last_client = state.last_client.saturating_add(1);
        let client = state.last_client;
        state.clients.insert(client, limits);
        state.apply_limits();
        LimiterHandle { limiter: Arc::clone(self), client }
    }

    /// Admits a call, or says why not. Work waits for it, a poll does not, except for the outcome of a probe.
    pub async fn admit(self: &Arc<Self>, priority: Priority, wait: &Wait) -> Result<Permit, Rejected> {
        let queued = priority.poll().is_none().then(|| Queued::of(self, &wait.lanes));
        let admitted = self.until_admitted(priority, queued.as_ref());
        tokio::select! {
            biased;
            () = wait.superseded.cancelled() => Err(Rejected::Superseded),
            admitted = admitted => admitted,
        }
    }

    /// Why the endpoint is down, and the time until it is probed again. `None`: it is up.
    pub fn down(&self) -> Option<(String, Duration)> {
        let state = self.state.lock();
        let (cause, due) = (state.circuit_breaker.cause()?.to_owned(), state.circuit_breaker.probe_due()?);
        Some((cause, due.saturating_duration_since(Instant::now())))
    }

    /// The present rate, in requests per second.
    pub fn rate(&self) -> f64 {
        let mut state = self.state.lock();
        let in_flight = state.in_flight;
        state.rate_limiter.rate(Instant::now(), in_flight)
    }

    /// Adds its present state to the readings.
    pub fn read(&self, readings: &mut LimiterReadings) {
        let (now, state) = (Instant::now(), &mut *self.state.lock());
        let in_flight = state.in_flight;
        let counted = if state.circuit_breaker.probe_due().is_some() {
            &mut readings.down
        } else if state.rate_limiter.is_slowed(now, in_flight) {
            &mut readings.slowed
        } else {
            &mut readings.full
        };
        let add = |counted: &mut usize, number| *counted = counted.saturating_add(number);
        add(counted, 1);
        add(&mut readings.in_flight, in_flight);
        add(&mut readings.edits_waiting, state.queue.len());
        add(&mut readings.polls_waiting, state.rejected_polls.waiting(now));
    }

    // Attempts to admit a call until it is admitted or rejected.
    async fn until_admitted(
        self: &Arc<Self>,
        priority: Priority,
        queued: Option<&Queued<'_>>,
    ) -> Result<Permit, Rejected> {
        let probe_deadline = later(Instant::now(), POLL_PROBE_WAIT);
        loop {
            // Registered before the attempt, so that a change after it is not missed.
            let mut changed = pin!(queued.map_or(&self.changed, |queued| &*queued.changed).notified());
            changed.as_mut().enable();

            let until = match self.attempt(priority, queued, probe_deadline) {
                Attempt::Admitted(permit) => return Ok(permit),
                Attempt::Rejected(rejected) => return Err(rejected),
                Attempt::Wait(until) => until,
            };

            let wait = async {
                match until {
                    Some(until) => drop(timeout_at(until, changed).await),
                    None => changed.await,
                }
            };
            tokio::select! {
                () = wait => {}
                () = self.shutdown.cancelled(), if priority != Priority::Resolve => {}
            }
        }
    }

    fn attempt(self: &Arc<Self>, priority: Priority, queued: Option<&Queued<'_>>, probe_deadline: Instant) -> Attempt {
        // Check 1: the process is not shutting down.
        if priority != Priority::Resolve && self.shutdown.is_cancelled() {
            return Attempt::Rejected(Rejected::ShuttingDown);
        }
        let now = Instant::now();
        let state = &mut *self.state.lock();
        let poll = priority.poll();
        let busy = |state: &mut State, poll| Attempt::Rejected(Rejected::Busy(state.reject(poll, now)));

        // Check 2: it is the next of the queue. It may have become so by a set that shares its result, or no longer be.
        if let (Some(queued), Some((next, call))) = (queued, state.next_queued())
            && next != queued.number
        {
            call.changed.notify_one();
            return Attempt::Wait(None);
        }

        // Check 3: the endpoint answers, or this call probes it.
        let circuit = state.circuit_breaker.state(now);
        match circuit {
            CircuitState::Closed | CircuitState::ProbeDue => {}
            CircuitState::Probing => {
                return match poll {
                    None => Attempt::Wait(None),
                    Some(_) if now < probe_deadline => Attempt::Wait(Some(probe_deadline)),
                    Some(poll) => busy(state, poll),
                };
            }
            CircuitState::Open(due) => {
                let cause = state.circuit_breaker.cause().unwrap_or_default().to_owned();
                return Attempt::Rejected(Rejected::Down(cause, due.saturating_duration_since(now)));
            }
        }

        // Check 4: there is a place in flight, and no work or earlier poll to be admitted first.
        let before = poll.map_or(0, |poll| state.rejected_polls.due_before(poll, now));
        let has_place = state.in_flight.saturating_add(before) < state.max_in_flight_for(poll.is_some());
        if let Some(poll) = poll
            && (!state.queue.is_empty() || !has_place)
        {
            return busy(state, poll);
        }

        // Check 5: the rate limiter admits it.
        let admission = state.rate_limiter.admit(priority, before, now, state.in_flight);
        let wait_until = match admission {
            Admission::Now | Admission::Probe if has_place => {
                state.take(poll, circuit);
                if let Some(call) = queued.and_then(|queued| state.queue.get(&queued.number)) {
                    state.served.note(&call.lanes);
                }
                return Attempt::Admitted(Permit {
                    limiter: Arc::clone(self),
                    sent_at: now,
                    probes_endpoint: circuit == CircuitState::ProbeDue,
                    probes_rate: admission == Admission::Probe,
                    is_finished: false,
                });
            }
            Admission::Now | Admission::Probe | Admission::AfterProbe => None,
            Admission::QuotaExhausted(until) if poll.is_none() && until > later(now, MAX_QUOTA_WAIT) => {
                return Attempt::Rejected(Rejected::QuotaExhausted(until.saturating_duration_since(now)));
            }
            Admission::At(until) | Admission::QuotaExhausted(until) => Some(until),
        };

        // Not now: work waits, a poll comes again.
        match poll {
            Some(poll) => busy(state, poll),
            None => Attempt::Wait(wait_until),
        }
    }
}

impl State {
    // The call of work that is admitted next: of the namespace that was served least recently, the one that came first.
    fn next_queued(&self) -> Option<(u64, &QueuedCall)> {
        let next = self.queue.iter().min_by_key(|(number, call)| (self.served.least_recent(&call.lanes), **number));
        next.map(|(number, call)| (*number, call))
    }

    // Has the next call of work attempt to be admitted.
    fn wake_next(&self) {
        if let Some((_, call)) = self.next_queued() {
            call.changed.notify_one();
        }
    }

    // Of several calls in flight, one is reserved for work.
    fn max_in_flight_for(&self, is_poll: bool) -> usize {
        self.max_in_flight.saturating_sub(usize::from(is_poll && self.max_in_flight > 1))
    }

    // Counts a call that is sent.
    fn take(&mut self, poll: Option<PollKey>, circuit: CircuitState) {
        self.rate_limiter.take();
        if let Some(poll) = poll {
            self.rejected_polls.remove(poll);
        }
        self.in_flight = self.in_flight.saturating_add(1);
        if circuit == CircuitState::ProbeDue {
            self.circuit_breaker.start_probe();
        }
    }

    // The retry-after of a poll: those that came before it are sent first, at the rate, and no faster than calls take.
    fn reject(&mut self, poll: PollKey, now: Instant) -> Duration {
        let before = self.rejected_polls.waiting_before(poll, now);
        let max_rate = from_usize(self.max_in_flight_for(true)) / self.mean_duration;
        let wait = self.rate_limiter.retry_after(before, max_rate, now, self.in_flight);
        self.rejected_polls.insert(poll, later(now, wait), now);
        wait
    }

    fn apply_limits(&mut self) {
        let max_in_flight = self.clients.values().map(|limits| limits.max_concurrent).min();
        let rate = self.clients.values().map(|limits| limits.requests_per_second).min();
        if let (Some(max_in_flight), Some(rate)) = (max_in_flight, rate) {
            self.max_in_flight = max_in_flight.max(1);
            self.rate_limiter.set_ceiling(f64::from(rate.max(1)));
        }
    }
}

impl Permit {
    /// The limiter that admitted the call.
    pub fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// Whether the endpoint is down, and this call probes it.
    pub fn probes_endpoint(&self) -> bool {
        self.probes_endpoint
    }

    /// Reports what came of the call, and the quota that its answer reported.
    pub fn finish(mut self, outcome: CallOutcome<'_>, quota: Option<Quota>) {
        self.is_finished = true;
        let now = Instant::now();
        let mut state = self.limiter.state.lock();

        // Whether the endpoint answers.
        match outcome {
            CallOutcome::NotReached(cause) => state.circuit_breaker.record_failure(self.probes_endpoint, cause, now),
            CallOutcome::Reached | CallOutcome::Throttled => state.circuit_breaker.record_success(),
        }

        // How long calls take.
        let duration = now.saturating_duration_since(self.sent_at).as_secs_f64();
        state.mean_duration += DURATION_WEIGHT * (duration - state.mean_duration);

        // The rate.
        let is_throttled = outcome == CallOutcome::Throttled;
        state.rate_limiter.record_answer(is_throttled, quota, self.sent_at, now);
        if self.probes_rate {
            let has_answer = !matches!(outcome, CallOutcome::NotReached(_));
            state.rate_limiter.finish_probe(has_answer.then_some(is_throttled), now);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.in_flight = state.in_flight.saturating_sub(1);
        if !self.is_finished && self.probes_endpoint {
            state.circuit_breaker.abandon_probe();
        }
        if !self.is_finished && self.probes_rate {
            state.rate_limiter.finish_probe(None, Instant::now());
        }
        state.wake_next();
        drop(state);
        self.limiter.changed.notify_waiters();
    }
}

impl Deref for LimiterHandle {
    type Target = Arc<Limiter>;

    fn deref(&self) -> &Arc<Limiter> {
        &self.limiter
    }
}

impl Drop for LimiterHandle {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.clients.remove(&self.client);
        state.apply_limits();
        state.wake_next();
        drop(state);
        self.limiter.changed.notify_waiters();
    }
}

// A call of work in the queue, until it is dropped.
struct Queued<'a> {
    limiter: &'a Limiter,
    number: u64,
    changed: Arc<Notify>,
}

impl<'a> Queued<'a> {
    fn of(limiter: &'a Limiter, lanes: &Lanes) -> Self {
        let changed = Arc::<Notify>::default();
        let mut state = limiter.state.lock();
        state.last_queued = state.last_queued.saturating_add(1);
        let number = state.last_queued;
        state.queue.insert(number, QueuedCall { lanes: lanes.clone(), changed: Arc::clone(&changed) });
        Self { limiter, number, changed }
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        let mut state = self.limiter.state.lock();
        state.queue.remove(&self.number);
        if state.queue.is_empty() {
            state.served.clear();
        }
        state.wake_next();
    }
}

#[cfg(test)]
mod tests;
