//! Whether a write may begin at all, whatever the limits say.

use std::fmt::Debug;

/// Asked just before each write is sent.
pub trait WriteGate: Debug + Send + Sync {
    /// Whether a write may begin now.
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
