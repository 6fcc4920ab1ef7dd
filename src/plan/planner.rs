//! The plan: what is to be done, and what is to be said, for each item of a set.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::compare;
use super::{
    Desired, DesiredItem, Difference, Intent, IntentFate, Memory, Observed, Properties, Remembered, Template,
    applied_hash, intent_hash,
};

/// What is to be done about a set. Everything that the executor needs stands in it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// One for each process of the spec, in its order.
    pub items: Vec<Item>,
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
    /// What is to be done, or what keeps it from being done.
    pub decision: Decision,
}

/// What is to be done about one process, or what keeps it from being done.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    /// The template is there and as wanted.
    InSync {
        /// `id`
        id: i64,
        /// `create_time` in milliseconds since 1970; None until a list has shown the template.
        created_at: Option<i64>,
        /// What makes it ours.
        basis: Basis,
        /// Properties that the item sets and this server does not have.
        ignored: Vec<String>,
        /// Hash of the wanted state.
        applied_hash: String,
    },
    /// No template has the name: create one.
    Create(Create),
    /// A create that was begun holds the name, and its end cannot be told yet.
    Undecided,
    /// A template of the name is there, differs, and is not ours.
    Conflict {
        /// `id` of that template.
        id: i64,
        /// Where it differs.
        differences: Vec<Difference>,
    },
    /// The template is ours and not as wanted.
    Differs {
        /// `id`
        id: i64,
        /// `create_time` in milliseconds since 1970.
        created_at: Option<i64>,
        /// `bk_process_name` that it has.
        process_name: String,
        /// Where it differs.
        differences: Vec<Difference>,
    },
    /// The item cannot be carried out as it is.
    Invalid(String),
    /// CMDB refused the item; it is not sent again yet.
    Refused(String),
}

/// What makes a template ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Basis {
    /// Its ID and creation time are remembered.
    Remembered,
    /// It is what a create of ours stored.
    Claimed,
    /// It was there, and is identical.
    Adopted,
}

/// A process template that is to be created.
#[derive(Clone, Debug, PartialEq)]
pub struct Create {
    /// What is sent.
    pub properties: Properties,
    /// Hash of it, by which it is found again.
    pub intent_hash: String,
}

impl Plan {
    /// The items that are to be created, in the order of the spec.
    pub fn creates(&self) -> impl Iterator<Item = (&Item, &Create)> {
        self.items.iter().filter_map(|item| match &item.decision {
            Decision::Create(create) => Some((item, create)),
            _ => None,
        })
    }

    /// Whether there is nothing to do and nothing to confirm.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let unconfirmed = |item: &Item| matches!(item.decision, Decision::InSync { created_at: None, .. });
        !self.has_writes() && !self.items.iter().any(unconfirmed)
    }

    /// Whether carrying it out writes to CMDB.
    #[must_use]
    pub fn has_writes(&self) -> bool {
        self.creates().next().is_some()
    }
}

/// Plans. The same arguments always give the same plan, and a plan never names a template outside `observed`.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, memory: &Memory) -> Plan {
    let mut planner = Planner::new(desired, observed, memory);
    Plan {
        items: desired.items.iter().map(|item| planner.item(item)).collect(),
        undecided: planner.undecided,
        highest_id: observed.highest_id(),
    }
}

struct Planner<'a> {
    observed: &'a Observed,
    memory: &'a Memory,
    // Templates that are some item's already; each is one item's only.
    taken: BTreeSet<i64>,
    remembered: BTreeMap<&'a str, &'a Template>,
    claimed: BTreeMap<&'a str, &'a Template>,
    // Templates that were those of keys that have left the spec: ours still, for the key that carries their name now.
    released: BTreeSet<i64>,
    undecided: BTreeMap<String, Intent>,
}

