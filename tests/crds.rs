//! The CRDs: committed as generated, and as Kubernetes conventions want them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::path::Path;

use process_template_operator::api::{self, BindCell, FUNC_NAME, PROCESS_NAME, Property};
use serde_json::{Value, json};

/// Every schema of a CRD with its path, itself among them.
fn schemas(crd: &Value) -> Vec<(String, Value)> {
    fn walk(path: &str, schema: &Value, found: &mut Vec<(String, Value)>) {
        found.push((path.to_owned(), schema.clone()));
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), child, found);
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, found);
        }
    }
    let mut found = Vec::new();
    walk("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}

fn all() -> Vec<(String, String, Value)> {
    let crds = api::crds().unwrap();
    crds.iter()
        .flat_map(|(file, crd)| schemas(crd).into_iter().map(|(path, schema)| ((*file).to_owned(), path, schema)))
        .collect()
}

#[test]
fn the_committed_crds_are_the_generated_ones() {
    for (file, crd) in api::crds().unwrap() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("crds").join(file);
        let committed = std::fs::read_to_string(&path).unwrap();
        assert_eq!(committed, api::yaml(&crd).unwrap(), "{file}: run make generate");
        assert!(committed.len() < 200 * 1024, "{file} is too large for kubectl apply");
    }
}

