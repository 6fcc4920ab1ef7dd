//! The canonical form of a property, the same for what is wanted and for what CMDB shows. Compact: a scope's list holds
//! thousands.

use std::borrow::Cow;
use std::sync::Arc;

use serde_json::{Map, Value as Json, json};

use crate::api::{BindCell, FUNC_NAME, PROCESS_NAME, Property};
use crate::outside::{json_bytes, json_integer, map_bytes};

/// A value and whether instances must follow it. An absent value is empty, an absent flag is false.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pair {
    /// `value`
    pub value: Value,
    /// `as_default_value`
    pub locked: bool,
}

/// A value.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Value {
    /// null, and what CMDB takes for it.
    #[default]
    Empty,
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Number(i64),
    /// A text. Plans share it with the list that they were made from.
    Text(Arc<str>),
    /// Rows of `bind_info`; none is [`Value::Empty`].
    Rows(Box<[Row]>),
    /// Anything else, of a property that this project does not model.
    Json(Box<Json>),
}

/// A row of `bind_info`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// `row_id`, by which instances hold on to the row. Says nothing about its content.
    pub id: Option<i64>,
    /// `ip`, as CMDB's code.
    pub ip: Pair,
    /// `port`
    pub port: Pair,
    /// `protocol`, as CMDB's code.
    pub protocol: Pair,
    /// `enable`
    pub enable: Pair,
    /// What a private build keeps in a row beside these. Never compared, and sent back as it was.
    pub others: Option<Arc<Map<String, Json>>>,
}

const ROW_ID: &str = "row_id";

/// Most bytes of a value that a plan or a memory keeps of a list: 64 rows of `bind_info`.
const MAX_SHOWN: usize = 64 << 10;

/// CMDB name of a property.
pub type Name = Cow<'static, str>;

/// Properties by their CMDB names, in the order of the names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    entries: Vec<(Name, Pair)>,
}

impl Pair {
    /// Empty and unlocked: what CMDB shows for a property that nobody set.
    pub const EMPTY: Self = Self { value: Value::Empty, locked: false };

    /// A value with its lock.
    pub fn new(value: impl Into<Value>, locked: bool) -> Self {
        Self { value: value.into(), locked }
    }

    /// The pair that CMDB shows under this name.
    #[must_use]
    pub fn listed(name: &str, value: Json, locked: bool) -> Self {
        let property = Property::from_cmdb_name(name);
        let value = match (property, value) {
            (Some(Property::BindInfo), Json::Array(rows)) => Value::rows(rows.iter().map(Row::listed).collect()),
            (Some(Property::BindIp | Property::Protocol), value) => Value::code(value),
            (_, value) => value.into(),
        };
        Self { value, locked }
    }

    /// The same, but that a value of more than [`MAX_SHOWN`] bytes is a short text that stands for it. No set wants such a
    /// value, so what differed from a wanted one still does.
    #[must_use]
    pub fn shortened(&self) -> Self {
        if self.heap_bytes() <= MAX_SHOWN {
            return self.clone();
        }
        let text = match &self.value {
            Value::Text(text) => {
                let start = text.get(..text.floor_char_boundary(MAX_SHOWN / 16)).unwrap_or_default();
                format!("{start}... ({} bytes)", text.len())
            }
            _ => format!("(a value of more than {MAX_SHOWN} bytes)"),
        };
        Self { value: Value::Text(text.into()), locked: self.locked }
    }

    /// Whether two pairs say the same.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        self.locked == other.locked && self.value.says_the_same(&other.value)
    }

    /// About how much memory it takes beside itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.value.heap_bytes()
    }

    /// The pair as it is sent: cells of rows that are locked without a value get the value that instances have then.
    #[must_use]
    pub fn as_sent(&self) -> Self {
        match &self.value {
            Value::Rows(rows) => {
                Self { value: Value::Rows(rows.iter().map(Row::as_sent).collect()), locked: self.locked }
            }
            _ => self.clone(),
        }
    }

    /// Whether it is null and locked. Instances never match such an `enable` or `ip` of a row.
    pub(crate) fn is_locked_null(&self) -> bool {
        self.locked && self.value == Value::Empty
    }

    /// Whether nobody set it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value == Value::Empty && !self.locked
    }
}

