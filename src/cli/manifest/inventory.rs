//! The sets of `ptset plan`, as the files have them.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt as _;

use super::files;
use super::files::Finding;
use super::validate_object;
use super::validate_object::{Judge, Kind};
use crate::api::ProcessTemplateSet;
use crate::cli::connect::Connections;
use crate::controller::from_status;
use crate::engine::{Connection, Grants, OtherSetOfBusiness, Unbounded};
use crate::plan::{Desired, OtherSet, SetName, Whereabouts};

/// A set of the files.
pub struct Set {
    /// Which set it is.
    pub name: SetName,
    /// The set; or what is wrong with its shape.
    pub object: Result<ProcessTemplateSet, Vec<Finding>>,
}

/// What a set has of CMDB.
pub struct Access {
    /// The CMDB that it uses.
    pub connection: Connection,
    /// What it may touch there.
    pub grants: Arc<dyn Grants>,
}

/// Everything in the files that a plan needs.
#[derive(Default)]
pub struct Inventory {
    /// The sets in the order of the files; each stands once.
    pub sets: Vec<Set>,
    /// The connections with their Secrets.
    pub connections: Connections,
    /// What cannot be read, and belongs to no set.
    pub findings: Vec<Finding>,
}

impl Inventory {
    /// Reads files; what names no namespace is in `namespace`.
    pub fn read(paths: &[PathBuf], namespace: &str) -> anyhow::Result<Self> {
        let judge = Judge::new()?;
        let (documents, findings) = files::read(paths);
        let mut inventory = Self { findings, ..Self::default() };
        for document in documents {
            let metadata = |name| document.node.get("metadata").and_then(|metadata| metadata.text(name));
            let namespace = metadata("namespace").unwrap_or(namespace).to_owned();
            match validate_object::kind(&document) {
                Kind::Set => {
                    let name = SetName { name: metadata("name").unwrap_or_default().to_owned(), namespace };
                    let (object, findings) = judge.set(&document);
                    let object = object.filter(|_| findings.is_empty()).ok_or(findings);
                    inventory.put(Set { name, object });
                }
                Kind::Connection => {
                    let (connection, findings) = judge.connection(&document);
                    if let Some(connection) = connection.filter(|_| findings.is_empty()) {
                        inventory.connections.add(&namespace, &connection);
                    }
                    inventory.findings.extend(findings);
                }
                Kind::ClusterConnection => {
                    let (connection, findings) = judge.cluster_connection(&document);
                    if let Some(connection) = connection.filter(|_| findings.is_empty()) {
                        inventory.connections.add_of_cluster(&connection);
                    }
                    inventory.findings.extend(findings);
                }
                Kind::Namespace => inventory.connections.add_namespace(&document),
                Kind::Secret => inventory.connections.add_secret(&namespace, document),
                Kind::Unknown => inventory.findings.push(validate_object::unknown(&document)),
                Kind::Other => {}
            }
        }
        Ok(inventory)
    }

    // A set that stands twice is what the later document says; what the cluster remembers of it may stand in the earlier.
    fn put(&mut self, mut set: Set) {
        let Some(earlier) = self.sets.iter_mut().find(|earlier| earlier.name == set.name) else {
            return self.sets.push(set);
        };
        if let (Ok(before), Ok(now)) = (&mut earlier.object, &mut set.object)
            && now.status.is_none()
        {
            now.status = before.status.take();
            now.metadata.uid = before.metadata.uid.take();
            now.metadata.creation_timestamp = before.metadata.creation_timestamp.take();
        }
        earlier.object = set.object;
    }
}

/// Whether a set goes.
pub fn is_leaving(set: &ProcessTemplateSet) -> bool {
    set.metadata.deletion_timestamp.is_some()
}

/// What the other sets of the files claim in the same business of the same CMDB, as the controller has it.
/// `accesses` holds what each set has of CMDB, where it has any.
pub fn other_sets(sets: &[Set], accesses: &[Result<Access, String>], index: usize) -> Vec<OtherSetOfBusiness> {
    let (Ok(own), Ok(access)) = (&sets[index].object, &accesses[index]) else { return Vec::new() };
    let endpoint = access.connection.client.url();
    let mut other_sets = Vec::new();
    for (other_index, other) in sets.iter().enumerate().filter(|(other_index, _)| *other_index != index) {
        let Ok(object) = &other.object else { continue };
        if object.spec.biz_id != own.spec.biz_id {
            continue;
        }
        let (whereabouts, grants): (_, Arc<dyn Grants>) = match &accesses[other_index] {
            Ok(Access { connection, grants }) if connection.client.url() == endpoint => {
                (Whereabouts::Here, Arc::clone(grants))
            }
            Ok(Access { grants, .. }) => (Whereabouts::Elsewhere, Arc::clone(grants)),
            Err(_) => (Whereabouts::Unknown, Arc::new(Unbounded)),
        };
        let name = Some(other.name.name.clone()).filter(|_| other.name.namespace == sets[index].name.namespace);
        let comes_first = order(object, other_index) < order(own, index);
        let (memory, _) = from_status(&object.status.clone().unwrap_or_default());
        // What a set that goes still remembers, it gives.
        let processes = if is_leaving(object) { BTreeMap::new() } else { Desired::process_names(&object.spec) };
        let rival = OtherSet::new(name, comes_first, &processes, &memory).at(whereabouts);
        other_sets.push(OtherSetOfBusiness { service_template: object.spec.service_template.clone(), rival, grants });
    }
    other_sets
}

// Sets that a cluster knows are older than those that only a file knows; these are as old as they stand.
fn order(set: &ProcessTemplateSet, index: usize) -> (bool, Option<Timestamp>, Option<String>, usize) {
    let created_at = set.creation_timestamp().map(|time| time.0);
    (created_at.is_none(), created_at, set.uid().filter(|_| created_at.is_some()), index)
}
