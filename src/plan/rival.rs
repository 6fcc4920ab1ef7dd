//! Other live sets of the same scope, and what they claim there.

use std::collections::{BTreeMap, BTreeSet};

use super::{Memory, Template};

/// Another live set of the same scope.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rival {
    /// Its name; None when it lives in another namespace, whose names are nobody's business here.
    pub name: Option<String>,
    /// Whether it comes before this set: it is older, or as old and its uid is lower.
    pub comes_first: bool,
    /// The process names that it wants.
    pub wants: BTreeSet<String>,
    /// IDs that its status holds, with the creation times that make them count.
    pub holds: BTreeMap<i64, i64>,
}

impl Rival {
    /// A rival that wants these names and remembers what its status says.
    #[must_use]
    pub fn new(name: Option<String>, comes_first: bool, wants: BTreeSet<String>, memory: &Memory) -> Self {
        let held = memory.items.values().filter_map(|remembered| Some((remembered.id, remembered.created_at?)));
        Self { name, comes_first, wants, holds: held.collect() }
    }

    /// Whether the template is its own: it is held, and still wanted.
    pub(super) fn owns(&self, template: &Template) -> bool {
        self.wants.contains(&template.process_name)
            && self.holds.get(&template.id).is_some_and(|then| template.created_at == Some(*then))
    }
}
