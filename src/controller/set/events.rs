//! Events about sets: what was written to CMDB, what was adopted or released, drift, failures.

use std::collections::BTreeSet;

use kube::Resource as _;

use super::outcome::Outcome;
use super::status::{compose, memory};
use crate::api::{ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions::ConditionSet;
use crate::controller::kubernetes::events::{Events, NORMAL, WARNING};
use crate::controller::observer::Observer;
use crate::engine::{Tally, Updated};
use crate::plan::{Basis, Cause, Decision, Found, Item, Plan, Provenance, Removal, changed_by, count};

/// Publishes events about one set, and counts for the metrics what they report.
pub struct SetEvents<'a> {
    events: &'a Events,
    observer: &'a dyn Observer,
    set: &'a ProcessTemplateSet,
}

impl<'a> SetEvents<'a> {
    /// Events about this set.
    pub fn new(events: &'a Events, observer: &'a dyn Observer, set: &'a ProcessTemplateSet) -> Self {
        Self { events, observer, set }
    }

    /// Publishes that Ready has turned or has another reason.
    pub fn turned(&self, before: &ProcessTemplateSetStatus, now: &ConditionSet) {
        self.events.turned(self.set.object_ref(&()), &before.conditions, now);
    }

    fn publish(&self, type_: &'static str, reason: &str, action: &'static str, note: String) {
        self.events.publish(self.set.object_ref(&()), type_, reason, action, note);
    }

    /// What was written to CMDB, and what was taken over without a write.
    pub fn written(&self, before: &ProcessTemplateSetStatus, outcome: &Outcome) {
        let id = outcome.view.listing.scope.service_template_id;
        let created = &outcome.tally.created;
        self.observer.wrote("created", created.len());
        self.observer.wrote("updated", outcome.tally.updated.len());
        if !created.is_empty() {
            let what = count(created.len(), "process template");
            let note = format!("created {what} in service template {id}: {}", list(created));
            self.publish(NORMAL, "Created", "Create", note);
        }
        let restored = &outcome.tally.restored;
        if !restored.is_empty() {
            for _ in restored {
                self.observer.drifted("corrected");
            }
            let note = format!("created again what was deleted in CMDB: {}", restored.join(", "));
            self.publish(WARNING, "DriftCorrected", "Create", note);
        }
        self.updated(&outcome.tally.updated);
        self.deleted(&outcome.tally);
        let known = |id: i64| before.processes.iter().any(|process| process.id == Some(id));
        let is_new = |found: &&Found| found.basis == Basis::Adopted && !known(found.id) && !created.contains(&found.id);
        let in_sync = outcome.view.plan.items.iter().filter(|item| matches!(item.decision, Decision::InSync { .. }));
        let adopted: Vec<i64> =
            in_sync.filter_map(|item| item.found.as_ref()).filter(is_new).map(|found| found.id).collect();
        if !adopted.is_empty() {
            let note = format!("adopted without a write, being identical: {}", list(&adopted));
            self.publish(NORMAL, "Adopted", "Adopt", note);
        }
        self.released(before, &outcome.released);
        self.drifted(before, &outcome.view.plan);
        let news = |item: &&Item| {
            let Decision::InSync { ignored, .. } = &item.decision else { return false };
            let before = before.processes.iter().find(|process| process.name == item.key);
            !ignored.is_empty() && before.is_none_or(|before| before.ignored != *ignored)
        };
        let ignored: Vec<String> = outcome.view.plan.items.iter().filter(news).map(ignored_of).collect();
        if !ignored.is_empty() {
            let note = format!(
                "this CMDB does not have these properties: they were sent and are not compared: {}",
                ignored.join("; ")
            );
            self.publish(WARNING, "Ignored", "Create", note);
        }
    }

    // What was changed, and which of it put back what somebody else had changed.
    fn updated(&self, updated: &[Updated]) {
        for _ in updated.iter().filter(|updated| updated.cause == Cause::Drift) {
            self.observer.drifted("corrected");
        }
        for (cause, reason, what) in [
            (Cause::Spec, "Updated", "changed"),
            (Cause::Drift, "DriftCorrected", "put back what was changed in CMDB"),
            (Cause::Adoption, "TakenOver", "took over and changed"),
        ] {
            let of_cause: Vec<&Updated> = updated.iter().filter(|updated| updated.cause == cause).collect();
            if !of_cause.is_empty() {
                let type_ = if cause == Cause::Drift { WARNING } else { NORMAL };
                self.publish(type_, reason, "Update", format!("{what}: {}", updates(&of_cause)));
            }
        }
    }

    /// What was deleted in CMDB.
    pub fn deleted(&self, tally: &Tally) {
        self.observer.wrote("deleted", tally.deleted.len());
        if !tally.deleted.is_empty() {
            let note = format!("deleted {}: {}", count(tally.deleted.len(), "process template"), list(&tally.deleted));
            self.publish(NORMAL, "Deleted", "Delete", note);
        }
    }

