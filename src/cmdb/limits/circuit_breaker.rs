//! The circuit breaker: whether an endpoint is down, and when it is probed again. Pure: the time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::jitter;
use crate::outside::{fraction, later};

/// Consecutive failures after which an endpoint counts as down.
const FAILURES: u32 = 3;

/// First and longest wait before a probe.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Whether calls may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// The endpoint is up.
    Closed,
    /// It is down, and this call may probe it.
    ProbeDue,
    /// It is down, and a probe is in flight.
    Probing,
    /// It is down, and is probed again at this time.
    Open(Instant),
}

/// Whether an endpoint is down.
#[derive(Debug, Default)]
pub struct CircuitBreaker {
    consecutive_failures: u32,
    outage: Option<Outage>,
}

#[derive(Debug)]
struct Outage {
    // The cause of the failure that opened the circuit. It stays the same during an outage, because it is shown in
    // statuses.
    cause: String,
    wait: Duration,
    probe_due: Instant,
    is_probing: bool,
}

impl CircuitBreaker {
    /// Whether calls may be sent.
    pub fn state(&self, now: Instant) -> CircuitState {
        match &self.outage {
            None => CircuitState::Closed,
            Some(outage) if outage.is_probing => CircuitState::Probing,
            Some(outage) if outage.probe_due <= now => CircuitState::ProbeDue,
            Some(outage) => CircuitState::Open(outage.probe_due),
        }
    }

    /// Why the endpoint is down. `None`: it is up.
    pub fn cause(&self) -> Option<&str> {
        self.outage.as_ref().map(|outage| outage.cause.as_str())
    }

    /// When the endpoint is probed. `None`: it is up.
    pub fn probe_due(&self) -> Option<Instant> {
        self.outage.as_ref().map(|outage| outage.probe_due)
    }

    /// A call is sent as the probe.
    pub fn start_probe(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.is_probing = true;
        }
    }

    /// The probe finished without an outcome: the next call may probe.
    pub fn abandon_probe(&mut self) {
        if let Some(outage) = &mut self.outage {
            outage.is_probing = false;
        }
    }

    /// The endpoint answered a call, be it the probe or not.
    pub fn record_success(&mut self) {
        *self = Self::default();
    }

    /// The endpoint did not answer a call.
    pub fn record_failure(&mut self, is_probe: bool, cause: &str, now: Instant) {
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        match &mut self.outage {
            Some(outage) if is_probe => {
                outage.wait = outage.wait.saturating_mul(2).min(WAIT.1);
                outage.probe_due = later(now, jittered(outage.wait));
                outage.is_probing = false;
            }
            None if self.consecutive_failures >= FAILURES => {
                let (wait, _) = WAIT;
                let (cause, probe_due) = (cause.to_owned(), later(now, jittered(wait)));
                self.outage = Some(Outage { cause, wait, probe_due, is_probing: false });
            }
            // A call that was sent before the circuit opened, or one of the first failures.
            Some(_) | None => {}
        }
    }
}

// A fifth longer or shorter, and at most the longest wait.
fn jittered(wait: Duration) -> Duration {
    jitter(fraction(wait, 0.8), fraction(wait, 1.2)).min(WAIT.1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{CircuitBreaker, CircuitState};

    fn down(now: Instant) -> CircuitBreaker {
        let mut breaker = CircuitBreaker::default();
        for _ in 0..3 {
            breaker.record_failure(false, "no connection", now);
        }
        breaker
    }

    fn wait(breaker: &CircuitBreaker, now: Instant) -> Duration {
        let CircuitState::Open(due) = breaker.state(now) else { panic!("the circuit is not open") };
        due - now
    }

    #[test]
    fn an_answer_between_failures_keeps_the_circuit_closed() {
        let now = Instant::now();
        let mut breaker = CircuitBreaker::default();
        for _ in 0..10 {
            breaker.record_failure(false, "no connection", now);
            breaker.record_failure(false, "no connection", now);
            breaker.record_success();
        }
        assert_eq!(breaker.state(now), CircuitState::Closed);
    }

    #[test]
    fn the_waits_double_up_to_a_minute_and_vary_by_a_fifth() {
        let mut now = Instant::now();
        let mut breaker = down(now);
        let mut waits = Vec::new();
        for expected in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = wait(&breaker, now);
            let expected = Duration::from_secs(expected);
            assert!(wait >= expected.mul_f64(0.79) && wait <= expected.mul_f64(1.21).min(Duration::from_mins(1)));
            waits.push(wait.as_secs_f64() / expected.as_secs_f64());
            now += wait;
            assert_eq!(breaker.state(now), CircuitState::ProbeDue);
            breaker.start_probe();
            assert_eq!(breaker.state(now), CircuitState::Probing);
            breaker.record_failure(true, "no answer in time", now);
            assert_eq!(breaker.cause(), Some("no connection"), "the cause stays the same");
        }
        assert!(waits.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 1e-6), "{waits:?}");
    }

    #[test]
    fn a_call_sent_before_the_circuit_opened_does_not_lengthen_the_wait() {
        let now = Instant::now();
        let mut breaker = down(now);
        let due = breaker.probe_due();
        breaker.record_failure(false, "no connection", now + Duration::from_millis(500));
        assert_eq!(breaker.probe_due(), due);
    }
}
