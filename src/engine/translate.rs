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
pub fn shown_schema(listed: Vec<Listed>) -> Option<ServerSchema> {
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

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Listed, templates};
    use crate::cmdb::hostile::fuzz::client_of;
    use crate::cmdb::{Priority, ServiceTemplateRef};

    fn cell(value: &Value) -> Value {
        json!({ "value": value, "as_default_value": true })
    }

    // A template with all properties, a long command, and 64 rows of `bind_info`.
    fn listed(id: usize) -> Value {
        let row = |row: usize| {
            let port = format!("{}-{}", 10_000 + row * 10, 10_009 + row * 10);
            let (ip, protocol, enable) = (cell(&json!("3")), cell(&json!("1")), cell(&json!(true)));
            json!({ "row_id": row + 1, "ip": ip, "port": cell(&json!(port)), "protocol": protocol, "enable": enable })
        };
        let rows: Vec<Value> = (0..64).map(row).collect();
        let command = format!("/data/app/service-{id}/bin/start.sh --config /etc/service-{id}.yaml");
        let texts = ["bk_func_name", "bk_start_param_regex", "work_path", "user", "pid_file", "description"];
        let commands = ["start_cmd", "stop_cmd", "restart_cmd", "reload_cmd", "face_stop_cmd"];
        let properties = texts.into_iter().chain(commands).map(|name| (name, cell(&json!(command))));
        let property =
            properties.chain([("bind_info", cell(&json!(rows)))]).map(|(name, pair)| (name.to_owned(), pair));
        json!({
            "id": id, "bk_process_name": format!("service-{id}"), "bk_biz_id": 2, "service_template_id": 7,
            "creator": "admin", "modifier": "admin", "property": property.collect::<serde_json::Map<_, _>>(),
        })
    }

    #[tokio::test(start_paused = true)]
    async fn five_hundred_templates_with_64_sockets_each_are_listed() {
        let listed: Vec<Value> = (1..=500).map(listed).collect();
        let client = client_of(json!({ "count": 500, "info": listed }).to_string());
        let of = ServiceTemplateRef { biz_id: 2, id: 7, name: "web" };
        let (listed, _share) = client.hold_process_templates::<Listed>(Priority::Interactive, of).await.unwrap();
        let templates = templates(listed);
        let bytes: usize = templates.iter().map(|template| size_of_val(template) + template.heap_bytes()).sum();
        println!("listed: templates={} rows=64 kept_bytes={bytes}", templates.len());
        assert_eq!(templates.len(), 500);
        assert!(bytes < 10 << 20, "{bytes}");
    }
}
