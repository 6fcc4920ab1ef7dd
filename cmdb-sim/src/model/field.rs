//! A property of a process template: its name, its JSON type, and how a pair of value and lock is decoded.

use serde_json::Value;

use crate::access::refusal::Refusal;
use crate::calls::decode::{self, Object};
use crate::model::state::Attribute;

/// A property that a schema has.
pub(crate) struct Field {
    pub name: &'static str,
    pub kind: Kind,
}

/// JSON type of a value.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Text,
    Integer,
    Flag,
    BindInfo,
}

/// One pair of value and lock, the value undecoded beyond its JSON type; a pair that is missing is empty and unlocked.
pub(crate) fn attribute(object: &Object, name: &str, kind: Kind) -> Result<Attribute, Refusal> {
    let Some(cell) = decode::object(object, name)? else { return Ok(Attribute::default()) };
    let value = cell.get("value").unwrap_or(&Value::Null);
    let fits = match kind {
        Kind::Text => value.is_string(),
        Kind::Integer => value.as_i64().is_some(),
        Kind::Flag => value.is_boolean(),
        Kind::BindInfo => value.is_array(),
    };
    if !fits && !value.is_null() {
        return Err(Refusal::undecodable());
    }
    Ok(Attribute { value: value.clone(), as_default_value: decode::optional_flag(cell, "as_default_value")? })
}
