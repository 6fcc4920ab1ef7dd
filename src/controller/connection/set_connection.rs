//! The connection of one set for one reconcile, as one value.

use std::sync::Arc;

use super::name::ConnectionName;
use crate::cmdb::{Behalf, Grants};
use crate::controller::names::ObjectName;
use crate::engine::Connection;

/// The set that a connection is looked up for.
#[derive(Clone, Debug)]
pub struct User<'a> {
    /// The set.
    pub set: &'a ObjectName,
    /// The set, as the audit log names it.
    pub behalf: Behalf,
    /// The connection that it uses.
    pub name: &'a ConnectionName,
    /// `bk_biz_id` of the set.
    pub biz_id: i64,
}

/// A connection that was given to one set for one reconcile: the client, in the name of that set, and its grants. Looked up
/// once, so that no step of the reconcile works with another client or other grants than the step before.
#[derive(Clone, Debug)]
pub struct SetConnection {
    /// The CMDB.
    pub connection: Connection,
    /// What the set may touch there.
    pub grants: Arc<dyn Grants>,
}

impl SetConnection {
    /// Normalised URL of the CMDB.
    pub fn url(&self) -> &str {
        self.connection.client.url()
    }
}
