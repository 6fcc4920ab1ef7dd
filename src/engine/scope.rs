//! Where the process templates of a set are: a connection to a CMDB, and one service template behind it.

use std::sync::Arc;

use crate::cmdb::{Behalf, Client, GrantedClient, Grants, ServiceTemplateRef};
use crate::plan::{Place, ServerSchema};

/// A CMDB with a client that no set has been given: it can neither list nor write.
#[derive(Clone, Debug)]
pub struct BareConnection {
    /// Identity of the connection with its credentials: what one has read is not shown to another.
    pub key: String,
    /// The client.
    pub client: Client,
    /// How the server keeps sockets, if the connection says so.
    pub schema: ServerSchema,
}

/// A CMDB with the client that one set was given for it.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Identity of the connection with its credentials: what one has read is not shown to another.
    pub key: String,
    /// The client, with the grants of the set.
    pub client: GrantedClient,
    /// How the server keeps sockets, if the connection says so.
    pub schema: ServerSchema,
}

impl BareConnection {
    /// The connection as one set uses it, within these grants.
    #[must_use]
    pub fn granted(&self, grants: Arc<dyn Grants>, behalf: Behalf) -> Connection {
        let client = GrantedClient::new(self.client.clone(), grants, behalf);
        Connection { key: self.key.clone(), client, schema: self.schema }
    }
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
    /// The service template as calls name it.
    pub(crate) fn service_template<'a>(&self, name: &'a str) -> ServiceTemplateRef<'a> {
        ServiceTemplateRef { biz_id: self.biz_id, id: self.service_template_id, name }
    }

    pub(crate) fn place(&self) -> Place {
        Place { endpoint: Some(self.endpoint.clone()), service_template_id: Some(self.service_template_id) }
    }

    /// Whether both are the same process templates, whatever the connection.
    pub(crate) fn is_of_same_templates(&self, other: &Self) -> bool {
        let templates = |scope: &Self| (scope.biz_id, scope.service_template_id);
        templates(self) == templates(other) && self.endpoint == other.endpoint
    }

    // Without the connection: two connections may lead to one CMDB.
    pub(crate) fn writer_key(&self) -> String {
        format!("{} {} {}", self.endpoint, self.biz_id, self.service_template_id)
    }
}

/// The uid of the connection whose key this is: the same for all its versions and credentials.
pub fn object_of(connection: &str) -> &str {
    connection.split('/').next().unwrap_or_default()
}
