//! Between the client's wire form and the planner's canonical one.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::{FUNC_NAME, PROCESS_NAME};
use crate::cmdb;
use crate::plan::{Name, Pair, Properties, ServerSchema, Template, interned};

/// Listed templates, canonical. A server has the same properties on all its templates, and the two names: what one of the
/// list does not show, as legacy data may be without any properties, is empty.
pub fn templates(listed: Vec<cmdb::ProcessTemplate>) -> Vec<Template> {
    let mut names: BTreeSet<&str> = [FUNC_NAME, PROCESS_NAME].into();
    for template in &listed {
        if !template.property.keys().all(|name| names.contains(name.as_str())) {
            names.extend(template.property.keys().map(String::as_str));
        }
    }
    let shown = Arc::new(names.into_iter().map(interned).collect());
    let mut templates: Vec<Template> = listed.into_iter().map(|listed| template(listed, &shown)).collect();
    templates.shrink_to_fit();
    templates
}

fn template(listed: cmdb::ProcessTemplate, shown: &Arc<BTreeSet<Name>>) -> Template {
    let properties = listed.property.into_iter().map(|(name, property)| {
        let locked = property.as_default_value.unwrap_or_default();
        (interned(&name), Pair::listed(&name, property.value, locked))
    });

    Template {
        id: listed.id,
        process_name: listed.bk_process_name,
        properties: properties.filter(|(_, pair)| !pair.is_empty()).collect(),
        shown: Some(Arc::clone(shown)),
        creator: listed.creator,
        created_at: Some(listed.create_time.map_or(0, jiff::Timestamp::as_millisecond)),
        modifier: listed.modifier,
        changed_at: listed.last_time.map(jiff::Timestamp::as_millisecond),
    }
}

/// How a server keeps sockets, as the first of its process templates shows.
#[must_use]
pub fn shown_schema(listed: Vec<cmdb::ProcessTemplate>) -> Option<ServerSchema> {
    templates(listed).iter().find_map(Template::schema)
}

/// Properties as a create sends them. One that is empty and unlocked is left out: CMDB takes an absent one for that.
pub fn specification(properties: &Properties) -> cmdb::Properties {
    changes(properties)
        .into_iter()
        .filter(|(name, _)| properties.get(name).is_some_and(|pair| !pair.is_empty()))
        .collect()
}

/// Properties as an update sends them. One that is empty and unlocked is sent, because CMDB keeps an absent one.
pub fn changes(properties: &Properties) -> cmdb::Properties {
    let sent = properties.iter().map(|(name, pair)| {
        let property = cmdb::Property { value: pair.value.to_json(), as_default_value: Some(pair.locked) };
        (name.to_owned(), property)
    });
    sent.collect()
}
