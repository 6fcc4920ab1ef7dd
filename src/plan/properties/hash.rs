//! Hashes of a wanted state. Each names its version: one of another version cannot be compared.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::api::{FUNC_NAME, PROCESS_NAME, Property};
use crate::plan::{Pair, Properties};

// Properties that every server has, whatever its version: only by these a create of ours can be recognised.
const SHARED: &[Property] = &[
    Property::AutoStart,
    Property::Description,
    Property::ForceStopCmd,
    Property::PidFile,
    Property::Priority,
    Property::ProcNum,
    Property::ReloadCmd,
    Property::RestartCmd,
    Property::StartCmd,
    Property::StartParamRegex,
    Property::StopCmd,
    Property::TimeoutSeconds,
    Property::User,
    Property::WorkPath,
];

/// Hash of what a create sends, over the properties that both of CMDB's schemas share. A listed template of the same
/// content has the same hash.
#[must_use]
pub fn intent_hash(properties: &Properties) -> String {
    let names = [PROCESS_NAME, FUNC_NAME].into_iter().chain(SHARED.iter().map(|property| property.cmdb_name()));
    digest("i1", names.map(|name| (name, properties.get(name).unwrap_or(&Pair::EMPTY))), &[])
}

/// Hash of an item's wanted state: everything in it but what this server does not have, and what it leaves to others.
#[must_use]
pub fn applied_hash(wanted: &Properties, ignored: &[String], unmanaged: &[Property]) -> String {
    let compared = wanted.iter().filter(|(name, _)| !ignored.iter().any(|ignored| ignored == name));
    digest("a1", compared, unmanaged)
}

/// Whether a remembered hash says that the item wants another state now. A hash of another version never does.
#[must_use]
pub(crate) fn is_changed(remembered: Option<&str>, now: &str) -> bool {
    let version = |hash: &str| hash.split(':').next().map(str::to_owned);
    remembered.is_none_or(|then| then != now && version(then) == version(now))
}

fn digest<'a>(version: &str, pairs: impl Iterator<Item = (&'a str, &'a Pair)>, unmanaged: &[Property]) -> String {
    let mut hasher = Sha256::new();
    let mut add = |parts: [&str; 3]| {
        for part in parts {
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    };

    for (name, pair) in pairs.filter(|(_, pair)| !pair.is_empty()) {
        // The server locks the two names whatever was sent.
        let locked = pair.locked || name == PROCESS_NAME || name == FUNC_NAME;
        add([name, &pair.value.to_json().to_string(), if locked { "locked" } else { "unlocked" }]);
    }
    for property in unmanaged {
        add([property.cmdb_name(), "", "unmanaged"]);
    }

    let mut text = format!("{version}:");
    for byte in &hasher.finalize()[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
