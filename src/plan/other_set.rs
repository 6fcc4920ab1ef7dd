//! Other live sets of the same scope, and what they claim there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Intent, IntentFate, Memory, Template};

/// Another set of the same scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OtherSet {
    /// Its name; None when it lives in another namespace, whose names are not shown here.
    pub name: Option<String>,
    /// uid of its object; empty where it has none.
    pub uid: String,
    /// Whether it has precedence over this set: it is older, or as old with a lower uid.
    pub comes_first: bool,
    /// The process names that it wants; none when it is being deleted.
    pub wants: BTreeSet<String>,
    /// Its own templates, by ID, with the creation times that a listed template must have to be meant: remembered by its
    /// status for processes that it still has, under any name.
    pub holds: BTreeMap<i64, i64>,
    /// Templates that its status remembers for processes that it no longer has, likewise.
    pub gives: BTreeMap<i64, i64>,
    /// The creates that it has announced in this CMDB, by key. While one is open, its template may appear at any moment.
    pub intents: BTreeMap<String, Intent>,
    /// Whether CMDB has not shown it this business yet. What it wants is kept for it for a while, and not left to it.
    pub is_unread: bool,
}

/// Where a set lives, as seen from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// In the same CMDB.
    Here,
    /// Under another URL, which may be the same CMDB: the list then shows what it holds, with its creation time.
    Elsewhere,
    /// Not known: what it wants is not deleted, and nothing more.
    Unknown,
    /// In the same CMDB as far as its connection shows, from which it has read nothing yet.
    Unread,
    /// In the same CMDB, which refuses its calls: only what it holds counts.
    Refused,
}

impl OtherSet {
    /// Another set that has these processes, by key, and remembers what its status says.
    #[must_use]
    pub fn new(name: Option<String>, comes_first: bool, processes: &BTreeMap<String, String>, memory: &Memory) -> Self {
        let wants: BTreeSet<String> = processes.values().cloned().collect();
        let (mut holds, mut gives) = (BTreeMap::new(), BTreeMap::new());
        for (key, remembered) in &memory.items {
            let Some(created_at) = remembered.created_at else { continue };
            // A process whose key was renamed still has the template.
            let is_kept = processes.contains_key(key) || wants.contains(&remembered.process_name);
            if is_kept { &mut holds } else { &mut gives }.insert(remembered.id, created_at);
        }
        let (uid, intents) = (String::new(), memory.intents.clone());
        Self { name, uid, comes_first, wants, holds, gives, intents, is_unread: false }
    }

    /// What counts of it, depending on where it lives.
    #[must_use]
    pub fn at(self, whereabouts: Whereabouts) -> Self {
        match whereabouts {
            Whereabouts::Here => self,
            Whereabouts::Elsewhere => Self { name: None, wants: BTreeSet::new(), ..self },
            Whereabouts::Unknown => Self { comes_first: false, gives: BTreeMap::new(), ..self },
            Whereabouts::Unread => Self { holds: BTreeMap::new(), gives: BTreeMap::new(), is_unread: true, ..self },
            Whereabouts::Refused => Self { comes_first: false, wants: BTreeSet::new(), gives: BTreeMap::new(), ..self },
        }
    }

    /// What is left of it where it may not touch anything: it gives what its status remembers.
    #[must_use]
    pub fn without_claims(mut self) -> Self {
        self.wants.clear();
        self.intents.clear();
        self.gives.append(&mut self.holds);
        self
    }

    /// Whether it has the template.
    pub(super) fn owns(&self, template: &Template) -> bool {
        is_in(&self.holds, template)
    }

    /// Whether a create of this process name is open.
    pub(super) fn awaits(&self, process_name: &str) -> bool {
        let is_open = |intent: &Intent| intent.fate == IntentFate::Open && intent.process_name == process_name;
        self.intents.values().any(is_open)
    }

    /// Whether it had the template and no longer needs it. Only within a namespace: the status of a set in another one is
    /// not trusted with this.
    pub(super) fn hands_over(&self, template: &Template) -> bool {
        self.name.is_some() && is_in(&self.gives, template)
    }
}

fn is_in(templates: &BTreeMap<i64, i64>, template: &Template) -> bool {
    templates.get(&template.id).is_some_and(|then| template.created_at == Some(*then))
}