#[test]
fn no_schema_says_what_the_api_server_would_drop_or_warn_of() {
    for (file, path, schema) in all() {
        // Labels are the one map.
        let is_map = path.ends_with(".matchLabels");
        for word in ["nullable", "title", "anyOf", "oneOf", "additionalProperties"] {
            let is_meant = word == "additionalProperties" && is_map;
            assert!(is_meant || schema.get(word).is_none(), "{file} {path} says {word}");
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or("int32");
        assert!(["int32", "int64", "date-time"].contains(&format), "{file} {path} has format {format}");
        assert_ne!(schema["type"], "number", "{file} {path} takes fractions");
        for bound in ["minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems"] {
            let whole = schema.get(bound).is_none_or(|bound| bound.is_i64() || bound.is_u64());
            assert!(whole, "{file} {path} has a fraction as {bound}");
        }
        let has_null = schema["enum"].as_array().is_some_and(|values| values.contains(&Value::Null));
        assert!(!has_null, "{file} {path} lists null");
    }
}

#[test]
fn nothing_in_a_spec_has_a_default_and_every_object_begins_unobserved() {
    for (file, path, schema) in all() {
        let expected = (path == ".status").then(|| json!({ "observedGeneration": -1 }));
        assert_eq!(schema.get("default"), expected.as_ref(), "{file} {path}");
    }
}

#[test]
fn every_list_has_its_type_and_every_key_is_required() {
    for (file, path, schema) in all().into_iter().filter(|(_, _, schema)| schema["type"] == "array") {
        let list_type =
            schema["x-kubernetes-list-type"].as_str().unwrap_or_else(|| panic!("{file} {path} has no list type"));
        let items = &schema["items"];
        if items["type"] == "object" {
            assert!(items["required"].as_array().is_some_and(|required| !required.is_empty()), "{file} {path}");
        }
        for key in schema["x-kubernetes-list-map-keys"].as_array().into_iter().flatten() {
            assert_eq!(list_type, "map");
            assert!(items["required"].as_array().unwrap().contains(key), "{file} {path} key {key}");
        }
    }
}

#[test]
fn conditions_are_a_list_keyed_by_type() {
    let found: Vec<_> = all().into_iter().filter(|(_, path, _)| path.ends_with(".conditions")).collect();
    assert_eq!(found.len(), api::crds().unwrap().len());
    for (file, path, schema) in found {
        assert_eq!(path, ".status.conditions", "{file}");
        assert_eq!(schema["x-kubernetes-list-type"], "map", "{file}");
        assert_eq!(schema["x-kubernetes-list-map-keys"], json!(["type"]), "{file}");
    }
}

#[test]
fn everything_in_a_spec_is_bounded() {
    for (file, path, schema) in all().into_iter().filter(|(_, path, _)| path.starts_with(".spec")) {
        let has = |words: &[&str]| words.iter().all(|word| schema.get(*word).is_some());
        let bounded = match schema["type"].as_str() {
            Some("string") => has(&["maxLength"]) || has(&["enum"]),
            Some("array") => has(&["maxItems"]),
            Some("integer") => has(&["minimum", "maximum"]),
            Some("boolean" | "object") => true,
            // A number or a text; any value.
            None if schema["x-kubernetes-int-or-string"] == true => {
                has(&["minimum", "maximum", "maxLength", "pattern"])
            }
            None => schema["x-kubernetes-preserve-unknown-fields"] == true,
            Some(other) => panic!("{file} {path} is of type {other}"),
        };
        assert!(bounded, "{file} {path} is not bounded");
    }
}

// What other resources and calls of CMDB name, beside the properties of a process.
const CMDB_NAMES: &[&str] = &[
    "as_default_value",
    "bk_app_code",
    "resourceVersion",
    "bk_biz_id",
    "bk_supplier_account",
    "create_time",
    "last_time",
    "modifier",
    "name",
    "processes",
    "service_category_id",
    "service_template_id",
    "value",
];

#[test]
fn a_description_starts_as_a_sentence_or_with_the_name_in_cmdb() {
    let cells = BindCell::ALL.iter().map(|cell| cell.cmdb_name());
    let names: Vec<&str> = Property::ALL
        .iter()
        .map(|property| property.cmdb_name())
        .chain(cells)
        .chain([FUNC_NAME, PROCESS_NAME])
        .chain(CMDB_NAMES.iter().copied())
        .collect();
    for (file, path, schema) in all() {
        // Kubernetes describes its own type, and the entries of a list are described with the list.
        if path.starts_with(".status.conditions[]") || (path.ends_with("[]") && schema["type"] != "object") {
            continue;
        }
        let description = schema["description"].as_str().unwrap_or_default();
        let word = description.split([' ', ':', ',']).next().unwrap_or_default();
        let starts = word.starts_with(|first: char| first.is_ascii_uppercase()) || names.contains(&word);
        assert!(starts, "{file} {path}: {description:?}");
    }
}

#[test]
fn every_field_is_described_and_a_property_of_cmdb_by_its_name_first() {
    for (file, path, schema) in all() {
        let is_field = path.rsplit('.').next().is_some_and(|name| !name.is_empty() && !name.ends_with(']'));
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(!is_field || !description.is_empty(), "{file} {path} is not described");
        assert!(!description.contains('`'), "{file} {path} has a mark of the source in its text");
    }
    let schemas = all();
    let properties = Property::ALL.iter().map(|property| (property.name(), property.cmdb_name()));
    for (field, name) in properties.chain([("processName", PROCESS_NAME), ("funcName", FUNC_NAME)]) {
        let path = format!(".spec.processes[].{field}");
        let (_, _, schema) = schemas.iter().find(|(_, at, _)| *at == path).unwrap_or_else(|| panic!("no {path}"));
        let description = schema["description"].as_str().unwrap_or_default();
        assert!(description.starts_with(&format!("{name}: ")), "{path}: {description}");
    }
    let (_, _, key) = schemas.iter().find(|(_, path, _)| path == ".spec.processes[].name").unwrap();
    assert!(key["description"].as_str().unwrap().starts_with(PROCESS_NAME));
}

#[test]
fn field_names_are_camel_case() {
    for (file, path, _) in all() {
        let name = path.rsplit('.').next().unwrap().trim_end_matches("[]");
        let valid = name.chars().all(|letter| letter.is_ascii_alphanumeric())
            && name.starts_with(|first: char| first.is_ascii_lowercase());
        assert!(valid || path.is_empty(), "{file} {path}");
    }
}
