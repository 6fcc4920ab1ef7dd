//! A connection that is checked, and the objects that belong to it.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::step::Problem;
use crate::api::{ConnectionKind, GROUP, Grant};
use crate::cli::manifest::files::Document;
use crate::cli::manifest::finding::Finding;
use crate::cli::manifest::validate_object;
use crate::cli::manifest::validate_object::{Kind, Validator};
use crate::controller::{ConnectionName, Description};

/// The command line's argument KIND/NAME.
#[derive(Clone, Debug)]
pub struct ConnectionArgument {
    /// The kind of the connection.
    pub kind: ConnectionKind,
    /// The name of the connection.
    pub name: String,
}

impl FromStr for ConnectionArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let forms = "it is CmdbConnection/NAME or ClusterCmdbConnection/NAME";
        let (kind, name) = text.split_once('/').filter(|(_, name)| !name.is_empty()).ok_or(forms)?;
        let kind = kind.to_lowercase();
        let kind = match kind.strip_suffix(&format!(".{GROUP}")).unwrap_or(&kind) {
            "cmdbconnection" | "cmdbconnections" | "cmdbconn" => ConnectionKind::CmdbConnection,
            "clustercmdbconnection" | "clustercmdbconnections" | "ccmdbconn" => ConnectionKind::ClusterCmdbConnection,
            _ => return Err(forms.to_owned()),
        };
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl ConnectionArgument {
    /// The full name of the connection; `namespace` is left out for a kind of the cluster.
    pub fn in_namespace(&self, namespace: &str) -> ConnectionName {
        let namespace = match self.kind {
            ConnectionKind::CmdbConnection => namespace.to_owned(),
            ConnectionKind::ClusterCmdbConnection => String::new(),
        };
        ConnectionName { kind: self.kind, namespace, name: self.name.clone() }
    }
}

/// A connection that is checked.
#[derive(Clone, Debug)]
pub struct Target {
    /// The name of the connection; None: it was given on the command line.
    pub name: Option<ConnectionName>,
    /// The connection, or why it cannot be read.
    pub connection: Result<LoadedConnection, Problem>,
}

/// A connection that can be read.
#[derive(Clone, Debug)]
pub struct LoadedConnection {
    /// The content of its spec.
    pub description: Description,
    /// The grants of a cluster connection; none of any other.
    pub grants: Vec<Grant>,
    /// Where it was read, for people.
    pub origin: String,
}

/// Objects that a connection or its grants name. What is missing here does not exist in the source, or may not be seen.
#[derive(Debug, Default)]
pub struct RelatedObjects {
    /// Secrets by namespace and name, or why one cannot be read.
    pub secrets: HashMap<(String, String), Result<Secret, Problem>>,
    /// Labels of namespaces by name, or why they cannot be read.
    pub namespace_labels: HashMap<String, Result<BTreeMap<String, String>, Problem>>,
    /// Where the objects were read, for a sentence: "the files".
    pub source: &'static str,
}

impl Target {
    /// The connection in a document; None when it is of another kind. `namespace` is that of a document that names none.
    pub fn from_document(document: &Document, namespace: &str, validator: &Validator, origin: &str) -> Option<Self> {
        let text = |name: &str| document.root.get("metadata")?.text(name).map(str::to_owned);
        let kind = match validate_object::kind_of(document) {
            Kind::Connection => ConnectionKind::CmdbConnection,
            Kind::ClusterConnection => ConnectionKind::ClusterCmdbConnection,
            Kind::Set | Kind::Secret | Kind::Namespace | Kind::Unknown | Kind::Other => return None,
        };
        let namespace = text("namespace").unwrap_or_else(|| namespace.to_owned());
        let wanted = ConnectionArgument { kind, name: text("name").unwrap_or_default() };

        let (connection, findings) = match kind {
            ConnectionKind::CmdbConnection => {
                let (connection, findings) = validator.read_connection(document);
                let description = connection.map(|connection| {
                    let namespace = connection.namespace().unwrap_or_else(|| namespace.clone());
                    (Description::of(&namespace, &connection.spec), Vec::new())
                });
                (description, findings)
            }
            ConnectionKind::ClusterCmdbConnection => {
                let (connection, findings) = validator.read_cluster_connection(document);
                (connection.map(|it| (Description::of_cluster(&it.spec), it.spec.grants)), findings)
            }
        };
        let connection = match connection.filter(|_| findings.is_empty()) {
            Some((description, grants)) => Ok(LoadedConnection { description, grants, origin: origin.to_owned() }),
            None => Err(Problem {
                fact: findings.iter().map(|finding| summary(finding, origin)).collect::<Vec<_>>().join("; "),
                advice: "Correct the connection; ptset validate judges it without a cluster.".to_owned(),
            }),
        };
        Some(Self { name: Some(wanted.in_namespace(&namespace)), connection })
    }
}

// A finding without the object's name; without the file too, where that is the origin.
fn summary(finding: &Finding, origin: &str) -> String {
    let path = if finding.path.is_empty() { "it" } else { &finding.path };
    match finding.position.filter(|_| finding.file != origin) {
        Some(at) => format!("{}:{}:{}: {path}: {}", finding.file, at.line, at.column, finding.message),
        None => format!("{path}: {}", finding.message),
    }
}
