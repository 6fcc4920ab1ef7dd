//! The levels of a schema of values: every object that may stand in them.

use serde_json::{Map, Value, json};

/// A key that no schema names.
pub const UNKNOWN: &str = "unknownToTheChart";

/// An object within the values.
#[derive(Debug, PartialEq, Eq)]
pub struct Level {
    /// Its place, as a JSON pointer: `/image`, `/tolerations/0`.
    pub path: String,
    pub keys: Keys,
}

/// Which keys an object takes.
#[derive(Debug, PartialEq, Eq)]
pub enum Keys {
    /// Those that the schema names.
    Named,
    /// Any, each with a value of one form: a map.
    Any,
    /// Any, with anything.
    Free,
}

/// Every level of a schema.
pub fn levels(root: &Value) -> Vec<Level> {
    let mut found = Vec::new();
    walk(root, root, "", &mut found);
    found
}

/// Values that have an object at every level, and in each that takes only known keys one that is unknown.
pub fn full_of_unknowns(root: &Value) -> Value {
    filled(root, root).unwrap_or_default()
}

fn walk(root: &Value, schema: &Value, path: &str, found: &mut Vec<Level>) {
    let schema = resolved(root, schema);
    if let Some(items) = schema.get("items") {
        walk(root, items, &format!("{path}/0"), found);
    }
    if !is_object(schema) {
        return;
    }
    let keys = match &schema["additionalProperties"] {
        Value::Bool(false) => Keys::Named,
        Value::Object(_) => Keys::Any,
        _ => Keys::Free,
    };
    if keys == Keys::Any {
        walk(root, &schema["additionalProperties"], &format!("{path}/key"), found);
    }
    found.push(Level { path: path.to_owned(), keys });
    for (name, child) in schema["properties"].as_object().into_iter().flatten() {
        walk(root, child, &format!("{path}/{name}"), found);
    }
}

fn filled(root: &Value, schema: &Value) -> Option<Value> {
    let schema = resolved(root, schema);
    if let Some(items) = schema.get("items") {
        return filled(root, items).map(|item| json!([item]));
    }
    if !is_object(schema) {
        return None;
    }
    let children = schema["properties"].as_object().into_iter().flatten();
    let mut object: Map<String, Value> =
        children.filter_map(|(name, child)| Some((name.clone(), filled(root, child)?))).collect();
    match &schema["additionalProperties"] {
        Value::Bool(false) => drop(object.insert(UNKNOWN.to_owned(), true.into())),
        values @ Value::Object(_) => object.extend(filled(root, values).map(|value| ("key".to_owned(), value))),
        _ => {}
    }
    Some(object.into())
}

/// What a schema says, where it stands.
pub fn resolved<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
    let schema = schema.pointer("/allOf/0").unwrap_or(schema);
    let reference = schema["$ref"].as_str().map(|reference| reference.trim_start_matches('#'));
    reference.map_or(schema, |pointer| root.pointer(pointer).unwrap())
}

fn is_object(schema: &Value) -> bool {
    let is_object = |kind: &Value| kind == "object";
    is_object(&schema["type"]) || schema["type"].as_array().is_some_and(|kinds| kinds.iter().any(is_object))
}
