//! The canonical form of a property, the same for what is wanted and for what CMDB shows.

use std::collections::BTreeMap;

use serde_json::Value;

/// A value and whether instances must follow it. An absent value is null, an absent flag is false.
#[derive(Clone, Debug, PartialEq)]
pub struct Pair {
    /// `value`: null when empty.
    pub value: Value,
    /// `as_default_value`.
    pub locked: bool,
}

/// Properties by their CMDB names.
pub type Properties = BTreeMap<String, Pair>;

impl Pair {
    /// Empty and unlocked: what CMDB shows for a property that nobody set.
    pub const EMPTY: Self = Self { value: Value::Null, locked: false };

    /// A value with its lock.
    pub fn new(value: impl Into<Value>, locked: bool) -> Self {
        Self { value: value.into(), locked }
    }

    /// Whether nobody set it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.value.is_null() && !self.locked
    }
}

impl Default for Pair {
    fn default() -> Self {
        Self::EMPTY
    }
}
