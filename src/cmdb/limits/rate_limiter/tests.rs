//! The rate with throttling, quotas and reserves.

use std::time::Duration;

use tokio::time::Instant;

use super::{Admission, RateLimiter};
use crate::cmdb::limits::quota::Quota;
use crate::cmdb::{PollKey, Priority};

const MILLISECOND: Duration = Duration::from_millis(1);

fn quota(remaining: u64, seconds: u64) -> Quota {
    Quota { limit: Some(100), remaining, reset: Duration::from_secs(seconds) }
}

// How many calls are sent when every call that is admitted is sent, and answered at once.
fn greedy(rate_limiter: &mut RateLimiter, priority: Priority, from: Instant, time: Duration) -> usize {
    let mut sent = 0;
    let mut now = from;
    while now < from + time {
        while matches!(rate_limiter.admit(priority, 0, now, 0), Admission::Now | Admission::Probe) {
            rate_limiter.take();
            rate_limiter.finish_probe(Some(false), now);
            sent += 1;
        }
        now += MILLISECOND;
    }
    sent
}

// A limiter with an empty bucket.
fn drained(rate: f64, now: Instant) -> RateLimiter {
    let mut rate_limiter = RateLimiter::new(rate, now);
    while rate_limiter.admit(Priority::Interactive, 0, now, 0) == Admission::Now {
        rate_limiter.take();
    }
    rate_limiter
}

#[test]
fn a_burst_of_one_second_is_admitted_and_then_the_rate() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    assert_eq!(greedy(&mut rate_limiter, Priority::Interactive, now, MILLISECOND), 20);
    let sent = greedy(&mut rate_limiter, Priority::Interactive, now, Duration::from_secs(10));
    assert!((199..=200).contains(&sent), "{sent}");
}

#[test]
fn at_one_request_per_second_edits_and_polls_are_admitted_one_by_one() {
    for priority in [Priority::Interactive, Priority::Background(PollKey::default())] {
        let now = Instant::now();
        let sent = greedy(&mut RateLimiter::new(1.0, now), priority, now, Duration::from_secs(10));
        assert!((10..=11).contains(&sent), "{priority:?}: {sent}");
    }
}

#[test]
fn the_wait_of_a_rejection_is_long_enough() {
    let now = Instant::now();
    let mut rate_limiter = drained(20.0, now);
    let Admission::At(at) = rate_limiter.admit(Priority::Interactive, 0, now, 0) else {
        panic!("there are tokens left")
    };
    assert_eq!(at - now, Duration::from_millis(50));
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, at, 0), Admission::Now);
}

#[test]
fn throttling_cuts_the_rate_once_and_it_grows_back_to_the_ceiling() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    for _ in 0..4 {
        rate_limiter.record_answer(true, None, now, now + MILLISECOND);
    }
    assert!((rate_limiter.rate(now + MILLISECOND, 0) - 14.0).abs() < 1e-9, "one cut for four calls in flight");
    let continues_at = now + Duration::from_secs(1);
    rate_limiter.finish_probe(Some(false), continues_at);
    rate_limiter.advance(continues_at, 0);
    assert!(
        (rate_limiter.rate(continues_at + Duration::from_secs(12), 0) - 16.0).abs() < 0.1,
        "a tenth of what it was"
    );
    assert!((rate_limiter.rate(continues_at + Duration::from_hours(1), 0) - 20.0).abs() < 1e-9);
}

#[test]
fn the_rate_never_drops_to_zero() {
    let mut now = Instant::now();
    let mut rate_limiter = RateLimiter::new(1.0, now);
    for _ in 0..100 {
        rate_limiter.record_answer(true, None, now, now);
        now += MILLISECOND;
        rate_limiter.finish_probe(Some(false), now);
    }
    assert!(rate_limiter.rate(now, 0) >= 0.1);
    rate_limiter.set_ceiling(5.0);
    assert!(rate_limiter.rate(now, 0) < 1.0, "the cut rate is kept");
}

#[test]
fn after_throttling_one_call_probes_and_pauses_grow_until_it_succeeds() {
    let mut now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    rate_limiter.record_answer(true, None, now, now);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        let Admission::At(at) = rate_limiter.admit(Priority::Interactive, 0, now, 0) else { panic!("not paused") };
        pauses.push((at - now).as_millis());
        now = at;
        assert_eq!(rate_limiter.admit(Priority::Background(PollKey::default()), 0, now, 0), Admission::Probe);
        rate_limiter.take();
        assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 1), Admission::AfterProbe);
        rate_limiter.record_answer(true, None, now, now);
        rate_limiter.finish_probe(Some(true), now);
    }
    assert_eq!(pauses, [500, 1000, 2000, 4000, 8000, 8000]);
    now += Duration::from_secs(8);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 0), Admission::Probe);
    rate_limiter.take();
    rate_limiter.finish_probe(None, now);
    assert_eq!(
        rate_limiter.admit(Priority::Interactive, 0, now, 0),
        Admission::Probe,
        "no answer: another call probes"
    );
    rate_limiter.take();
    rate_limiter.finish_probe(Some(false), now);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 0), Admission::Now);
}

