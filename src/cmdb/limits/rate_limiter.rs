//! How fast calls may go: a token bucket whose rate is learned. Pure: told what time it is.

use std::time::Duration;

use tokio::time::Instant;

use super::jitter::by_chance;
use crate::cmdb::Priority;

/// Tokens that polls leave in the bucket: what one edit needs, which is two lists, a write and a list.
const RESERVE: f64 = 4.0;

/// Part of a window's calls that polls leave for edits, until it ends.
const WINDOW_RESERVE: f64 = 0.02;

/// What is left of the rate after a throttled answer.
const DECREASE: f64 = 0.7;

/// Time in which the rate grows by as much as it was when it was last cut.
const GROWTH: Duration = Duration::from_mins(2);

/// Slowest rate, in requests per second.
const SLOWEST: f64 = 0.1;

/// First and longest stop after a throttled answer that does not say when to go on.
const STOP: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(8));

/// Longest time that a poll is told to stay away.
const LONGEST_TICKET: Duration = Duration::from_mins(1);

/// A wait is at least one tick of the clock.
const TICK: Duration = Duration::from_millis(1);

/// What the gateway says of its fixed window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// `X-Bkapi-RateLimit-Limit`: calls of a window; absent where only the end is told.
    pub limit: Option<u64>,
    /// `X-Bkapi-RateLimit-Remaining`
    pub remaining: u64,
    /// `X-Bkapi-RateLimit-Reset`: until its end, in whole seconds, rounded up.
    pub reset: Duration,
}

/// Whether a call may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Yes.
    Now,
    /// Yes, as the one that tells whether the others may go on.
    Probe,
    /// No: look again then.
    At(Instant),
    /// No: the server has told us to stop until then.
    Stopped(Instant),
    /// No: one call is on its way to tell.
    AfterProbe,
}

/// How fast calls may go.
#[derive(Debug)]
pub struct Pace {
    ceiling: f64,
    rate: f64,
    // By which the rate grows in a second.
    growth: f64,
    tokens: f64,
    advanced_to: Instant,
    cut_at: Option<Instant>,
    stop: Option<Stop>,
    window: Option<Window>,
    // Calls per second that a window allows on average, once one was seen.
    allowance: Option<f64>,
}

// After a throttled answer that did not say when to go on.
#[derive(Clone, Copy, Debug)]
struct Stop {
    until: Instant,
    length: Duration,
    is_probing: bool,
}

#[derive(Clone, Copy, Debug)]
struct Window {
    // At the latest.
    ends: Instant,
    remaining: f64,
    // When that was told.
    told_at: Instant,
    reserve: f64,
}

impl Window {
    fn available(&self, in_flight: usize) -> f64 {
        self.remaining - count(in_flight)
    }
}

impl Pace {
    /// The ceiling's pace, in requests per second, until the server says otherwise.
    pub fn new(ceiling: f64, now: Instant) -> Self {
        let (rate, tokens) = (ceiling, ceiling.max(1.0));
        let (growth, advanced_to) = (0.0, now);
        let (cut_at, stop, window, allowance) = (None, None, None, None);
        Self { ceiling, rate, growth, tokens, advanced_to, cut_at, stop, window, allowance }
    }

    /// Sets the ceiling.
    pub fn set_ceiling(&mut self, ceiling: f64) {
        // What was never throttled goes as fast as it may.
        let is_at_ceiling = self.rate >= self.ceiling;
        self.rate = if is_at_ceiling { ceiling } else { self.rate.min(ceiling) };
        self.tokens = self.tokens.min(self.burst());
        self.ceiling = ceiling;
    }

    /// Requests per second that may go on.
    pub fn rate(&mut self, now: Instant, in_flight: usize) -> f64 {
        self.advance(now, in_flight);
        self.spread(now, in_flight)
    }

    /// Whether fewer may go on than the ceiling allows.
    pub fn is_slowed(&mut self, now: Instant, in_flight: usize) -> bool {
        self.rate(now, in_flight) < self.ceiling - 1e-9
    }

    /// Whether a call may go, when so many go before it.
    pub fn turn(&mut self, priority: Priority, before: usize, now: Instant, in_flight: usize) -> Admission {
        self.advance(now, in_flight);
        if let Some(stop) = self.stop {
            return if stop.is_probing {
                Admission::AfterProbe
            } else if now < stop.until {
                Admission::At(stop.until)
            } else {
                Admission::Probe
            };
        }
        let (reserve, window_reserve) = match (priority, self.window) {
            (Priority::Interactive | Priority::Resolve, _) => (0.0, 0.0),
            (Priority::Background(_), window) => (self.reserve(), window.map_or(0.0, |window| window.reserve)),
        };
        let wanted = 1.0 + count(before);
        if let Some(window) = self.window.filter(|window| window.available(in_flight) < wanted + window_reserve) {
            return if window.remaining < 1.0 { Admission::Stopped(window.ends) } else { Admission::At(window.ends) };
        }
        let missing = wanted + reserve - self.tokens;
        if missing <= 1e-6 {
            return Admission::Now;
        }
        let rate = self.spread(now, in_flight);
        let wait = if rate > 0.0 { Duration::try_from_secs_f64(missing / rate).ok() } else { None };
        Admission::At(now + wait.unwrap_or(LONGEST_TICKET).clamp(TICK, LONGEST_TICKET))
    }

