//! Planning: which template belongs to which item, what each item needs, and what happens to templates that no item has.

use std::collections::{BTreeMap, BTreeSet};

use super::obstacles::{MOST_UPDATES, RENAME_IGNORED, Sorted, blocked, cannot_replace, lagging_cells, sorted};
use super::order::ordered;
use super::properties::rows;
use super::temporary_name::marked;
use super::{
    Basis, Cause, Change, Conflict, Create, Decision, Desired, DesiredItem, Difference, Fate, Found, Intent,
    IntentFate, Item, Memory, Observed, OtherSet, Owner, Plan, Policy, Properties, Remembered, Removal, Template,
    intent_hash, temporary_name,
};
use crate::api::{AdoptionPolicy, DeletionPolicy, DriftPolicy, FUNC_NAME, PROCESS_NAME, Property, ReplacePolicy};
use crate::plan::properties::compare::Comparison;
use crate::plan::properties::hash::is_changed;

/// Plans. The same arguments always give the same plan, and a plan never names a template outside `observed`.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, other_sets: &[OtherSet], memory: &Memory, policy: &Policy) -> Plan {
    let mut planner = Planner::new(desired, observed, other_sets, memory, policy);
    let mut items: Vec<Item> = desired.items.iter().map(|item| planner.item(item)).collect();
    let removals = planner.removals();
    let steps = ordered(&desired.set, &mut items, &removals, observed);
    Plan { items, removals, steps, undecided: planner.undecided, highest_id: observed.highest_id() }
}

