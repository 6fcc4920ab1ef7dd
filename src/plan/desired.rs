//! What is wanted: a spec, normalised.

use std::collections::BTreeMap;

use super::{Pair, Properties, ServerSchema, Template, Violation, applied_hash, check};
use crate::api::{FUNC_NAME, LockPolicy, PROCESS_NAME, Process, ProcessTemplateSetSpec, Property};
use crate::plan::properties::compare::{Comparison, compare};
use crate::plan::properties::property::{Value, interned};
use crate::plan::properties::sockets::Sockets;

/// Which set it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SetName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// The processes that a set wants, in the order of its spec.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Desired {
    /// Which set it is.
    pub set: SetName,
    /// Keys of the spec, whose temporary names are this set's.
    pub keys: Vec<String>,
    /// One for each process of the spec.
    pub items: Vec<DesiredItem>,
    /// What is wrong with the set as a whole; nothing can be done before it is corrected.
    pub violations: Vec<Violation>,
}

/// One process that a set wants.
#[derive(Clone, Debug, PartialEq)]
pub struct DesiredItem {
    /// Key in the set.
    pub key: String,
    /// `bk_process_name`
    pub process_name: String,
    /// Why this item cannot be carried out as it is.
    pub violations: Vec<Violation>,
    // The names and every managed property but sockets and extras.
    properties: Properties,
    sockets: Sockets,
    extras: Properties,
    unmanaged: Vec<Property>,
}

#[derive(Clone, Copy)]
enum Treatment {
    Locked,
    Unlocked,
    Unmanaged,
}

impl Desired {
    /// Normalises a spec. Never fails: broken rules are in the violations.
    #[must_use]
    pub fn from_spec(set: SetName, spec: &ProcessTemplateSetSpec) -> Self {
        let mut by_item: BTreeMap<usize, Vec<Violation>> = BTreeMap::new();
        let mut violations = Vec::new();
        for violation in check(spec) {
            match violation.item {
                Some(index) => by_item.entry(index).or_default().push(violation),
                None => violations.push(violation),
            }
        }

        let items = spec
            .processes
            .iter()
            .enumerate()
            .map(|(index, process)| DesiredItem::new(spec, process, by_item.remove(&index).unwrap_or_default()))
            .collect();

        Self { set, keys: keys(spec), items, violations }
    }

    /// What a set wants that is being deleted: nothing.
    #[must_use]
    pub fn nothing(set: SetName, spec: &ProcessTemplateSetSpec) -> Self {
        Self { set, keys: keys(spec), items: Vec::new(), violations: Vec::new() }
    }

    /// The process names that a spec wants, by key.
    #[must_use]
    pub fn process_names(spec: &ProcessTemplateSetSpec) -> BTreeMap<String, String> {
        let processes = spec.processes.iter();
        processes.map(|process| (process.name.clone(), process_name(process).to_owned())).collect()
    }
}

fn keys(spec: &ProcessTemplateSetSpec) -> Vec<String> {
    spec.processes.iter().map(|process| process.name.clone()).collect()
}

fn process_name(process: &Process) -> &str {
    process.process_name.as_ref().unwrap_or(&process.name)
}

impl DesiredItem {
    fn new(spec: &ProcessTemplateSetSpec, process: &Process, violations: Vec<Violation>) -> Self {
        let policy = spec.lock_policy != Some(LockPolicy::Unlocked);
        let lock = |property, has_value| match treatment(spec, process, property) {
            Some(Treatment::Unmanaged) => None,
            Some(Treatment::Locked) => Some(true),
            Some(Treatment::Unlocked) => Some(false),
            None => Some(has_value && policy),
        };

        let process_name = process_name(process).to_owned();
        let mut properties = Properties::default();
        properties.insert(PROCESS_NAME, Pair::new(process_name.as_str(), true));
        properties.insert(FUNC_NAME, Pair::new(process.func_name.as_str(), true));
        for property in Property::ALL.iter().copied().filter(|property| !property.is_socket()) {
            let value = value(process, property);
            if let Some(locked) = lock(property, value != Value::Empty) {
                properties.insert(property.cmdb_name(), Pair { value, locked });
            }
        }

        let extras = process.extra_properties.iter().flatten().map(|extra| {
            let pair = Pair {
                value: extra.value.clone().unwrap_or_default().into(),
                locked: extra.as_default_value == Some(true),
            };
            (interned(&extra.name), pair)
        });

        Self {
            key: process.name.clone(),
            process_name,
            violations,
            properties,
            sockets: Sockets::new(process, treatment(spec, process, Property::BindInfo).is_some(), lock),
            unmanaged: Property::ALL.iter().copied().filter(|&property| lock(property, false).is_none()).collect(),
            extras: extras.collect(),
        }
    }