    /// A call goes.
    pub fn take(&mut self) {
        match &mut self.stop {
            Some(stop) => stop.is_probing = true,
            None => self.tokens = (self.tokens - 1.0).max(0.0),
        }
    }

    /// The wait until a poll's turn comes, when so many go before it, at this many a second at most.
    pub fn ticket(&mut self, before: usize, longest_rate: f64, now: Instant, in_flight: usize) -> Duration {
        let stopped = self.stop.map(|stop| stop.until);
        let exhausted = self.window.filter(|window| window.available(in_flight) < 1.0 + window.reserve);
        let goes_on = stopped.into_iter().chain(exhausted.map(|window| window.ends)).max();
        let rate = self.allowance.map_or(self.rate, |allowance| allowance.min(self.rate));
        let missing = 1.0 + self.reserve() - self.tokens;
        let each = 1.0 / rate.min(longest_rate).max(SLOWEST);
        // With the tokens there it was kept back by others, who take their time.
        let filled = if missing > 0.0 { missing / rate.max(SLOWEST) } else { each };
        let turn = goes_on.unwrap_or(now).max(now) + Duration::from_secs_f64(filled + count(before) * each);
        let wait = turn.saturating_duration_since(now);
        if wait > LONGEST_TICKET {
            // The rate may have grown by then.
            return by_chance(LONGEST_TICKET / 2, LONGEST_TICKET);
        }
        wait.max(TICK)
    }

    /// An answer came to a call that was sent then, with the quota as it says.
    pub fn answered(&mut self, is_throttled: bool, quota: Option<Quota>, sent_at: Instant, now: Instant) {
        if let Some(quota) = quota {
            self.note(quota, sent_at, now);
        }
        let is_over = quota.is_some_and(|quota| quota.remaining == 0 && !quota.reset.is_zero());
        if is_throttled && !is_over {
            self.cut(sent_at, now);
        }
    }

    /// The call that was to tell whether the others may go on has ended; None: nobody knows how.
    pub fn probed(&mut self, is_throttled: Option<bool>, now: Instant) {
        let Some(stop) = &mut self.stop else { return };
        match is_throttled {
            Some(false) => {
                self.stop = None;
                // The bucket does not fill while nothing goes.
                self.advanced_to = now;
            }
            Some(true) => {
                stop.length = (stop.length * 2).min(STOP.1);
                *stop = Stop { until: now + stop.length, length: stop.length, is_probing: false };
            }
            None => stop.is_probing = false,
        }
    }

    // All that were sent before the cut belong to it.
    fn cut(&mut self, sent_at: Instant, now: Instant) {
        if self.stop.is_some() || self.cut_at.is_some_and(|cut_at| sent_at < cut_at) {
            return;
        }
        self.growth = self.rate / GROWTH.as_secs_f64();
        self.rate = (self.rate * DECREASE).max(SLOWEST.min(self.ceiling));
        // What was saved up would be too much at once.
        self.tokens = self.tokens.min(1.0 + self.reserve());
        self.cut_at = Some(now);
        let (length, _) = STOP;
        self.stop = Some(Stop { until: now + length, length, is_probing: false });
    }

    fn note(&mut self, quota: Quota, sent_at: Instant, now: Instant) {
        let (ends, remaining) = (now + quota.reset, whole(quota.remaining));
        let same = self.window.filter(|window| {
            // Within a window its end comes nearer and less remains.
            let is_later = ends > window.ends + Duration::from_millis(1500);
            let has_more = sent_at >= window.told_at && remaining > window.remaining;
            now < window.ends && !is_later && !has_more
        });
        if same.is_none() {
            let allowance = |limit| whole(limit) / quota.reset.as_secs_f64().max(1.0);
            // Seen from its beginning, a window is as long as it is.
            let from_its_beginning = quota.limit.filter(|limit| quota.remaining + 1 >= *limit).map(allowance);
            self.allowance = from_its_beginning.or(self.allowance).or(quota.limit.map(allowance));
        }
        let limit = quota.limit.map_or(remaining, whole);
        let reserve = (limit * WINDOW_RESERVE).min(RESERVE);
        self.window = Some(match same {
            Some(window) if window.remaining <= remaining => Window { ends: window.ends.min(ends), ..window },
            Some(window) => Window { ends: window.ends.min(ends), remaining, told_at: now, reserve },
            None => Window { ends, remaining, told_at: now, reserve },
        });
    }

