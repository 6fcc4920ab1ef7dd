//! Planning: which template belongs to which item, what each item needs, and what happens to templates that no item has.

use super::given::Given;
use super::matching::Matching;
use super::obstacles::{MOST_UPDATES, RENAME_IGNORED, Sorted, blocked, cannot_replace, lagging_cells, sorted};
use super::order::ordered;
use super::properties::rows;
use super::properties::unknown_schema::hold_one_sided;
use super::{
    Basis, Cause, Change, Conflict, Create, Decision, Desired, DesiredItem, Difference, Fate, Found, Intent, Item,
    Memory, Observed, OtherSet, Owner, Plan, Policy, Properties, Removal, Template, temporary_name,
};
use crate::api::{AdoptionPolicy, DeletionPolicy, DriftPolicy, FUNC_NAME, PROCESS_NAME, Property, ReplacePolicy};
use crate::plan::properties::compare::Comparison;
use crate::plan::properties::hash::is_changed;

/// Plans. The same arguments always give the same plan, and a plan never names a template outside `observed`.
#[must_use]
pub fn plan(desired: &Desired, observed: &Observed, other_sets: &[OtherSet], memory: &Memory, policy: &Policy) -> Plan {
    let given = Given { desired, observed, other_sets, memory, policy };
    let mut planner = Planner { given, matching: Matching::new(given) };
    let mut items: Vec<Item> = desired.items.iter().map(|item| planner.item(item)).collect();
    hold_one_sided(desired, observed, &mut items);
    let removals = planner.removals();
    let steps = ordered(&desired.set, &mut items, &removals, observed);
    let Matching { undecided, replacements, .. } = planner.matching;
    Plan { items, removals, steps, undecided, replacements, highest_id: observed.highest_id() }
}

struct Planner<'a> {
    given: Given<'a>,
    matching: Matching<'a>,
}

impl<'a> Planner<'a> {
    fn item(&mut self, item: &DesiredItem) -> Item {
        let (found, decision) = self.decide(item);
        let found = found.map(|(template, basis)| Found {
            lagging_cells: lagging_cells(item, template, &decision),
            id: template.id,
            created_at: template.created_at,
            process_name: template.process_name.clone(),
            modifier: template.modifier.clone(),
            is_own_change: self.given.observed.user.as_ref() == Some(&template.modifier),
            changed_at: template.changed_at,
            basis,
            replaces: self.matching.replaced.get(item.key.as_str()).map(|old| old.id),
        });
        Item { key: item.key.clone(), process_name: item.process_name.clone(), found, decision }
    }

