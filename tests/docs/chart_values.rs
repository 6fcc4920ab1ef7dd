//! The schema of the chart's values: no object takes a key that is not known, and values.yaml is as it says.

use std::path::Path;

use serde_json::Value;
use test_support::levels::{Keys, levels, resolved};

// What is not ours to know: what Helm gives to every chart, and objects of any kind. Kubernetes' own word for fields, in the
// metadata of a claim, has no form.
const FREE: [&str; 3] =
    ["/extraObjects/0", "/extraVolumes/0/ephemeral/volumeClaimTemplate/metadata/managedFields/0/fieldsV1", "/global"];

fn chart(file: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/process-template-operator").join(file))
        .unwrap()
}

fn schema() -> Value {
    serde_json::from_str(&chart("values.schema.json")).unwrap()
}

#[test]
fn every_object_of_the_values_refuses_unknown_keys() {
    let levels = levels(&schema());
    let mut free: Vec<&str> =
        levels.iter().filter(|level| level.keys == Keys::Free).map(|level| level.path.as_str()).collect();
    free.sort_unstable();
    assert_eq!(free, FREE);
    let named = levels.iter().filter(|level| level.keys == Keys::Named).count();
    assert!(named > 100 && levels.iter().any(|level| level.path.is_empty()), "{named}");
}

#[test]
fn the_default_values_are_as_the_schema_says_and_none_is_left_out() {
    let values: Value = serde_saphyr::from_str(&chart("values.yaml")).unwrap();
    let schema = schema();
    let mut compared = 0;
    compare(&schema, &schema, &values, "", &mut compared);
    assert!(compared > 60, "{compared}");
    let named = schema["properties"].as_object().unwrap();
    let absent: Vec<&String> = named.keys().filter(|name| values.get(name.as_str()).is_none()).collect();
    assert_eq!(absent, ["global"]);
}

fn compare(root: &Value, schema: &Value, value: &Value, path: &str, compared: &mut usize) {
    let schema = resolved(root, schema);
    *compared += 1;
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = &schema["type"];
    let is_one = kinds == kind || kinds.as_array().is_some_and(|kinds| kinds.iter().any(|one| one == kind));
    assert!(is_one, "{path} is {value}, not {kinds}");
    if let Some(all) = schema["enum"].as_array() {
        assert!(all.contains(value), "{path} is {value}, not one of {all:?}");
    }
    for item in value.as_array().into_iter().flatten() {
        compare(root, &schema["items"], item, &format!("{path}/0"), compared);
    }
    for (name, child) in value.as_object().into_iter().flatten() {
        let named = schema["properties"].get(name);
        let known = named.unwrap_or_else(|| &schema["additionalProperties"]);
        assert!(known.is_object(), "{path} has no {name}");
        compare(root, known, child, &format!("{path}/{name}"), compared);
    }
}
