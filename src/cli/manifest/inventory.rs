//! What `ptset plan` reads from files: sets, connections with their Secrets, and labels of namespaces.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use kube::ResourceExt as _;

use super::files;
use super::finding::Finding;
use super::validate_object;
use super::validate_object::{Kind, Validator};
use crate::api::ProcessTemplateSet;
use crate::cli::connect::Connections;
use crate::cmdb::{Grants, Unbounded};
use crate::controller::from_status;
use crate::engine::{Age, Connection, LiveSet, OtherSetCandidate, OtherSetIndex};
use crate::plan::{Desired, Memory, SetName, Whereabouts};

/// A set of the files.
pub struct Set {
    /// Which set it is.
    pub name: SetName,
    /// The set; or what is wrong with its shape.
    pub object: Result<ProcessTemplateSet, Vec<Finding>>,
}

/// Everything in the files that a plan needs.
#[derive(Default)]
pub struct Inventory {
    /// The sets in the order of the files, each once.
    pub sets: Vec<Set>,
    /// The connections with their Secrets.
    pub connections: Connections,
    /// What cannot be read, apart from the sets.
    pub findings: Vec<Finding>,
}

impl Inventory {
    /// Reads files. `namespace` is that of objects that name none.
    pub fn read(paths: &[PathBuf], namespace: &str) -> anyhow::Result<Self> {
        let validator = Validator::new()?;
        let (documents, findings) = files::read(paths);
        let mut inventory = Self { findings, ..Self::default() };
        for document in documents {
            let metadata = |name| document.root.get("metadata").and_then(|metadata| metadata.text(name));
            let namespace = metadata("namespace").unwrap_or(namespace).to_owned();
            match validate_object::kind_of(&document) {
                Kind::Set => {
                    let name = SetName { name: metadata("name").unwrap_or_default().to_owned(), namespace };
                    let (object, findings) = validator.read_set(&document);
                    let object = object.filter(|_| findings.is_empty()).ok_or(findings);
                    inventory.add_set(Set { name, object });
                }
                Kind::Connection => {
                    let (connection, findings) = validator.read_connection(&document);
                    if let Some(connection) = connection.filter(|_| findings.is_empty()) {
                        inventory.connections.add(&namespace, &connection);
                    }
                    inventory.findings.extend(findings);
                }
                Kind::ClusterConnection => {
                    let (connection, findings) = validator.read_cluster_connection(&document);
                    if let Some(connection) = connection.filter(|_| findings.is_empty()) {
                        inventory.connections.add_cluster_connection(&connection);
                    }
                    inventory.findings.extend(findings);
                }
                Kind::Namespace => inventory.connections.add_namespace(&document),
                Kind::Secret => inventory.connections.add_secret(&namespace, document),
                Kind::Unknown => inventory.findings.push(validate_object::unknown_kind(&document)),
                Kind::Other => {}
            }
        }
        Ok(inventory)
    }

    // Of two documents of one set, the later has the spec. The earlier may have the status, as the cluster has it.
    fn add_set(&mut self, mut set: Set) {
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

/// Whether a set has been deleted, and only its finalizer keeps it.
pub fn is_being_deleted(set: &ProcessTemplateSet) -> bool {
    set.metadata.deletion_timestamp.is_some()
}

/// A set of the files as the other sets see it.
pub struct StatedSet<'a> {
    name: &'a SetName,
    object: &'a ProcessTemplateSet,
    age: Age,
    processes: BTreeMap<String, String>,
    memory: Memory,
    access: &'a Result<Connection, String>,
}

/// The sets of the files that can be read, by their service template; each has its position in `sets` as its key.
/// `accesses` holds what each set has of CMDB, where it has any.
pub fn by_service_template<'a>(
    sets: &'a [Set],
    accesses: &'a [Result<Connection, String>],
) -> OtherSetIndex<usize, StatedSet<'a>> {
    let sets = sets.iter().zip(accesses).enumerate();
    let stated = sets.filter_map(|(position, (Set { name, object }, access))| {
        let object = object.as_ref().ok()?;
        let (memory, _) = from_status(&object.status.clone().unwrap_or_default());
        let processes = Desired::process_names(&object.spec);
        let stated = StatedSet { name, object, age: age(object, position), processes, memory, access };
        Some((position, object.spec.biz_id, object.spec.service_template.clone(), stated))
    });
    stated.collect()
}

/// The other sets of the files that count beside the set at this position, which has this access to CMDB.
pub fn other_sets(
    index: &OtherSetIndex<usize, StatedSet<'_>>,
    position: usize,
    access: &Connection,
) -> Vec<OtherSetCandidate> {
    let Some(own) = index.get(&position) else { return Vec::new() };
    let others = index.beside(&position, own.object.spec.biz_id, &own.object.spec.service_template);
    let seen = others.into_iter().map(|(_, other)| {
        let (endpoint, grants): (_, Arc<dyn Grants>) = match other.access {
            Ok(other) => (Some(other.client.url()), Arc::clone(other.client.grants())),
            Err(_) => (None, Arc::new(Unbounded)),
        };
        let set = LiveSet {
            name: other.name,
            age: &other.age,
            is_leaving: is_being_deleted(other.object),
            service_template: &other.object.spec.service_template,
            processes: &other.processes,
            memory: &other.memory,
        };
        set.seen_from(&own.name.namespace, &own.age, whereabouts(endpoint, access.client.url()), grants)
    });
    seen.collect()
}

// Where a set whose connection leads to `endpoint` lives, as seen from the CMDB at `here`. None: its connection cannot
// tell, or nothing that it says counts.
fn whereabouts(endpoint: Option<&str>, here: &str) -> Whereabouts {
    match endpoint {
        Some(endpoint) if endpoint == here => Whereabouts::Here,
        Some(_) => Whereabouts::Elsewhere,
        None => Whereabouts::Unknown,
    }
}

// Sets that a cluster has stored are older than those that only a file describes; these are as old as their position says.
fn age(set: &ProcessTemplateSet, position: usize) -> Age {
    let created_at = set.creation_timestamp().map(|time| time.0);
    Age::new(created_at, set.uid().filter(|_| created_at.is_some()), position)
}
