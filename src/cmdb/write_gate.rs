//! Whether a write may be sent at all, whatever the limits say: only the leader writes.

use std::fmt::Debug;

/// Checked just before each write is sent.
pub trait WriteGate: Debug + Send + Sync {
    /// Whether a write may be sent now.
    fn is_open(&self) -> bool;
}

/// A gate that is always open.
#[derive(Clone, Copy, Debug)]
pub struct OpenGate;

impl WriteGate for OpenGate {
    fn is_open(&self) -> bool {
        true
    }
}
