//! The server's fixed windows: how many calls it still permits, and until when. Pure: the time is a parameter.

use std::time::Duration;

use tokio::time::Instant;

use super::convert::{from_u64, from_usize};
use crate::outside::{MAX_STOP, MAX_WINDOW, later};

/// Calls that polls leave to edits: what one edit needs, which is two lists, a write and a list.
pub const POLL_RESERVE: f64 = 4.0;

/// Part of a window's calls that polls leave to edits, at most [`POLL_RESERVE`].
const WINDOW_RESERVE: f64 = 0.02;

/// Reset times are reported in whole seconds. A reset that is later than the known one by more than this
/// belongs to another window.
const RESET_TOLERANCE: Duration = Duration::from_millis(1500);

/// What an answer reports of the server's present window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `X-Bkapi-RateLimit-Limit`: calls of a window. `None` when only the reset is reported.
    pub limit: Option<u64>,
    /// `X-Bkapi-RateLimit-Remaining`: calls that remain.
    pub remaining: u64,
    /// `X-Bkapi-RateLimit-Reset`: time until the window resets, in whole seconds, rounded up. One that
    /// is longer than any window, as a date would be, counts as [`MAX_WINDOW`].
    pub reset: Duration,
}

/// The present window, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub struct Window {
    /// When it resets, at the latest.
    pub resets_at: Instant,
    /// Until when the report is believed: the reset, or earlier where that is too far away. After it one call probes.
    pub until: Instant,
    /// Calls that remain, calls in flight included.
    pub remaining: f64,
    /// Calls that polls leave to edits.
    pub reserve: f64,
    // When `remaining` was reported.
    reported_at: Instant,
}

impl Window {
    /// Calls that remain when those in flight have been counted.
    pub fn available(&self, in_flight: usize) -> f64 {
        self.remaining - from_usize(in_flight)
    }
}

/// What is known of the server's windows.
#[derive(Debug, Default)]
pub struct Windows {
    present: Option<Window>,
    average_rate: Option<f64>,
}

impl Windows {
    /// The present window. `None`: the server reported none, or it has reset.
    pub fn present(&self) -> Option<Window> {
        self.present
    }

    /// Calls per second that a window permits on average. `None`: no window was seen yet.
    pub fn average_rate(&self) -> Option<f64> {
        self.average_rate
    }

    /// Forgets the present window once it has reset, or is no longer believed. Returns whether it was the latter.
    pub fn advance(&mut self, now: Instant) -> bool {
        let Some(ended) = self.present.take_if(|window| window.until <= now) else { return false };
        now < ended.resets_at
    }

    /// Records the quota of an answer to a call that was sent at `sent_at`.
    pub fn record(&mut self, quota: Quota, sent_at: Instant, now: Instant) {
        let (resets_at, remaining) = (later(now, quota.reset.min(MAX_WINDOW)), from_u64(quota.remaining));

        // Within a window the reset comes nearer and fewer calls remain; an answer that was overtaken may report more.
        let known = self.present.filter(|window| {
            let is_later = resets_at > later(window.resets_at, RESET_TOLERANCE);
            let has_more = sent_at >= window.reported_at && remaining > window.remaining;
            now < window.resets_at && !is_later && !has_more
        });

        if known.is_none() {
            self.learn_average_rate(quota);
        }

        let limit = quota.limit.map_or(remaining, from_u64);
        let reserve = (limit * WINDOW_RESERVE).min(POLL_RESERVE);
        let until = resets_at.min(later(now, MAX_STOP));
        let reported = Window { resets_at, until, remaining, reserve, reported_at: now };
        self.present = Some(match known {
            None => reported,
            Some(window) => {
                let resets_at = window.resets_at.min(resets_at);
                let latest = if window.remaining <= remaining { window } else { reported };
                Window { resets_at, until: latest.until.min(resets_at), ..latest }
            }
        });
    }

    // At the first answer of a window.
    fn learn_average_rate(&mut self, quota: Quota) {
        let average = |limit| from_u64(limit) / quota.reset.min(MAX_WINDOW).as_secs_f64().max(1.0);
        // Only when the window has just started, its reset tells its length.
        let from_its_start = quota.limit.filter(|limit| quota.remaining.saturating_add(1) >= *limit).map(average);
        self.average_rate = from_its_start.or(self.average_rate).or(quota.limit.map(average));
    }
}
