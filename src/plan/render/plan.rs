//! A plan as people and programs read it: what would be written, in its order, and what prevents the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde_json::{Value as Json, json};

use super::explain::explain;
use super::instances::{effects_of, lagging};
use super::values::Change;
use crate::api::PROCESS_NAME;
use crate::plan::{
    Basis, Cause, Decision, Difference, Fate, Found, Hold, Item, Plan, Properties, SetName, Step, Template, state,
};

/// What would be done about one set.
#[derive(Clone, Debug)]
pub struct Preview {
    /// Which set it is.
    pub set: SetName,
    /// `bk_biz_id`
    pub biz_id: i64,
    /// `service_template_id`; None: it would be created.
    pub service_template_id: Option<i64>,
    /// Name of the service template, if the set gives one.
    pub service_template: Option<String>,
    /// What is done with the set.
    pub stage: Stage,
    /// The listed templates.
    pub templates: Vec<Template>,
    /// The plan for it.
    pub plan: Plan,
    /// Every write until nothing is left to do, as [`crate::plan::forecast`] gives them.
    pub steps: Vec<Step>,
}

/// What is done with a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It is kept in sync.
    Live,
    /// Nothing is written while it is suspended.
    Suspended,
    /// It is being deleted.
    Deleting,
}

/// How many templates would be written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Templates that would be created.
    pub create: usize,
    /// Existing templates that would be changed.
    pub update: usize,
    /// Templates that would be deleted.
    pub delete: usize,
    /// Processes that something prevents from being in sync.
    pub trouble: usize,
}

// A write with everything that is shown of it.
struct Shown<'a> {
    action: Action,
    key: &'a str,
    // None: a template that does not exist yet.
    id: Option<i64>,
    process_name: String,
    is_temporary: bool,
    cause: Option<Cause>,
    changes: Vec<Change>,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Create,
    Update,
    Delete,
}

impl Counts {
    /// Counts another set too.
    pub fn add(&mut self, other: Self) {
        self.create += other.create;
        self.update += other.update;
        self.delete += other.delete;
        self.trouble += other.trouble;
    }
}

impl Preview {
    /// Whether anything would be written.
    #[must_use]
    pub fn has_changes(&self) -> bool {
        let creates_scope = self.service_template_id.is_none() && self.stage != Stage::Deleting;
        self.stage != Stage::Suspended && (creates_scope || !self.steps.is_empty())
    }

    /// How many templates would be written. One that takes several writes counts once.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let trouble = self.plan.items.iter().filter(|item| is_trouble(item)).count();
        if self.stage == Stage::Suspended {
            return Counts { trouble, ..Counts::default() };
        }

        let is_there = |id: i64| self.templates.iter().any(|template| template.id == id);
        let (mut create, mut delete, mut updated) = (0, 0, BTreeSet::new());
        for step in &self.steps {
            match step {
                Step::Create { .. } => create += 1,
                Step::Update { id, .. } if is_there(*id) => {
                    updated.insert(*id);
                }
                Step::Update { .. } => {}
                Step::Delete { .. } => delete += 1,
            }
        }

