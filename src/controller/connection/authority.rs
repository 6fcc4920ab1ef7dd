//! What a set may ask for with the client that it was given: its grants, and only while the connection is the one that the
//! client was built from.

use std::fmt;
use std::sync::Arc;

use super::lookup::{ConnectionLookup, Source, SourceState};
use crate::cmdb::{Grants, Refusal, Touched};

/// The authority of one set over one connection, judged by what the watches have delivered at the time of asking.
pub struct Authority {
    /// The object that the client was built from.
    pub source: Source,
    /// The connections that there are.
    pub lookup: ConnectionLookup,
    /// What the namespace of the set may touch.
    pub grants: Arc<dyn Grants>,
    /// Whether it holds after a connection of the set's own namespace is gone: for a set that is being deleted with it. The
    /// grants of a shared connection go with the connection.
    pub outlives_own_connection: bool,
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Authority").field("connection", &self.source.name).finish_non_exhaustive()
    }
}

impl Grants for Authority {
    fn refusal(&self, touched: Touched<'_>) -> Option<Refusal> {
        match self.lookup.state_of(&self.source) {
            SourceState::Unchanged => self.grants.refusal(touched),
            SourceState::Gone if self.outlives_own_connection && !self.source.name.is_shared() => None,
            SourceState::Gone | SourceState::Changed => Some(Refusal::ConnectionChanged),
        }
    }
}
