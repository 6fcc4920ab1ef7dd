//! Everything that can be judged of a spec from the object alone: the rules of the CRD's schema, and those that the API
//! server cannot afford to check.

use std::collections::HashMap;
use std::fmt;

use super::properties::ports;
use crate::api::{
    BOTH_FORMS_MESSAGE, BindRow, CATEGORY_MESSAGE, CREATE_NEEDS_NAME_MESSAGE, CategorySelector, EXACTLY_ONE_MESSAGE,
    EXTRA_IS_MODELLED_MESSAGE, ExtraProperty, FAMILY_MESSAGE, FUNC_NAME, IMMUTABLE_MESSAGE, LONG_TEXT_BYTES,
    MAX_BIND_ROWS, MAX_EXTRA_PROPERTIES, MAX_PROCESSES, NEW_NAME_MESSAGE, PROCESS_NAME, Port, Process,
    ProcessTemplateSetSpec, Property, SHORT_TEXT_BYTES, ServiceTemplateSelector, TEMPORARY_PREFIX, TWO_LISTS_MESSAGE,
    WHITE_SPACE_MESSAGE, bytes_message,
};

const MAX_ID: i64 = 9_007_199_254_740_991;
const PORT_MESSAGE: &str = "one port or one range, each 1 to 65535 without leading zeros";

/// A rule that a spec breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Where: `spec.processes[3].port`.
    pub path: String,
    /// Index of the process that it concerns; None when it concerns the set.
    pub item: Option<usize>,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path, self.message)
    }
}

/// The rules that this spec breaks, in the order of its fields.
#[must_use]
pub fn check(spec: &ProcessTemplateSetSpec) -> Vec<Violation> {
    let mut checker = Checker { violations: Vec::new(), item: None, base: "spec".to_owned() };
    checker.number("bizId", spec.biz_id, 1, MAX_ID);
    checker.service_template(&spec.service_template);
    if let Some(reference) = &spec.connection_ref {
        checker.object_name("connectionRef.name", &reference.name);
    }
    checker.disjoint("", &[spec.locked.as_deref(), spec.unlocked.as_deref(), spec.unmanaged.as_deref()]);
    if let Some(seconds) = spec.resync_interval_seconds {
        checker.number("resyncIntervalSeconds", seconds.into(), 5, 86_400);
    }

    if spec.processes.is_empty() || spec.processes.len() > MAX_PROCESSES {
        checker.say("processes", format!("a set has 1 to {MAX_PROCESSES} processes"));
    }

    for (index, process) in spec.processes.iter().enumerate() {
        checker.item = Some(index);
        checker.base = format!("spec.processes[{index}]");
        checker.process(process);
    }
    checker.unique(&spec.processes);
    checker.empty_beside_absent(spec);
    checker.violations
}

/// The rules that a change of a spec breaks.
#[must_use]
pub fn check_update(old: &ProcessTemplateSetSpec, new: &ProcessTemplateSetSpec) -> Vec<Violation> {
    let mut checker = Checker { violations: Vec::new(), item: None, base: "spec".to_owned() };
    if old.biz_id != new.biz_id {
        checker.say("bizId", IMMUTABLE_MESSAGE);
    }
    if (old.service_template.id, &old.service_template.name) != (new.service_template.id, &new.service_template.name) {
        checker.say("serviceTemplate", IMMUTABLE_MESSAGE);
    }
    checker.violations
}

struct Checker {
    violations: Vec<Violation>,
    item: Option<usize>,
    base: String,
}

impl Checker {
    fn say(&mut self, field: &str, message: impl Into<String>) {
        let path = if field.is_empty() { self.base.clone() } else { format!("{}.{field}", self.base) };
        self.violations.push(Violation { path, item: self.item, message: message.into() });
    }

    fn require(&mut self, field: &str, holds: bool, message: &str) {
        if !holds {
            self.say(field, message);
        }
    }

    fn number(&mut self, field: &str, number: i64, least: i64, most: i64) {
        if number < least {
            self.say(field, format!("should be greater than or equal to {least}"));
        }
        if number > most {
            self.say(field, format!("should be less than or equal to {most}"));
        }
    }

    fn text(&mut self, field: &str, text: &str, bytes: usize) {
        if text.len() > bytes {
            self.say(field, bytes_message(bytes));
        }
        self.require(field, text.trim() == text, WHITE_SPACE_MESSAGE);
    }

    fn name(&mut self, field: &str, name: &str) {
        self.require(field, !name.is_empty(), "should be at least 1 chars long");
        self.text(field, name, SHORT_TEXT_BYTES);
    }

    fn object_name(&mut self, field: &str, name: &str) {
        let alphanumeric = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let edges = name.bytes().next().zip(name.bytes().last());
        let valid = name.len() <= 253
            && edges.is_some_and(|(first, last)| alphanumeric(first) && alphanumeric(last))
            && name.bytes().all(|byte| alphanumeric(byte) || byte == b'-' || byte == b'.');
        self.require(field, valid, "should match the name of a Kubernetes object");
    }

