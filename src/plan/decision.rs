//! The plan as data: what is to be done, and what is to be said, for each item of a set.

use std::collections::BTreeMap;

use super::{Difference, Intent, Properties, intent_hash, interned};
use crate::api::BindCell;

/// What is to be done about a set. It has everything that the engine needs to carry it out.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One for each process of the spec, in its order.
    pub items: Vec<Item>,
    /// Templates that no item has any more.
    pub removals: Vec<Removal>,
    /// The writes that can be made now, in their order. What they make possible is in the next plan.
    pub steps: Vec<Step>,
    /// Intents whose outcome is not known yet, by key; also those of keys that have left the spec.
    pub undecided: BTreeMap<String, Intent>,
    /// Templates that we created to replace those of items, by key, while an item does not have them under its own name.
    pub replacements: BTreeMap<String, i64>,
    /// The highest template ID in the list that this plan was made from.
    pub highest_id: i64,
}

/// What is to be done about one process.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// Key in the set.
    pub key: String,
    /// `bk_process_name` that is wanted.
    pub process_name: String,
    /// The item's template; None: there is none that the item may have.
    pub found: Option<Found>,
    /// What is to be done, or what prevents it.
    pub decision: Decision,
}

/// The template of an item.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// `id`
    pub id: i64,
    /// `create_time` in milliseconds since 1970; None until a list has shown the template.
    pub created_at: Option<i64>,
    /// `bk_process_name` that it has.
    pub process_name: String,
    /// `modifier`: who changed it last.
    pub modifier: String,
    /// Whether that is the user of our own connection: this operator, or another one with its user.
    pub is_own_change: bool,
    /// `last_time` in milliseconds since 1970.
    pub changed_at: Option<i64>,
    /// What makes it ours.
    pub basis: Basis,
    /// The template that it replaces and that is still there.
    pub replaces: Option<i64>,
    /// Cells of its rows that instances never match, and that the plan leaves as they are.
    pub lagging_cells: Vec<LaggingCell>,
}

/// A cell of a `bind_info` row that is null and locked. Every synchronisation writes it into instances again, and they are never
/// in sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaggingCell {
    /// `enable` or `ip`.
    pub cell: BindCell,
    /// `port` of the row.
    pub port: String,
}

/// What makes a template ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Its ID and creation time are remembered.
    Remembered,
    /// A create of ours stored it, or it has a temporary value of ours.
    Claimed,
    /// It existed before, and the set may take it over.
    Adopted,
    /// Another set of the namespace had it, and no longer needs it.
    HandedOver,
}

/// What is to be done about one process, or what prevents it.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The template exists and is as wanted.
    InSync {
        /// Properties that the item sets and this server does not have.
        ignored: Vec<String>,
        /// Hash of the wanted state.
        applied_hash: String,
    },
    /// There is no template: create one.
    Create(Create),
    /// The template is to be changed.
    Update(Change),
    /// The template differs in what CMDB does not update: a new one is created under a temporary name, takes the place of
    /// the old one, and then its name.
    Replace(Create),
    /// Somebody else changed the template, and the set only reports that. No differences: the template was deleted.
    Drifted(Vec<Difference>),
    /// The template differs in what CMDB does not update, and the set does not allow to replace it.
    NeedsReplacement(Vec<Difference>),
    /// An intent has the name, and its outcome is not known yet.
    Undecided,
    /// It waits for something that time decides.
    Held(Hold),
    /// The name belongs to another set, to another process, or to a template that may not be taken over.
    Conflict(Conflict),
    /// The item cannot be carried out as it is.
    Invalid(String),
    /// CMDB refused the item, and it is not sent again yet.
    Refused(String),
    /// CMDB has taken the item, but keeps other values, and it is not sent again until it changes.
    Unkept(Vec<Difference>),
}

/// What an item waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Another set has begun a create of the name, which may still be stored; its name when it is in the same namespace.
    OtherSetsCreate(Option<String>),
    /// It is not known how the server keeps sockets, and one of the two forms cannot express the item: why.
    UnknownSchema(String),
}

/// A process template that is to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// `bk_process_name` under which it is created.
    pub process_name: String,
    /// What is sent.
    pub properties: Properties,
    /// Hash of it, by which the template is found in a list.
    pub intent_hash: String,
    /// Why.
    pub cause: Cause,
}

/// A change of a process template.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The properties that are sent: those that differ, whole.
    pub properties: Properties,
    /// Where the template differs.
    pub differences: Vec<Difference>,
    /// Why.
    pub cause: Cause,
}

/// Why something is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The spec says so, and did not before.
    Spec,
    /// Somebody else changed or deleted the template.
    Drift,
    /// The template is taken over.
    Adoption,
}

/// Why an item cannot have its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// `id` of the template that has the name; None: there is none yet.
    pub id: Option<i64>,
    /// The owner of the name.
    pub owner: Owner,
    /// Where that template differs from what is wanted.
    pub differences: Vec<Difference>,
    /// Whether the set takes nothing over, identical or not.
    pub is_adoption_off: bool,
}

/// The owner of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Another live set's; its name when it is in the same namespace.
    Set(Option<String>),
    /// Another process's of this set.
    Process,
    /// Unknown: a template that this set did not create and may not take over.
    Stranger,
}

