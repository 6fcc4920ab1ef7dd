//! The schema of values.yaml.

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::Values;

/// The schema, in the draft that Helm 3 and 4 know. No object takes a key that is not named, but for maps, for Helm's own
/// `global`, and for objects of any kind.
pub fn schema() -> Value {
    let mut schema = SchemaSettings::draft07().into_generator().into_root_schema_for::<Values>().to_value();
    let definitions = schema.get_mut("definitions").and_then(Value::as_object_mut);
    for (name, definition) in definitions.into_iter().flatten() {
        close(definition, if name.starts_with("io.k8s.") { Whose::Kubernetes } else { Whose::Ours });
    }
    close(&mut schema, Whose::Ours);
    schema
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Whose {
    Ours,
    Kubernetes,
}

fn close(schema: &mut Value, whose: Whose) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("title");
    schema.remove("format");
    if schema.remove("x-kubernetes-int-or-string").is_some() {
        schema.insert("type".to_owned(), json!(["integer", "number", "string"]));
    }
    match whose {
        // Its types describe themselves at length; here the form is enough.
        Whose::Kubernetes => drop(schema.remove("description")),
        // What is absent has the default of values.yaml.
        Whose::Ours => drop(schema.remove("required")),
    }
    if schema.contains_key("properties") && schema.get("additionalProperties") != Some(&Value::Bool(true)) {
        schema.insert("additionalProperties".to_owned(), false.into());
    }
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    properties.into_iter().flat_map(Map::values_mut).for_each(|child| close(child, whose));
    for key in ["items", "additionalProperties"] {
        schema.get_mut(key).into_iter().for_each(|child| close(child, whose));
    }
}