    fn disjoint<T: PartialEq>(&mut self, field: &str, lists: &[Option<&[T]>]) {
        let lists: Vec<&[T]> = lists.iter().copied().flatten().collect();
        for (index, left) in lists.iter().enumerate() {
            let repeated = left.iter().enumerate().any(|(at, name)| left[..at].contains(name));
            self.require(field, !repeated, "a list names a property once");
            let shared = lists[index + 1..].iter().any(|right| left.iter().any(|name| right.contains(name)));
            self.require(field, !shared, TWO_LISTS_MESSAGE);
        }
    }

    fn service_template(&mut self, selector: &ServiceTemplateSelector) {
        self.require("serviceTemplate", selector.id.is_some() != selector.name.is_some(), EXACTLY_ONE_MESSAGE);
        let has_name = selector.create_if_missing.is_none() || selector.name.is_some();
        self.require("serviceTemplate", has_name, CREATE_NEEDS_NAME_MESSAGE);
        if let Some(id) = selector.id {
            self.number("serviceTemplate.id", id, 1, MAX_ID);
        }
        if let Some(name) = &selector.name {
            let fits = (1..=SHORT_TEXT_BYTES).contains(&name.chars().count());
            self.require("serviceTemplate.name", fits, "a name has 1 to 256 characters");
            self.require("serviceTemplate.name", name.trim() == name, WHITE_SPACE_MESSAGE);
            let can_be_created = selector.create_if_missing.is_none() || !name.contains(is_forbidden_in_new_name);
            self.require("serviceTemplate", can_be_created, NEW_NAME_MESSAGE);
        }
        if let Some(create) = &selector.create_if_missing {
            self.category(&create.category);
        }
    }

    fn category(&mut self, category: &CategorySelector) {
        const FIELD: &str = "serviceTemplate.createIfMissing.category";
        let by_name = (category.parent.is_some(), category.name.is_some());
        let one_way = if category.id.is_some() { by_name == (false, false) } else { by_name == (true, true) };
        self.require(FIELD, one_way, CATEGORY_MESSAGE);
        if let Some(id) = category.id {
            self.number(&format!("{FIELD}.id"), id, 1, MAX_ID);
        }
        for name in [&category.parent, &category.name].into_iter().flatten() {
            self.require(FIELD, (1..=256).contains(&name.chars().count()), "a name has 1 to 256 characters");
        }
    }

    fn process(&mut self, process: &Process) {
        self.name("name", &process.name);
        if let Some(name) = &process.process_name {
            self.name("processName", name);
        }
        self.name("funcName", &process.func_name);
        for (property, text) in texts(process) {
            let long = !matches!(
                property,
                Property::StartParamRegex | Property::Description | Property::FuncId | Property::User
            );
            self.text(property.name(), text, if long { LONG_TEXT_BYTES } else { SHORT_TEXT_BYTES });
        }

        for (property, number, least, most) in [
            (Property::AutoTimeGap, process.auto_time_gap, 1, 10_000),
            (Property::Priority, process.priority, -100, 10_000),
            (Property::ProcNum, process.proc_num, 1, 10_000),
            (Property::StartCheckSeconds, process.start_check_seconds, 1, 600),
            (Property::TimeoutSeconds, process.timeout_seconds, 1, 10_000),
        ] {
            if let Some(number) = number {
                self.number(property.name(), number.into(), least, most);
            }
        }

        self.sockets(process);
        self.disjoint("", &[process.locked.as_deref(), process.unlocked.as_deref(), process.unmanaged.as_deref()]);
        self.extras(process.extra_properties.as_deref().unwrap_or_default());
    }

    fn sockets(&mut self, process: &Process) {
        let flat = process.bind_ip.is_some() || process.port.is_some() || process.protocol.is_some();
        self.require("", process.bind_info.is_none() || !flat, BOTH_FORMS_MESSAGE);
        let rows = process.bind_info.as_deref().unwrap_or_default();
        self.require("bindInfo", rows.len() <= MAX_BIND_ROWS, "a process has at most 64 sockets");
        for (index, row) in rows.iter().enumerate() {
            self.row(&format!("bindInfo[{index}]"), row);
        }

        let v4 = process.bind_ip.is_none_or(|ip| !ip.is_v6()) && process.protocol.is_none_or(|name| !name.is_v6());
        self.require("", v4, "bindIp and protocol take IPv4 values only: use bindInfo");

        match &process.port {
            Some(Port::Number(number)) => self.number("port", *number, 1, 65_535),
            Some(Port::Text(text)) if !text.is_empty() => {
                self.require("port", text.len() <= SHORT_TEXT_BYTES, "ports take at most 256 characters");
                if let Err(message) = ports::ranges(text) {
                    self.say("port", message);
                }
            }
            _ => {}
        }
    }

    fn row(&mut self, field: &str, row: &BindRow) {
        let port = format!("{field}.port");
        match &row.port {
            Port::Number(number) => self.number(&port, *number, 1, 65_535),
            Port::Text(text) if text.contains(',') => self.say(&port, PORT_MESSAGE),
            Port::Text(text) => {
                if let Err(message) = ports::ranges(text) {
                    self.say(&port, message);
                }
            }
        }
        let same_family = row.ip.is_none_or(|ip| ip.is_v6() == row.protocol.is_v6());
        self.require(field, same_family, FAMILY_MESSAGE);
        self.disjoint(field, &[row.locked.as_deref(), row.unlocked.as_deref()]);
    }

