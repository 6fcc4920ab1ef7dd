//! The rate: a token bucket whose rate adapts to the server. Pure: the time is a parameter.
//!
//! The rate starts at the configured ceiling. A throttled answer (HTTP 429 and CMDB's own codes) cuts it and pauses all
//! calls, until one call that probes the server was not throttled; then it grows back to the ceiling. Where the server
//! reports its quota, what remains of the window is spread over the rest of it. See `limiter.rs` for the whole flow.

use std::time::Duration;

use tokio::time::Instant;

use super::convert::from_usize;
use super::jitter::jitter;
use super::quota::{POLL_RESERVE, Quota, Window, Windows};
use crate::cmdb::Priority;
use crate::outside::{fraction, later, seconds};

/// Factor of the rate after a throttled answer.
const DECREASE: f64 = 0.7;

/// Time in which the rate grows by as much as it was before the last cut.
const GROWTH: Duration = Duration::from_mins(2);

/// Lowest rate, in requests per second.
const MIN_RATE: f64 = 0.1;

/// First and longest pause after a throttled answer that does not say when to continue.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Longest retry-after of a poll.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);

/// Shortest wait: one tick of the clock.
const TICK: Duration = Duration::from_millis(1);

/// Whether a call may be sent now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Now,
    /// Yes, as the call that probes whether the server still throttles.
    Probe,
    /// No: ask again at this time.
    At(Instant),
    /// No: nothing remains of the server's quota until this time.
    QuotaExhausted(Instant),
    /// No: a probe is in flight.
    AfterProbe,
}

/// The rate at which calls are admitted.
#[derive(Debug)]
pub struct RateLimiter {
    // The configured rate, in requests per second.
    ceiling: f64,
    // The present rate: at most the ceiling.
    rate: f64,
    // Increase of the rate per second.
    growth: f64,
    tokens: f64,
    // Until when tokens and rate have grown.
    advanced_to: Instant,
    // When the rate was last cut.
    cut_at: Option<Instant>,
    pause: Option<Pause>,
    windows: Windows,
}

// After a throttled answer that did not say when to continue.
#[derive(Clone, Copy, Debug)]
struct Pause {
    until: Instant,
    length: Duration,
    is_probing: bool,
}

impl RateLimiter {
    /// A limiter at the ceiling, in requests per second.
    pub fn new(ceiling: f64, now: Instant) -> Self {
        Self {
            ceiling,
            rate: ceiling,
            growth: 0.0,
            tokens: ceiling.max(1.0),
            advanced_to: now,
            cut_at: None,
            pause: None,
            windows: Windows::default(),
        }
    }

    /// Sets the ceiling. A rate that was never cut follows it; one that was cut stays, if it is lower.
    pub fn set_ceiling(&mut self, ceiling: f64) {
        let is_at_ceiling = self.rate >= self.ceiling;
        self.rate = if is_at_ceiling { ceiling } else { self.rate.min(ceiling) };
        self.tokens = self.tokens.min(self.burst());
        self.ceiling = ceiling;
    }

    /// The present rate, in requests per second.
    pub fn rate(&mut self, now: Instant, in_flight: usize) -> f64 {
        self.advance(now, in_flight);
        self.spread(now, in_flight)
    }

    /// Whether the present rate is below the ceiling.
    pub fn is_slowed(&mut self, now: Instant, in_flight: usize) -> bool {
        self.rate(now, in_flight) < self.ceiling - 1e-9
    }

    /// Whether a call may be sent, when `before` others have to be sent before it. It takes no token:
    /// [`take`](Self::take).
    pub fn admit(&mut self, priority: Priority, before: usize, now: Instant, in_flight: usize) -> Admission {
        self.advance(now, in_flight);

        // Paused after throttling.
        if let Some(pause) = self.pause {
            return if pause.is_probing {
                Admission::AfterProbe
            } else if now < pause.until {
                Admission::At(pause.until)
            } else {
                Admission::Probe
            };
        }

        // Polls leave a reserve to edits, of the window and of the bucket.
        let window = self.windows.present();
        let (reserve, window_reserve) = match priority {
            Priority::Interactive | Priority::Resolve => (0.0, 0.0),
            Priority::Background(_) => (self.reserve(), window.map_or(0.0, |window| window.reserve)),
        };
        let wanted = 1.0 + from_usize(before);

        // The server's window.
        if let Some(window) = window.filter(|window| window.available(in_flight) < wanted + window_reserve) {
            return if window.remaining < 1.0 {
                Admission::QuotaExhausted(window.until)
            } else {
                Admission::At(window.until)
            };
        }

        // The bucket.
        let missing = wanted + reserve - self.tokens;
        if missing <= 1e-6 {
            return Admission::Now;
        }
        let rate = self.spread(now, in_flight);
        let wait = if rate > 0.0 { seconds(missing / rate) } else { MAX_RETRY_AFTER };
        Admission::At(later(now, wait.clamp(TICK, MAX_RETRY_AFTER)))
    }

    /// Takes the token of a call that is sent, or makes it the probe.
    pub fn take(&mut self) {
        match &mut self.pause {
            Some(pause) => pause.is_probing = true,
            None => self.tokens = (self.tokens - 1.0).max(0.0),
        }
    }

