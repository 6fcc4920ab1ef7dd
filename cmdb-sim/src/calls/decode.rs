//! Reading a request body as strictly as the server's typed decoder does: a missing key and `null` are the zero value,
//! a value of another JSON type refuses the whole body.

use serde_json::{Map, Value};

use crate::access::refusal::Refusal;

pub(crate) type Object = Map<String, Value>;

/// A number with a fraction or an exponent is no integer, even `1.0`.
pub(crate) fn integer(object: &Object, key: &str) -> Result<i64, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(Refusal::undecodable),
    }
}

/// The ID at the end of a path.
pub(crate) fn path_id(id: Option<&str>, name: &str) -> Result<i64, Refusal> {
    id.and_then(|id| id.parse().ok()).ok_or_else(|| Refusal::invalid(name))
}

pub(crate) fn text<'a>(object: &'a Object, key: &str) -> Result<&'a str, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(""),
        Some(value) => value.as_str().ok_or_else(Refusal::undecodable),
    }
}

pub(crate) fn flag(object: &Object, key: &str) -> Result<bool, Refusal> {
    Ok(optional_flag(object, key)?.unwrap_or(false))
}

pub(crate) fn optional_flag(object: &Object, key: &str) -> Result<Option<bool>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_bool().map(Some).ok_or_else(Refusal::undecodable),
    }
}

pub(crate) fn object<'a>(object: &'a Object, key: &str) -> Result<Option<&'a Object>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_object().map(Some).ok_or_else(Refusal::undecodable),
    }
}

pub(crate) fn array<'a>(object: &'a Object, key: &str) -> Result<Option<&'a [Value]>, Refusal> {
    match object.get(key) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_array().map(|items| Some(items.as_slice())).ok_or_else(Refusal::undecodable),
    }
}

pub(crate) fn integers(object: &Object, key: &str) -> Result<Vec<i64>, Refusal> {
    array(object, key)?
        .unwrap_or_default()
        .iter()
        .map(|item| if item.is_null() { Ok(0) } else { item.as_i64().ok_or_else(Refusal::undecodable) })
        .collect()
}