    fn extras(&mut self, extras: &[ExtraProperty]) {
        let few = extras.len() <= MAX_EXTRA_PROPERTIES;
        self.require("extraProperties", few, "a process has at most 16 extra properties");
        for (index, extra) in extras.iter().enumerate() {
            let field = format!("extraProperties[{index}].name");
            let letters = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
            let valid = extra.name.starts_with(|first: char| first.is_ascii_lowercase())
                && extra.name.len() <= 64
                && extra.name.bytes().all(letters);
            self.require(&field, valid, "should match a CMDB name: lower case with underscores");

            let modelled = Property::from_cmdb_name(&extra.name).is_some()
                || [FUNC_NAME, PROCESS_NAME].contains(&extra.name.as_str());
            self.require(&field, !modelled, EXTRA_IS_MODELLED_MESSAGE);
            let repeated = extras[..index].iter().any(|other| other.name == extra.name);
            self.require(&field, !repeated, "an extra property stands once");
        }
    }

    // Keys are unique by the schema; names and (function, start parameter) pairs cannot be compared there for their
    // cost. The second of two is reported.
    fn unique(&mut self, processes: &[Process]) {
        let mut keys = HashMap::new();
        let mut names = HashMap::new();
        let mut pairs = HashMap::new();
        for (index, process) in processes.iter().enumerate() {
            self.item = Some(index);
            self.base = format!("spec.processes[{index}]");

            let name = process.process_name.as_ref().unwrap_or(&process.name);
            if name.starts_with(TEMPORARY_PREFIX) {
                let field = if process.process_name.is_some() { "processName" } else { "name" };
                self.say(
                    field,
                    format!("must not start with {TEMPORARY_PREFIX:?}: temporary names of the operator do"),
                );
            }
            if keys.insert(&process.name, index).is_some() {
                self.say("name", "Duplicate value: a key stands once in a set");
            } else if let Some(first) = names.insert(name, index) {
                let other = &processes[first].name;
                self.say("processName", format!("the process name {name:?} is that of process {other:?} already"));
            }

            let regex = process.start_param_regex.as_deref();
            if let Some(regex) = regex
                && let Some(first) = pairs.insert((&process.func_name, regex), index)
            {
                let other = &processes[first].name;
                self.say(
                    "startParamRegex",
                    format!("funcName and startParamRegex are together those of process {other:?} already"),
                );
            }
        }
    }

    // CMDB lets processes of one function have no start parameter, but none of them beside an empty one: it refuses the create
    // of the absent one, or every later update of it (1113020).
    fn empty_beside_absent(&mut self, spec: &ProcessTemplateSetSpec) {
        let mut empty = HashMap::new();
        for process in spec.processes.iter().filter(|process| process.start_param_regex.as_deref() == Some("")) {
            empty.entry(&process.func_name).or_insert(&process.name);
        }
        for (index, process) in spec.processes.iter().enumerate() {
            if process.start_param_regex.is_none()
                && !is_unmanaged(spec, process, Property::StartParamRegex)
                && let Some(other) = empty.get(&process.func_name)
            {
                self.item = Some(index);
                self.base = format!("spec.processes[{index}]");
                self.say(
                    "startParamRegex",
                    format!("is absent, and that of process {other:?} of the same funcName is empty: CMDB takes only one of them"),
                );
            }
        }
    }
}

fn is_unmanaged(spec: &ProcessTemplateSetSpec, process: &Process, property: Property) -> bool {
    let names = |list: &Option<Vec<Property>>| list.as_ref().is_some_and(|list| list.contains(&property));
    names(&process.unmanaged) || names(&spec.unmanaged) && !names(&process.locked) && !names(&process.unlocked)
}

// Characters that CMDB refuses in the names of service templates, as in all names of its business topology
// (bk-cmdb#5255, #7880): white space and `\\ | / : * , < > " ? #`.
fn is_forbidden_in_new_name(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\u{c}' | '\r') || r#"\|/:*,<>"?#"#.contains(character)
}

fn texts(process: &Process) -> impl Iterator<Item = (Property, &str)> {
    [
        (Property::Description, &process.description),
        (Property::ForceStopCmd, &process.force_stop_cmd),
        (Property::FuncId, &process.func_id),
        (Property::PidFile, &process.pid_file),
        (Property::ReloadCmd, &process.reload_cmd),
        (Property::RestartCmd, &process.restart_cmd),
        (Property::StartCmd, &process.start_cmd),
        (Property::StartParamRegex, &process.start_param_regex),
        (Property::StopCmd, &process.stop_cmd),
        (Property::User, &process.user),
        (Property::WorkPath, &process.work_path),
    ]
    .into_iter()
    .filter_map(|(property, text)| Some((property, text.as_deref()?)))
}