    /// The time after which a poll may be sent, when `before` polls are sent before it, at most `max_rate` of them a
    /// second.
    pub fn retry_after(&mut self, before: usize, max_rate: f64, now: Instant, in_flight: usize) -> Duration {
        // When calls continue after a pause or an exhausted window.
        let paused = self.pause.map(|pause| pause.until);
        let is_exhausted = |window: &Window| window.available(in_flight) < 1.0 + window.reserve;
        let exhausted = self.windows.present().filter(is_exhausted).map(|window| window.until);
        let continues_at = paused.into_iter().chain(exhausted).max().unwrap_or(now).max(now);

        // Then the bucket has to fill, and the polls before it are sent one after the other.
        let rate = self.windows.average_rate().map_or(self.rate, |average| average.min(self.rate));
        let missing = 1.0 + self.reserve() - self.tokens;
        let each = 1.0 / rate.min(max_rate).max(MIN_RATE);
        // With enough tokens it was rejected because of other calls, which take their time.
        let filled = if missing > 0.0 { missing / rate.max(MIN_RATE) } else { each };
        let due = later(continues_at, seconds(filled + from_usize(before) * each));

        let wait = due.saturating_duration_since(now);
        if wait > MAX_RETRY_AFTER {
            // The rate may have grown by then.
            return jitter(fraction(MAX_RETRY_AFTER, 0.5), MAX_RETRY_AFTER);
        }
        wait.max(TICK)
    }

    /// Records an answer to a call that was sent at `sent_at`, with the quota that it reports.
    pub fn record_answer(&mut self, is_throttled: bool, quota: Option<Quota>, sent_at: Instant, now: Instant) {
        if let Some(quota) = quota {
            self.windows.record(quota, sent_at, now);
        }
        // An exhausted window says when to continue: the rate was not too high for it.
        let is_exhausted = quota.is_some_and(|quota| quota.remaining == 0 && !quota.reset.is_zero());
        if is_throttled && !is_exhausted {
            self.cut(sent_at, now);
        }
    }

    /// The probe has finished. `None`: without an answer.
    pub fn finish_probe(&mut self, is_throttled: Option<bool>, now: Instant) {
        let is_exhausted = self.windows.present().is_some_and(|window| window.remaining < 1.0);
        let Some(pause) = &mut self.pause else { return };
        match is_throttled {
            // The window says when to continue.
            Some(true) if is_exhausted => {
                self.pause = None;
                self.advanced_to = now;
            }
            Some(false) => {
                self.pause = None;
                // The bucket does not fill during a pause.
                self.advanced_to = now;
            }
            Some(true) => {
                let length = pause.length.saturating_mul(2).min(PAUSE.1);
                *pause = Pause { until: later(now, length), length, is_probing: false };
            }
            None => pause.is_probing = false,
        }
    }

    // Cuts the rate once for all calls that were in flight together.
    fn cut(&mut self, sent_at: Instant, now: Instant) {
        if self.pause.is_some() || self.cut_at.is_some_and(|cut_at| sent_at < cut_at) {
            return;
        }
        self.growth = self.rate / GROWTH.as_secs_f64();
        self.rate = (self.rate * DECREASE).max(MIN_RATE.min(self.ceiling));
        // A full bucket would be too much at once.
        self.tokens = self.tokens.min(1.0 + self.reserve());
        self.cut_at = Some(now);

        let (length, _) = PAUSE;
        self.pause = Some(Pause { until: later(now, length), length, is_probing: false });
    }

    fn advance(&mut self, now: Instant, in_flight: usize) {
        let elapsed = now.saturating_duration_since(self.advanced_to).as_secs_f64();
        self.advanced_to = now;
        let is_doubtful = self.windows.advance(now);
        if is_doubtful && self.pause.is_none() {
            // The server spoke of a time that is too far away: one call finds out what is true now.
            let (length, _) = PAUSE;
            self.pause = Some(Pause { until: now, length, is_probing: false });
        }
        if self.pause.is_none() {
            self.tokens = (self.tokens + elapsed * self.spread(now, in_flight)).min(self.burst());
            self.rate = (self.rate + elapsed * self.growth).min(self.ceiling);
        }
    }

    // What remains of a window, spread evenly over the rest of it; at most the rate.
    fn spread(&self, now: Instant, in_flight: usize) -> f64 {
        let Some(window) = self.windows.present() else { return self.rate };
        let left = window.resets_at.saturating_duration_since(now).as_secs_f64().max(TICK.as_secs_f64());
        let available = window.available(in_flight);
        let least = if available < 1.0 { 0.0 } else { MIN_RATE };
        (available.max(0.0) / left).max(least).min(self.rate)
    }

    // Size of the bucket: about one second of the rate.
    fn burst(&self) -> f64 {
        self.rate.max(1.0)
    }

    // Tokens that polls leave to edits.
    fn reserve(&self) -> f64 {
        POLL_RESERVE.min(self.burst() - 1.0)
    }
}

#[cfg(test)]
mod tests;
