//! Matching: which template belongs to which item, and which belong to no item any more.
//!
//! # Flow
//! 1. Templates with a temporary name or value belong to the item that it stands for.
//! 2. Templates of remembered IDs, then those of replacements that have their final name already.
//! 3. Templates that an intent explains.
//! 4. Where nothing is remembered, and a circle of names was interrupted: what differs in the name only.
//!
//! # Guarantees
//! * Each template belongs to one item at most, and a step does not undo an earlier one.
//! * A name alone makes no template ours to delete: a remembered ID or an intent has to explain it.

use std::collections::{BTreeMap, BTreeSet};

use super::given::Given;
use super::temporary_name::marked;
use super::{Basis, Intent, IntentFate, Remembered, Template, temporary_name};
use crate::api::{AdoptionPolicy, FUNC_NAME, PROCESS_NAME, ReplacePolicy};

/// Which templates are ours without a decision.
pub struct Matching<'a> {
    given: Given<'a>,
    /// The template of each item that has one, and what makes it so.
    pub own: BTreeMap<&'a str, (&'a Template, Basis)>,
    /// Templates that an item has already; each belongs to one item only.
    pub taken: BTreeSet<i64>,
    /// The template that an item's own replaces.
    pub replaced: BTreeMap<&'a str, &'a Template>,
    /// Templates that were only an intermediate step and are not needed any more.
    pub leftovers: Vec<(String, &'a Template)>,
    /// Templates of keys that have left the spec: still ours, for the key that has their name now.
    pub released: BTreeMap<i64, (String, &'a Template)>,
    /// Intents whose outcome is not known yet.
    pub undecided: BTreeMap<String, Intent>,
    /// Templates that we created to replace those of items, by key, while an item does not have them under its own name.
    pub replacements: BTreeMap<String, i64>,
    // Whether a template has a temporary value: others may be in an intermediate state too.
    is_midway: bool,
}

impl<'a> Matching<'a> {
    /// Matches the templates of the list.
    pub fn new(given: Given<'a>) -> Self {
        let mut matching = Self {
            given,
            own: BTreeMap::new(),
            taken: BTreeSet::new(),
            replaced: BTreeMap::new(),
            leftovers: Vec::new(),
            released: BTreeMap::new(),
            undecided: BTreeMap::new(),
            replacements: BTreeMap::new(),
            is_midway: false,
        };

        matching.match_marked();
        matching.match_remembered();
        matching.match_renamed();
        matching.match_intents();
        if matching.may_infer() {
            matching.match_midway();
        }
        matching
    }

    // A template with a temporary value belongs to the item of that value, with or without a status that says so.
    fn match_marked(&mut self) {
        let marked = marked(self.given.observed);
        if marked.is_empty() {
            return;
        }

        let keys = self
            .given
            .desired
            .keys
            .iter()
            .chain(self.given.memory.items.keys())
            .chain(self.given.memory.intents.keys());
        let keys: BTreeSet<&'a str> = keys.map(String::as_str).collect();
        for key in keys {
            let temporary = temporary_name(&self.given.desired.set, key);
            for template in marked.get(temporary.as_str()).into_iter().flatten() {
                let is_known = self.is_known(key, template);
                let is_remembered =
                    self.given.memory.items.get(key).is_some_and(|remembered| remembered.id == template.id);
                if is_known && !is_remembered && template.process_name == temporary {
                    self.replacements.insert(key.to_owned(), template.id);
                }
                if !is_known && self.given.is_strangers(template) {
                    continue;
                }
                self.is_midway = true;
                if template.process_name == temporary {
                    self.match_marked_template(key, template);
                }
            }
        }
    }

    fn match_marked_template(&mut self, key: &'a str, template: &'a Template) {
        let remembered = self.given.memory.items.get(key).and_then(|remembered| self.find_remembered(remembered));
        let old = remembered.filter(|old| old.id != template.id);
        let Some(item) = self.given.item(key) else {
            // A template that the status remembers leaves the set as the set's policy says.
            if old.is_some() || remembered.is_none() {
                self.leave_over(key, template);
            }
            return;
        };

        let wanted = item.properties(self.given.observed.schema).ok().filter(|_| item.violations.is_empty());
        let Some(wanted) = wanted else {
            // The template of an invalid item is not touched.
            self.taken.insert(template.id);
            return;
        };

        let may_replace = self.given.policy.replace == ReplacePolicy::Recreate;
        let fits = |template: &Template| wanted.text(FUNC_NAME) == template.properties.text(FUNC_NAME);
        // A server that ignores names could not give it the final one.
        let may_stay = !self.given.memory.ignores_renames;
        let is_own = match old {
            Some(old) => {
                let may_go = !self.given.is_owned(old) && !self.given.memory.refused.contains_key(key);
                may_replace && may_go && may_stay && fits(template) && !fits(old)
            }
            None => may_stay && fits(template) || !may_replace,
        };

        if !is_own || self.own.contains_key(key) || self.taken.contains(&template.id) {
            return self.leave_over(key, template);
        }
        self.taken.insert(template.id);
        self.own.insert(key, (template, Basis::Claimed));
        if let Some(old) = old {
            self.taken.insert(old.id);
            self.replaced.insert(key, old);
        }
    }

    // Its name alone does not make it ours to delete: anybody can give it that.
    fn leave_over(&mut self, key: &str, template: &'a Template) {
        if self.is_known(key, template) && !self.given.is_owned(template) && self.taken.insert(template.id) {
            // The item may get another template before this one is deleted.
            self.replacements.insert(key.to_owned(), template.id);
            self.leftovers.push((key.to_owned(), template));
        }
    }

    // Whether the memory has its ID for this key, or an intent explains it.
    fn is_known(&self, key: &str, template: &Template) -> bool {
        let memory = self.given.memory;
        let remembered = memory.items.get(key).and_then(|remembered| self.find_remembered(remembered));
        remembered.is_some_and(|remembered| remembered.id == template.id)
            || memory.replacements.get(key) == Some(&template.id)
            || memory.intents.get(key).is_some_and(|intent| self.given.explains(intent, template))
    }

    fn match_remembered(&mut self) {
        for (key, remembered) in &self.given.memory.items {
            let Some(template) = self.find_remembered(remembered) else { continue };
            if self.given.item(key).is_none() {
                self.release(key, template);
            } else if !self.own.contains_key(key.as_str()) && self.taken.insert(template.id) {
                self.own.insert(key, (template, Basis::Remembered));
            }
        }
    }

    // A replacement that has the name of the item already, while the status still remembers the template that it replaced.
    fn match_renamed(&mut self) {
        for (key, id) in &self.given.memory.replacements {
            let Some(template) = self.given.observed.by_id(*id) else { continue };
            let item = self.given.item(key);
            let remembered = self.given.memory.items.get(key);
            let has_name = |name: &String| template.process_name == *name;
            let is_renamed = item.is_some_and(|item| has_name(&item.process_name))
                || remembered.is_some_and(|remembered| has_name(&remembered.process_name));
            if !is_renamed || self.taken.contains(id) || self.own.contains_key(key.as_str()) {
                continue;
            }

            if item.is_some() {
                self.taken.insert(*id);
                self.own.insert(key, (template, Basis::Claimed));
            } else {
                self.replacements.insert(key.clone(), *id);
                self.release(key, template);
            }
        }
    }

    fn match_intents(&mut self) {
        for (key, intent) in &self.given.memory.intents {
            let is_wanted = self.given.item(key).is_some();
            let mut explained = self
                .given
                .observed
                .templates
                .iter()
                .filter(|template| self.given.explains(intent, template))
                .peekable();
            if explained.peek().is_none() && intent.fate == IntentFate::Open {
                self.undecided.insert(key.clone(), intent.clone());
            }
            // Names are unique only since CMDB 3.9.18.
            let free = explained.find(|template| !self.taken.contains(&template.id));
            match free {
                Some(template) if !is_wanted => self.release(key, template),
                Some(template) if !self.own.contains_key(key.as_str()) => {
                    self.taken.insert(template.id);
                    self.own.insert(key, (template, Basis::Claimed));
                }
                _ => {}
            }
        }
    }

    // Only where nothing is remembered: a status says it better.
    pub fn may_infer(&self) -> bool {
        let is_lost = self.given.memory.items.is_empty() && self.given.memory.intents.is_empty();
        self.is_midway && is_lost && self.given.policy.adoption != AdoptionPolicy::Never
    }

    // A circle of names that was interrupted, and then the status was lost: a template that has the name of one item, and
    // everything but the name of another, belongs to that other.
    fn match_midway(&mut self) {
        let wanted_names: BTreeSet<&str> =
            self.given.desired.items.iter().map(|item| item.process_name.as_str()).collect();
        for item in &self.given.desired.items {
            if self.own.contains_key(item.key.as_str()) || self.undecided.contains_key(&item.key) {
                continue;
            }
            let Ok(wanted) = item.properties(self.given.observed.schema) else { continue };

            let differs_in_name_only = |template: &&Template| {
                let differences = item.compare(&wanted, template).differences;
                matches!(differences.as_slice(), [difference] if difference.cmdb_name == PROCESS_NAME)
            };
            let is_free = |template: &&Template| {
                wanted_names.contains(template.process_name.as_str())
                    && self.given.is_surely_ours(template)
                    && !self.taken.contains(&template.id)
                    && !self.released.contains_key(&template.id)
                    && !self.given.is_owned(template)
                    && self.given.hold(&template.process_name).is_none()
            };

            let mut found = self.given.observed.templates.iter().filter(is_free).filter(differs_in_name_only);
            if let (Some(template), None) = (found.next(), found.next()) {
                self.taken.insert(template.id);
                self.own.insert(&item.key, (template, Basis::Claimed));
            }
        }
    }

    fn release(&mut self, key: &str, template: &'a Template) {
        if !self.taken.contains(&template.id) {
            self.released.entry(template.id).or_insert_with(|| (key.to_owned(), template));
        }
    }

    // An ID counts only with the creation time that was remembered with it. Before the first list there is none, and name
    // and creator must suffice.
    fn find_remembered(&self, remembered: &Remembered) -> Option<&'a Template> {
        let template = self.given.observed.by_id(remembered.id)?;
        let same = match (remembered.created_at, template.created_at) {
            (Some(then), Some(now)) => then == now,
            _ => {
                template.process_name == remembered.process_name
                    && self.given.is_creator(remembered.created_by.as_ref(), template)
            }
        };
        same.then_some(template)
    }
}
