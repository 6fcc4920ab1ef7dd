//! How much memory an item of a list takes.

use serde::de::IgnoredAny;

/// An item of a list, as it is kept.
pub trait Footprint {
    /// About how much memory it takes beside itself.
    fn heap_bytes(&self) -> usize;
}

impl Footprint for IgnoredAny {
    fn heap_bytes(&self) -> usize {
        0
    }
}