        Counts { create, update: updated.len(), delete, trouble }
    }

    /// For people: a head line, the writes in their order, and what prevents the rest.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut text = self.head();
        if self.service_template_id.is_none() {
            let name = self.service_template.as_deref().unwrap_or_default();
            let _ = writeln!(text, "  + create service template {name:?}");
        }

        for shown in self.shown() {
            shown.write(&mut text);
        }

        for item in &self.plan.items {
            let Some(trouble) = trouble(item) else { continue };
            let _ = writeln!(text, "  ! {}: {trouble}: {}", item.key, explain(item));
            for difference in differences(&item.decision) {
                Change::of(difference).write(&mut text);
            }
        }

        for item in &self.plan.items {
            for note in notes(item) {
                let _ = writeln!(text, "  = {}: {note}", item.key);
            }
        }

        for removal in &self.plan.removals {
            let why = match removal.fate {
                Fate::Orphan => "it has left the set, whose deletionPolicy is Orphan",
                Fate::Released | Fate::HandOver => "it has left the set, and another set wants it",
                Fate::Delete | Fate::DeleteLater | Fate::Superseded => continue,
            };
            let (key, id, name) = (&removal.key, removal.id, &removal.process_name);
            let _ = writeln!(text, "  = {key}: template {id} {name:?} stays in CMDB: {why}");
        }

        let mut in_sync = 0;
        for item in &self.plan.items {
            let Decision::InSync { ignored, .. } = &item.decision else { continue };
            in_sync += 1;
            if let Some(Found { id, basis: Basis::Adopted, .. }) = item.found {
                let _ = writeln!(text, "  = {}: template {id} is taken over as it is", item.key);
            }
            if !ignored.is_empty() {
                let _ = writeln!(text, "  = {}: this server does not have {}", item.key, ignored.join(", "));
            }
        }

        if in_sync > 0 {
            let _ = writeln!(text, "  = {in_sync} of {} in sync", self.plan.items.len());
        }
        text
    }

    fn head(&self) -> String {
        let SetName { namespace, name } = &self.set;
        let scope = match (self.service_template_id, &self.service_template) {
            (Some(id), Some(name)) => format!("service template {id} {name:?}"),
            (Some(id), None) => format!("service template {id}"),
            (None, _) => "no service template yet".to_owned(),
        };

        let stage = match self.stage {
            Stage::Live => "",
            Stage::Suspended => " suspended: nothing is written as long as it is; without that:",
            Stage::Deleting => " being deleted:",
        };

        format!(
            "{namespace}/{name}: business {}, {scope}{}{stage}\n",
            self.biz_id,
            if stage.is_empty() { "" } else { "," }
        )
    }

    /// For programs: the same as data.
    #[must_use]
    pub fn to_json(&self) -> Json {
        let items = self.plan.items.iter().map(|item| {
            let Item { key, process_name, found, decision } = item;
            let ignored = match decision {
                Decision::InSync { ignored, .. } => ignored.as_slice(),
                _ => &[],
            };
            let differences: Json =
                differences(decision).iter().map(|difference| Change::of(difference).to_json()).collect();
            let mut shown = json!({
                "name": key, "processName": process_name, "id": found.as_ref().map(|found| found.id),
                "state": state(item), "message": Some(explain(item)).filter(|_| is_trouble(item)),
                "adopted": found.as_ref().is_some_and(|found| found.basis == Basis::Adopted),
                "ignored": ignored, "differences": differences,
            });
            add_notes(&mut shown, notes(item));
            shown
        });

        let removals = self.plan.removals.iter().map(|removal| {
            let fate = format!("{:?}", removal.fate);
            json!({ "name": removal.key, "id": removal.id, "processName": removal.process_name, "fate": fate })
        });

        json!({
            "namespace": self.set.namespace, "name": self.set.name, "bizId": self.biz_id,
            "serviceTemplateId": self.service_template_id,
            "serviceTemplateName": self.service_template,
            "createsServiceTemplate": self.service_template_id.is_none(),
            "stage": format!("{:?}", self.stage),
            "steps": self.shown().iter().map(Shown::to_json).collect::<Json>(),
            "items": items.collect::<Json>(),
            "removals": removals.collect::<Json>(),
            "error": null,
        })
    }

    // Every write with what is shown of it, which depends on the writes before it.
    fn shown(&self) -> Vec<Shown<'_>> {
        let mut there: BTreeMap<i64, (String, Properties)> = BTreeMap::new();
        for template in &self.templates {
            there.insert(template.id, (template.process_name.clone(), template.properties.clone()));
        }

        let listed = |id: i64| Some(id).filter(|id| self.templates.iter().any(|template| template.id == *id));
        let item = |key: &str| self.plan.items.iter().find(|item| item.key == key);
        let mut last_id = there.keys().last().copied().unwrap_or_default().max(self.plan.highest_id);

        let mut shown = Vec::new();
        for step in &self.steps {
            shown.push(match step {
                Step::Create { key, create } => {
                    last_id += 1;
                    there.insert(last_id, (create.process_name.clone(), create.properties.clone()));
                    let (process_name, cause) = (create.process_name.clone(), Some(create.cause));
                    let is_temporary = self.plan.is_temporary(key, create);
                    let changes = Change::created(&create.properties);
                    Shown { action: Action::Create, key, id: None, process_name, is_temporary, cause, changes }
                }
                Step::Update { key, id, properties, is_temporary } => {
                    let before = there.get(id);
                    let changes = Change::updated(properties, before.map(|(_, before)| before));
                    let (process_name, mut after) = before.cloned().unwrap_or_default();
                    for (name, new) in properties.iter() {
                        after.insert(name, new.clone());
                    }
                    let name_after = after.text(PROCESS_NAME).to_owned();
                    there.insert(*id, (name_after, after));
                    let cause = match item(key).map(|item| &item.decision) {
                        Some(Decision::Update(change)) => Some(change.cause),
                        Some(Decision::Replace(create)) => Some(create.cause),
                        _ => None,
                    };
                    let (id, is_temporary) = (listed(*id), *is_temporary);
                    Shown { action: Action::Update, key, id, process_name, is_temporary, cause, changes }
                }
                Step::Delete { key, id } => {
                    let process_name = there.remove(id).map(|(name, _)| name).unwrap_or_default();
                    let (id, is_temporary, cause) = (listed(*id), false, None);
                    Shown { action: Action::Delete, key, id, process_name, is_temporary, cause, changes: Vec::new() }
                }
            });
        }
        shown
    }
}

