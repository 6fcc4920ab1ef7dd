//! Which connection it is.

use std::fmt;

use crate::api::{ConnectionKind, ProcessTemplateSetSpec};
use crate::controller::names::ObjectName;

/// A connection by kind, namespace and name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionName {
    /// Its kind.
    pub kind: ConnectionKind,
    /// Its namespace; empty when it belongs to the cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl ConnectionName {
    /// The connection that a set of this namespace uses.
    pub fn of_set(namespace: &str, spec: &ProcessTemplateSetSpec) -> Self {
        let kind = spec.connection_kind();
        let namespace = match kind {
            ConnectionKind::CmdbConnection => namespace.to_owned(),
            ConnectionKind::ClusterCmdbConnection => String::new(),
        };
        Self { kind, namespace, name: spec.connection_name().to_owned() }
    }

    /// Namespace and name, without the kind.
    pub fn object(&self) -> ObjectName {
        ObjectName { namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Whether it is shared between namespaces.
    pub fn is_shared(&self) -> bool {
        self.kind == ConnectionKind::ClusterCmdbConnection
    }
}

impl fmt::Display for ConnectionName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ConnectionKind::CmdbConnection => "CmdbConnection",
            ConnectionKind::ClusterCmdbConnection => "ClusterCmdbConnection",
        };
        write!(formatter, "{kind} {:?}", self.name)
    }
}
