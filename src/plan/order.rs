//! The order of writes: a write that frees a name, or a pair of function and start parameter, comes before the write that
//! needs it. A circle is opened by a temporary value. Otherwise creates, updates, deletes.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Conflict, Decision, Fate, Item, Observed, Owner, Pair, Properties, Removal, SetName, Step, Template, Value,
    temporary_name,
};
use crate::api::{FUNC_NAME, PROCESS_NAME, Property};

/// What CMDB keeps unique in a service template. A start parameter that is null does not count as taken.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unique {
    Name(String),
    Function(String, String),
}

#[derive(Clone, Debug)]
struct Write {
    key: String,
    // The template that it changes or deletes.
    id: Option<i64>,
    step: Step,
    needs: BTreeSet<Unique>,
    frees: BTreeSet<Unique>,
    // The template that it replaces. That one is deleted first: under its final name, the new one could not be recognised.
    replaces: Option<i64>,
    // Not due: neither it nor a write that needs it is made yet.
    is_later: bool,
}

/// The writes that can be made now. An item whose name another template has and keeps becomes a conflict.
pub fn ordered(set: &SetName, items: &mut [Item], removals: &[Removal], observed: &Observed) -> Vec<Step> {
    let holders = holders(observed);
    loop {
        let writes = writes(items, removals, observed);
        let Some((key, holder)) = stuck(&writes, &holders) else {
            return Order::new(set, writes, &holders).steps();
        };
        let is_items = items.iter().any(|item| item.found.as_ref().is_some_and(|found| found.id == holder));
        let owner = if is_items { Owner::Process } else { Owner::Stranger };
        let conflict = Conflict { id: Some(holder), owner, differences: Vec::new(), is_adoption_off: false };
        for item in items.iter_mut().filter(|item| item.key == key) {
            item.decision = Decision::Conflict(conflict.clone());
        }
    }
}

fn start_parameter() -> &'static str {
    Property::StartParamRegex.cmdb_name()
}

fn name_of(template: &Template) -> Unique {
    Unique::Name(template.process_name.clone())
}

fn function_of(template: &Template) -> Option<Unique> {
    let stored = template.properties.get(start_parameter())?.value.as_text()?;
    Some(Unique::Function(template.properties.text(FUNC_NAME).to_owned(), stored.to_owned()))
}

// Of several templates with one name, the oldest counts.
fn holders(observed: &Observed) -> BTreeMap<Unique, i64> {
    let mut holders = BTreeMap::new();
    for template in observed.templates.iter() {
        for unique in function_of(template).into_iter().chain([name_of(template)]) {
            holders.entry(unique).or_insert(template.id);
        }
    }
    holders
}

fn writes(items: &[Item], removals: &[Removal], observed: &Observed) -> Vec<Write> {
    let creates = items.iter().filter_map(|item| match &item.decision {
        Decision::Create(create) | Decision::Replace(create) => {
            let function = create.properties.text(FUNC_NAME).to_owned();
            let start_parameter = create.properties.text(start_parameter()).to_owned();
            let name = Unique::Name(create.process_name.clone());
            Some(Write {
                key: item.key.clone(),
                id: None,
                step: Step::Create { key: item.key.clone(), create: create.clone() },
                needs: [name, Unique::Function(function, start_parameter)].into(),
                frees: BTreeSet::new(),
                replaces: None,
                is_later: false,
            })
        }
        _ => None,
    });

    let updates = items.iter().filter_map(|item| match (&item.decision, &item.found) {
        (Decision::Update(change), Some(found)) => {
            let write = update(&item.key, observed.by_id(found.id)?, change.properties.clone());
            Some(Write { replaces: found.replaces, ..write })
        }
        _ => None,
    });

    let delete = |key: &str, id: i64, is_later: bool| {
        let template = observed.by_id(id)?;
        Some(Write {
            key: key.to_owned(),
            id: Some(id),
            step: Step::Delete { key: key.to_owned(), id },
            needs: BTreeSet::new(),
            frees: function_of(template).into_iter().chain([name_of(template)]).collect(),
            replaces: None,
            is_later,
        })
    };
    let deletes = removals.iter().filter_map(|removal| match removal.fate {
        Fate::Delete | Fate::Superseded => delete(&removal.key, removal.id, false),
        Fate::DeleteLater => delete(&removal.key, removal.id, true),
        Fate::HandOver | Fate::Orphan | Fate::Released => None,
    });

    // What is being replaced is deleted by a later plan.
    let replaced = items.iter().filter_map(|item| match (&item.decision, &item.found) {
        (Decision::Replace(_), Some(found)) => delete(&item.key, found.id, true),
        _ => None,
    });

    creates.chain(updates).chain(deletes).chain(replaced).collect()
}

