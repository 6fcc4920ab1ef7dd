//! The judgement on one document: its shape, and every rule that can be judged from the object alone.

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files::{Document, Finding};
use super::schema_check::{Fault, Shape};
use super::yaml::Node;
use crate::api;
use crate::api::{ClusterCmdbConnection, CmdbConnection, GROUP, ProcessTemplateSet, VERSION};
use crate::plan::check;

/// What a document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `ProcessTemplateSet`
    Set,
    /// `CmdbConnection`
    Connection,
    /// `ClusterCmdbConnection`
    ClusterConnection,
    /// `Secret`
    Secret,
    /// `Namespace`
    Namespace,
    /// A kind of this project's group that does not exist.
    Unknown,
    /// Nothing to this project.
    Other,
}

/// The kind of a document.
pub fn kind(document: &Document) -> Kind {
    let group = document.api_version.split_once('/').map_or("", |(group, _)| group);
    let version = format!("{GROUP}/{VERSION}");
    match document.kind.as_str() {
        "ProcessTemplateSet" if document.api_version == version => Kind::Set,
        "CmdbConnection" if document.api_version == version => Kind::Connection,
        "ClusterCmdbConnection" if document.api_version == version => Kind::ClusterConnection,
        "Secret" if document.api_version == "v1" => Kind::Secret,
        "Namespace" if document.api_version == "v1" => Kind::Namespace,
        "ProcessTemplateSet" | "CmdbConnection" | "ClusterCmdbConnection" => Kind::Unknown,
        _ if group == GROUP => Kind::Unknown,
        _ => Kind::Other,
    }
}

/// Judges documents.
pub struct Judge {
    set: Value,
    connection: Value,
    cluster_connection: Value,
}

impl Judge {
    /// A judge with the schemas of the CRDs.
    pub fn new() -> anyhow::Result<Self> {
        let mut judge = Self { set: Value::Null, connection: Value::Null, cluster_connection: Value::Null };
        for (_, crd) in api::crds()? {
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default();
            match crd.pointer("/spec/names/kind").and_then(Value::as_str) {
                Some("ProcessTemplateSet") => judge.set = with_envelope(schema)?,
                Some("CmdbConnection") => judge.connection = with_envelope(schema)?,
                Some("ClusterCmdbConnection") => judge.cluster_connection = with_envelope(schema)?,
                _ => {}
            }
        }
        Ok(judge)
    }

    /// A set, as far as it can be read, and what is wrong with its shape.
    pub fn set(&self, document: &Document) -> (Option<ProcessTemplateSet>, Vec<Finding>) {
        read(&self.set, false, document)
    }

    /// A connection, as far as it can be read, and everything that is wrong with it.
    pub fn connection(&self, document: &Document) -> (Option<CmdbConnection>, Vec<Finding>) {
        read(&self.connection, true, document)
    }

    /// A connection of the cluster, likewise.
    pub fn cluster_connection(&self, document: &Document) -> (Option<ClusterCmdbConnection>, Vec<Finding>) {
        read(&self.cluster_connection, true, document)
    }

    /// Everything that is wrong with a document; None when it is nothing to this project.
    pub fn judge(&self, document: &Document) -> Option<Vec<Finding>> {
        match kind(document) {
            Kind::Set => {
                let (set, mut findings) = self.set(document);
                findings.extend(set.iter().flat_map(|set| rules(set, document)));
                findings.sort_by_key(|finding| finding.place.map(|place| (place.line, place.column)));
                Some(findings)
            }
            Kind::Connection => Some(self.connection(document).1),
            Kind::ClusterConnection => Some(self.cluster_connection(document).1),
            Kind::Unknown => Some(vec![unknown(document)]),
            Kind::Secret | Kind::Namespace | Kind::Other => None,
        }
    }
}

/// The rules that a set breaks.
fn rules(set: &ProcessTemplateSet, document: &Document) -> Vec<Finding> {
    let finding = |violation: crate::plan::Violation| {
        let place = document.node.nearest(&violation.path).place;
        document.finding(place, violation.path, violation.message)
    };
    check(&set.spec).into_iter().map(finding).collect()
}

/// What is said of a kind that this project does not have.
pub fn unknown(document: &Document) -> Finding {
    let name = if document.api_version == format!("{GROUP}/{VERSION}") { "kind" } else { "apiVersion" };
    let place = document.node.get(name).unwrap_or(&document.node).place;
    let message = format!(
        "there is no kind {:?} in {:?}; there are ProcessTemplateSet, CmdbConnection and ClusterCmdbConnection in \
         {GROUP}/{VERSION}",
        document.kind, document.api_version
    );
    document.finding(place, name.to_owned(), message)
}

// What the CRD leaves to Kubernetes.
fn with_envelope(mut schema: Value) -> anyhow::Result<Value> {
    let generator = SchemaSettings::openapi3().with(|settings| settings.inline_subschemas = true).into_generator();
    let metadata = generator.into_root_schema_for::<kube::core::ObjectMeta>();
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("metadata".to_owned(), serde_json::to_value(metadata)?);
        for name in ["apiVersion", "kind"] {
            properties.insert(name.to_owned(), serde_json::json!({ "type": "string" }));
        }
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.push("metadata".into());
    }
    Ok(schema)
}

fn read<T: DeserializeOwned>(schema: &Value, with_bounds: bool, document: &Document) -> (Option<T>, Vec<Finding>) {
    let mut shape = Shape { with_bounds, faults: Vec::new() };
    let value = shape.value(schema, &document.node, "");
    let mut faults = shape.faults;
    faults.extend(name_faults(&document.node));
    let object = value.and_then(|value| match serde_json::from_value(value) {
        Ok(object) => Some(object),
        // The shape says more, if it has found something.
        Err(error) => {
            if faults.is_empty() {
                faults.push((document.node.place, String::new(), format!("cannot be read: {error}")));
            }
            None
        }
    });
    faults.sort_by_key(|(place, ..)| (place.line, place.column));
    (object, faults.into_iter().map(|(place, path, message)| document.finding(place, path, message)).collect())
}

// Kubernetes judges names by rules that stand in no schema.
fn name_faults(node: &Node) -> Vec<Fault> {
    let Some(metadata) = node.get("metadata") else { return Vec::new() };
    let mut faults = Vec::new();
    if metadata.get("name").is_none_or(Node::is_null) && metadata.get("generateName").is_none_or(Node::is_null) {
        faults.push((metadata.place, "metadata.name".to_owned(), "is required".to_owned()));
    }
    for (field, longest, may_have_dots) in [("name", 253, true), ("namespace", 63, false)] {
        let Some(name) = metadata.text(field) else { continue };
        let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let is_label = |label: &str| {
            label.bytes().next().is_some_and(is_plain)
                && label.bytes().last().is_some_and(is_plain)
                && label.bytes().all(|byte| is_plain(byte) || byte == b'-')
        };
        let is_name = if may_have_dots { name.split('.').all(is_label) } else { is_label(name) };
        if !is_name || name.len() > longest {
            let (place, path) = (metadata.nearest(field).place, format!("metadata.{field}"));
            let dots = if may_have_dots { ", dots" } else { "" };
            let message =
                format!("{name:?} is no {field}: lower-case letters, digits{dots} and dashes, at most {longest}");
            faults.push((place, path, message));
        }
    }
    faults
}
