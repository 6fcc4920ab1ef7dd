//! Between the client's wire form and the planner's canonical one.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::api::{FUNC_NAME, PROCESS_NAME, Property};
use crate::cmdb::{self, Footprint, KeptForm};
use crate::plan::{Name, Pair, Properties, ServerSchema, Template, interned};

/// Listed templates, canonical. A server has the same properties on all its templates, and the two names: what one of the
/// list does not show, as legacy data may be without any properties, is empty.
pub fn templates(listed: Vec<Listed>) -> Vec<Template> {
    let mut names: BTreeSet<Name> = [FUNC_NAME, PROCESS_NAME].map(interned).into();
    let mut known = 0;
    for listed in &listed {
        known |= listed.known;
        let others =
            listed.template.properties.iter().map(|(name, _)| name).chain(listed.others.iter().map(|name| &**name));
        for name in others {
            if !names.contains(name) {
                names.insert(interned(name));
            }
        }
    }
    names.extend(
        Property::ALL.iter().filter(|property| known & bit(**property) != 0).map(|known| known.cmdb_name().into()),
    );
    let shown = Arc::new(names);
    let mut templates: Vec<Template> = listed.into_iter().map(|listed| listed.template).collect();
    for template in &mut templates {
        template.shown = Some(Arc::clone(&shown));
    }
    templates.shrink_to_fit();
    templates
}

/// A listed template, canonical, and what it has shown beside that.
#[derive(Debug)]
pub struct Listed {
    // Not yet with what its list has shown.
    template: Template,
    // The properties that it has shown, a bit for each of those that have a name in a manifest.
    known: u32,
    // Names of further ones that are empty.
    others: Vec<Name>,
}

fn bit(property: Property) -> u32 {
    1 << property as u32
}

impl KeptForm for Listed {
    fn of(listed: cmdb::ProcessTemplate) -> Self {
        let (mut known, mut others, mut properties) = (0, Vec::new(), Vec::new());
        for (name, property) in listed.property {
            let pair = Pair::listed(&name, property.value, property.as_default_value.unwrap_or_default());
            let own = Property::from_cmdb_name(&name);
            known |= own.map_or(0, bit);
            match (pair.is_empty(), own) {
                (false, _) => properties.push((interned(&name), pair)),
                (true, None) => others.push(interned(&name)),
                (true, Some(_)) => {}
            }
        }
        others.shrink_to_fit();

        let template = Template {
            id: listed.id,
            process_name: listed.bk_process_name,
            properties: properties.into_iter().collect(),
            shown: None,
            creator: listed.creator,
            created_at: Some(listed.create_time.map_or(0, jiff::Timestamp::as_millisecond)),
            modifier: listed.modifier,
            changed_at: listed.last_time.map(jiff::Timestamp::as_millisecond),
        };
        Self { template, known, others }
    }
}

impl Footprint for Listed {
    fn heap_bytes(&self) -> usize {
        let others: usize = self.others.iter().map(|name| size_of::<Name>() + name.len()).sum();
        self.template.heap_bytes() + others
    }
}

/// How a server keeps sockets, as the first of its process templates shows.
#[must_use]
pub fn shown_schema(listed: Vec<cmdb::ProcessTemplate>) -> Option<ServerSchema> {
    templates(listed.into_iter().map(Listed::of).collect()).iter().find_map(Template::schema)
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
