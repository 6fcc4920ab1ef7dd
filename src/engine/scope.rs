//! Where the process templates of a set are: a connection to a CMDB, and one service template behind it.

use crate::cmdb::Client;
use crate::plan::{Place, ServerSchema};

/// A CMDB with the client for it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Identity of the connection with its credentials: what one has read is not shown to another.
    pub key: String,
    /// The client.
    pub client: Client,
    /// How the server keeps sockets, if the connection says so.
    pub schema: ServerSchema,
}

/// One service template of one business in one CMDB, as one connection sees it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    /// Identity of the connection with its credentials.
    pub connection: String,
    /// Normalised URL of the CMDB.
    pub endpoint: String,
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`
    pub service_template_id: i64,
}

impl Scope {
    pub(crate) fn place(&self) -> Place {
        Place { endpoint: Some(self.endpoint.clone()), service_template_id: Some(self.service_template_id) }
    }

    // Without the connection: two connections may lead to one CMDB.
    pub(crate) fn writer_key(&self) -> String {
        format!("{} {} {}", self.endpoint, self.biz_id, self.service_template_id)
    }
}
