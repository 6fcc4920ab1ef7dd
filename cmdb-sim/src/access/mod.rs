//! Who may call, and how a call is refused.

pub(crate) mod admission;
pub(crate) mod credentials;
pub(crate) mod refusal;
