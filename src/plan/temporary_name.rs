//! The temporary name under which a template waits for a name that is still taken.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{Observed, SetName, Template};
use crate::api::{PROCESS_NAME, Property, TEMPORARY_PREFIX};

/// The temporary name of an item. A listed template of that name, or with it for its start parameter, is that item's,
/// with or without a status that says so.
#[must_use]
pub fn temporary_name(set: &SetName, key: &str) -> String {
    let mut hasher = Sha256::new();
    for part in [set.namespace.as_str(), set.name.as_str(), key] {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part.as_bytes());
    }
    let mut name = TEMPORARY_PREFIX.to_owned();
    for byte in &hasher.finalize()[..8] {
        let _ = write!(name, "{byte:02x}");
    }
    name
}

/// Templates that carry a temporary value for their name or their start parameter, by that value.
pub(super) fn marked(observed: &Observed) -> BTreeMap<&str, Vec<&Template>> {
    let mut marked: BTreeMap<&str, Vec<&Template>> = BTreeMap::new();
    for template in observed.templates.iter() {
        let text = |name: &str| template.properties.get(name).and_then(|pair| pair.value.as_text());
        let marks = [text(PROCESS_NAME), text(Property::StartParamRegex.cmdb_name())];
        for mark in marks.into_iter().flatten().filter(|mark| mark.starts_with(TEMPORARY_PREFIX)) {
            marked.entry(mark).or_default().push(template);
        }
    }
    marked
}