    // What has left the set and stays in CMDB.
    fn released(&self, before: &ProcessTemplateSetStatus, left: &[Removal]) {
        let held = |removal: &&Removal| before.processes.iter().any(|process| process.id == Some(removal.id));
        let released: Vec<String> = left.iter().filter(held).map(named).collect();
        if !released.is_empty() {
            let note = format!("left in CMDB, no longer part of the set: {}", released.join(", "));
            self.publish(NORMAL, "Released", "Release", note);
        }
    }

    /// What a deletion leaves because another set has it or wants it.
    pub fn left_to_others(&self, left: &[Removal]) {
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(named).collect();
            let note = format!("left in CMDB, because another set has or wants it: {}", left.join(", "));
            self.publish(NORMAL, "Released", "Release", note);
        }
    }

    /// What a deletion leaves because the status was lost, and it is not as the set says.
    pub fn left_as_different(&self, left: &[Removal]) {
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(named).collect();
            let note = format!(
                "left in CMDB, because the status of the set was lost and it differs from the spec, or may not be adopted: {}",
                left.join(", ")
            );
            self.publish(WARNING, "Released", "Release", note);
        }
    }

    /// What a deletion leaves in a service template that has another name now, while another one has its name.
    pub fn left_in_former(&self, name: &str, left: &[(i64, String)]) {
        if !left.is_empty() {
            let left: Vec<String> = left.iter().map(|(id, process_name)| format!("{id} ({process_name:?})")).collect();
            let note = format!(
                "left in CMDB, because the service template that they are in is named {name:?} now: {}",
                left.join(", ")
            );
            self.publish(WARNING, "Released", "Release", note);
        }
    }

    /// What a deletion cannot find: the service template is gone, and the status was lost.
    pub fn left_unknown(&self) {
        let note = "whatever the set made is left in CMDB: its service template is gone, and the status of the set, which would \
                    have the IDs, was lost";
        self.publish(WARNING, "Released", "Release", note.to_owned());
    }

    // What somebody changed in CMDB and the set only reports: once for each change.
    fn drifted(&self, before: &ProcessTemplateSetStatus, plan: &Plan) {
        for item in &plan.items {
            let Some(drift) = compose::drift(item) else { continue };
            let known = before.processes.iter().find(|process| process.name == item.key);
            if known.is_some_and(|known| known.drift.as_ref() == Some(&drift)) {
                continue;
            }
            self.observer.drifted("detected");
            let what = if drift.properties.is_empty() { "deleted".to_owned() } else { drift.properties.join(", ") };
            let is_own_change = item.found.as_ref().is_some_and(|found| found.is_own_change);
            let by = drift.modifier.map(|modifier| format!(" by {}", changed_by(&modifier, is_own_change)));
            let by = by.unwrap_or_default();
            let at = drift.changed_at.map(|time| format!(" at {time}")).unwrap_or_default();
            let note = format!("{:?} was changed in CMDB{by}{at}: {what}", item.key);
            self.publish(WARNING, "Drifted", "Check", note);
        }
    }

    /// A set that was in sync could not be checked.
    pub fn failed(&self, error: &Error) {
        self.publish(WARNING, error.label(), "Check", error.message());
    }

    /// What the status remembers was made elsewhere; `is_cleared`: and was deleted there.
    pub fn moved(&self, provenance: Provenance, is_cleared: bool) {
        let (reason, note) = match provenance {
            Provenance::Here => return,
            Provenance::OtherEndpoint => (
                "EndpointChanged",
                "the status was made in another CMDB, and none of its templates is in this one: they are created here",
            ),
            Provenance::OtherServiceTemplate if is_cleared => (
                "ServiceTemplateReplaced",
                "somebody deleted the service template, and its name is another one's now: what the set had in the old one is deleted",
            ),
            Provenance::OtherServiceTemplate => (
                "ServiceTemplateReplaced",
                "the service template's name is another service template's now: templates of the old one stay untouched",
            ),
        };
        self.publish(WARNING, reason, "Reconcile", note.to_owned());
    }
}

// What was changed, and what instances make of it. Of many changes the first are named.
fn updates(updated: &[&Updated]) -> String {
    const LONGEST: usize = 600;
    let effects: BTreeSet<&str> = updated.iter().flat_map(|updated| &updated.effects).map(String::as_str).collect();
    let each = updated
        .iter()
        .map(|updated| format!("{:?} ({}): {}{}", updated.key, updated.id, updated.properties.join(", "), by(updated)));
    let mut text = each.collect::<Vec<_>>().join("; ");
    if effects.is_empty() {
        return text;
    }
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(LONGEST));
        text.push('\u{2026}');
    }
    effects.into_iter().fold(text, |text, effect| text + ". Note: " + effect)
}

fn by(updated: &Updated) -> String {
    let time = updated.changed_at.and_then(memory::time);
    match (updated.cause, time) {
        (Cause::Drift, Some(time)) => {
            format!(", last changed by {} at {time}", changed_by(&updated.modifier, updated.is_own_change))
        }
        _ => String::new(),
    }
}

fn ignored_of(item: &Item) -> String {
    match &item.decision {
        Decision::InSync { ignored, .. } => format!("{:?}: {}", item.key, ignored.join(", ")),
        _ => String::new(),
    }
}

fn named(removal: &Removal) -> String {
    format!("{} ({:?})", removal.id, removal.process_name)
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
