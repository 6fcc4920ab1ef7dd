//! A property as people write it, before and after a change.

use std::fmt::Write as _;

use serde_json::{Map, Value as Json, json};

use crate::api::{BindCell, FUNC_NAME, IpAddress, PROCESS_NAME, Property, Protocol};
use crate::plan::properties::property::{Pair, Row, Value};
use crate::plan::{Difference, Properties};

/// A property that changes.
pub struct Change {
    cmdb_name: String,
    // None: not known, or there is no template yet.
    old: Option<Pair>,
    new: Pair,
}

impl Change {
    /// From what CMDB has to what the set wants.
    pub fn of(difference: &Difference) -> Self {
        let (old, new) = (Some(difference.found.clone()), difference.wanted.clone());
        Self { cmdb_name: difference.cmdb_name.to_string(), old, new }
    }

    /// What a create sets.
    pub fn created(properties: &Properties) -> Vec<Self> {
        let sockets = properties.get(Property::BindInfo.cmdb_name());
        let has_rows = sockets.is_some_and(|sockets| matches!(sockets.value, Value::Rows(_)));
        let is_shown = |name: &str, pair: &Pair| {
            // Where both forms are sent, one of them says it all.
            let is_flat = Property::FLAT_SOCKETS.iter().any(|flat| flat.cmdb_name() == name);
            !(pair.is_empty() || has_rows && is_flat)
        };
        let shown = properties.iter().filter(|(name, pair)| is_shown(name, pair));
        in_order(shown.map(|(name, new)| Self { cmdb_name: name.to_owned(), old: None, new: new.clone() }).collect())
    }

    /// What an update changes; `before` is what the template has, if that is known.
    pub fn updated(properties: &Properties, before: Option<&Properties>) -> Vec<Self> {
        let changes = properties.iter().map(|(name, new)| {
            let old = before.map(|before| before.get(name).cloned().unwrap_or_default());
            Self { cmdb_name: name.to_owned(), old, new: new.clone() }
        });
        in_order(changes.collect())
    }

    /// The property, if this project models it.
    pub fn known(&self) -> Option<Property> {
        Property::from_cmdb_name(&self.cmdb_name)
    }

    /// What there is before; None: not known, or there is no template yet.
    pub fn before(&self) -> Option<&Pair> {
        self.old.as_ref()
    }

    /// What there is after it.
    pub fn after(&self) -> &Pair {
        &self.new
    }

    // The server always locks the two names.
    fn is_name(&self) -> bool {
        [PROCESS_NAME, FUNC_NAME].contains(&self.cmdb_name.as_str())
    }

    /// The name in a manifest.
    pub fn property(&self) -> &str {
        match self.cmdb_name.as_str() {
            PROCESS_NAME => "processName",
            FUNC_NAME => "funcName",
            name => match Property::from_cmdb_name(name) {
                Some(property) => property.name(),
                None => name,
            },
        }
    }

    /// One line; rows of sockets have one each.
    pub fn write(&self, text: &mut String) {
        let name = self.property();
        let rows = |pair: &Pair| match &pair.value {
            Value::Rows(rows) => rows.to_vec(),
            _ => Vec::new(),
        };
        let (old_rows, new_rows) = (self.old.as_ref().map(rows).unwrap_or_default(), rows(&self.new));
        if old_rows.is_empty() && new_rows.is_empty() {
            let _ = writeln!(text, "      {name}: {}", self.values());
            return;
        }

        let lock = self.lock();
        let _ = writeln!(text, "      {name}:{}{lock}", if lock.is_empty() { "" } else { " " });
        let Some(_) = &self.old else {
            for row in &new_rows {
                let _ = writeln!(text, "        {}", row_text(row));
            }
            return;
        };

        // In a difference that is not written, rows have no partner yet.
        let partner = |row: &Row| {
            let same = |old: &&Row| if row.id.is_some() { old.id == row.id } else { old.says_the_same(row) };
            old_rows.iter().find(same)
        };

        for old in old_rows.iter().filter(|old| !new_rows.iter().any(|new| partner(new).is_some_and(|of| of == *old))) {
            let _ = writeln!(text, "        - {}", row_text(old));
        }
        for new in &new_rows {
            let _ = match partner(new) {
                Some(old) if old.says_the_same(new) => Ok(()),
                Some(old) => writeln!(text, "        ~ {} -> {}", row_text(old), row_text(new)),
                None => writeln!(text, "        + {}", row_text(new)),
            };
        }
    }

    fn values(&self) -> String {
        let shown = |pair: &Pair| value_text(&self.cmdb_name, &pair.value);
        let old = self.old.as_ref().filter(|old| !old.value.says_the_same(&self.new.value));
        let old = old.map(|old| format!("{} -> ", shown(old))).unwrap_or_default();
        let lock = self.lock();
        let joint = match lock.chars().next() {
            None => "",
            Some('(') => " ",
            Some(_) => ", ",
        };
        format!("{old}{}{joint}{lock}", shown(&self.new))
    }

