//! Loads connections and the objects that belong to them from files.

use std::path::PathBuf;

use super::step::Problem;
use super::target::{ConnectionArgument, RelatedObjects, Target};
use crate::cli::connect::read_secret;
use crate::cli::manifest::files;
use crate::cli::manifest::files::Document;
use crate::cli::manifest::finding::Finding;
use crate::cli::manifest::validate_object;
use crate::cli::manifest::validate_object::{Kind, Validator};
use crate::cli::manifest::yaml::YamlValue;

/// Loads the connections of the files, or only the `wanted` one. Objects that name no namespace are in `namespace`, else in
/// "default".
pub fn load(
    paths: &[PathBuf],
    namespace: Option<&str>,
    wanted: Option<&ConnectionArgument>,
) -> anyhow::Result<(Vec<Target>, RelatedObjects, Vec<Finding>)> {
    let validator = Validator::new()?;
    let (documents, mut findings) = files::read(paths);
    let default = namespace.unwrap_or("default");
    let mut targets = Vec::new();
    let mut related = RelatedObjects { source: "the files", ..RelatedObjects::default() };
    for document in &documents {
        let metadata = document.root.get("metadata");
        let text = |name| metadata.and_then(|metadata| metadata.text(name));
        match validate_object::kind_of(document) {
            Kind::Secret => {
                let (namespace, name) = (text("namespace").unwrap_or(default), text("name").unwrap_or_default());
                let unreadable = |error: anyhow::Error| Problem::new(error.to_string(), "Correct the Secret.");
                let secret = read_secret(name, document).map_err(unreadable);
                related.secrets.insert((namespace.to_owned(), name.to_owned()), secret);
            }
            Kind::Namespace => {
                let metadata = metadata.map(YamlValue::to_json).unwrap_or_default();
                let labels = serde_json::from_value(metadata["labels"].clone()).unwrap_or_default();
                related.namespace_labels.insert(text("name").unwrap_or_default().to_owned(), Ok(labels));
            }
            Kind::Unknown => findings.push(validate_object::unknown_kind(document)),
            Kind::Connection | Kind::ClusterConnection | Kind::Set | Kind::Other => {
                let target = Target::from_document(document, default, &validator, &origin(document));
                // Of two documents of one connection, the later counts.
                if let Some(target) = target.filter(|target| is_wanted(target, wanted, namespace)) {
                    targets.retain(|earlier: &Target| earlier.name != target.name);
                    targets.push(target);
                }
            }
        }
    }
    if targets.is_empty() && findings.is_empty() {
        anyhow::bail!("there is no such CmdbConnection or ClusterCmdbConnection in the files");
    }
    Ok((targets, related, findings))
}

fn origin(document: &Document) -> String {
    format!("in {}, line {}", document.file, document.root.position.line)
}

fn is_wanted(target: &Target, wanted: Option<&ConnectionArgument>, namespace: Option<&str>) -> bool {
    let (Some(wanted), Some(name)) = (wanted, &target.name) else { return true };
    let is_in_namespace = name.is_shared() || namespace.is_none_or(|namespace| name.namespace == namespace);
    name.kind == wanted.kind && name.name == wanted.name && is_in_namespace
}