    /// Every managed property in the form of such a server.
    ///
    /// # Errors
    /// Why such a server cannot hold this item.
    pub fn properties(&self, schema: ServerSchema) -> Result<Properties, String> {
        let mut properties = self.properties.clone();
        let rows = match schema {
            ServerSchema::Flat => None,
            ServerSchema::BindInfo | ServerSchema::Unknown => self.sockets.as_rows()?,
        };
        let flat = match schema {
            ServerSchema::BindInfo => Vec::new(),
            ServerSchema::Flat => self.sockets.as_flat()?,
            // Both forms are sent; a server ignores the one that it does not have.
            ServerSchema::Unknown => self.sockets.as_flat().unwrap_or_default(),
        };

        for (property, pair) in rows.map(|pair| (Property::BindInfo, pair)).into_iter().chain(flat) {
            properties.insert(property.cmdb_name(), pair);
        }
        for (name, pair) in self.extras.iter() {
            properties.insert(name, pair.clone());
        }
        Ok(properties)
    }

    /// Compares what the item wants, in the server's schema, with a template.
    #[must_use]
    pub(super) fn compare(&self, wanted: &Properties, template: &Template) -> Comparison {
        compare(wanted, template, self.sockets.leaves_outer_flag())
    }

    /// Hash of what the item wants of a server, without what that server does not have. Locks of `bindIp`, `port` and `protocol` are
    /// no part of it where there is no socket: older versions did not send them, and a status that they wrote must mean the same.
    #[must_use]
    pub fn hash(&self, wanted: &Properties, ignored: &[String]) -> String {
        let unsent = Property::FLAT_SOCKETS.iter().filter(|_| self.sockets.is_empty());
        let unsent = unsent.map(|property| property.cmdb_name().to_owned());
        let left_out: Vec<String> = ignored.iter().cloned().chain(unsent).collect();
        applied_hash(wanted, &left_out, &self.unmanaged)
    }

    /// Hash of everything that the item wants, whatever the server.
    #[must_use]
    pub fn content_hash(&self) -> String {
        let properties = self.properties(ServerSchema::Unknown);
        properties.map_or_else(|reason| reason, |properties| applied_hash(&properties, &[], &self.unmanaged))
    }
}

// The nearest list that names the property decides.
fn treatment(spec: &ProcessTemplateSetSpec, process: &Process, property: Property) -> Option<Treatment> {
    let levels =
        [[&process.locked, &process.unlocked, &process.unmanaged], [&spec.locked, &spec.unlocked, &spec.unmanaged]];
    levels.into_iter().find_map(|lists| {
        let treatments = [Treatment::Locked, Treatment::Unlocked, Treatment::Unmanaged];
        lists
            .into_iter()
            .zip(treatments)
            .find_map(|(list, treatment)| list.as_ref()?.contains(&property).then_some(treatment))
    })
}

fn value(process: &Process, property: Property) -> Value {
    fn text(value: Option<&String>) -> Value {
        value.map_or(Value::Empty, |text| text.as_str().into())
    }
    fn plain<T: Into<Value>>(value: Option<T>) -> Value {
        value.map_or(Value::Empty, Into::into)
    }
    match property {
        Property::AutoStart => plain(process.auto_start),
        Property::AutoTimeGap => plain(process.auto_time_gap),
        Property::Description => text(process.description.as_ref()),
        Property::ForceStopCmd => text(process.force_stop_cmd.as_ref()),
        Property::FuncId => text(process.func_id.as_ref()),
        Property::PidFile => text(process.pid_file.as_ref()),
        Property::Priority => plain(process.priority),
        Property::ProcNum => plain(process.proc_num),
        Property::ReloadCmd => text(process.reload_cmd.as_ref()),
        Property::RestartCmd => text(process.restart_cmd.as_ref()),
        Property::StartCheckSeconds => plain(process.start_check_seconds),
        Property::StartCmd => text(process.start_cmd.as_ref()),
        Property::StartParamRegex => text(process.start_param_regex.as_ref()),
        Property::StopCmd => text(process.stop_cmd.as_ref()),
        Property::TimeoutSeconds => plain(process.timeout_seconds),
        Property::User => text(process.user.as_ref()),
        Property::WorkPath => text(process.work_path.as_ref()),
        // Held by `Sockets`, in the form that the server has.
        Property::BindInfo | Property::BindIp | Property::Port | Property::Protocol => Value::Empty,
    }
}
