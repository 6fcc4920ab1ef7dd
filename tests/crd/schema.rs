//! The CRDs: committed as generated, and as Kubernetes conventions want them.

use process_template_operator::api::{self, BindCell, FUNC_NAME, PROCESS_NAME, Property};
use serde_json::{Value, json};
use test_support::schemas::schemas;

fn all() -> Vec<(String, String, Value)> {
    let crds = api::crds().unwrap();
    crds.iter()
        .flat_map(|(file, crd)| schemas(crd).into_iter().map(|found| ((*file).to_owned(), found.path, found.schema)))
        .collect()
}

#[test]
fn no_crd_is_too_large_for_kubectl_apply() {
    for (file, crd) in api::crds().unwrap() {
        assert!(api::yaml(&crd).unwrap().len() < 200 * 1024, "{file}");
    }
}

#[test]
fn no_schema_says_what_the_api_server_would_drop_or_warn_of() {
    for (file, path, schema) in all() {
        for word in ["title", "anyOf", "oneOf"] {
            assert!(schema.get(word).is_none(), "{file} {path} says {word}");
        }
        let format = schema.get("format").and_then(Value::as_str).unwrap_or("int32");
        assert!(["int32", "int64", "date-time"].contains(&format), "{file} {path} has format {format}");
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
        // The second is for a status that somebody has emptied.
        let expected = match path.as_str() {
            ".status" => Some(json!({ "observedGeneration": -1 })),
            ".status.observedGeneration" => Some(json!(-1)),
            _ => None,
        };
        assert_eq!(schema.get("default"), expected.as_ref(), "{file} {path}");
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
        if path.starts_with(".status.conditions[]") || (path.ends_with([']', '}']) && schema["type"] != "object") {
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
        let is_field = path.rsplit('.').next().is_some_and(|name| !name.is_empty() && !name.ends_with([']', '}']));
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
