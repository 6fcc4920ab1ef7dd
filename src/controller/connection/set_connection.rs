//! The connection of one set for one reconcile, as one value.

use super::lookup::Source;
use super::name::ConnectionName;
use crate::cmdb::Behalf;
use crate::controller::names::ObjectName;
use crate::engine::{BareConnection, Connection};

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

/// A connection that was given to one set for one reconcile: the client in the name of that set, which asks the set's grants
/// before each request, and what it was made from. Looked up once, so that no step of the reconcile works with another
/// client or other grants than the step before.
#[derive(Clone, Debug)]
pub struct SetConnection {
    /// The CMDB.
    pub connection: Connection,
    /// What it was made from.
    pub kept: KeptConnection,
}

impl SetConnection {
    /// Normalised URL of the CMDB.
    pub fn url(&self) -> &str {
        self.connection.client.url()
    }
}

/// A connection that worked for a set, for its deletion. It is of no use to another set, even of the same name, nor in place
/// of another connection.
#[derive(Clone, Debug)]
pub struct KeptConnection {
    /// uid of the set.
    pub set: String,
    /// The connection object.
    pub source: Source,
    /// The client that was built from it.
    pub connection: BareConnection,
}
