//! The plan as data: what is to be done, and what is to be said, for each item of a set.

use std::collections::BTreeMap;

use super::{Difference, Intent, Properties};

/// What is to be done about a set. Everything that the executor needs stands in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One for each process of the spec, in its order.
    pub items: Vec<Item>,
    /// Templates that are no longer any item's.
    pub removals: Vec<Removal>,
    /// The writes that can be made now, in their order. What they make possible comes with the next plan.
    pub steps: Vec<Step>,
    /// Begun creates whose end cannot be told yet, by key; also of keys that have left the spec.
    pub undecided: BTreeMap<String, Intent>,
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
    /// The template that is the item's; None: there is none, or it is somebody else's.
    pub found: Option<Found>,
    /// What is to be done, or what keeps it from being done.
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
    /// `last_time` in milliseconds since 1970.
    pub changed_at: Option<i64>,
    /// What makes it ours.
    pub basis: Basis,
    /// The template that it replaces and that is still there.
    pub replaces: Option<i64>,
}

/// What makes a template ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Its ID and creation time are remembered.
    Remembered,
    /// It is what a create of ours stored, or carries a temporary value of ours.
    Claimed,
    /// It was there, and the set may take it over.
    Adopted,
}

/// What is to be done about one process, or what keeps it from being done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The template is there and as wanted.
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
    /// Somebody else changed the template, and the set only reports that; no differences: it is gone.
    Drifted(Vec<Difference>),
    /// The template differs in what CMDB does not update, and the set does not allow to replace it.
    NeedsReplacement(Vec<Difference>),
    /// A create that was begun holds the name, and its end cannot be told yet.
    Undecided,
    /// The name is somebody else's.
    Conflict(Conflict),
    /// The item cannot be carried out as it is.
    Invalid(String),
    /// CMDB refused the item; it is not sent again yet.
    Refused(String),
}

/// A process template that is to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// `bk_process_name` under which it is created.
    pub process_name: String,
    /// What is sent.
    pub properties: Properties,
    /// Hash of it, by which it is found again.
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

/// Why a name cannot be had.
#[derive(Clone, Debug, PartialEq)]
pub struct Conflict {
    /// `id` of the template that has the name; None: there is none yet.
    pub id: Option<i64>,
    /// Whose the name is.
    pub owner: Owner,
    /// Where that template differs from what is wanted.
    pub differences: Vec<Difference>,
}

/// Whose a name is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Another live set's; its name when it is in the same namespace.
    Set(Option<String>),
    /// Another process's of this set.
    Process,
    /// Nobody's that we know: a template that this set did not create and may not take over.
    Stranger,
}

/// A template that is no longer any item's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Removal {
    /// Key that it was the template of.
    pub key: String,
    /// `id`
    pub id: i64,
    /// `bk_process_name` that it has.
    pub process_name: String,
    /// What happens to it.
    pub fate: Fate,
}

/// What happens to a template that is no longer any item's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is deleted.
    Delete,
    /// It is deleted later: another set may be about to take it over.
    DeleteLater,
    /// It stays, as the set says.
    Orphan,
    /// It stays until another set has taken it over, which wants its name.
    HandOver,
    /// It stays: it is another set's.
    Released,
    /// Another template took its place, or it was only made on the way: it is deleted, whatever the set says.
    Superseded,
}

/// A write to CMDB.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// `batch_create_proc_template`, together with its neighbours.
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
        /// Whether it is only the way to another update: the template waits for a value that is still taken.
        is_temporary: bool,
    },
    /// `delete_proc_template`, together with its neighbours.
    Delete {
        /// Key that it was the template of.
        key: String,
        /// `id`
        id: i64,
    },
}

impl Plan {
    /// The creates, in the order in which they are sent.
    pub fn creates(&self) -> impl Iterator<Item = (&str, &Create)> {
        self.steps.iter().filter_map(|step| match step {
            Step::Create { key, create } => Some((key.as_str(), create)),
            Step::Update { .. } | Step::Delete { .. } => None,
        })
    }

    /// Whether a create stands beside the template that it is to replace, under a temporary name.
    #[must_use]
    pub fn is_temporary(&self, key: &str, create: &Create) -> bool {
        self.items.iter().any(|item| item.key == key && item.process_name != create.process_name)
    }

    /// Whether there is nothing to do, nothing to confirm and nothing to wait for.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        !self.has_writes() && !self.items.iter().any(Item::is_unconfirmed)
    }

    /// Whether carrying it out writes to CMDB.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        !self.steps.is_empty()
    }

    /// Whether something is still to happen to templates that are no item's.
    #[must_use]
    pub fn has_removals(&self) -> bool {
        self.removals.iter().any(Removal::is_outstanding)
    }
}

impl Item {
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
