//! What a set's status remembers, and what this process has learnt since. A cache: it is checked against a list before use.

use std::collections::{BTreeMap, BTreeSet};

use super::{Basis, Cause, Decision, Intent, Item, Name, Pair, Plan, Removal};

/// What is remembered of one set in one scope.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Memory {
    /// Templates that were ours, by key.
    pub items: BTreeMap<String, Remembered>,
    /// Intents, by key.
    pub intents: BTreeMap<String, Intent>,
    /// IDs of templates that we created under temporary names to replace those of items, by key.
    pub replacements: BTreeMap<String, i64>,
    /// Items that CMDB refused and that are not sent again yet, by key, with its reason.
    pub refused: BTreeMap<String, String>,
    /// Whether this CMDB has shown that it ignores new names: up to 3.9.26 it does.
    pub ignores_renames: bool,
    /// What CMDB keeps otherwise than our updates have sent it, by key and by CMDB name of the property.
    pub unkept: BTreeMap<String, BTreeMap<Name, Unkept>>,
}

/// A value that CMDB does not keep as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct Unkept {
    /// What it keeps instead.
    pub kept: Pair,
    /// How many updates have sent the value.
    pub updates: usize,
}

/// A template that was ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Remembered {
    /// `id`
    pub id: i64,
    /// `create_time` in milliseconds since 1970. None: the create was answered, but not listed yet.
    pub created_at: Option<i64>,
    /// The user who created it, until it was listed: see [`Intent::user`].
    pub created_by: Option<String>,
    /// `bk_process_name`
    pub process_name: String,
    /// Hash of the wanted state when the template was last in sync with it.
    pub applied_hash: Option<String>,
}

impl Memory {
    /// Takes over what a plan has found: which template belongs to which item, and which intents are still undecided.
    pub fn absorb(&mut self, plan: &Plan) {
        self.absorb_removals(plan, Removal::is_outstanding);
        for item in &plan.items {
            self.absorb_item(item);
        }
    }

    /// Takes over what a plan has found that decides nothing about claims, because other sets may write at the same time: what
    /// it takes over is not ours yet, and what it releases still is.
    pub fn absorb_undecided(&mut self, plan: &Plan) {
        self.absorb_removals(plan, |_| true);
        for item in plan.items.iter().filter(|item| !item.is_taken_over()) {
            self.absorb_item(item);
        }
    }

    // Keeps what belongs to the items, and to removals that are to be remembered.
    fn absorb_removals(&mut self, plan: &Plan, is_kept: impl Fn(&Removal) -> bool) {
        let items: BTreeSet<&str> = plan.items.iter().map(|item| item.key.as_str()).collect();
        let removals = plan.removals.iter().filter(|removal| is_kept(removal));
        let removals: BTreeSet<&str> = removals.map(|removal| removal.key.as_str()).collect();
        self.items.retain(|key, _| items.contains(key.as_str()) || removals.contains(key.as_str()));
        // An intent that explains what is to be removed is all that is known of it.
        let is_left = |key: &str| removals.contains(key) && !items.contains(key) && !self.items.contains_key(key);
        self.intents.retain(|key, _| plan.undecided.contains_key(key) || is_left(key));
        self.replacements.clone_from(&plan.replacements);
    }

    fn absorb_item(&mut self, item: &Item) {
        let is_listed = item.found.as_ref().is_some_and(|found| found.created_at.is_some());
        let in_sync = match &item.decision {
            // What a create has sent may be kept otherwise: only a list shows that.
            Decision::InSync { applied_hash, .. } => Some(applied_hash.clone()).filter(|_| is_listed),
            // Nothing was found out about the template, or the memory shows that somebody deleted it.
            Decision::Invalid(_) | Decision::Undecided | Decision::Held(_) | Decision::Drifted(_)
                if item.found.is_none() =>
            {
                return;
            }
            Decision::Create(create) if create.cause == Cause::Drift => return,
            _ => None,
        };

        let Some(found) = &item.found else {
            self.items.remove(&item.key);
            return;
        };

        // A template that is taken over is ours once it is as wanted, or when it is to be replaced. One that replaces
        // another is ours once that one was deleted.
        let is_taken_over = in_sync.is_some() || matches!(item.decision, Decision::Replace(_));
        if found.replaces.is_some() || found.basis == Basis::Adopted && !is_taken_over {
            return;
        }

        let then = self.items.get(&item.key);
        let applied_hash = in_sync.or_else(|| then.and_then(|then| then.applied_hash.clone()));
        let created_by = then.filter(|then| then.id == found.id && found.created_at.is_none());
        let created_by = created_by.and_then(|then| then.created_by.clone());
        let (id, created_at, process_name) = (found.id, found.created_at, found.process_name.clone());
        self.items.insert(item.key.clone(), Remembered { id, created_at, created_by, process_name, applied_hash });
    }

    /// Takes over that a create of an item was answered. What is created under a temporary name is remembered beside the template
    /// that it replaces, until it has taken its place.
    pub fn created(&mut self, key: &str, process_name: &str, id: i64, is_temporary: bool) {
        let created_by = self.intents.remove(key).and_then(|intent| intent.user);
        if is_temporary {
            self.replacements.insert(key.to_owned(), id);
            return;
        }
        let (created_at, process_name) = (None, process_name.to_owned());
        let remembered = Remembered { id, created_at, created_by, process_name, applied_hash: None };
        self.items.insert(key.to_owned(), remembered);
    }
}
