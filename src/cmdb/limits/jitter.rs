//! A little chance, so that not all do the same at once.

use std::time::Duration;

/// A duration between these two.
#[must_use]
pub fn by_chance(least: Duration, most: Duration) -> Duration {
    let number = fastrand::u32(..);
    least + most.saturating_sub(least).mul_f64(f64::from(number) / f64::from(u32::MAX))
}
