//! Where a template differs from what is wanted.

use std::fmt;

use crate::api::{FUNC_NAME, PROCESS_NAME, Property};
use crate::plan::{Name, Pair, Properties, Template, Value, interned};

/// A property that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// Its name in a manifest.
    pub property: String,
    /// Its name in CMDB.
    pub cmdb_name: Name,
    /// What the set wants, as it is sent.
    pub wanted: Pair,
    /// What CMDB has.
    pub found: Pair,
}

impl Difference {
    /// Whether nothing differs but the outer `as_default_value` of `bind_info`, which is beside its rows. The flags of the cells
    /// are in the rows.
    #[must_use]
    pub fn is_outer_flag(&self) -> bool {
        self.cmdb_name == Property::BindInfo.cmdb_name() && self.wanted.value.says_the_same(&self.found.value)
    }

    /// Shortens what CMDB has. It says the same as before about what differs.
    pub fn shorten_found(&mut self) {
        if self.wanted.value.says_the_same(&self.found.value) {
            self.found.value = self.wanted.value.clone();
        } else {
            self.found = self.found.shortened();
        }
    }

    /// Whether nothing differs but the lock of an absent `bindIp`, `port` or `protocol`, which older versions did not send.
    #[must_use]
    pub fn is_lock_of_absent_socket(&self) -> bool {
        let is_flat = Property::FLAT_SOCKETS.iter().any(|property| property.cmdb_name() == self.cmdb_name);
        is_flat && self.wanted.is_locked_null() && self.found.is_empty()
    }
}

impl fmt::Display for Difference {
    // Without values: a command may contain a secret.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_outer_flag() {
            write!(formatter, "{} (only its outer as_default_value)", self.property)
        } else if self.wanted.value.says_the_same(&self.found.value) {
            write!(formatter, "{} (lock only)", self.property)
        } else {
            formatter.write_str(&self.property)
        }
    }
}

/// The result of comparing an item with a template.
pub struct Comparison {
    /// Properties that differ.
    pub differences: Vec<Difference>,
    /// Properties, by their names in a manifest, that the item sets and this server does not have.
    pub ignored: Vec<String>,
    /// The same by their CMDB names.
    pub ignored_cmdb_names: Vec<String>,
}

/// Compares what is wanted of an item, in the server's schema, with a template. `leaves_outer_flag`: while no row is listed, the
/// outer flag of `bind_info` may be either.
pub fn compare(wanted: &Properties, template: &Template, leaves_outer_flag: bool) -> Comparison {
    let mut comparison = Comparison { differences: Vec::new(), ignored: Vec::new(), ignored_cmdb_names: Vec::new() };
    for (name, pair) in wanted.iter() {
        let property = Property::from_cmdb_name(name);
        let manifest_name = match name {
            PROCESS_NAME => "processName",
            FUNC_NAME => "funcName",
            _ => match property {
                Some(property) => property.name(),
                None => name,
            },
        };

        let Some(found) = template.pair(name) else {
            if !pair.is_empty() {
                comparison.ignored.push(manifest_name.to_owned());
                comparison.ignored_cmdb_names.push(name.to_owned());
            }
            continue;
        };

        // The server always locks the two names.
        let is_name = name == PROCESS_NAME || name == FUNC_NAME;
        let may_have_either_flag =
            property == Some(Property::BindInfo) && leaves_outer_flag && pair.value == Value::Empty;
        let is_lock_met = is_name || may_have_either_flag || pair.locked == found.locked;
        if !(pair.value.is_met_by(&found.value) && is_lock_met) {
            // Sockets are removed with the flag on: with it off, CMDB does not show that instances still have them, and removes them
            // at its next synchronisation.
            let wanted = Pair { locked: pair.locked || may_have_either_flag, ..pair.as_sent() };
            let found = found.clone();
            let (property, cmdb_name) = (manifest_name.to_owned(), interned(name));
            comparison.differences.push(Difference { property, cmdb_name, wanted, found });
        }
    }
    comparison
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Difference, Pair};

    #[test]
    fn a_plan_keeps_little_of_a_large_value_and_says_the_same_about_it() {
        let of = |wanted: Pair, found: Pair| {
            let property = "bindInfo".to_owned();
            let mut difference = Difference { property, cmdb_name: "bind_info".into(), wanted, found };
            let before = difference.to_string();
            difference.shorten_found();
            assert_eq!(difference.to_string(), before);
            difference
        };
        let text = "ü".repeat(40_000);
        let large = of(Pair::new("./start", true), Pair::new(text.as_str(), true));
        assert!(large.found.heap_bytes() < 8192 && large.found.value.as_text().unwrap().contains("80000 bytes"));

        let rows = |count: usize, others: usize| {
            let cell = |value: &str| json!({ "value": value, "as_default_value": true });
            let private = "x".repeat(others);
            let row = json!({ "port": cell("80"), "protocol": cell("1"), "bk_private": private, "row_id": 1 });
            Pair::listed("bind_info", vec![row; count].into(), true)
        };
        let same = of(rows(64, 1), Pair { locked: false, ..rows(64, 4000) });
        assert!(same.is_outer_flag() && same.found.heap_bytes() == rows(64, 1).heap_bytes());
        let other = of(rows(64, 1), rows(63, 4000));
        assert!(!other.is_outer_flag() && other.found.heap_bytes() < 8192);
    }
}