/// A template that no item has any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Key of the item that had it.
    pub key: String,
    /// `id`
    pub id: i64,
    /// `bk_process_name` that it has.
    pub process_name: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a template that no item has any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It is deleted later: another set may be about to take it over.
    DeleteLater,
    /// It stays, as the set says.
    Orphan,
    /// It stays until the other set that wants its name has taken it over.
    HandOver,
    /// It stays: another set has it.
    Released,
    /// Another template took its place, or it was only an intermediate step: it is deleted, whatever the set says.
    Superseded,
}

/// A write to CMDB.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `batch_create_proc_template`, together with the adjacent ones.
    Create {
        /// Key of the item.
        key: String,
        /// What is created.
        create: Create,
    },
    /// `update_proc_template`
    Update {
        /// Key of the item.
        key: String,
        /// `id`
        id: i64,
        /// What is sent.
        properties: Properties,
        /// Whether another update follows: the template waits for a value that is still taken.
        is_temporary: bool,
    },
    /// `delete_proc_template`, together with the adjacent ones.
    Delete {
        /// Key of the item that had it.
        key: String,
        /// `id`
        id: i64,
    },
}

impl Create {
    /// A create of what is wanted.
    pub(super) fn new(process_name: String, wanted: &Properties, cause: Cause) -> Self {
        let properties: Properties = wanted.iter().map(|(name, pair)| (interned(name), pair.as_sent())).collect();
        Self { process_name, intent_hash: intent_hash(&properties), properties, cause }
    }
}

impl Plan {
    /// The creates, in the order in which they are sent.
    pub fn creates(&self) -> impl Iterator<Item = (&str, &Create)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Create { key, create } => Some((key.as_str(), create)),
            Step::Update { .. } | Step::Delete { .. } => None,
        })
    }

    /// Whether a create makes a template beside the one that it is to replace, under a temporary name.
    #[must_use]
    pub fn is_temporary(&self, key: &str, create: &Create) -> bool {
        self.items.iter().any(|item| item.key == key && item.process_name != create.process_name)
    }

    /// Whether there is nothing to do, nothing to confirm and nothing to wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.has_writes() && !self.items.iter().any(Item::is_unconfirmed)
    }

    /// Whether it takes a template over, or releases one: what another set may do at the same time.
    #[must_use]
    pub fn moves_claims(&self) -> bool {
        self.items.iter().any(Item::is_taken_over) || self.removals.iter().any(|removal| !removal.is_outstanding())
    }

    /// Whether it deletes this template now.
    #[must_use]
    pub fn deletes(&self, template: i64) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Delete { id, .. } if *id == template))
    }

    /// The templates that it writes to, or that items and removals have.
    pub fn template_ids(&self) -> impl Iterator<Item = i64> {
        let items = self.items.iter().filter_map(|item| item.found.as_ref());
        let items = items.flat_map(|found| [Some(found.id), found.replaces]).flatten();
        let steps = self.steps.iter().filter_map(|step| match step {
            Step::Create { .. } => None,
            Step::Update { id, .. } | Step::Delete { id, .. } => Some(*id),
        });
        items.chain(steps).chain(self.removals.iter().map(|removal| removal.id))
    }

    /// Shortens what differences say of the list: a plan is kept much longer than its list, which may be large.
    pub fn shorten_found(&mut self) {
        for item in &mut self.items {
            let differences = match &mut item.decision {
                Decision::Update(change) => &mut change.differences,
                Decision::Drifted(differences)
                | Decision::NeedsReplacement(differences)
                | Decision::Unkept(differences) => differences,
                Decision::Conflict(conflict) => &mut conflict.differences,
                Decision::InSync { .. }
                | Decision::Create(_)
                | Decision::Replace(_)
                | Decision::Undecided
                | Decision::Invalid(_)
                | Decision::Refused(_)
                | Decision::Held(_) => continue,
            };
            differences.iter_mut().for_each(Difference::shorten_found);
        }
    }

    /// Whether carrying it out writes to CMDB.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether something may wait for what other sets have begun.
    #[must_use]
    pub fn waits_for_others(&self) -> bool {
        let is_held = |item: &Item| matches!(item.decision, Decision::Held(Hold::OtherSetsCreate(_)));
        self.items.iter().any(is_held) || self.removals.iter().any(|removal| removal.fate == Fate::DeleteLater)
    }

    /// Whether something is still to happen to templates that no item has any more.
    #[must_use]
    pub fn has_removals(&self) -> bool {
        self.removals.iter().any(Removal::is_outstanding)
    }
}

impl Item {
    /// Whether its template becomes the set's by this plan. One that is to be changed first does so by a later plan.
    #[must_use]
    pub fn is_taken_over(&self) -> bool {
        self.found.as_ref().is_some_and(|found| match found.basis {
            Basis::Remembered | Basis::Claimed => false,
            Basis::Adopted => matches!(self.decision, Decision::InSync { .. } | Decision::Replace(_)),
            Basis::HandedOver => true,
        })
    }

    fn is_unconfirmed(&self) -> bool {
        matches!(self.decision, Decision::InSync { .. })
            && self.found.as_ref().is_some_and(|found| found.created_at.is_none())
    }
}

impl Removal {
    /// Whether something is still to happen to the template.
    #[must_use]
    pub fn is_outstanding(&self) -> bool {
        self.is_deleted() || self.fate == Fate::HandOver
    }

    /// Whether the template is to be deleted, now or later.
    #[must_use]
    pub fn is_deleted(&self) -> bool {
        match self.fate {
            Fate::Delete | Fate::DeleteLater | Fate::Superseded => true,
            Fate::HandOver | Fate::Orphan | Fate::Released => false,
        }
    }
}
