//! What is examined, and what is looked up for it.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt as _;

use super::step::Trouble;
use crate::api::{ConnectionKind, GROUP, Grant};
use crate::cli::manifest::files::Document;
use crate::cli::manifest::validate_object;
use crate::cli::manifest::validate_object::{Judge, Kind};
use crate::controller::{ConnectionName, Description};

/// A connection that the command line names: kind and name.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Its kind.
    pub kind: ConnectionKind,
    /// Its name.
    pub name: String,
}

impl FromStr for Wanted {
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

impl Wanted {
    /// The connection of that name; `namespace` counts for a kind that has one.
    pub fn in_namespace(&self, namespace: &str) -> ConnectionName {
        let namespace = match self.kind {
            ConnectionKind::CmdbConnection => namespace.to_owned(),
            ConnectionKind::ClusterCmdbConnection => String::new(),
        };
        ConnectionName { kind: self.kind, namespace, name: self.name.clone() }
    }
}

/// A connection that is examined.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Which it is; None: that of the command line.
    pub name: Option<ConnectionName>,
    /// What it says; or why that cannot be told.
    pub found: Result<Found, Trouble>,
}

/// A connection that can be read.
#[derive(Clone, Debug)]
pub struct Found {
    /// What it says.
    pub description: Description,
    /// Whom it grants what.
    pub grants: Vec<Grant>,
    /// Where it was read.
    pub place: String,
}

/// What was looked up for a connection. What is not in it does not exist, as far as one can see.
#[derive(Debug, Default)]
pub struct Evidence {
    /// Secrets, by namespace and name; or why one cannot be read.
    pub secrets: HashMap<(String, String), Result<Secret, Trouble>>,
    /// Labels of namespaces; or why they cannot be read.
    pub labels: HashMap<String, Result<BTreeMap<String, String>, Trouble>>,
    /// Where that was, in a sentence: "the files".
    pub source: &'static str,
}

impl Subject {
    /// The connection that a document holds; None when it holds none. `namespace` is that of what names none.
    pub fn of(document: &Document, namespace: &str, judge: &Judge, place: &str) -> Option<Self> {
        let text = |name: &str| document.node.get("metadata")?.text(name).map(str::to_owned);
        let kind = match validate_object::kind(document) {
            Kind::Connection => ConnectionKind::CmdbConnection,
            Kind::ClusterConnection => ConnectionKind::ClusterCmdbConnection,
            Kind::Set | Kind::Secret | Kind::Namespace | Kind::Unknown | Kind::Other => return None,
        };
        let namespace = text("namespace").unwrap_or_else(|| namespace.to_owned());
        let wanted = Wanted { kind, name: text("name").unwrap_or_default() };
        let place = place.to_owned();
        let (found, findings) = match kind {
            ConnectionKind::CmdbConnection => {
                let (connection, findings) = judge.connection(document);
                let description = connection.map(|connection| {
                    let namespace = connection.namespace().unwrap_or_else(|| namespace.clone());
                    (Description::of(&namespace, &connection.spec), Vec::new())
                });
                (description, findings)
            }
            ConnectionKind::ClusterCmdbConnection => {
                let (connection, findings) = judge.cluster_connection(document);
                (connection.map(|it| (Description::of_cluster(&it.spec), it.spec.grants)), findings)
            }
        };
        let found = match found.filter(|_| findings.is_empty()) {
            Some((description, grants)) => Ok(Found { description, grants, place }),
            None => Err(Trouble {
                fact: findings.iter().map(|finding| said(finding, &place)).collect::<Vec<_>>().join("; "),
                advice: "Correct the connection; ptset validate judges it without a cluster.".to_owned(),
            }),
        };
        Some(Self { name: Some(wanted.in_namespace(&namespace)), found })
    }
}

fn said(finding: &crate::cli::manifest::files::Finding, place: &str) -> String {
    let path = if finding.path.is_empty() { "it" } else { &finding.path };
    match finding.place.filter(|_| finding.file != place) {
        Some(at) => format!("{}:{}:{}: {path}: {}", finding.file, at.line, at.column, finding.message),
        None => format!("{path}: {}", finding.message),
    }
}
