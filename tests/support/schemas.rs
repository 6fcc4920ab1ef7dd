//! The schemas within a CRD.

use serde_json::Value;

/// A schema within that of an object.
pub struct Schema {
    /// `.spec.processes[].name`; empty for the whole object. A value of a map is `{}`.
    pub path: String,
    pub schema: Value,
}

impl Schema {
    /// The name of a field; none for what is in a list or a map.
    pub fn field(&self) -> Option<&str> {
        self.path.rsplit('.').next().filter(|name| !name.is_empty() && !name.ends_with([']', '}']))
    }

    /// Its type; empty when it has none.
    pub fn kind(&self) -> &str {
        self.schema["type"].as_str().unwrap_or_default()
    }

    pub fn has(&self, words: &[&str]) -> bool {
        words.iter().all(|word| self.schema.get(*word).is_some())
    }
}

/// Every schema of a CRD of one version, that of the whole object first.
pub fn schemas(crd: &Value) -> Vec<Schema> {
    fn walk(path: &str, schema: &Value, found: &mut Vec<Schema>) {
        found.push(Schema { path: path.to_owned(), schema: schema.clone() });
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            walk(&format!("{path}.{name}"), child, found);
        }
        if let Some(items) = schema.get("items") {
            walk(&format!("{path}[]"), items, found);
        }
        if let Some(values) = schema.get("additionalProperties").filter(|values| values.is_object()) {
            walk(&format!("{path}{{}}"), values, found);
        }
    }
    let mut found = Vec::new();
    walk("", &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], &mut found);
    found
}
