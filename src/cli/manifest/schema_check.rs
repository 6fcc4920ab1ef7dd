//! Compares an object with the schema of its CRD. Every finding is reported at once, each with its position in the file.

use regex::Regex;
use serde_json::{Map, Value};

use super::files::Document;
use super::finding::Finding;
use super::yaml::{Content, Entry, Position, YamlValue};
use crate::api::{FUNC_NAME, PROCESS_NAME, Property};
use crate::outside::{json_bound, json_integer};

/// A check of one document against a schema.
pub struct SchemaCheck<'a> {
    /// The document that is checked.
    pub document: &'a Document,
    /// Whether the schema's bounds are checked too; of a set, the planner's own rules do that.
    pub with_bounds: bool,
    /// What was found so far.
    pub findings: Vec<Finding>,
}

impl SchemaCheck<'_> {
    /// Compares a value with its schema. Returns what can be read of it: an optional field with a wrong value is left out.
    pub fn value(&mut self, schema: &Value, yaml: &YamlValue, path: &str) -> Option<Value> {
        let is_set = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        if is_set("x-kubernetes-preserve-unknown-fields") {
            return Some(yaml.to_json());
        }
        if is_set("x-kubernetes-int-or-string") {
            return match &yaml.content {
                Content::Text(_) => self.text(schema, yaml, path),
                Content::Plain(value) if value.is_i64() => self.number(schema, yaml, path),
                _ => self.wrong_type(yaml, path, "a whole number or a text"),
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(schema, yaml, path),
            Some("array") => self.list(schema, yaml, path),
            Some("string") => self.text(schema, yaml, path),
            Some("integer") => self.number(schema, yaml, path),
            Some("number") => match &yaml.content {
                Content::Plain(value) if value.is_number() => Some(value.clone()),
                _ => self.wrong_type(yaml, path, "a number"),
            },
            Some("boolean") => match &yaml.content {
                Content::Plain(value) if value.is_boolean() => Some(value.clone()),
                _ => self.wrong_type(yaml, path, "true or false"),
            },
            _ => Some(yaml.to_json()),
        }
    }

    fn add(&mut self, position: Position, path: &str, message: impl Into<String>) {
        self.findings.push(self.document.finding(position, path.to_owned(), message.into()));
    }

    fn wrong_type(&mut self, yaml: &YamlValue, path: &str, wanted: &str) -> Option<Value> {
        let found = match &yaml.content {
            Content::Plain(Value::Null) => "empty",
            Content::Plain(Value::Bool(_)) => "a truth value",
            Content::Plain(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        };
        let is_unquoted = wanted == "a text" && matches!(&yaml.content, Content::Plain(value) if !value.is_null());
        let advice = if is_unquoted { ": put it in quotes" } else { "" };
        self.add(yaml.position, path, format!("must be {wanted}, and is {found}{advice}"));
        None
    }

    fn object(&mut self, schema: &Value, yaml: &YamlValue, path: &str) -> Option<Value> {
        let Content::Map(entries) = &yaml.content else { return self.wrong_type(yaml, path, "a mapping") };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        if properties.is_none() && others.is_none() {
            return Some(yaml.to_json());
        }
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        let mut is_whole = true;
        for Entry { name, position, value } in entries {
            let path = join(path, name);
            let known = properties.and_then(|properties| properties.get(name)).or(others);
            let Some(known) = known else {
                let names = properties.into_iter().flat_map(Map::keys);
                self.add(*position, &path, format!("unknown field {name:?}{}", suggestion(name, names)));
                continue;
            };
            let is_required = required.contains(&name.as_str());
            // The API server takes null for absent.
            if value.is_null() && properties.is_some() {
                if is_required {
                    self.add(value.position, &path, "is required");
                    is_whole = false;
                }
                continue;
            }
            match self.value(known, value, &path) {
                Some(value) => {
                    object.insert(name.clone(), value);
                }
                None => is_whole &= !is_required,
            }
        }
        for name in required {
            if !entries.iter().any(|entry| entry.name == name) {
                self.add(yaml.position, &join(path, name), "is required");
                is_whole = false;
            }
        }
        is_whole.then_some(Value::Object(object))
    }

    fn list(&mut self, schema: &Value, yaml: &YamlValue, path: &str) -> Option<Value> {
        let Content::List(items) = &yaml.content else { return self.wrong_type(yaml, path, "a list") };
        let kind = schema.get("items").unwrap_or(&Value::Null);
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            values.push(self.value(kind, item, &format!("{path}[{index}]")));
        }
        // Without one of its items, the others would be counted wrong.
        values.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
    }

    fn text(&mut self, schema: &Value, yaml: &YamlValue, path: &str) -> Option<Value> {
        let Content::Text(text) = &yaml.content else { return self.wrong_type(yaml, path, "a text") };
        if let Some(values) = schema.get("enum").and_then(Value::as_array)
            && !values.iter().any(|value| value == text.as_str())
        {
            let names: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            self.add(yaml.position, path, format!("{text:?} is none of {}", names.join(", ")));
            return None;
        }
        if self.with_bounds {
            let length = text.chars().count() as u64;
            let bound = |name: &str| schema.get(name).and_then(json_bound);
            if let Some(least) = bound("minLength").filter(|least| length < *least) {
                self.add(yaml.position, path, format!("should be at least {least} characters long"));
            }
            if let Some(most) = bound("maxLength").filter(|most| length > *most) {
                self.add(yaml.position, path, format!("should be at most {most} characters long"));
            }
            let pattern = schema.get("pattern").and_then(Value::as_str);
            if let Some(pattern) = pattern
                && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
            {
                self.add(yaml.position, path, format!("should match {pattern}"));
            }
        }
        Some(text.as_str().into())
    }

    fn number(&mut self, schema: &Value, yaml: &YamlValue, path: &str) -> Option<Value> {
        let number = match &yaml.content {
            Content::Plain(value) if value.is_i64() || value.is_u64() => value,
            _ => return self.wrong_type(yaml, path, "a whole number"),
        };
        let is_int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
        let (least, most) = if is_int32 { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
        let value = json_integer(number).filter(|value| (least..=most).contains(value));
        let bound = |name: &str| schema.get(name).and_then(json_integer);
        let (least, most) = (bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most));
        if self.with_bounds || value.is_none() {
            let is_negative = json_integer(number).is_some_and(|number| number < 0);
            if value.map_or(is_negative, |value| value < least) {
                self.add(yaml.position, path, format!("should be greater than or equal to {least}"));
            }
            if value.map_or(!is_negative, |value| value > most) {
                self.add(yaml.position, path, format!("should be less than or equal to {most}"));
            }
        }
        value.map(Value::from)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

// The field that was meant, when the name differs only in case, or is the property's CMDB name.
fn suggestion<'a>(name: &str, mut known: impl Iterator<Item = &'a String>) -> String {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let meant = match name {
        PROCESS_NAME => Some("processName"),
        FUNC_NAME => Some("funcName"),
        _ => Property::from_cmdb_name(name).map(Property::name),
    };
    let meant = meant.map_or_else(|| plain(name), plain);
    known.find(|known| plain(known) == meant).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}
