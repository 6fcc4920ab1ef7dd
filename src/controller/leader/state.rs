//! Whether this process leads, as probes and metrics show it.

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeadershipState {
    /// It leads, or runs alone.
    Leads,
    /// Another leads.
    StandsBy,
    /// The lease cannot be had or looked at: why.
    Unknown(String),
}
