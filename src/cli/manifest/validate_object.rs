//! Validates one document: against its schema, and against every rule that needs nothing but the object.

use schemars::generate::SchemaSettings;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::files::Document;
use super::finding::Finding;
use super::schema_check::SchemaCheck;
use super::yaml::{Content, YamlValue};
use crate::api;
use crate::api::{ClusterCmdbConnection, CmdbConnection, GROUP, ProcessTemplateSet, VERSION, WHITE_SPACE_MESSAGE};
use crate::plan::check;

/// The kind of a document, as far as it matters to this project.
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
    /// Not an object of this project.
    Other,
}

/// The kind of a document.
pub fn kind_of(document: &Document) -> Kind {
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

/// Validates documents. It holds the schemas of the CRDs.
pub struct Validator {
    set: Value,
    connection: Value,
    cluster_connection: Value,
}

impl Validator {
    /// A validator with the schemas of the CRDs of this version.
    pub fn new() -> anyhow::Result<Self> {
        let mut validator = Self { set: Value::Null, connection: Value::Null, cluster_connection: Value::Null };
        for (_, crd) in api::crds()? {
            let schema = crd.pointer("/spec/versions/0/schema/openAPIV3Schema").cloned().unwrap_or_default();
            match crd.pointer("/spec/names/kind").and_then(Value::as_str) {
                Some("ProcessTemplateSet") => validator.set = with_envelope(schema)?,
                Some("CmdbConnection") => validator.connection = with_envelope(schema)?,
                Some("ClusterCmdbConnection") => validator.cluster_connection = with_envelope(schema)?,
                _ => {}
            }
        }
        Ok(validator)
    }

    /// A set, as far as it can be read, and its deviations from the schema. Bounds and rules are left to the planner.
    pub fn read_set(&self, document: &Document) -> (Option<ProcessTemplateSet>, Vec<Finding>) {
        read(&self.set, false, document)
    }

    /// A connection, as far as it can be read, and everything that is wrong with it.
    pub fn read_connection(&self, document: &Document) -> (Option<CmdbConnection>, Vec<Finding>) {
        read(&self.connection, true, document)
    }

    /// A cluster connection, as far as it can be read, and everything that is wrong with it.
    pub fn read_cluster_connection(&self, document: &Document) -> (Option<ClusterCmdbConnection>, Vec<Finding>) {
        read(&self.cluster_connection, true, document)
    }

    /// Everything that is wrong with a document; None when it is not one of this project's objects.
    pub fn validate(&self, document: &Document) -> Option<Vec<Finding>> {
        match kind_of(document) {
            Kind::Set => {
                let (set, mut findings) = self.read_set(document);
                findings.extend(set.iter().flat_map(|set| broken_rules(set, document)));
                findings.sort_by_key(line_and_column);
                Some(findings)
            }
            Kind::Connection => Some(self.read_connection(document).1),
            Kind::ClusterConnection => Some(self.read_cluster_connection(document).1),
            Kind::Unknown => Some(vec![unknown_kind(document)]),
            Kind::Secret | Kind::Namespace | Kind::Other => None,
        }
    }
}

/// What is said of a text that ends with a line break.
const LINE_BREAK_HINT: &str = ": it ends with a line break, as \"|\" keeps it; \"|-\" does not";

/// The rules that a set breaks.
fn broken_rules(set: &ProcessTemplateSet, document: &Document) -> Vec<Finding> {
    let finding = |violation: crate::plan::Violation| {
        let value = document.root.nearest(&violation.path);
        // The usual reason is a block text.
        let has_line_break = matches!(&value.content, Content::Text(text) if text.ends_with('\n'));
        let hint = if has_line_break && violation.message == WHITE_SPACE_MESSAGE { LINE_BREAK_HINT } else { "" };
        document.finding(value.position, violation.path, format!("{}{hint}", violation.message))
    };
    check(&set.spec).into_iter().map(finding).collect()
}

/// The finding about a kind of this project's group that does not exist.
pub fn unknown_kind(document: &Document) -> Finding {
    let name = if document.api_version == format!("{GROUP}/{VERSION}") { "kind" } else { "apiVersion" };
    let position = document.root.get(name).unwrap_or(&document.root).position;
    let message = format!(
        "there is no kind {:?} in {:?}; there are ProcessTemplateSet, CmdbConnection and ClusterCmdbConnection in \
         {GROUP}/{VERSION}",
        document.kind, document.api_version
    );
    document.finding(position, name.to_owned(), message)
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
    let mut check = SchemaCheck { document, with_bounds, findings: Vec::new() };
    let value = check.value(schema, &document.root, "");
    let mut findings = check.findings;
    findings.extend(name_findings(document));

    let object = value.and_then(|value| match serde_json::from_value(value) {
        Ok(object) => Some(object),
        // A finding of the schema is more precise than this error.
        Err(error) => {
            if findings.is_empty() {
                let message = format!("cannot be read: {error}");
                findings.push(document.finding(document.root.position, String::new(), message));
            }
            None
        }
    });

    findings.sort_by_key(line_and_column);
    (object, findings)
}

fn line_and_column(finding: &Finding) -> Option<(u64, u64)> {
    finding.position.map(|position| (position.line, position.column))
}

// The rules of Kubernetes for names, which are in no schema.
fn name_findings(document: &Document) -> Vec<Finding> {
    let Some(metadata) = document.root.get("metadata") else { return Vec::new() };
    let mut findings = Vec::new();

    let is_absent = |field| metadata.get(field).is_none_or(YamlValue::is_null);
    if is_absent("name") && is_absent("generateName") {
        findings.push(document.finding(metadata.position, "metadata.name".to_owned(), "is required".to_owned()));
    }

    for (field, longest, may_have_dots) in [("name", 253, true), ("namespace", 63, false)] {
        let Some(name) = metadata.text(field) else { continue };
        let is_name = if may_have_dots { name.split('.').all(is_label) } else { is_label(name) };
        if !is_name || name.len() > longest {
            let dots = if may_have_dots { ", dots" } else { "" };
            let message =
                format!("{name:?} is no {field}: lower-case letters, digits{dots} and dashes, at most {longest}");
            findings.push(document.finding(metadata.nearest(field).position, format!("metadata.{field}"), message));
        }
    }
    findings
}

// Whether a text has the form of a DNS label, whatever its length.
fn is_label(text: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.bytes().next().is_some_and(is_plain)
        && text.bytes().last().is_some_and(is_plain)
        && text.bytes().all(|byte| is_plain(byte) || byte == b'-')
}