impl Value {
    /// The value as it is sent.
    #[must_use]
    pub fn to_json(&self) -> Json {
        match self {
            Self::Empty => Json::Null,
            Self::Bool(value) => (*value).into(),
            Self::Number(value) => (*value).into(),
            Self::Text(value) => value.as_ref().into(),
            Self::Rows(rows) => rows.iter().map(Row::to_json).collect(),
            Self::Json(value) => value.as_ref().clone(),
        }
    }

    /// The text, if it is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// About how much memory it takes beside itself.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Empty | Self::Bool(_) | Self::Number(_) => 0,
            Self::Text(text) => text.len() + 2 * size_of::<usize>(),
            Self::Rows(rows) => rows.iter().map(|row| size_of::<Row>() + row.heap_bytes()).sum(),
            Self::Json(value) => size_of::<Json>() + json_bytes(value),
        }
    }

    pub(crate) fn rows(rows: Vec<Row>) -> Self {
        if rows.is_empty() { Self::Empty } else { Self::Rows(rows.into()) }
    }

    fn ip(value: &Self) -> &Self {
        if value.as_text() == Some("") { &Self::Empty } else { value }
    }

    // CMDB takes "" and null alike for a choice that was not made.
    fn code(value: Json) -> Self {
        if value.as_str() == Some("") { Self::Empty } else { value.into() }
    }

    /// Whether two values say the same: neither the order of rows nor their ids is part of that.
    #[must_use]
    pub fn says_the_same(&self, other: &Self) -> bool {
        let (Self::Rows(left), Self::Rows(right)) = (self, other) else { return self == other };
        let sorted = |rows: &[Row]| {
            let mut texts: Vec<String> = rows.iter().map(|row| row.compared().cells().to_string()).collect();
            texts.sort_unstable();
            texts
        };
        left.len() == right.len() && sorted(left) == sorted(right)
    }

    /// Whether a listed value is what is wanted here. Where the manifest leaves a locked `enable` absent, what is sent for it and the
    /// null of older versions both are; where it writes false, null is not.
    pub(crate) fn is_met_by(&self, listed: &Self) -> bool {
        let (Self::Rows(wanted), Self::Rows(listed)) = (self, listed) else { return self == listed };
        // Among rows that are sent alike, nulls come last.
        let sorted = |rows: &[Row]| {
            let row = |row: &Row| (row.as_sent().compared().cells().to_string(), row.enable.is_locked_null());
            let mut rows: Vec<(String, bool)> = rows.iter().map(row).collect();
            rows.sort_unstable();
            rows
        };
        wanted.len() == listed.len()
            && sorted(wanted)
                .iter()
                .zip(sorted(listed))
                .all(|((wanted, is_absent), (listed, is_null))| *wanted == listed && (*is_absent || !is_null))
    }
}