    // What is shown of the lock. Nothing when it is as usual: a value is locked, and an empty property is not.
    fn lock(&self) -> String {
        let word = |pair: &Pair| if pair.locked { "locked" } else { "unlocked" };
        let new = &self.new;
        match &self.old {
            _ if self.is_name() => String::new(),
            Some(old) if old.value.says_the_same(&new.value) => {
                format!("{} -> {} (lock only)", word(old), word(new))
            }
            Some(old) if old.locked != new.locked && !old.is_empty() && !new.is_empty() => {
                format!("({} -> {})", word(old), word(new))
            }
            _ if new.locked == (new.value == Value::Empty) => format!("({})", word(new)),
            _ => String::new(),
        }
    }

    /// As data, in a manifest's words.
    pub fn to_json(&self) -> Json {
        let pair = |pair: &Pair| json!({ "value": value_json(&self.cmdb_name, &pair.value), "locked": pair.locked });
        json!({
            "property": self.property(), "cmdbName": self.cmdb_name,
            "old": self.old.as_ref().map(pair), "new": pair(&self.new),
        })
    }
}

// The names first, then as the documentation has them.
fn in_order(mut changes: Vec<Change>) -> Vec<Change> {
    changes.sort_by_key(|change| {
        let property = Property::from_cmdb_name(&change.cmdb_name);
        let known = property.and_then(|property| Property::ALL.iter().position(|known| *known == property));
        (change.cmdb_name != PROCESS_NAME, change.cmdb_name != FUNC_NAME, known.unwrap_or(usize::MAX))
    });
    changes
}

// CMDB writes some values as codes.
fn decoded(cmdb_name: &str, text: &str) -> Option<&'static str> {
    let is = |property: Property, cell: BindCell| cmdb_name == property.cmdb_name() || cmdb_name == cell.cmdb_name();
    if is(Property::BindIp, BindCell::Ip) {
        IpAddress::from_code(text).map(IpAddress::name)
    } else if is(Property::Protocol, BindCell::Protocol) {
        Protocol::from_code(text).map(Protocol::name)
    } else {
        None
    }
}

fn value_json(cmdb_name: &str, value: &Value) -> Json {
    match value {
        Value::Text(text) => decoded(cmdb_name, text).unwrap_or(text).into(),
        Value::Rows(rows) => rows.iter().map(row_json).collect(),
        value => value.to_json(),
    }
}

fn value_text(cmdb_name: &str, value: &Value) -> String {
    match value {
        Value::Empty => "empty".to_owned(),
        Value::Text(text) => decoded(cmdb_name, text).map_or_else(|| format!("{text:?}"), str::to_owned),
        value => value_json(cmdb_name, value).to_string(),
    }
}

fn cells(row: &Row) -> [(BindCell, &Pair); 4] {
    [
        (BindCell::Ip, &row.ip),
        (BindCell::Port, &row.port),
        (BindCell::Protocol, &row.protocol),
        (BindCell::Enable, &row.enable),
    ]
}

fn row_json(row: &Row) -> Json {
    let mut object = Map::new();
    let mut locked = Vec::new();
    for (cell, pair) in cells(row) {
        object.insert(cell.name().to_owned(), value_json(cell.cmdb_name(), &pair.value));
        if pair.locked {
            locked.push(cell.name());
        }
    }
    object.insert("locked".to_owned(), locked.into());
    Json::Object(object)
}

// As in a manifest. Only locks that are not as usual are listed: a cell with a value is locked, one without is not.
fn row_text(row: &Row) -> String {
    let plain = |cell: BindCell, pair: &Pair| match &pair.value {
        Value::Text(text) if text.is_empty() => format!("{text:?}"),
        Value::Text(text) => decoded(cell.cmdb_name(), text).map_or_else(|| text.to_string(), str::to_owned),
        value => value.to_json().to_string(),
    };
    let is_set = |pair: &Pair| pair.value != Value::Empty;

    let mut parts: Vec<String> = Vec::new();
    for (cell, pair) in cells(row).into_iter().filter(|(_, pair)| is_set(pair)) {
        parts.push(format!("{}: {}", cell.name(), plain(cell, pair)));
    }

    for (list, stands_out) in [("locked", false), ("unlocked", true)] {
        let names: Vec<&str> = cells(row)
            .into_iter()
            .filter(|(_, pair)| is_set(pair) == stands_out && pair.locked != stands_out)
            .map(|(cell, _)| cell.name())
            .collect();
        if !names.is_empty() {
            parts.push(format!("{list}: [{}]", names.join(", ")));
        }
    }

    format!("{{{}}}", parts.join(", "))
}
