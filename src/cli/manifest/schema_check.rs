//! The shape of an object, as the CRD's schema has it: every fault at once, each with its place.

use regex::Regex;
use serde_json::{Map, Value};

use super::yaml::{Content, Entry, Node, Place};
use crate::api::{FUNC_NAME, PROCESS_NAME, Property};

/// A fault: where it stands, its path in the object, and what is wrong.
pub type Fault = (Place, String, String);

/// Compares values with a schema.
pub struct Shape {
    /// Whether the schema's bounds are judged too; of a set, the planner's own rules do that.
    pub with_bounds: bool,
    /// What was found.
    pub faults: Vec<Fault>,
}

impl Shape {
    /// Compares a value with its schema. Gives what can be read of it: what is wrong and may be absent is left out.
    pub fn value(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let is_set = |name: &str| schema.get(name).and_then(Value::as_bool) == Some(true);
        if is_set("x-kubernetes-preserve-unknown-fields") {
            return Some(node.to_json());
        }
        if is_set("x-kubernetes-int-or-string") {
            return match &node.content {
                Content::Text(_) => self.text(schema, node, path),
                Content::Plain(value) if value.is_i64() => self.number(schema, node, path),
                _ => self.wrong(node, path, "a whole number or a text"),
            };
        }
        match schema.get("type").and_then(Value::as_str) {
            Some("object") => self.object(schema, node, path),
            Some("array") => self.list(schema, node, path),
            Some("string") => self.text(schema, node, path),
            Some("integer") => self.number(schema, node, path),
            Some("number") => match &node.content {
                Content::Plain(value) if value.is_number() => Some(value.clone()),
                _ => self.wrong(node, path, "a number"),
            },
            Some("boolean") => match &node.content {
                Content::Plain(value) if value.is_boolean() => Some(value.clone()),
                _ => self.wrong(node, path, "true or false"),
            },
            _ => Some(node.to_json()),
        }
    }

    fn say(&mut self, place: Place, path: &str, message: impl Into<String>) {
        self.faults.push((place, path.to_owned(), message.into()));
    }

    fn wrong(&mut self, node: &Node, path: &str, wanted: &str) -> Option<Value> {
        let found = match &node.content {
            Content::Plain(Value::Null) => "empty",
            Content::Plain(Value::Bool(_)) => "a truth value",
            Content::Plain(_) => "a number",
            Content::Text(_) => "a text",
            Content::List(_) => "a list",
            Content::Map(_) => "a mapping",
        };
        let is_unquoted = wanted == "a text" && matches!(&node.content, Content::Plain(value) if !value.is_null());
        let advice = if is_unquoted { ": put it in quotes" } else { "" };
        self.say(node.place, path, format!("must be {wanted}, and is {found}{advice}"));
        None
    }

    fn object(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let Content::Map(entries) = &node.content else { return self.wrong(node, path, "a mapping") };
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| others.is_object());
        if properties.is_none() && others.is_none() {
            return Some(node.to_json());
        }
        let required: Vec<&str> =
            schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect();
        let mut object = Map::new();
        let mut is_whole = true;
        for Entry { name, place, value } in entries {
            let path = join(path, name);
            let known = properties.and_then(|properties| properties.get(name)).or(others);
            let Some(known) = known else {
                let names = properties.into_iter().flat_map(Map::keys);
                self.say(*place, &path, format!("unknown field {name:?}{}", advice(name, names)));
                continue;
            };
            let is_required = required.contains(&name.as_str());
            // The API server takes null for absent.
            if value.is_null() && properties.is_some() {
                if is_required {
                    self.say(value.place, &path, "is required");
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
                self.say(node.place, &join(path, name), "is required");
                is_whole = false;
            }
        }
        is_whole.then_some(Value::Object(object))
    }

    fn list(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let Content::List(items) = &node.content else { return self.wrong(node, path, "a list") };
        let kind = schema.get("items").unwrap_or(&Value::Null);
        let mut values = Vec::new();
        for (index, item) in items.iter().enumerate() {
            values.push(self.value(kind, item, &format!("{path}[{index}]")));
        }
        // Without one of its items, the others would be counted wrong.
        values.into_iter().collect::<Option<Vec<Value>>>().map(Value::Array)
    }

    fn text(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let Content::Text(text) = &node.content else { return self.wrong(node, path, "a text") };
        if let Some(values) = schema.get("enum").and_then(Value::as_array)
            && !values.iter().any(|value| value == text.as_str())
        {
            let names: Vec<&str> = values.iter().filter_map(Value::as_str).collect();
            self.say(node.place, path, format!("{text:?} is none of {}", names.join(", ")));
            return None;
        }
        if self.with_bounds {
            let length = text.chars().count() as u64;
            let bound = |name: &str| schema.get(name).and_then(Value::as_u64);
            if let Some(least) = bound("minLength").filter(|least| length < *least) {
                self.say(node.place, path, format!("should be at least {least} characters long"));
            }
            if let Some(most) = bound("maxLength").filter(|most| length > *most) {
                self.say(node.place, path, format!("should be at most {most} characters long"));
            }
            let pattern = schema.get("pattern").and_then(Value::as_str);
            if let Some(pattern) = pattern
                && Regex::new(pattern).is_ok_and(|pattern| !pattern.is_match(text))
            {
                self.say(node.place, path, format!("should match {pattern}"));
            }
        }
        Some(text.as_str().into())
    }

    fn number(&mut self, schema: &Value, node: &Node, path: &str) -> Option<Value> {
        let number = match &node.content {
            Content::Plain(value) if value.is_i64() || value.is_u64() => value,
            _ => return self.wrong(node, path, "a whole number"),
        };
        let is_int32 = schema.get("format").and_then(Value::as_str) == Some("int32");
        let (least, most) = if is_int32 { (i32::MIN.into(), i32::MAX.into()) } else { (i64::MIN, i64::MAX) };
        let value = number.as_i64().filter(|value| (least..=most).contains(value));
        let bound = |name: &str| schema.get(name).and_then(Value::as_i64);
        let (least, most) = (bound("minimum").unwrap_or(least), bound("maximum").unwrap_or(most));
        if self.with_bounds || value.is_none() {
            let is_negative = number.as_i64().is_some_and(|number| number < 0);
            if value.map_or(is_negative, |value| value < least) {
                self.say(node.place, path, format!("should be greater than or equal to {least}"));
            }
            if value.map_or(!is_negative, |value| value > most) {
                self.say(node.place, path, format!("should be less than or equal to {most}"));
            }
        }
        value.map(Value::from)
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

// Somebody wrote it in another case, or by its CMDB name.
fn advice<'a>(name: &str, mut known: impl Iterator<Item = &'a String>) -> String {
    let plain = |name: &str| name.replace(['_', '-'], "").to_lowercase();
    let meant = match name {
        PROCESS_NAME => Some("processName"),
        FUNC_NAME => Some("funcName"),
        _ => Property::from_cmdb_name(name).map(Property::name),
    };
    let meant = meant.map_or_else(|| plain(name), plain);
    known.find(|known| plain(known) == meant).map(|known| format!("; did you mean {known}?")).unwrap_or_default()
}