impl From<Json> for Value {
    fn from(value: Json) -> Self {
        match value {
            Json::Null => Self::Empty,
            Json::Bool(value) => Self::Bool(value),
            Json::String(value) => Self::Text(value.into()),
            Json::Number(_) if let Some(number) = json_integer(&value) => Self::Number(number),
            Json::Array(items) if items.is_empty() => Self::Empty,
            value => Self::Json(Box::new(value)),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Number(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl Row {
    fn listed(row: &Json) -> Self {
        let cell = |cell: BindCell| {
            let shown = row.get(cell.cmdb_name()).unwrap_or(&Json::Null);
            let value = shown.get("value").cloned().unwrap_or_default();
            let locked = shown.get("as_default_value").and_then(Json::as_bool).unwrap_or_default();
            // Instances tell null and "" of a locked `ip` apart.
            let value = if cell == BindCell::Protocol { Value::code(value) } else { value.into() };
            Pair { value, locked }
        };

        Self {
            id: row.get(ROW_ID).and_then(json_integer),
            ip: cell(BindCell::Ip),
            port: cell(BindCell::Port),
            protocol: cell(BindCell::Protocol),
            enable: cell(BindCell::Enable),
            others: Self::others(row),
        }
    }

    fn others(row: &Json) -> Option<Arc<Map<String, Json>>> {
        let is_known = |name: &str| name == ROW_ID || BindCell::ALL.iter().any(|cell| cell.cmdb_name() == name);
        let others = row.as_object()?.iter().filter(|(name, _)| !is_known(name));
        let others: Map<String, Json> = others.map(|(name, cell)| (name.clone(), cell.clone())).collect();
        (!others.is_empty()).then(|| Arc::new(others))
    }

    /// Whether two rows say the same, whatever their ids.
    pub(crate) fn says_the_same(&self, other: &Self) -> bool {
        let ip = |row: &Self| (Value::ip(&row.ip.value).clone(), row.ip.locked);
        ip(self) == ip(other)
            && self.port == other.port
            && self.protocol == other.protocol
            && self.enable == other.enable
    }

    /// The row as it is sent. CMDB writes false into instances for a locked `enable` of null, and null for a locked `ip` of null,
    /// but compares them with null and "": such instances would differ for ever.
    pub(crate) fn as_sent(&self) -> Self {
        let mut row = self.clone();
        if row.enable.is_locked_null() {
            row.enable.value = false.into();
        }
        if row.ip.is_locked_null() {
            row.ip.value = "".into();
        }
        row
    }

    // The row with one form of an `ip` that was not chosen: a manifest cannot tell null and "" apart.
    fn compared(&self) -> Self {
        let mut row = self.clone();
        row.ip.value = Value::ip(&row.ip.value).clone();
        row
    }

    fn heap_bytes(&self) -> usize {
        let cells: usize = [&self.ip, &self.port, &self.protocol, &self.enable].map(Pair::heap_bytes).iter().sum();
        cells + self.others.as_ref().map_or(0, |others| map_bytes(others))
    }

    fn cells(&self) -> Json {
        let cell = |pair: &Pair| json!({ "value": pair.value.to_json(), "as_default_value": pair.locked });
        json!({
            BindCell::Ip.cmdb_name(): cell(&self.ip),
            BindCell::Port.cmdb_name(): cell(&self.port),
            BindCell::Protocol.cmdb_name(): cell(&self.protocol),
            BindCell::Enable.cmdb_name(): cell(&self.enable),
        })
    }

    fn to_json(&self) -> Json {
        let mut row = self.cells();
        if let Some(cells) = row.as_object_mut() {
            cells.extend(
                self.others.iter().flat_map(|others| others.iter().map(|(name, cell)| (name.clone(), cell.clone()))),
            );
            cells.extend(self.id.map(|id| (ROW_ID.to_owned(), id.into())));
        }
        row
    }
}

impl Properties {
    /// The pair under this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Pair> {
        self.find(name).ok().map(|index| &self.entries[index].1)
    }

    /// Puts a pair under a name.
    pub fn insert(&mut self, name: &str, pair: Pair) {
        match self.find(name) {
            Ok(index) => self.entries[index].1 = pair,
            Err(index) => self.entries.insert(index, (interned(name), pair)),
        }
    }

    /// Names and pairs, in the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Pair)> {
        self.entries.iter().map(|(name, pair)| (name.as_ref(), pair))
    }

    /// About how much memory they take beside themselves.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        let name = |name: &Name| if let Cow::Owned(name) = name { name.capacity() } else { 0 };
        let entries: usize = self.entries.iter().map(|(own, pair)| name(own) + pair.heap_bytes()).sum();
        entries + self.entries.capacity() * size_of::<(Name, Pair)>()
    }

    /// The text under this name; empty when there is none.
    pub(crate) fn text(&self, name: &str) -> &str {
        self.get(name).and_then(|pair| pair.value.as_text()).unwrap_or_default()
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.entries.binary_search_by(|(entry, _)| entry.as_ref().cmp(name))
    }
}

impl FromIterator<(Name, Pair)> for Properties {
    fn from_iter<I: IntoIterator<Item = (Name, Pair)>>(entries: I) -> Self {
        let mut entries: Vec<_> = entries.into_iter().collect();
        entries.sort_by(|left, right| left.0.cmp(&right.0));
        entries.shrink_to_fit();
        Self { entries }
    }
}

/// The name, without a copy of its own where this project knows it.
#[must_use]
pub fn interned(name: &str) -> Name {
    let known = Property::from_cmdb_name(name).map(Property::cmdb_name);
    let known = known.or_else(|| [FUNC_NAME, PROCESS_NAME].into_iter().find(|known| *known == name));
    known.map_or_else(|| name.to_owned().into(), Cow::Borrowed)
}
