//! A little chance, so that not all do the same at once.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// A duration between these two.
#[must_use]
pub fn by_chance(least: Duration, most: Duration) -> Duration {
    let number = u32::try_from(RandomState::new().build_hasher().finish() >> 32).unwrap_or_default();
    least + most.saturating_sub(least).mul_f64(f64::from(number) / f64::from(u32::MAX))
}
