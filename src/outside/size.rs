//! How much memory a value from outside takes.

use serde_json::Value;

/// Bytes of a map or list beside its entries: what the smallest node of a tree takes.
const NODE: usize = 640;

/// Bytes of an entry of a map beside its texts.
const ENTRY: usize = 128;

/// About how much a JSON value takes beside itself: rather too much.
#[must_use]
pub fn json_bytes(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.capacity(),
        Value::Array(items) => {
            let own = items.capacity().saturating_mul(size_of::<Value>());
            items.iter().map(json_bytes).fold(own, usize::saturating_add)
        }
        Value::Object(entries) => map_bytes(entries),
    }
}

/// The same of a map.
#[must_use]
pub fn map_bytes(entries: &serde_json::Map<String, Value>) -> usize {
    let entry =
        |(name, value): (&String, &Value)| ENTRY.saturating_add(name.capacity()).saturating_add(json_bytes(value));
    entries.iter().map(entry).fold(NODE, usize::saturating_add)
}
