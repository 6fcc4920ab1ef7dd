//! Random durations, so that many do not act at the same time.

use std::time::Duration;

use crate::outside;

/// A random duration from `min` to `max`.
#[must_use]
pub fn jitter(min: Duration, max: Duration) -> Duration {
    let number = fastrand::u32(..);
    let more = outside::fraction(max.saturating_sub(min), f64::from(number) / f64::from(u32::MAX));
    min.saturating_add(more)
}