    fn advance(&mut self, now: Instant, in_flight: usize) {
        let elapsed = now.saturating_duration_since(self.advanced_to).as_secs_f64();
        self.advanced_to = now;
        if self.window.is_some_and(|window| window.ends <= now) {
            self.window = None;
        }
        if self.stop.is_none() {
            self.tokens = (self.tokens + elapsed * self.spread(now, in_flight)).min(self.burst());
            self.rate = (self.rate + elapsed * self.growth).min(self.ceiling);
        }
    }

    // What remains of a window, evenly over what is left of it.
    fn spread(&self, now: Instant, in_flight: usize) -> f64 {
        let Some(window) = self.window else { return self.rate };
        let left = window.ends.saturating_duration_since(now).as_secs_f64().max(TICK.as_secs_f64());
        (window.available(in_flight).max(0.0) / left).min(self.rate)
    }

    // About one second of the rate.
    fn burst(&self) -> f64 {
        self.rate.max(1.0)
    }

    fn reserve(&self) -> f64 {
        RESERVE.min(self.burst() - 1.0)
    }
}

/// As a fraction.
pub fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::INFINITY, f64::from)
}

fn whole(number: u64) -> f64 {
    u32::try_from(number).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Admission, Pace, Quota};
    use crate::cmdb::{PollKey, Priority};

    const MILLISECOND: Duration = Duration::from_millis(1);

    fn quota(remaining: u64, seconds: u64) -> Quota {
        Quota { limit: Some(100), remaining, reset: Duration::from_secs(seconds) }
    }

    // How many go when as many as may do, each answered at once.
    fn greedy(pace: &mut Pace, priority: Priority, from: Instant, time: Duration) -> usize {
        let mut gone = 0;
        let mut now = from;
        while now < from + time {
            while matches!(pace.turn(priority, 0, now, 0), Admission::Now | Admission::Probe) {
                pace.take();
                pace.probed(Some(false), now);
                gone += 1;
            }
            now += MILLISECOND;
        }
        gone
    }

    // A bucket with nothing saved up.
    fn drained(rate: f64, now: Instant) -> Pace {
        let mut pace = Pace::new(rate, now);
        while pace.turn(Priority::Interactive, 0, now, 0) == Admission::Now {
            pace.take();
        }
        pace
    }

    #[test]
    fn a_second_of_the_rate_may_go_at_once_and_the_rest_at_the_rate() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        assert_eq!(greedy(&mut pace, Priority::Interactive, now, MILLISECOND), 20);
        let gone = greedy(&mut pace, Priority::Interactive, now, Duration::from_secs(10));
        assert!((199..=200).contains(&gone), "{gone}");
    }

    #[test]
    fn at_one_a_second_one_goes_at_a_time_in_either_lane() {
        for priority in [Priority::Interactive, Priority::Background(PollKey::default())] {
            let now = Instant::now();
            let gone = greedy(&mut Pace::new(1.0, now), priority, now, Duration::from_secs(10));
            assert!((10..=11).contains(&gone), "{priority:?}: {gone}");
        }
    }

    #[test]
    fn a_wait_that_is_told_is_long_enough() {
        let now = Instant::now();
        let mut pace = drained(20.0, now);
        let Admission::At(at) = pace.turn(Priority::Interactive, 0, now, 0) else { panic!("there are tokens left") };
        assert_eq!(at - now, Duration::from_millis(50));
        assert_eq!(pace.turn(Priority::Interactive, 0, at, 0), Admission::Now);
    }

    #[test]
    fn throttling_cuts_the_rate_once_and_time_raises_it_again_up_to_the_ceiling() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        for _ in 0..4 {
            pace.answered(true, None, now, now + MILLISECOND);
        }
        assert!((pace.rate(now + MILLISECOND, 0) - 14.0).abs() < 1e-9, "four that were in flight together");
        let goes_on = now + Duration::from_secs(1);
        pace.probed(Some(false), goes_on);
        pace.advance(goes_on, 0);
        assert!((pace.rate(goes_on + Duration::from_secs(12), 0) - 16.0).abs() < 0.1, "a tenth of what it was");
        assert!((pace.rate(goes_on + Duration::from_hours(1), 0) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn a_rate_never_becomes_none_at_all() {
        let mut now = Instant::now();
        let mut pace = Pace::new(1.0, now);
        for _ in 0..100 {
            pace.answered(true, None, now, now);
            now += MILLISECOND;
            pace.probed(Some(false), now);
        }
        assert!(pace.rate(now, 0) >= 0.1);
        pace.set_ceiling(5.0);
        assert!(pace.rate(now, 0) < 1.0, "what was learned stays learned");
    }

    #[test]
    fn after_throttling_one_probes_and_the_stops_become_longer_until_it_is_let_through() {
        let mut now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        pace.answered(true, None, now, now);
        let mut stops = Vec::new();
        for _ in 0..6 {
            let Admission::At(at) = pace.turn(Priority::Interactive, 0, now, 0) else { panic!("it goes on at once") };
            stops.push((at - now).as_millis());
            now = at;
            assert_eq!(pace.turn(Priority::Background(PollKey::default()), 0, now, 0), Admission::Probe);
            pace.take();
            assert_eq!(pace.turn(Priority::Interactive, 0, now, 1), Admission::AfterProbe);
            pace.answered(true, None, now, now);
            pace.probed(Some(true), now);
        }
        assert_eq!(stops, [500, 1000, 2000, 4000, 8000, 8000]);
        now += Duration::from_secs(8);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 0), Admission::Probe);
        pace.take();
        pace.probed(None, now);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 0), Admission::Probe, "nobody knows: another tries");
        pace.take();
        pace.probed(Some(false), now);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 0), Admission::Now);
    }

    #[test]
    fn what_remains_of_a_window_is_spread_evenly_over_the_rest_of_it() {
        let now = Instant::now();
        let mut pace = drained(50.0, now);
        pace.answered(false, Some(quota(40, 10)), now, now);
        let mut remaining = 40;
        let mut gone_by = Vec::new();
        for step in 0..10_000 {
            let at = now + MILLISECOND * step;
            if pace.turn(Priority::Interactive, 0, at, 0) == Admission::Now {
                pace.take();
                remaining -= 1;
                let left = u64::from((10_000 - step).div_ceil(1000));
                pace.answered(false, Some(quota(remaining, left)), at, at);
            }
            if (step + 1) % 2500 == 0 {
                gone_by.push(40 - remaining);
            }
        }
        for (gone, expected) in gone_by.into_iter().zip([10, 20, 30, 40]) {
            assert!(u64::abs_diff(gone, expected) <= 1, "{gone} are not {expected}");
        }
    }

    #[test]
    fn calls_in_flight_are_taken_from_what_remains() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        pace.answered(false, Some(quota(3, 10)), now, now);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 2), Admission::Now);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 3), Admission::At(now + Duration::from_secs(10)));
    }

    #[test]
    fn with_nothing_left_it_stops_until_the_window_ends_and_keeps_its_rate() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        pace.answered(true, Some(quota(0, 3)), now, now);
        let ends = now + Duration::from_secs(3);
        assert_eq!(pace.turn(Priority::Interactive, 0, now, 0), Admission::Stopped(ends));
        assert!(pace.rate(now, 0) < 1e-9);
        assert_eq!(pace.turn(Priority::Interactive, 0, ends, 0), Admission::Now);
        assert!((pace.rate(ends, 0) - 20.0).abs() < 1e-9);
    }

    #[test]
    fn an_answer_that_was_overtaken_gives_nothing_back_and_a_new_window_does() {
        let now = Instant::now();
        let (before, after) = (now, now + MILLISECOND * 2);
        let mut pace = Pace::new(20.0, now);
        pace.answered(false, Some(quota(0, 1)), before, now + MILLISECOND);
        pace.answered(false, Some(quota(7, 1)), before, after);
        assert!(matches!(pace.turn(Priority::Interactive, 0, after, 0), Admission::Stopped(_)));
        pace.answered(false, Some(quota(99, 1)), after, after + MILLISECOND);
        assert_eq!(pace.turn(Priority::Interactive, 0, after + MILLISECOND, 0), Admission::Now);
    }

    #[test]
    fn polls_leave_what_one_edit_needs() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        assert_eq!(greedy(&mut pace, Priority::Background(PollKey::default()), now, MILLISECOND), 16);
        assert_eq!(greedy(&mut pace, Priority::Interactive, now, MILLISECOND), 4);
    }

    #[test]
    fn tickets_are_spread_at_the_rate() {
        let now = Instant::now();
        let mut pace = drained(20.0, now);
        let waits: Vec<u128> = (0..5).map(|before| pace.ticket(before, 50.0, now, 0).as_millis()).collect();
        assert_eq!(waits, [250, 300, 350, 400, 450], "after what polls leave for work");
        assert_eq!(pace.ticket(3, 2.0, now, 0).as_millis(), 1750, "as long as calls take");
        assert!(pace.ticket(10_000, 50.0, now, 0) <= Duration::from_mins(1), "none has to stay away for long");
    }

    #[test]
    fn tickets_begin_when_a_stop_ends() {
        let now = Instant::now();
        let mut pace = Pace::new(20.0, now);
        pace.answered(true, Some(quota(0, 5)), now, now);
        assert_eq!(pace.ticket(0, 50.0, now, 0), Duration::from_millis(5050));
    }
}
