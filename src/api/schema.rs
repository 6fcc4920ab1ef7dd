//! Building blocks of the OpenAPI schema: CMDB's own limits as structural bounds and CEL rules.
//!
//! CMDB counts bytes and trims Unicode white space, `maxLength` counts characters; hence a CEL rule beside each bound.

use schemars::{Schema, json_schema};
use serde_json::{Value, json};

use super::property::{FUNC_NAME, PROCESS_NAME};
use super::{BindCell, Property};

/// Longest single-line property in bytes: what instances of a process can take (CMDB attribute type `singlechar`).
pub const SHORT_TEXT_BYTES: usize = 256;

/// Longest command or path in bytes (CMDB attribute type `longchar`).
pub const LONG_TEXT_BYTES: usize = 2000;

/// Most `bindInfo` rows of one process.
pub const MAX_BIND_ROWS: usize = 64;

/// Most `extraProperties` of one process.
pub const MAX_EXTRA_PROPERTIES: usize = 16;

/// What is said when a text begins or ends with white space (refused by CMDB since 3.14.7).
pub const WHITE_SPACE_MESSAGE: &str = "must not begin or end with white space";

/// What is said when one property stands in two lists of the same level.
pub const TWO_LISTS_MESSAGE: &str = "a property may stand in one of locked, unlocked and unmanaged only";

/// One port or one range without leading zeros, each 1 to 65535.
pub const PORT_PATTERN: &str = concat!(
    "^([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])",
    "(-([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?$"
);

/// What is said when a text has more than `bytes` bytes.
pub fn bytes_message(bytes: usize) -> String {
    format!("must be at most {bytes} bytes")
}

/// A CEL rule whose message is fixed.
pub fn rule(rule: &str, message: &str) -> Value {
    json!({ "rule": rule, "message": message })
}

fn text(min: usize, bytes: usize) -> Schema {
    let mut schema = json_schema!({
        "type": "string",
        "maxLength": bytes,
        // One rule, not two: the API server judges every text of a set at each write, also of its status.
        "x-kubernetes-validations": [rule(
            &format!("self.trim() == self && size(bytes(self)) <= {bytes}"),
            &format!("{}, and {WHITE_SPACE_MESSAGE}", bytes_message(bytes)),
        )],
    });
    if min > 0 {
        schema.insert("minLength".to_owned(), min.into());
    }
    schema
}

/// A name: not empty.
pub fn name_text(_: &mut schemars::SchemaGenerator) -> Schema {
    text(1, SHORT_TEXT_BYTES)
}

/// A text that instances hold in a single-line attribute.
pub fn short_text(_: &mut schemars::SchemaGenerator) -> Schema {
    text(0, SHORT_TEXT_BYTES)
}

/// A command or a path.
pub fn long_text(_: &mut schemars::SchemaGenerator) -> Schema {
    text(0, LONG_TEXT_BYTES)
}

/// A `ProcessTemplateSet` may name a service template that CMDB trims itself: 1 to 256 characters.
pub fn service_template_name(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": SHORT_TEXT_BYTES,
        "x-kubernetes-validations": [rule("self.trim() == self", WHITE_SPACE_MESSAGE)],
    })
}

/// One port or one range. CEL takes an int-or-string for up to three megabytes long, so no rule could stay within its
/// cost budget: bounds and pattern judge all but the order of a range.
pub fn row_port(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "maxLength": 11,
        "pattern": PORT_PATTERN,
    })
}

/// The port property of older servers: ports and ranges, separated by commas, or empty.
pub fn flat_port(_: &mut schemars::SchemaGenerator) -> Schema {
    let one = PORT_PATTERN.trim_start_matches('^').trim_end_matches('$');
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "minimum": 1,
        "maximum": 65535,
        "maxLength": SHORT_TEXT_BYTES,
        "pattern": format!("^({one}(,{one})*)?$"),
    })
}

/// The value of an extra property: any JSON value.
pub fn any_value(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}

/// The name of an extra property: a CMDB name that the schema does not model.
pub fn extra_name(_: &mut schemars::SchemaGenerator) -> Schema {
    let modelled: Vec<&str> =
        Property::ALL.iter().map(|property| property.cmdb_name()).chain([FUNC_NAME, PROCESS_NAME]).collect();
    json_schema!({
        "type": "string",
        "minLength": 1,
        "maxLength": 64,
        "pattern": "^[a-z][a-z0-9_]*$",
        "x-kubernetes-validations": [rule(
            &format!("!(self in {})", json!(modelled)),
            EXTRA_IS_MODELLED_MESSAGE,
        )],
    })
}

/// What is said when an extra property has a field of its own.
pub const EXTRA_IS_MODELLED_MESSAGE: &str = "must not be a property that has a field of its own";

/// A set of property names: the two names of a process are not among them, the server always locks those.
pub fn property_names(_: &mut schemars::SchemaGenerator) -> Schema {
    name_set(&Property::ALL.iter().map(|property| property.name()).collect::<Vec<_>>())
}

/// A set of names of `bindInfo` cells.
pub fn cell_names(_: &mut schemars::SchemaGenerator) -> Schema {
    name_set(&BindCell::ALL.iter().map(|cell| cell.name()).collect::<Vec<_>>())
}

fn name_set(names: &[&str]) -> Schema {
    json_schema!({
        "type": "array",
        "x-kubernetes-list-type": "set",
        "maxItems": names.len(),
        "items": { "type": "string", "enum": names },
    })
}

/// CEL rule: no name stands in two of these lists.
pub fn lists_disjoint(lists: &[&str]) -> Value {
    let mut pairs = Vec::new();
    for (index, left) in lists.iter().enumerate() {
        for right in &lists[index + 1..] {
            pairs.push(format!(
                "(!has(self.{left}) || !has(self.{right}) || !self.{left}.exists(name, name in self.{right}))"
            ));
        }
    }
    rule(&pairs.join(" && "), TWO_LISTS_MESSAGE)
}
