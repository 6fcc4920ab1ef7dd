//! Whether an endpoint is down, and when it is tried again. Pure: told what time it is.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::by_chance;

/// Failures in a row after which an endpoint counts as down.
const FAILURES: u32 = 3;

/// First and longest wait before it is tried again.
const WAIT: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));

/// Whether calls may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The endpoint is up.
    Open,
    /// It is down, and this call may be the one that tries it.
    Probe,
    /// It is down, and is just being tried.
    Probing,
    /// It is down, and is tried again then.
    Closed(Instant),
}

/// Whether an endpoint is down.
#[derive(Debug, Default)]
pub struct Breaker {
    // In a row.
    failures: u32,
    down: Option<Down>,
}

#[derive(Debug)]
struct Down {
    // What the failures said that closed the way: the same until it opens, for it is shown in statuses.
    cause: String,
    wait: Duration,
    due: Instant,
    is_probing: bool,
}

impl Breaker {
    /// Whether calls may go.
    pub fn way(&self, now: Instant) -> Way {
        match &self.down {
            None => Way::Open,
            Some(down) if down.is_probing => Way::Probing,
            Some(down) if down.due <= now => Way::Probe,
            Some(down) => Way::Closed(down.due),
        }
    }

    /// What keeps calls from going.
    pub fn cause(&self) -> Option<&str> {
        self.down.as_ref().map(|down| down.cause.as_str())
    }

    /// When the endpoint is tried again; None: it is up.
    pub fn due(&self) -> Option<Instant> {
        self.down.as_ref().map(|down| down.due)
    }

    /// A call goes to try the endpoint.
    pub fn probe(&mut self) {
        if let Some(down) = &mut self.down {
            down.is_probing = true;
        }
    }

    /// The call that tried it ended without an outcome: the next may try.
    pub fn probe_lost(&mut self) {
        if let Some(down) = &mut self.down {
            down.is_probing = false;
        }
    }

    /// An answer came.
    pub fn reached(&mut self) {
        *self = Self::default();
    }

    /// None came.
    pub fn failed(&mut self, is_probe: bool, cause: &str, now: Instant) {
        self.failures = self.failures.saturating_add(1);
        match &mut self.down {
            Some(down) if is_probe => {
                down.wait = (down.wait * 2).min(WAIT.1);
                down.due = now + jittered(down.wait);
                down.is_probing = false;
            }
            None if self.failures >= FAILURES => {
                let (wait, _) = WAIT;
                let (cause, due) = (cause.to_owned(), now + jittered(wait));
                self.down = Some(Down { cause, wait, due, is_probing: false });
            }
            // It was sent before the way was closed; or it is one of the first.
            Some(_) | None => {}
        }
    }
}

// A fifth longer or shorter, and never longer than the longest.
fn jittered(wait: Duration) -> Duration {
    by_chance(wait.mul_f64(0.8), wait.mul_f64(1.2)).min(WAIT.1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breaker, Way};

    fn down(now: Instant) -> Breaker {
        let mut breaker = Breaker::default();
        for _ in 0..3 {
            breaker.failed(false, "no connection", now);
        }
        breaker
    }

    fn wait(breaker: &Breaker, now: Instant) -> Duration {
        let Way::Closed(due) = breaker.way(now) else { panic!("it is not closed") };
        due - now
    }

    #[test]
    fn an_answer_in_between_keeps_the_way_open() {
        let now = Instant::now();
        let mut breaker = Breaker::default();
        for _ in 0..10 {
            breaker.failed(false, "no connection", now);
            breaker.failed(false, "no connection", now);
            breaker.reached();
        }
        assert_eq!(breaker.way(now), Way::Open);
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
            assert_eq!(breaker.way(now), Way::Probe);
            breaker.probe();
            assert_eq!(breaker.way(now), Way::Probing);
            breaker.failed(true, "no answer in time", now);
            assert_eq!(breaker.cause(), Some("no connection"), "what is said stays the same");
        }
        assert!(waits.windows(2).any(|pair| (pair[0] - pair[1]).abs() > 1e-6), "{waits:?}");
    }

    #[test]
    fn what_was_sent_before_the_way_was_closed_does_not_lengthen_the_wait() {
        let now = Instant::now();
        let mut breaker = down(now);
        let due = breaker.due();
        breaker.failed(false, "no connection", now + Duration::from_millis(500));
        assert_eq!(breaker.due(), due);
    }
}