impl Shown<'_> {
    fn write(&self, text: &mut String) {
        let template = match self.id {
            Some(id) => format!("template {id} {:?}", self.process_name),
            None => format!("the new template {:?}", self.process_name),
        };
        let cause = match self.cause {
            Some(Cause::Drift) => ", which somebody changed in CMDB",
            Some(Cause::Adoption) => ", which the set takes over",
            Some(Cause::Spec) | None => "",
        };

        let key = self.key;
        let _ = match (self.action, self.is_temporary) {
            (Action::Create, false) if self.cause == Some(Cause::Drift) => {
                writeln!(text, "  + create {key}, which somebody deleted in CMDB")
            }
            (Action::Create, false) => writeln!(text, "  + create {key}"),
            (Action::Create, true) => {
                let name = &self.process_name;
                writeln!(text, "  + create {key} (temporary: as {name:?}, until the template that it replaces is gone)")
            }
            (Action::Update, false) => writeln!(text, "  ~ update {key}: {template}{cause}"),
            (Action::Update, true) => {
                writeln!(text, "  ~ update {key}: {template} (temporary: the value that it gets is still taken)")
            }
            (Action::Delete, _) => writeln!(text, "  - delete {key}: {template}"),
        };

        for change in &self.changes {
            change.write(text);
        }
        for note in effects_of(&self.changes) {
            let _ = writeln!(text, "      note: {note}");
        }
    }

    fn to_json(&self) -> Json {
        let mut shown = json!({
            "action": format!("{:?}", self.action), "name": self.key, "id": self.id, "processName": self.process_name,
            "temporary": self.is_temporary, "cause": self.cause.map(|cause| format!("{cause:?}")),
            "changes": self.changes.iter().map(Change::to_json).collect::<Json>(),
        });
        add_notes(&mut shown, effects_of(&self.changes));
        shown
    }
}

// What is to be said of the rows of an item's template.
fn notes(item: &Item) -> Vec<String> {
    item.found.iter().flat_map(|found| &found.lagging_cells).map(lagging).collect()
}

fn add_notes(shown: &mut Json, notes: Vec<String>) {
    if !notes.is_empty() {
        shown["notes"] = notes.into();
    }
}

fn differences(decision: &Decision) -> &[Difference] {
    match decision {
        Decision::Drifted(differences) | Decision::NeedsReplacement(differences) | Decision::Unkept(differences) => {
            differences
        }
        Decision::Conflict(conflict) => &conflict.differences,
        Decision::InSync { .. }
        | Decision::Create(_)
        | Decision::Update(_)
        | Decision::Replace(_)
        | Decision::Undecided
        | Decision::Held(_)
        | Decision::Invalid(_)
        | Decision::Refused(_) => &[],
    }
}

fn is_trouble(item: &Item) -> bool {
    trouble(item).is_some()
}

// What prevents an item from being in sync, in a word.
fn trouble(item: &Item) -> Option<&'static str> {
    match item.decision {
        // What waits for the schema is among the steps: it is created when another template has shown it.
        Decision::InSync { .. }
        | Decision::Create(_)
        | Decision::Update(_)
        | Decision::Replace(_)
        | Decision::Held(Hold::UnknownSchema(_)) => None,
        Decision::Drifted(_) => Some("drifted"),
        Decision::NeedsReplacement(_) => Some("needs replacement"),
        Decision::Undecided => Some("undecided"),
        Decision::Held(_) => Some("held"),
        Decision::Conflict(_) => Some("conflict"),
        Decision::Invalid(_) => Some("invalid"),
        Decision::Refused(_) => Some("refused"),
        Decision::Unkept(_) => Some("not kept"),
    }
}
