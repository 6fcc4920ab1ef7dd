//! Between the client's wire form and the planner's canonical one.

use std::collections::BTreeMap;

use crate::cmdb;
use crate::plan::{Pair, Properties, Template};

/// A listed template, canonical.
pub fn template(listed: cmdb::ProcessTemplate) -> Template {
    let properties = listed.property.into_iter().map(|(name, property)| {
        (name, Pair { value: property.value, locked: property.as_default_value.unwrap_or_default() })
    });
    Template {
        id: listed.id,
        process_name: listed.bk_process_name,
        properties: properties.collect(),
        creator: listed.creator,
        created_at: Some(listed.create_time.map_or(0, jiff::Timestamp::as_millisecond)),
    }
}

/// Properties as they are sent. What is empty and unlocked is what CMDB takes an absent property for.
pub fn specification(properties: &Properties) -> BTreeMap<String, cmdb::Property> {
    let set = properties.iter().filter(|(_, pair)| !pair.is_empty());
    set.map(|(name, pair)| {
        (name.clone(), cmdb::Property { value: pair.value.clone(), as_default_value: Some(pair.locked) })
    })
    .collect()
}