    fn decide(&mut self, item: &DesiredItem) -> (Option<(&'a Template, Basis)>, Decision) {
        let key = item.key.as_str();
        let own = self.matching.own.get(key).copied();
        // While a create may still be stored, its item is not sent and no other item gets its name.
        let held = |intent: &Intent| intent.process_name == item.process_name;
        if self.matching.undecided.contains_key(key) || self.matching.undecided.values().any(held) {
            return (own, Decision::Undecided);
        }

        if !item.violations.is_empty() {
            let texts: Vec<String> = item.violations.iter().map(ToString::to_string).collect();
            return (own, Decision::Invalid(texts.join("; ")));
        }
        let wanted = match item.properties(self.given.observed.schema) {
            Ok(wanted) => wanted,
            Err(reason) => return (own, Decision::Invalid(reason)),
        };

        if let Some((template, basis)) = own {
            let other_owner = self.given.other_owner(|other| other.comes_first && other.owns(template));
            return match other_owner {
                Some(owner) => (None, conflict(Some(template), owner, Vec::new())),
                None => (own, self.judge(item, &wanted, template, basis)),
            };
        }

        let named = self.given.observed.by_name(&item.process_name);
        // A template of another item that is to be renamed only blocks the name for now.
        match named.filter(|template| !self.is_leaving(template)) {
            Some(template) => self.judge_named(item, &wanted, template),
            None => (None, self.judge_missing(item, &wanted)),
        }
    }

    fn is_leaving(&self, template: &Template) -> bool {
        let of_item = self.matching.own.iter().find(|(_, (own, _))| own.id == template.id);
        let wanted = of_item.and_then(|(key, _)| self.given.desired.items.iter().find(|item| item.key == **key));
        wanted.is_some_and(|item| item.process_name != template.process_name)
    }

    fn judge_named(
        &mut self,
        item: &DesiredItem,
        wanted: &Properties,
        template: &'a Template,
    ) -> (Option<(&'a Template, Basis)>, Decision) {
        let differences = || item.compare(wanted, template).differences;
        if self.matching.taken.contains(&template.id) {
            return (None, conflict(Some(template), Owner::Process, Vec::new()));
        }

        if self.matching.released.contains_key(&template.id) {
            self.matching.taken.insert(template.id);
            let found = (template, Basis::Remembered);
            return (Some(found), self.judge(item, wanted, template, Basis::Remembered));
        }

        let owner = self
            .given
            .other_owner(|other| other.owns(template))
            .or_else(|| self.given.other_owner(|other| other.comes_first && other.wants.contains(&item.process_name)));
        if let Some(owner) = owner {
            return (None, conflict(Some(template), owner, differences()));
        }

        if let Some(hold) = self.given.hold(&item.process_name) {
            return (None, Decision::Held(hold));
        }

        let is_handed_over = self.given.other_sets.iter().any(|other| other.hands_over(template));
        if is_handed_over && self.given.policy.adoption != AdoptionPolicy::Never {
            self.matching.taken.insert(template.id);
            let found = (template, Basis::HandedOver);
            return (Some(found), self.judge(item, wanted, template, Basis::HandedOver));
        }

        let differences = differences();
        let on_its_way = self.matching.may_infer()
            && self.given.is_surely_ours(template)
            && differences.iter().all(|difference| difference.cmdb_name == Property::StartParamRegex.cmdb_name());
        let may_adopt = match self.given.policy.adoption {
            AdoptionPolicy::Never => false,
            AdoptionPolicy::IfIdentical => differences.is_empty() || on_its_way,
            AdoptionPolicy::Always => true,
        };

        if !may_adopt {
            let is_adoption_off = self.given.policy.adoption == AdoptionPolicy::Never;
            let (id, owner) = (Some(template.id), Owner::Stranger);
            return (None, Decision::Conflict(Conflict { id, owner, differences, is_adoption_off }));
        }
        self.matching.taken.insert(template.id);
        (Some((template, Basis::Adopted)), self.judge(item, wanted, template, Basis::Adopted))
    }

    fn judge_missing(&mut self, item: &DesiredItem, wanted: &Properties) -> Decision {
        if let Some(owner) =
            self.given.other_owner(|other| other.comes_first && other.wants.contains(&item.process_name))
        {
            return conflict(None, owner, Vec::new());
        }
        if let Some(hold) = self.given.hold(&item.process_name) {
            return Decision::Held(hold);
        }
        let remembered = self.given.memory.items.get(&item.key);
        let hash = item.hash(wanted, &self.not_shown(wanted));
        let is_drift = remembered.is_some_and(|then| !is_changed(then.applied_hash.as_deref(), &hash));
        if is_drift && self.given.policy.drift == DriftPolicy::Detect {
            return Decision::Drifted(Vec::new());
        }
        if let Some(reason) = self.given.memory.refused.get(&item.key) {
            return Decision::Refused(reason.clone());
        }
        let cause = if is_drift { Cause::Drift } else { Cause::Spec };
        Decision::Create(Create::new(item.process_name.clone(), wanted, cause))
    }

    // What this server does not have, as far as its other templates show.
    fn not_shown(&self, wanted: &Properties) -> Vec<String> {
        let shown = self.given.observed.templates.iter().find_map(Template::known_properties);
        let is_shown = |name: &str| shown.is_none_or(|shown| shown.contains(name));
        wanted.iter().map(|(name, _)| name.to_owned()).filter(|name| !is_shown(name)).collect()
    }

    fn judge(&self, item: &DesiredItem, wanted: &Properties, template: &Template, basis: Basis) -> Decision {
        let Comparison { mut differences, ignored, ignored_cmdb_names } = item.compare(wanted, template);
        let hash = item.hash(wanted, &ignored_cmdb_names);
        let detects = self.given.policy.drift == DriftPolicy::Detect;
        let then = self.given.memory.items.get(&item.key).and_then(|remembered| remembered.applied_hash.as_deref());
        let is_unchanged = basis == Basis::Remembered && then.is_some() && !is_changed(then, &hash);
        if is_unchanged && detects {
            // The hash does not tell them from what an older version has left.
            differences.retain(|difference| !difference.is_lock_of_absent_socket());
        }
        if differences.is_empty() {
            return Decision::InSync { ignored, applied_hash: hash };
        }

        let most = if detects { 1 } else { MOST_UPDATES };
        let unkept = self.given.memory.unkept.get(&item.key);
        let Sorted { open: differences, unkept, is_own } = sorted(differences, unkept, most);
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
            if self.given.policy.replace == ReplacePolicy::Never {
                return Decision::NeedsReplacement(differences);
            }
            // A replacement deletes the template.
            if let Some(owner) = self.given.other_owner(|other| other.owns(template)) {
                return conflict(Some(template), owner, differences);
            }
            if let Some(hold) = self.given.hold(&template.process_name) {
                return Decision::Held(hold);
            }
            if self.given.memory.ignores_renames {
                return Decision::Refused(cannot_replace(template.id));
            }
            return match self.given.memory.refused.get(&item.key) {
                Some(reason) => Decision::Refused(reason.clone()),
                None => Decision::Replace(self.replacement(item, wanted, cause)),
            };
        }

        if let Some(reason) = blocked(&differences, template) {
            return Decision::Invalid(reason);
        }
        if differences.iter().any(|difference| difference.cmdb_name == PROCESS_NAME) {
            if self.given.memory.ignores_renames {
                return Decision::Refused(RENAME_IGNORED.to_owned());
            }
            if let Some(hold) = self.given.hold(&item.process_name) {
                return Decision::Held(hold);
            }
        }
        if let Some(reason) = self.given.memory.refused.get(&item.key) {
            return Decision::Refused(reason.clone());
        }

        let mut properties = Properties::default();
        for difference in &differences {
            properties.insert(&difference.cmdb_name, rows::paired(&difference.wanted, &difference.found));
        }
        Decision::Update(Change { properties, differences, cause })
    }

    fn replacement(&self, item: &DesiredItem, wanted: &Properties, cause: Cause) -> Create {
        let name = temporary_name(&self.given.desired.set, &item.key);
        let mut properties = wanted.clone();
        properties.insert(PROCESS_NAME, super::Pair::new(name.as_str(), true));
        Create::new(name, &properties, cause)
    }

    fn removals(&self) -> Vec<Removal> {
        let removal = |key: &str, template: &Template, fate| {
            let (key, process_name) = (key.to_owned(), template.process_name.clone());
            Removal { key, id: template.id, process_name, fate }
        };
        // A template of the name of another set's open create may be that one.
        let is_held = |template: &Template| self.given.hold(&template.process_name).is_some();
        let replaced = self.matching.replaced.iter().map(|(key, template)| {
            removal(key, template, if is_held(template) { Fate::DeleteLater } else { Fate::Superseded })
        });
        let leftovers = self.matching.leftovers.iter().map(|(key, template)| removal(key, template, Fate::Superseded));
        let released =
            self.matching.released.values().filter(|(_, template)| !self.matching.taken.contains(&template.id));
        let released = released.map(|(key, template)| removal(key, template, self.fate(template)));
        let mut removals: Vec<Removal> = replaced.chain(leftovers).chain(released).collect();
        removals.sort_by_key(|removal| removal.id);
        removals
    }

    fn fate(&self, template: &Template) -> Fate {
        let wants = |other: &&OtherSet| other.wants.contains(&template.process_name);
        let wanting: Vec<&OtherSet> = self.given.other_sets.iter().filter(wants).collect();
        match self.given.policy.deletion {
            _ if self.given.is_owned(template) => Fate::Released,
            DeletionPolicy::Orphan => Fate::Orphan,
            // A set in another namespace cannot see that it is handed over.
            DeletionPolicy::Delete if wanting.iter().any(|other| !other.is_unread && other.name.is_none()) => {
                Fate::Released
            }
            DeletionPolicy::Delete if !wanting.is_empty() && !self.given.policy.hand_overs_are_over => Fate::HandOver,
            DeletionPolicy::Delete if wanting.iter().any(|other| !other.is_unread) => Fate::Released,
            DeletionPolicy::Delete if self.given.hold(&template.process_name).is_some() => Fate::DeleteLater,
            DeletionPolicy::Delete if self.given.policy.removals_are_due => Fate::Delete,
            DeletionPolicy::Delete => Fate::DeleteLater,
        }
    }
}

fn conflict(template: Option<&Template>, owner: Owner, differences: Vec<Difference>) -> Decision {
    let id = template.map(|template| template.id);
    Decision::Conflict(Conflict { id, owner, differences, is_adoption_off: false })
}
