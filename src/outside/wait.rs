//! Durations, and times after them.

use std::time::Duration;

use tokio::time::Instant;

use super::number::natural;

/// Longest window of a quota that a server is believed to have.
pub const MAX_WINDOW: Duration = Duration::from_hours(1);

/// Longest time for which a server is believed that nothing may be sent to it. After that one call tries.
pub const MAX_STOP: Duration = Duration::from_mins(5);

/// Longest time between two polls.
const MAX_INTERVAL: Duration = Duration::from_hours(24);

/// Longest timeout of a call.
const MAX_TIMEOUT: Duration = Duration::from_mins(5);

/// Longest duration of a lease that another instance writes.
const MAX_LEASE: Duration = Duration::from_hours(24);

/// Longest of all waits.
const MAX_WAIT: Duration = Duration::from_hours(24 * 366);

/// A time after another. A wait that is too long for the clock is cut.
#[must_use]
pub fn later(time: Instant, wait: Duration) -> Instant {
    time.checked_add(wait.min(MAX_WAIT)).unwrap_or(time)
}

/// A duration in seconds. What is no duration is the longest wait.
#[must_use]
pub fn seconds(number: f64) -> Duration {
    Duration::try_from_secs_f64(number.max(0.0)).map_or(MAX_WAIT, |wait| wait.min(MAX_WAIT))
}

/// A duration times a factor.
#[must_use]
pub fn fraction(duration: Duration, factor: f64) -> Duration {
    seconds(duration.as_secs_f64() * factor)
}

/// The window of a quota, in whole seconds, of a header.
#[must_use]
pub fn window(text: &str) -> Option<Duration> {
    Some(Duration::from_secs(natural(text.trim())?).min(MAX_WINDOW))
}

/// The interval of polls that an object names, in seconds: at least 1.
#[must_use]
pub fn interval(seconds: i64) -> Duration {
    at_least_a_second(seconds).min(MAX_INTERVAL)
}

/// The timeout of a call that an object names, in seconds: at least 1.
#[must_use]
pub fn call_timeout(seconds: i64) -> Duration {
    at_least_a_second(seconds).min(MAX_TIMEOUT)
}

/// The duration of a lease, in seconds. `None`: it is negative.
#[must_use]
pub fn lease(seconds: i32) -> Option<Duration> {
    Some(Duration::from_secs(u64::try_from(seconds).ok()?).min(MAX_LEASE))
}

fn at_least_a_second(seconds: i64) -> Duration {
    Duration::from_secs(u64::try_from(seconds.max(1)).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{MAX_WAIT, MAX_WINDOW, call_timeout, fraction, interval, later, lease, seconds, window};

    #[test]
    fn no_duration_of_outside_overflows_a_clock() {
        let now = Instant::now();
        assert!(later(now, Duration::MAX) > now);
        for number in [f64::INFINITY, f64::NAN, f64::MAX, -f64::MAX, -1.0, 0.0] {
            let wait = seconds(number);
            assert!(wait <= MAX_WAIT && fraction(wait, f64::MAX) <= MAX_WAIT, "{number}");
        }
    }

    #[test]
    fn durations_of_headers_and_objects_are_capped() {
        assert_eq!(window(" 17 "), Some(Duration::from_secs(17)));
        assert_eq!(window("18446744073709551615"), Some(MAX_WINDOW));
        assert_eq!((window("soon"), window("-1"), window("")), (None, None, None));
        assert_eq!([i64::MIN, 0, 60].map(interval), [1, 1, 60].map(Duration::from_secs));
        assert_eq!(interval(i64::MAX), Duration::from_hours(24));
        assert_eq!(call_timeout(i64::MAX), Duration::from_mins(5));
        assert_eq!((lease(-1), lease(i32::MAX)), (None, Some(Duration::from_hours(24))));
    }
}