impl<'a> Planner<'a> {
    fn new(desired: &'a Desired, observed: &'a Observed, memory: &'a Memory) -> Self {
        let mut planner = Self {
            observed,
            memory,
            taken: BTreeSet::new(),
            remembered: BTreeMap::new(),
            claimed: BTreeMap::new(),
            released: BTreeSet::new(),
            undecided: BTreeMap::new(),
        };
        let wanted: BTreeSet<&str> = desired.items.iter().map(|item| item.key.as_str()).collect();
        for (key, remembered) in &memory.items {
            match planner.find_remembered(remembered) {
                Some(template) if !wanted.contains(key.as_str()) => {
                    planner.released.insert(template.id);
                }
                Some(template) if planner.taken.insert(template.id) => {
                    planner.remembered.insert(key, template);
                }
                _ => {}
            }
        }
        for (key, intent) in &memory.intents {
            match planner.claim(intent) {
                Some(template) if !wanted.contains(key.as_str()) => {
                    planner.released.insert(template.id);
                }
                Some(template) if planner.taken.insert(template.id) => {
                    planner.claimed.insert(key, template);
                }
                None if intent.fate == IntentFate::Open => {
                    planner.undecided.insert(key.clone(), intent.clone());
                }
                _ => {}
            }
        }
        planner
    }

    // An ID counts only with the creation time that was remembered with it; before the first list there is none, and
    // name and creator must do.
    fn find_remembered(&self, remembered: &Remembered) -> Option<&'a Template> {
        let template = self.observed.by_id(remembered.id)?;
        let same = match (remembered.created_at, template.created_at) {
            (Some(then), Some(now)) => then == now,
            _ => template.process_name == remembered.process_name && !self.is_strangers(template),
        };
        same.then_some(template)
    }

    fn claim(&self, intent: &Intent) -> Option<&'a Template> {
        self.observed.by_name(&intent.process_name).filter(|template| {
            template.id > intent.after_id
                && !self.is_strangers(template)
                && intent_hash(&template.properties) == intent.hash
        })
    }

    // Whether it was created by a user that is known to be another.
    fn is_strangers(&self, template: &Template) -> bool {
        let known = self.observed.user.as_ref().filter(|_| !template.creator.is_empty());
        known.is_some_and(|user| template.creator != *user)
    }

    fn item(&mut self, item: &DesiredItem) -> Item {
        let decision = self.decide(item);
        Item { key: item.key.clone(), process_name: item.process_name.clone(), decision }
    }

    fn decide(&mut self, item: &DesiredItem) -> Decision {
        let key = item.key.as_str();
        // While a create may still be stored, its item is not sent and its name goes to nobody.
        let held = |intent: &Intent| intent.process_name == item.process_name;
        if self.undecided.contains_key(key) || self.undecided.values().any(held) {
            return Decision::Undecided;
        }
        if !item.violations.is_empty() {
            let texts: Vec<String> = item.violations.iter().map(ToString::to_string).collect();
            return Decision::Invalid(texts.join("; "));
        }
        let wanted = match item.properties(self.observed.schema) {
            Ok(wanted) => wanted,
            Err(reason) => return Decision::Invalid(reason),
        };
        if let Some(template) = self.remembered.get(key) {
            return judge(&wanted, template, Basis::Remembered);
        }
        if let Some(template) = self.claimed.get(key) {
            return judge(&wanted, template, Basis::Claimed);
        }
        if let Some(template) = self.observed.by_name(&item.process_name) {
            let is_another_items = !self.taken.insert(template.id);
            let ours = self.released.contains(&template.id);
            return match judge(&wanted, template, if ours { Basis::Remembered } else { Basis::Adopted }) {
                Decision::Differs { id, differences, .. } if !ours => Decision::Conflict { id, differences },
                Decision::InSync { id, .. } if is_another_items => Decision::Conflict { id, differences: Vec::new() },
                decision => decision,
            };
        }
        if let Some(reason) = self.memory.refused.get(key) {
            return Decision::Refused(reason.clone());
        }
        Decision::Create(Create { intent_hash: intent_hash(&wanted), properties: wanted })
    }
}

fn judge(wanted: &Properties, template: &Template, basis: Basis) -> Decision {
    let comparison = compare(wanted, template);
    let (id, created_at) = (template.id, template.created_at);
    if comparison.differences.is_empty() {
        let applied_hash = applied_hash(wanted, &comparison.ignored_cmdb_names);
        Decision::InSync { id, created_at, basis, ignored: comparison.ignored, applied_hash }
    } else {
        let process_name = template.process_name.clone();
        Decision::Differs { id, created_at, process_name, differences: comparison.differences }
    }
}