#[test]
fn the_remaining_quota_is_spread_over_the_rest_of_the_window() {
    let now = Instant::now();
    let mut rate_limiter = drained(50.0, now);
    rate_limiter.record_answer(false, Some(quota(40, 10)), now, now);
    let mut remaining = 40;
    let mut sent_by = Vec::new();
    for step in 0..10_000 {
        let at = now + MILLISECOND * step;
        if rate_limiter.admit(Priority::Interactive, 0, at, 0) == Admission::Now {
            rate_limiter.take();
            remaining -= 1;
            let left = u64::from((10_000 - step).div_ceil(1000));
            rate_limiter.record_answer(false, Some(quota(remaining, left)), at, at);
        }
        if (step + 1) % 2500 == 0 {
            sent_by.push(40 - remaining);
        }
    }
    for (sent, expected) in sent_by.into_iter().zip([10, 20, 30, 40]) {
        assert!(u64::abs_diff(sent, expected) <= 1, "{sent} are not {expected}");
    }
}

#[test]
fn calls_in_flight_count_against_the_remaining_quota() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    rate_limiter.record_answer(false, Some(quota(3, 10)), now, now);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 2), Admission::Now);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 3), Admission::At(now + Duration::from_secs(10)));
}

#[test]
fn an_exhausted_quota_stops_calls_until_the_reset_and_keeps_the_rate() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    rate_limiter.record_answer(true, Some(quota(0, 3)), now, now);
    let resets_at = now + Duration::from_secs(3);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, now, 0), Admission::QuotaExhausted(resets_at));
    assert!(rate_limiter.rate(now, 0) < 1e-9);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, resets_at, 0), Admission::Now);
    assert!((rate_limiter.rate(resets_at, 0) - 20.0).abs() < 1e-9);
}

#[test]
fn an_overtaken_answer_restores_no_quota_and_a_new_window_does() {
    let now = Instant::now();
    let (before, after) = (now, now + MILLISECOND * 2);
    let mut rate_limiter = RateLimiter::new(20.0, now);
    rate_limiter.record_answer(false, Some(quota(0, 1)), before, now + MILLISECOND);
    rate_limiter.record_answer(false, Some(quota(7, 1)), before, after);
    assert!(matches!(rate_limiter.admit(Priority::Interactive, 0, after, 0), Admission::QuotaExhausted(_)));
    rate_limiter.record_answer(false, Some(quota(99, 1)), after, after + MILLISECOND);
    assert_eq!(rate_limiter.admit(Priority::Interactive, 0, after + MILLISECOND, 0), Admission::Now);
}

#[test]
fn polls_leave_the_tokens_that_one_edit_needs() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    assert_eq!(greedy(&mut rate_limiter, Priority::Background(PollKey::default()), now, MILLISECOND), 16);
    assert_eq!(greedy(&mut rate_limiter, Priority::Interactive, now, MILLISECOND), 4);
}

#[test]
fn retry_afters_are_spread_at_the_rate() {
    let now = Instant::now();
    let mut rate_limiter = drained(20.0, now);
    let waits: Vec<u128> = (0..5).map(|before| rate_limiter.retry_after(before, 50.0, now, 0).as_millis()).collect();
    assert_eq!(waits, [250, 300, 350, 400, 450], "after the reserve for edits");
    assert_eq!(rate_limiter.retry_after(3, 2.0, now, 0).as_millis(), 1750, "limited by how long calls take");
    assert!(rate_limiter.retry_after(10_000, 50.0, now, 0) <= Duration::from_mins(1), "at most a minute");
}

#[test]
fn retry_afters_start_at_the_reset_of_an_exhausted_quota() {
    let now = Instant::now();
    let mut rate_limiter = RateLimiter::new(20.0, now);
    rate_limiter.record_answer(true, Some(quota(0, 5)), now, now);
    assert_eq!(rate_limiter.retry_after(0, 50.0, now, 0), Duration::from_millis(5050));
}

#[test]
fn an_absurd_reset_does_not_panic() {
    let now = Instant::now();
    for seconds in [u64::MAX, u64::MAX - 1, i64::MAX as u64, 1_795_900_000] {
        let mut rate_limiter = RateLimiter::new(20.0, now);
        rate_limiter.record_answer(false, Some(quota(u64::MAX, seconds)), now, now);
        rate_limiter.record_answer(true, Some(quota(0, seconds)), now, now);
        rate_limiter.retry_after(usize::MAX, 0.0, now, usize::MAX);
    }
}

#[test]
fn an_epoch_for_a_reset_stops_calls_for_minutes_at_most_and_one_call_probes() {
    let now = Instant::now();
    for remaining in [0, 1, 3, 100] {
        let mut rate_limiter = RateLimiter::new(20.0, now);
        rate_limiter.record_answer(remaining == 0, Some(quota(remaining, 1_795_900_000)), now, now);
        let later = now + Duration::from_mins(5);
        let poll = Priority::Background(PollKey::default());
        let mut sent = 0;
        for step in 0..100 {
            let at = later + MILLISECOND * step;
            if matches!(rate_limiter.admit(poll, 0, at, sent), Admission::Now | Admission::Probe) {
                rate_limiter.take();
                sent += 1;
            }
        }
        assert_eq!(sent, 1, "with {remaining} left");
    }
}
