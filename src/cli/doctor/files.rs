//! Connections and what belongs to them, from files.

use std::path::PathBuf;

use super::step::Trouble;
use super::target::{Evidence, Subject, Wanted};
use crate::cli::connect::read_secret;
use crate::cli::manifest::files;
use crate::cli::manifest::files::{Document, Finding};
use crate::cli::manifest::validate_object;
use crate::cli::manifest::validate_object::{Judge, Kind};
use crate::cli::manifest::yaml::Node;

/// The connections of the files, or the one that is wanted; what names no namespace is in `namespace`, else in "default".
pub fn find(
    paths: &[PathBuf],
    namespace: Option<&str>,
    wanted: Option<&Wanted>,
) -> anyhow::Result<(Vec<Subject>, Evidence, Vec<Finding>)> {
    let judge = Judge::new()?;
    let (documents, mut findings) = files::read(paths);
    let default = namespace.unwrap_or("default");
    let mut subjects = Vec::new();
    let mut evidence = Evidence { source: "the files", ..Evidence::default() };
    for document in &documents {
        let metadata = document.node.get("metadata");
        let text = |name| metadata.and_then(|metadata| metadata.text(name));
        match validate_object::kind(document) {
            Kind::Secret => {
                let (namespace, name) = (text("namespace").unwrap_or(default), text("name").unwrap_or_default());
                let unreadable = |error: anyhow::Error| Trouble::new(error.to_string(), "Correct the Secret.");
                let secret = read_secret(name, document).map_err(unreadable);
                evidence.secrets.insert((namespace.to_owned(), name.to_owned()), secret);
            }
            Kind::Namespace => {
                let metadata = metadata.map(Node::to_json).unwrap_or_default();
                let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
                evidence.labels.insert(text("name").unwrap_or_default().to_owned(), Ok(labels));
            }
            Kind::Unknown => findings.push(validate_object::unknown(document)),
            Kind::Connection | Kind::ClusterConnection | Kind::Set | Kind::Other => {
                let subject = Subject::of(document, default, &judge, &place(document));
                // Of one that stands twice, the later counts.
                if let Some(subject) = subject.filter(|subject| is_wanted(subject, wanted, namespace)) {
                    subjects.retain(|earlier: &Subject| earlier.name != subject.name);
                    subjects.push(subject);
                }
            }
        }
    }
    if subjects.is_empty() && findings.is_empty() {
        anyhow::bail!("there is no such CmdbConnection or ClusterCmdbConnection in the files");
    }
    Ok((subjects, evidence, findings))
}

fn place(document: &Document) -> String {
    format!("in {}, line {}", document.file, document.node.place.line)
}

fn is_wanted(subject: &Subject, wanted: Option<&Wanted>, namespace: Option<&str>) -> bool {
    let (Some(wanted), Some(name)) = (wanted, &subject.name) else { return true };
    let is_there = name.is_shared() || namespace.is_none_or(|namespace| name.namespace == namespace);
    name.kind == wanted.kind && name.name == wanted.name && is_there
}
