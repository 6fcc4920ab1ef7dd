//! The CRDs, made from the types.

use std::fmt::Write as _;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{ClusterCmdbConnection, CmdbConnection, ProcessTemplateSet};
use crate::outside;

/// Every CRD of the project with the name of its file.
///
/// # Errors
/// When a type has no JSON form; a test keeps that from happening.
pub fn crds() -> Result<Vec<(&'static str, Value)>, serde_json::Error> {
    Ok(vec![
        ("processtemplatesets.yaml", finish(&ProcessTemplateSet::crd())?),
        ("cmdbconnections.yaml", finish(&CmdbConnection::crd())?),
        ("clustercmdbconnections.yaml", finish(&ClusterCmdbConnection::crd())?),
    ])
}

/// A CRD as it stands in its file.
///
/// # Errors
/// When the value has no YAML form.
pub fn yaml(crd: &Value) -> Result<String, serde_saphyr::ser::Error> {
    serde_saphyr::to_string(crd)
}

// What the derive macros cannot say: no `nullable`, no formats that the API server does not know, the default of
// status, and the message of each rule in the description of its field.
fn finish(crd: &CustomResourceDefinition) -> Result<Value, serde_json::Error> {
    let mut crd = serde_json::to_value(crd)?;
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            if let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") {
                clean(schema);
                if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
                    status.insert("default".to_owned(), json!({ "observedGeneration": -1 }));
                }
            }
        }
    }
    Ok(crd)
}

fn clean(schema: &mut Value) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("nullable");
    schema.remove("title");
    if let Some(values) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        values.retain(|value| !value.is_null());
    }
    // The derive macro writes bounds as floating point numbers; the API server keeps what it is given.
    for bound in ["minimum", "maximum"] {
        if let Some(whole) = schema.get(bound).and_then(outside::json_float).and_then(outside::whole) {
            schema.insert(bound.to_owned(), whole.into());
        }
    }
    if schema.get("format").and_then(Value::as_str).is_some_and(|format| format.starts_with("uint")) {
        schema.remove("format");
    }
    describe_rules(schema);
    if let Some(children) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        children.values_mut().for_each(clean);
    }
    for key in ["items", "additionalProperties"] {
        if let Some(child) = schema.get_mut(key) {
            clean(child);
        }
    }
}

// A field's name keeps its small letter.
fn as_sentence(message: &str) -> String {
    let first_word = message.split(' ').next().unwrap_or_default();
    match message.chars().next() {
        Some(first) if !first_word.contains(char::is_uppercase) => {
            first.to_uppercase().chain(message.chars().skip(1)).collect()
        }
        _ => message.to_owned(),
    }
}

fn describe_rules(schema: &mut Map<String, Value>) {
    let messages: Vec<String> = schema
        .get("x-kubernetes-validations")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|rule| rule.get("message").and_then(Value::as_str))
        .map(str::to_owned)
        .collect();
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = description.replace(['`', '<', '>'], "").replace('\n', " ");
        for message in messages {
            let _ = write!(description, " {}.", as_sentence(&message));
        }
    }
}