fn update(key: &str, template: &Template, properties: Properties) -> Write {
    let mut needs = BTreeSet::new();
    let mut frees = BTreeSet::new();
    if let Some(name) = properties.get(PROCESS_NAME) {
        needs.insert(Unique::Name(name.value.as_text().unwrap_or_default().to_owned()));
        frees.insert(name_of(template));
    }
    if let Some(parameter) = properties.get(start_parameter()) {
        let wanted = parameter.value.as_text().unwrap_or_default().to_owned();
        needs.insert(Unique::Function(template.properties.text(FUNC_NAME).to_owned(), wanted));
        frees.extend(function_of(template));
    }
    let (key, id) = (key.to_owned(), template.id);
    let step = Step::Update { key: key.clone(), id, properties, is_temporary: false };
    Write { key, id: Some(id), step, needs, frees, replaces: None, is_later: false }
}

// A write whose name no other write frees. Whether a function and start parameter are free is left to CMDB.
fn stuck(writes: &[Write], holders: &BTreeMap<Unique, i64>) -> Option<(String, i64)> {
    writes.iter().find_map(|write| {
        let name = write.needs.iter().find(|unique| matches!(unique, Unique::Name(_)))?;
        let holder = *holders.get(name)?;
        let is_freed = writes.iter().any(|other| other.id == Some(holder) && other.frees.contains(name));
        (!is_freed && write.id != Some(holder)).then(|| (write.key.clone(), holder))
    })
}

struct Order<'a> {
    set: &'a SetName,
    waiting: Vec<Write>,
    holders: BTreeMap<Unique, i64>,
    steps: Vec<Step>,
}

impl<'a> Order<'a> {
    fn new(set: &'a SetName, waiting: Vec<Write>, holders: &BTreeMap<Unique, i64>) -> Self {
        Self { set, waiting, holders: holders.clone(), steps: Vec::new() }
    }

    fn steps(mut self) -> Vec<Step> {
        self.drop_what_is_later();
        while !self.waiting.is_empty() {
            match (0..self.waiting.len()).find(|&index| self.blocker(&self.waiting[index]).is_none()) {
                Some(index) => {
                    let write = self.waiting.remove(index);
                    self.free(&write);
                    self.steps.push(write.step);
                }
                None => self.open_circle(),
            }
        }
        self.steps
    }

    fn drop_what_is_later(&mut self) {
        let mut later: BTreeSet<i64> =
            self.waiting.iter().filter(|write| write.is_later).filter_map(|write| write.id).collect();
        self.waiting.retain(|write| !write.is_later);
        loop {
            let waits = |write: &Write| {
                write.needs.iter().any(|unique| self.holders.get(unique).is_some_and(|holder| later.contains(holder)))
            };
            let Some(index) = self.waiting.iter().position(waits) else { return };
            later.extend(self.waiting.remove(index).id);
        }
    }

    // The write that must come before.
    fn blocker(&self, write: &Write) -> Option<usize> {
        let needed = write.needs.iter().filter_map(|unique| {
            let holder = self.holders.get(unique).copied().filter(|holder| write.id != Some(*holder))?;
            self.waiting.iter().position(|other| other.id == Some(holder) && other.frees.contains(unique))
        });
        let replaced = write.replaces.and_then(|id| self.waiting.iter().position(|other| other.id == Some(id)));
        needed.chain(replaced).min()
    }

    fn free(&mut self, write: &Write) {
        for unique in &write.frees {
            if self.holders.get(unique).copied() == write.id {
                self.holders.remove(unique);
            }
        }
    }

    // Every write that waits is in a circle or behind one: one write of the circle frees what it has by a temporary value.
    fn open_circle(&mut self) {
        let mut index = 0;
        let mut seen = BTreeSet::new();
        while seen.insert(index) {
            index = self.blocker(&self.waiting[index]).unwrap_or(index);
        }

        let mut write = self.waiting.remove(index);
        if let Step::Update { key, id, properties, .. } = &write.step {
            let temporary = temporary_name(self.set, key);
            let is_wanted = |unique: &&Unique| self.waiting.iter().any(|other| other.needs.contains(*unique));
            let mut changes = Properties::default();
            for unique in write.frees.iter().filter(is_wanted) {
                let (name, is_locked) = match unique {
                    Unique::Name(_) => (PROCESS_NAME, true),
                    Unique::Function(..) => {
                        (start_parameter(), properties.get(start_parameter()).is_some_and(|pair| pair.locked))
                    }
                };
                changes.insert(name, Pair { value: Value::from(temporary.as_str()), locked: is_locked });
            }
            self.steps.push(Step::Update { key: key.clone(), id: *id, properties: changes, is_temporary: true });
            self.free(&write);
            write.frees.clear();
            self.waiting.insert(index, write);
        } else {
            // Only updates both need and free.
            self.steps.push(write.step);
        }
    }
}
