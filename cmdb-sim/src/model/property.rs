//! Properties of a process template: what each schema has, how a request is decoded and checked, how a reply shows them.

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::access::refusal::Refusal;
use crate::calls::decode::Object;
use crate::model::bind_info;
use crate::model::field::{self, Field, Kind};
use crate::model::flat;
use crate::model::schema::Schema;
use crate::model::state::{Attribute, ProcessTemplate, Property};

/// Properties of the current schema in the server's own order.
const FIELDS: &[Field] = &[
    Field { name: "proc_num", kind: Kind::Integer },
    Field { name: "stop_cmd", kind: Kind::Text },
    Field { name: "restart_cmd", kind: Kind::Text },
    Field { name: "face_stop_cmd", kind: Kind::Text },
    Field { name: "bk_func_name", kind: Kind::Text },
    Field { name: "work_path", kind: Kind::Text },
    Field { name: "priority", kind: Kind::Integer },
    Field { name: "reload_cmd", kind: Kind::Text },
    Field { name: "bk_process_name", kind: Kind::Text },
    Field { name: "pid_file", kind: Kind::Text },
    Field { name: "auto_start", kind: Kind::Flag },
    Field { name: "bk_start_check_secs", kind: Kind::Integer },
    Field { name: "start_cmd", kind: Kind::Text },
    Field { name: "user", kind: Kind::Text },
    Field { name: "timeout", kind: Kind::Integer },
    Field { name: "description", kind: Kind::Text },
    Field { name: "bk_start_param_regex", kind: Kind::Text },
    Field { name: "bind_info", kind: Kind::BindInfo },
];

/// Integers that have a range, in the order in which the server checks them.
const RANGES: &[(&str, i64, i64)] =
    &[("bk_start_check_secs", 1, 10_000), ("timeout", 1, 10_000), ("proc_num", 1, 10_000), ("priority", -100, 10_000)];

pub(crate) fn fields(schema: Schema) -> &'static [Field] {
    match schema {
        Schema::BindInfo => FIELDS,
        Schema::Flat => flat::FIELDS,
    }
}

/// The properties of a request; keys that the schema does not have are dropped.
pub(crate) fn decode(schema: Schema, spec: &Object) -> Result<Property, Refusal> {
    fields(schema).iter().map(|field| Ok((field.name.to_owned(), attribute(spec, field)?))).collect()
}

/// Those properties of a request that it names, even if as null.
pub(crate) fn decode_given(schema: Schema, spec: &Object) -> Result<Property, Refusal> {
    let given = fields(schema).iter().filter(|field| spec.contains_key(field.name));
    given.map(|field| Ok((field.name.to_owned(), attribute(spec, field)?))).collect()
}

fn attribute(spec: &Object, field: &Field) -> Result<Attribute, Refusal> {
    match field.kind {
        Kind::BindInfo => bind_info::attribute(spec, field.name),
        kind => field::attribute(spec, field.name, kind),
    }
}

/// The first text property with outer white space, and its value. Cells of `bind_info` are not checked.
pub(crate) fn outer_space(schema: Schema, property: &Property) -> Option<(&'static str, &str)> {
    fields(schema).iter().find_map(|field| {
        let text = text(property, field.name)?;
        (text.trim() != text).then_some((field.name, text))
    })
}

/// The name of the first property that breaks a rule, in the server's order.
pub(crate) fn violation(schema: Schema, property: &Property) -> Option<String> {
    let sockets = match schema {
        Schema::BindInfo => property.get("bind_info").and_then(bind_info::violation),
        Schema::Flat => flat::violation(property).map(str::to_owned),
    };

    let ranges = match schema {
        Schema::BindInfo => RANGES,
        Schema::Flat => flat::RANGES,
    };

    let missing = ["bk_process_name", "bk_func_name"]
        .into_iter()
        .find(|name| text(property, name).is_none_or(str::is_empty))
        .map(str::to_owned);

    let out_of_range = || {
        let (name, ..) = ranges.iter().find(|(name, low, high)| {
            property.get(*name).and_then(|cell| cell.value.as_i64()).is_some_and(|value| value < *low || value > *high)
        })?;
        Some((*name).to_owned())
    };

    sockets.or(missing).or_else(out_of_range)
}

/// What the server makes of valid properties before it stores them.
pub(crate) fn settle(property: &mut Property) {
    for name in ["bk_process_name", "bk_func_name"] {
        if let Some(attribute) = property.get_mut(name) {
            attribute.as_default_value = Some(true);
        }
    }
    if let Some(rows) = property.get_mut("bind_info") {
        bind_info::assign_row_ids(rows);
    }
}

pub(crate) fn text<'a>(property: &'a Property, name: &str) -> Option<&'a str> {
    property.get(name)?.value.as_str()
}

/// A process template as a reply shows it: every property of the schema, whether it was ever given or not, and after
/// them what only a private build has.
pub(crate) struct Shown<'a> {
    pub schema: Schema,
    pub template: &'a ProcessTemplate,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let template = self.template;
        let mut map = serializer.serialize_map(Some(10))?;
        map.serialize_entry("id", &template.id)?;
        map.serialize_entry("bk_process_name", &template.bk_process_name)?;
        map.serialize_entry("bk_biz_id", &template.bk_biz_id)?;
        map.serialize_entry("service_template_id", &template.service_template_id)?;
        map.serialize_entry("property", &ShownProperty { schema: self.schema, property: &template.property })?;
        map.serialize_entry("creator", &template.creator)?;
        map.serialize_entry("modifier", &template.modifier)?;
        map.serialize_entry("create_time", &template.create_time)?;
        map.serialize_entry("last_time", &template.last_time)?;
        map.serialize_entry("bk_supplier_account", &template.bk_supplier_account)?;
        map.end()
    }
}

struct ShownProperty<'a> {
    schema: Schema,
    property: &'a Property,
}

impl Serialize for ShownProperty<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let empty = Attribute::default();
        let mut map = serializer.serialize_map(None)?;
        for field in fields(self.schema) {
            map.serialize_entry(field.name, self.property.get(field.name).unwrap_or(&empty))?;
        }
        let known = |name: &str| FIELDS.iter().chain(flat::FIELDS).any(|field| field.name == name);
        for (name, attribute) in self.property.iter().filter(|(name, _)| !known(name)) {
            map.serialize_entry(name, attribute)?;
        }
        map.end()
    }
}
