//! Counts as floating-point numbers.

/// A count. One that is too large for an exact conversion is infinite.
pub fn from_usize(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

/// A count, at most `u32::MAX`.
pub fn from_u64(count: u64) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}