struct Planner<'a> {
    desired: &'a Desired,
    observed: &'a Observed,
    // The other live sets of the service template.
    other_sets: &'a [OtherSet],
    memory: &'a Memory,
    policy: &'a Policy,
    // The template of each item that has one, and what makes it so.
    own: BTreeMap<&'a str, (&'a Template, Basis)>,
    // Templates that an item has already; each belongs to one item only.
    taken: BTreeSet<i64>,
    // The template that an item's own replaces.
    replaced: BTreeMap<&'a str, &'a Template>,
    // Templates that were only an intermediate step and are not needed any more.
    leftovers: Vec<(String, &'a Template)>,
    // Templates of keys that have left the spec: still ours, for the key that has their name now.
    released: BTreeMap<i64, (String, &'a Template)>,
    undecided: BTreeMap<String, Intent>,
    // Whether a template has a temporary value: others may be in an intermediate state too.
    is_midway: bool,
}

impl<'a> Planner<'a> {
    fn new(
        desired: &'a Desired,
        observed: &'a Observed,
        other_sets: &'a [OtherSet],
        memory: &'a Memory,
        policy: &'a Policy,
    ) -> Self {
        let mut planner = Self {
            desired,
            observed,
            other_sets,
            memory,
            policy,
            own: BTreeMap::new(),
            taken: BTreeSet::new(),
            replaced: BTreeMap::new(),
            leftovers: Vec::new(),
            released: BTreeMap::new(),
            undecided: BTreeMap::new(),
            is_midway: false,
        };

        planner.match_marked();
        planner.match_remembered();
        planner.match_intents();
        if planner.may_infer() {
            planner.match_midway();
        }
        planner
    }

    // A template with a temporary value belongs to the item of that value, with or without a status that says so.
    fn match_marked(&mut self) {
        let marked = marked(self.observed);
        if marked.is_empty() {
            return;
        }

        let keys = self.desired.keys.iter().chain(self.memory.items.keys()).chain(self.memory.intents.keys());
        let keys: BTreeSet<&'a str> = keys.map(String::as_str).collect();
        for key in keys {
            let temporary = temporary_name(&self.desired.set, key);
            for template in marked.get(temporary.as_str()).into_iter().flatten() {
                if self.is_strangers(template) {
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
        let remembered = self.memory.items.get(key).and_then(|remembered| self.find_remembered(remembered));
        let old = remembered.filter(|old| old.id != template.id);
        let Some(item) = self.desired.items.iter().find(|item| item.key == key) else {
            // A template that the status remembers leaves the set as the set's policy says.
            if old.is_some() || remembered.is_none() {
                self.leave_over(key, template);
            }
            return;
        };

        let wanted = item.properties(self.observed.schema).ok().filter(|_| item.violations.is_empty());
        let Some(wanted) = wanted else {
            // The template of an invalid item is not touched.
            self.taken.insert(template.id);
            return;
        };

        let may_replace = self.policy.replace == ReplacePolicy::Recreate;
        let fits = |template: &Template| wanted.text(FUNC_NAME) == template.properties.text(FUNC_NAME);
        // A server that ignores names could not give it the final one.
        let may_stay = !self.memory.ignores_renames;
        let is_own = match old {
            Some(old) => {
                let may_go = !self.is_owned(old) && !self.memory.refused.contains_key(key);
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

    // With a token our own user is not known: the template may be another user's, and stays.
    fn leave_over(&mut self, key: &str, template: &'a Template) {
        if self.is_surely_ours(template) && !self.is_owned(template) && self.taken.insert(template.id) {
            self.leftovers.push((key.to_owned(), template));
        }
    }

    fn match_remembered(&mut self) {
        for (key, remembered) in &self.memory.items {
            let Some(template) = self.find_remembered(remembered) else { continue };
            if !self.desired.items.iter().any(|item| item.key == *key) {
                self.release(key, template);
            } else if !self.own.contains_key(key.as_str()) && self.taken.insert(template.id) {
                self.own.insert(key, (template, Basis::Remembered));
            }
        }
    }

    fn match_intents(&mut self) {
        for (key, intent) in &self.memory.intents {
            let is_wanted = self.desired.items.iter().any(|item| item.key == *key);
            match self.claim(intent) {
                Some(template) if !is_wanted => self.release(key, template),
                Some(template) if !self.own.contains_key(key.as_str()) && self.taken.insert(template.id) => {
                    self.own.insert(key, (template, Basis::Claimed));
                }
                None if intent.fate == IntentFate::Open => {
                    self.undecided.insert(key.clone(), intent.clone());
                }
                _ => {}
            }
        }
    }

    // Only where nothing is remembered: a status says it better.
    fn may_infer(&self) -> bool {
        let is_lost = self.memory.items.is_empty() && self.memory.intents.is_empty();
        self.is_midway && is_lost && self.policy.adoption != AdoptionPolicy::Never
    }

    // A circle of names that was interrupted, and then the status was lost: a template that has the name of one item, and
    // everything but the name of another, belongs to that other.
    fn match_midway(&mut self) {
        let wanted_names: BTreeSet<&str> = self.desired.items.iter().map(|item| item.process_name.as_str()).collect();
        for item in &self.desired.items {
            if self.own.contains_key(item.key.as_str()) || self.undecided.contains_key(&item.key) {
                continue;
            }
            let Ok(wanted) = item.properties(self.observed.schema) else { continue };

            let differs_in_name_only = |template: &&Template| {
                let differences = item.compare(&wanted, template).differences;
                matches!(differences.as_slice(), [difference] if difference.cmdb_name == PROCESS_NAME)
            };
            let is_free = |template: &&Template| {
                wanted_names.contains(template.process_name.as_str())
                    && self.is_surely_ours(template)
                    && !self.taken.contains(&template.id)
                    && !self.released.contains_key(&template.id)
                    && self.other_owner(|other| other.owns(template)).is_none()
            };

            let mut found = self.observed.templates.iter().filter(is_free).filter(differs_in_name_only);
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

    // Whether it was created by our own user, as far as the user shows that.
    fn is_surely_ours(&self, template: &Template) -> bool {
        self.observed.user.as_ref().is_some_and(|user| template.creator == *user)
    }

    fn item(&mut self, item: &DesiredItem) -> Item {
        let (found, decision) = self.decide(item);
        let found = found.map(|(template, basis)| Found {
            lagging_cells: lagging_cells(item, template, &decision),
            id: template.id,
            created_at: template.created_at,
            process_name: template.process_name.clone(),
            modifier: template.modifier.clone(),
            is_own_change: self.observed.user.as_ref() == Some(&template.modifier),
            changed_at: template.changed_at,
            basis,
            replaces: self.replaced.get(item.key.as_str()).map(|old| old.id),
        });
        Item { key: item.key.clone(), process_name: item.process_name.clone(), found, decision }
    }

    fn decide(&mut self, item: &DesiredItem) -> (Option<(&'a Template, Basis)>, Decision) {
        let key = item.key.as_str();
        let own = self.own.get(key).copied();
        // While a create may still be stored, its item is not sent and no other item gets its name.
        let held = |intent: &Intent| intent.process_name == item.process_name;
        if self.undecided.contains_key(key) || self.undecided.values().any(held) {
            return (own, Decision::Undecided);
        }

        if !item.violations.is_empty() {
            let texts: Vec<String> = item.violations.iter().map(ToString::to_string).collect();
            return (own, Decision::Invalid(texts.join("; ")));
        }
        let wanted = match item.properties(self.observed.schema) {
            Ok(wanted) => wanted,
            Err(reason) => return (own, Decision::Invalid(reason)),
        };

        if let Some((template, basis)) = own {
            let other_owner = self.other_owner(|other| other.comes_first && other.owns(template));
            return match other_owner {
                Some(owner) => (None, conflict(Some(template), owner, Vec::new())),
                None => (own, self.judge(item, &wanted, template, basis)),
            };
        }

        let named = self.observed.by_name(&item.process_name);
        // A template of another item that is to be renamed only blocks the name for now.
        match named.filter(|template| !self.is_leaving(template)) {
            Some(template) => self.judge_named(item, &wanted, template),
            None => (None, self.judge_missing(item, &wanted)),
        }
    }

    fn is_leaving(&self, template: &Template) -> bool {
        let of_item = self.own.iter().find(|(_, (own, _))| own.id == template.id);
        let wanted = of_item.and_then(|(key, _)| self.desired.items.iter().find(|item| item.key == **key));
        wanted.is_some_and(|item| item.process_name != template.process_name)
    }

    fn judge_named(
        &mut self,
        item: &DesiredItem,
        wanted: &Properties,
        template: &'a Template,
    ) -> (Option<(&'a Template, Basis)>, Decision) {
        let differences = || item.compare(wanted, template).differences;
        if self.taken.contains(&template.id) {
            return (None, conflict(Some(template), Owner::Process, Vec::new()));
        }

        if self.released.contains_key(&template.id) {
            self.taken.insert(template.id);
            let found = (template, Basis::Remembered);
            return (Some(found), self.judge(item, wanted, template, Basis::Remembered));
        }

        let owner = self
            .other_owner(|other| other.owns(template))
            .or_else(|| self.other_owner(|other| other.comes_first && other.wants.contains(&item.process_name)));
        if let Some(owner) = owner {
            return (None, conflict(Some(template), owner, differences()));
        }

        let is_handed_over = self.other_sets.iter().any(|other| other.hands_over(template));
        if is_handed_over && self.policy.adoption != AdoptionPolicy::Never {
            self.taken.insert(template.id);
            let found = (template, Basis::HandedOver);
            return (Some(found), self.judge(item, wanted, template, Basis::HandedOver));
        }

        let differences = differences();
        let on_its_way = self.may_infer()
            && self.is_surely_ours(template)
            && differences.iter().all(|difference| difference.cmdb_name == Property::StartParamRegex.cmdb_name());
        let may_adopt = match self.policy.adoption {
            AdoptionPolicy::Never => false,
            AdoptionPolicy::IfIdentical => differences.is_empty() || on_its_way,
            AdoptionPolicy::Always => true,
        };

        if !may_adopt {
            let is_adoption_off = self.policy.adoption == AdoptionPolicy::Never;
            let (id, owner) = (Some(template.id), Owner::Stranger);
            return (None, Decision::Conflict(Conflict { id, owner, differences, is_adoption_off }));
        }
        self.taken.insert(template.id);
        (Some((template, Basis::Adopted)), self.judge(item, wanted, template, Basis::Adopted))
    }

    fn judge_missing(&mut self, item: &DesiredItem, wanted: &Properties) -> Decision {
        if let Some(owner) = self.other_owner(|other| other.comes_first && other.wants.contains(&item.process_name)) {
            return conflict(None, owner, Vec::new());
        }
        let remembered = self.memory.items.get(&item.key);
        let hash = item.hash(wanted, &self.not_shown(wanted));
        let is_drift = remembered.is_some_and(|then| !is_changed(then.applied_hash.as_deref(), &hash));
        if is_drift && self.policy.drift == DriftPolicy::Detect {
            return Decision::Drifted(Vec::new());
        }
        if let Some(reason) = self.memory.refused.get(&item.key) {
            return Decision::Refused(reason.clone());
        }
        let cause = if is_drift { Cause::Drift } else { Cause::Spec };
        Decision::Create(Create::new(item.process_name.clone(), wanted, cause))
    }

    // What this server does not have, as far as its other templates show.
    fn not_shown(&self, wanted: &Properties) -> Vec<String> {
        let shown = self.observed.templates.iter().find_map(Template::known_properties);
        let is_shown = |name: &str| shown.is_none_or(|shown| shown.contains(name));
        wanted.iter().map(|(name, _)| name.to_owned()).filter(|name| !is_shown(name)).collect()
    }

    fn judge(&self, item: &DesiredItem, wanted: &Properties, template: &Template, basis: Basis) -> Decision {
        let Comparison { mut differences, ignored, ignored_cmdb_names } = item.compare(wanted, template);
        let hash = item.hash(wanted, &ignored_cmdb_names);
        let detects = self.policy.drift == DriftPolicy::Detect;
        let then = self.memory.items.get(&item.key).and_then(|remembered| remembered.applied_hash.as_deref());
        let is_unchanged = basis == Basis::Remembered && then.is_some() && !is_changed(then, &hash);
        if is_unchanged && detects {
            // The hash does not tell them from what an older version has left.
            differences.retain(|difference| !difference.is_lock_of_absent_socket());
        }
        if differences.is_empty() {
            return Decision::InSync { ignored, applied_hash: hash };
        }

        let most = if detects { 1 } else { MOST_UPDATES };
        let Sorted { open: differences, unkept, is_own } = sorted(differences, self.memory.unkept.get(&item.key), most);
        if differences.is_empty() {
            return Decision::Unkept(unkept);
        }

        let is_own = is_own || differences.iter().all(Difference::is_lock_of_absent_socket);
        let cause = match basis {
            Basis::Adopted => Cause::Adoption,
            _ if is_unchanged && !is_own => Cause::Drift,
            Basis::Remembered | Basis::Claimed | Basis::HandedOver => Cause::Spec,
        };
        if cause == Cause::Drift && detects {
            return Decision::Drifted(differences);
        }

        if differences.iter().any(|difference| difference.cmdb_name == FUNC_NAME) {
            if self.policy.replace == ReplacePolicy::Never {
                return Decision::NeedsReplacement(differences);
            }
            // A replacement deletes the template.
            if let Some(owner) = self.other_owner(|other| other.owns(template)) {
                return conflict(Some(template), owner, differences);
            }
            if self.memory.ignores_renames {
                return Decision::Refused(cannot_replace(template.id));
            }
            return match self.memory.refused.get(&item.key) {
                Some(reason) => Decision::Refused(reason.clone()),
                None => Decision::Replace(self.replacement(item, wanted, cause)),
            };
        }

        if let Some(reason) = blocked(&differences, template) {
            return Decision::Invalid(reason);
        }
        if self.memory.ignores_renames && differences.iter().any(|difference| difference.cmdb_name == PROCESS_NAME) {
            return Decision::Refused(RENAME_IGNORED.to_owned());
        }
        if let Some(reason) = self.memory.refused.get(&item.key) {
            return Decision::Refused(reason.clone());
        }

        let mut properties = Properties::default();
        for difference in &differences {
            properties.insert(&difference.cmdb_name, rows::paired(&difference.wanted, &difference.found));
        }
        Decision::Update(Change { properties, differences, cause })
    }

    fn replacement(&self, item: &DesiredItem, wanted: &Properties, cause: Cause) -> Create {
        let name = temporary_name(&self.desired.set, &item.key);
        let mut properties = wanted.clone();
        properties.insert(PROCESS_NAME, super::Pair::new(name.as_str(), true));
        Create::new(name, &properties, cause)
    }

    // Whether another set has it.
    fn is_owned(&self, template: &Template) -> bool {
        self.other_owner(|other| other.owns(template)).is_some()
    }

    // The first other set that claims it so.
    fn other_owner(&self, claims: impl Fn(&OtherSet) -> bool) -> Option<Owner> {
        self.other_sets.iter().find(|other| claims(other)).map(|other| Owner::Set(other.name.clone()))
    }

    fn removals(&self) -> Vec<Removal> {
        let removal = |key: &str, template: &Template, fate| {
            let (key, process_name) = (key.to_owned(), template.process_name.clone());
            Removal { key, id: template.id, process_name, fate }
        };
        let replaced = self.replaced.iter().map(|(key, template)| removal(key, template, Fate::Superseded));
        let leftovers = self.leftovers.iter().map(|(key, template)| removal(key, template, Fate::Superseded));
        let released = self.released.values().filter(|(_, template)| !self.taken.contains(&template.id));
        let released = released.map(|(key, template)| removal(key, template, self.fate(template)));
        let mut removals: Vec<Removal> = replaced.chain(leftovers).chain(released).collect();
        removals.sort_by_key(|removal| removal.id);
        removals
    }

    fn fate(&self, template: &Template) -> Fate {
        let wants = |other: &&OtherSet| other.wants.contains(&template.process_name);
        let wanting: Vec<&OtherSet> = self.other_sets.iter().filter(wants).collect();
        match self.policy.deletion {
            _ if self.is_owned(template) => Fate::Released,
            DeletionPolicy::Orphan => Fate::Orphan,
            // A set in another namespace cannot see that it is handed over.
            DeletionPolicy::Delete if wanting.iter().any(|other| !other.is_unread && other.name.is_none()) => {
                Fate::Released
            }
            DeletionPolicy::Delete if !wanting.is_empty() && !self.policy.hand_overs_are_over => Fate::HandOver,
            DeletionPolicy::Delete if wanting.iter().any(|other| !other.is_unread) => Fate::Released,
            DeletionPolicy::Delete if self.policy.removals_are_due => Fate::Delete,
            DeletionPolicy::Delete => Fate::DeleteLater,
        }
    }
}

fn conflict(template: Option<&Template>, owner: Owner, differences: Vec<Difference>) -> Decision {
    let id = template.map(|template| template.id);
    Decision::Conflict(Conflict { id, owner, differences, is_adoption_off: false })
}
