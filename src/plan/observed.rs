//! What is there: one service template's process templates, as CMDB lists them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::{Pair, Properties};
use crate::api::{FUNC_NAME, PROCESS_NAME, Property};
use crate::plan::properties::property::Name;

/// How a server keeps sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSchema {
    /// Not known yet: nothing was listed, and the connection does not say.
    Unknown,
    /// `bind_ip`, `port` and `protocol` (CMDB up to 3.8.13, and 3.9.1 to 3.9.4).
    Flat,
    /// Rows in `bind_info` (since CMDB 3.8.14 and 3.9.5).
    BindInfo,
}

/// The process templates of one scope.
#[derive(Clone, Debug)]
pub struct Observed {
    /// How the server keeps sockets.
    pub schema: ServerSchema,
    /// Everything that the scope's list shows, in ascending order of ID.
    pub templates: Arc<Vec<Template>>,
    /// Our own user, where the credentials name one.
    pub user: Option<String>,
}

/// One process template of the scope.
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    /// `id`
    pub id: i64,
    /// `bk_process_name`
    pub process_name: String,
    /// `property`, canonical, without what is empty.
    pub properties: Properties,
    /// Names of everything that the server shows of a template; None: not listed yet, only known from our own create.
    pub shown: Option<Arc<BTreeSet<Name>>>,
    /// `creator`; empty when not known.
    pub creator: String,
    /// `create_time` in milliseconds since 1970; None when not listed yet.
    pub created_at: Option<i64>,
    /// `modifier`: who changed it last; empty when not known.
    pub modifier: String,
    /// `last_time` in milliseconds since 1970; None when not listed yet.
    pub changed_at: Option<i64>,
}

impl Template {
    /// How the server that listed it keeps sockets: a newer one shows `bind_info` on every template. None: its list has not shown
    /// which properties the server has.
    #[must_use]
    pub fn schema(&self) -> Option<ServerSchema> {
        let has_rows = self.known_properties()?.contains(Property::BindInfo.cmdb_name());
        Some(if has_rows { ServerSchema::BindInfo } else { ServerSchema::Flat })
    }

    /// The properties that the server has, as its list shows them. None: it has shown none but the names, which every server has.
    #[must_use]
    pub fn known_properties(&self) -> Option<&BTreeSet<Name>> {
        let shown = self.shown.as_deref()?;
        shown.iter().any(|name| ![FUNC_NAME, PROCESS_NAME].contains(&&**name)).then_some(shown)
    }

    /// About how much memory it takes beside itself, without what it shares with the others of its list.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.process_name.capacity() + self.creator.capacity() + self.modifier.capacity() + self.properties.heap_bytes()
    }

    /// What an update makes of it.
    pub fn update(&mut self, properties: &Properties) {
        for (name, pair) in properties.iter() {
            self.properties.insert(name, pair.clone());
        }
        let name = self.properties.text(PROCESS_NAME);
        if !name.is_empty() {
            name.clone_into(&mut self.process_name);
        }
    }

    /// What it has under a name; None when its server does not know the name.
    #[must_use]
    pub fn pair(&self, name: &str) -> Option<&Pair> {
        let is_shown = self.shown.as_ref().is_none_or(|shown| shown.contains(name));
        is_shown.then(|| self.properties.get(name).unwrap_or(&Pair::EMPTY))
    }
}

impl Observed {
    /// The highest ID in the list, 0 when there is none.
    #[must_use]
    pub fn highest_id(&self) -> i64 {
        self.templates.last().map_or(0, |template| template.id)
    }

    /// The process name of a template. None: it is not in the list.
    #[must_use]
    pub fn name_of(&self, id: i64) -> Option<&str> {
        self.by_id(id).map(|template| template.process_name.as_str())
    }

    pub(super) fn by_id(&self, id: i64) -> Option<&Template> {
        self.templates.binary_search_by_key(&id, |template| template.id).ok().map(|index| &self.templates[index])
    }

    // Names are unique only since CMDB 3.9.18; of several, the oldest counts.
    pub(super) fn by_name(&self, process_name: &str) -> Option<&Template> {
        self.templates.iter().find(|template| template.process_name == process_name)
    }
}
