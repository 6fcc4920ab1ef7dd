//! Rows of `bind_info`: decoding, rules and row IDs.

use serde_json::{Value, json};

use crate::access::refusal::Refusal;
use crate::calls::decode::{self, Object};
use crate::model::field::{self, Kind};
use crate::model::port;
use crate::model::state::Attribute;

/// `bind_info` as stored: every row with all of its cells, `null` and `[]` kept apart; missing, it is empty and unlocked.
pub(crate) fn attribute(object: &Object, name: &str) -> Result<Attribute, Refusal> {
    let Some(cell) = decode::object(object, name)? else { return Ok(Attribute::default()) };
    let value = match decode::array(cell, "value")? {
        None => Value::Null,
        Some(rows) => Value::Array(rows.iter().map(row).collect::<Result<_, _>>()?),
    };
    Ok(Attribute { value, as_default_value: decode::optional_flag(cell, "as_default_value")? })
}

fn row(row: &Value) -> Result<Value, Refusal> {
    let empty = Object::new();
    let row = if row.is_null() { &empty } else { row.as_object().ok_or_else(Refusal::undecodable)? };
    Ok(json!({
        "row_id": decode::integer(row, "row_id")?,
        "ip": field::attribute(row, "ip", Kind::Text)?,
        "port": field::attribute(row, "port", Kind::Text)?,
        "protocol": field::attribute(row, "protocol", Kind::Text)?,
        "enable": field::attribute(row, "enable", Kind::Flag)?,
    }))
}

/// The name of the first cell that breaks a rule.
pub(crate) fn violation(bind_info: &Attribute) -> Option<String> {
    rows(bind_info).iter().enumerate().find_map(|(index, row)| {
        let cell = row_violation(row)?;
        Some(format!("bind_info[{index}].{cell}"))
    })
}

fn row_violation(row: &Value) -> Option<&'static str> {
    let ip = cell(row, "ip").unwrap_or_default();
    let protocol = cell(row, "protocol").unwrap_or_default();
    if !matches!(ip, "" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8") {
        return Some("ip");
    }
    if !cell(row, "port").is_some_and(port::is_valid) {
        return Some("port");
    }
    if !matches!(protocol, "1" | "2" | "3" | "4") {
        return Some("protocol");
    }
    let same_family = match ip {
        "1" | "2" | "3" | "4" => matches!(protocol, "1" | "2"),
        "5" | "6" | "7" | "8" => matches!(protocol, "3" | "4"),
        _ => true,
    };
    if same_family { None } else { Some("(ip and protocol)") }
}

fn rows(bind_info: &Attribute) -> &[Value] {
    bind_info.value.as_array().map_or(&[], Vec::as_slice)
}

fn cell<'a>(row: &'a Value, name: &str) -> Option<&'a str> {
    row.get(name)?.get("value")?.as_str()
}

/// Gives each row without an ID the next one after the highest; IDs that were sent stay, twice or negative as they are.
pub(crate) fn assign_row_ids(bind_info: &mut Attribute) {
    let row_id = |row: &Value| row.get("row_id").and_then(Value::as_i64).unwrap_or(0);
    let Some(rows) = bind_info.value.as_array_mut() else { return };
    let mut highest = rows.iter().map(row_id).fold(0, i64::max);
    for row in rows.iter_mut().filter(|row| row_id(row) == 0) {
        highest = highest.saturating_add(1);
        if let Some(row) = row.as_object_mut() {
            row.insert("row_id".to_owned(), highest.into());
        }
    }
}
