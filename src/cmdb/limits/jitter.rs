//! Random durations, so that many do not act at the same time.

use std::time::Duration;

/// A random duration from `min` to `max`.
#[must_use]
pub fn jitter(min: Duration, max: Duration) -> Duration {
    let number = fastrand::u32(..);
    min + max.saturating_sub(min).mul_f64(f64::from(number) / f64::from(u32::MAX))
}
