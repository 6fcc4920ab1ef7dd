//! The reasons that condition Ready of a set may have, and the outcomes of reconciles: closed sets, for metrics.

use std::collections::BTreeSet;

use super::Error;
use crate::engine;

/// Reasons of sets that were looked at.
const VERDICTS: &[&str] = &[
    "InSync",
    "Progressing",
    "WaitingForOutcome",
    "Conflict",
    "Drifted",
    "NeedsReplacement",
    "Invalid",
    "Refused",
    "Suspended",
    "Stale",
    "Deleting",
    "DeletionBlocked",
];

/// Stands for the reason of a set that has no condition Ready yet, or one that is none of ours.
pub const UNJUDGED: &str = "Unknown";

/// Every reason of condition Ready of a set, and [`UNJUDGED`].
#[must_use]
pub fn reasons() -> Vec<&'static str> {
    let all: BTreeSet<&str> = VERDICTS.iter().chain(&errors()).chain([&UNJUDGED]).copied().collect();
    all.into_iter().collect()
}

/// Every outcome of a reconcile.
#[must_use]
pub fn outcomes() -> Vec<&'static str> {
    std::iter::once("ok").chain(errors()).collect()
}

fn errors() -> Vec<&'static str> {
    let all: BTreeSet<&str> = Error::LABELS.iter().chain(engine::Error::LABELS).copied().collect();
    all.into_iter().collect()
}

/// The reason as it is in the closed set.
pub(super) fn known(reason: &str) -> Option<&'static str> {
    VERDICTS.iter().chain(Error::LABELS).chain(engine::Error::LABELS).find(|known| **known == reason).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{Error, VERDICTS};
    use crate::{cmdb, engine};

    // The texts that a function's arms, or a field, give.
    fn given<'a>(source: &'a str, from: &str, to: &str, before: &str) -> BTreeSet<&'a str> {
        let from = source.find(from).unwrap();
        let part = &source[from..from + source[from..].find(to).unwrap()];
        let texts = part.match_indices(before).filter_map(|(at, _)| part[at + before.len()..].split('"').next());
        texts.collect()
    }

    fn set<'a>(labels: &[&'a str]) -> BTreeSet<&'a str> {
        labels.iter().copied().collect()
    }

    #[test]
    fn the_closed_sets_have_all_that_is_given() {
        let label = ("fn label(", "\n    }\n", "=> \"");
        let of = |source: &'static str| given(source, label.0, label.1, label.2);
        assert_eq!(of(include_str!("error.rs")), set(Error::LABELS));
        assert_eq!(of(include_str!("../engine/error.rs")), set(engine::Error::LABELS));
        let unsent = set(&["busy", "ending", "halted"]);
        let of_calls = of(include_str!("../cmdb/error.rs"));
        assert_eq!(of_calls.difference(&unsent).copied().collect::<BTreeSet<_>>(), set(cmdb::Error::OF_CALLS));
        let status = include_str!("set/status.rs");
        let mut verdicts = given(status, "//! From", "#[cfg(test)]", "reason: \"");
        verdicts.extend(given(status, "\nfn reason(", "\n}\n", "=> \""));
        // Those that are no literal there.
        verdicts.extend(["Progressing", "WaitingForOutcome", "Stale"]);
        assert_eq!(verdicts, set(VERDICTS));
    }
}
