//! The state of an item, as a word and as a sentence: for status, conditions and the command line.

use crate::api::ItemState;
use crate::plan::{Conflict, Decision, Difference, Hold, Item, Owner, Pair};

// Whom CMDB names when a template was changed over our own connection, or by another operator with the same user.
const OWN_USER: &str = "this operator, or another one with its user,";

// Our own change differs from what the set says where CMDB keeps another value than it was sent.
const UNMANAGED: &str = "; if CMDB does not keep what the set says, list it in unmanaged";

/// Who changed a template last, in words.
#[must_use]
pub fn changed_by(modifier: &str, is_own_change: bool) -> String {
    if is_own_change { OWN_USER.trim_end_matches(',').to_owned() } else { format!("{modifier:?}") }
}

/// The state of an item.
#[must_use]
pub fn state(item: &Item) -> ItemState {
    let is_listed = item.found.as_ref().is_some_and(|found| found.created_at.is_some());
    match &item.decision {
        Decision::InSync { .. } if is_listed => ItemState::InSync,
        Decision::InSync { .. } => ItemState::Created,
        Decision::Update(_) | Decision::Replace(_) => ItemState::Differs,
        // Its own template is to be changed.
        Decision::Held(_) if item.found.is_some() => ItemState::Differs,
        Decision::Create(_) | Decision::Held(Hold::UnknownSchema(_)) => ItemState::Missing,
        Decision::Drifted(_) => ItemState::Drifted,
        Decision::NeedsReplacement(_) => ItemState::NeedsReplacement,
        Decision::Undecided | Decision::Held(Hold::OtherSetsCreate(_)) => ItemState::Undecided,
        Decision::Conflict(_) => ItemState::Conflict,
        Decision::Invalid(_) => ItemState::Invalid,
        Decision::Refused(_) | Decision::Unkept(_) => ItemState::Refused,
    }
}

/// What is to be done about an item, or what prevents it and what a person can do; empty when it is in sync.
#[must_use]
pub fn explain(item: &Item) -> String {
    let fields =
        |differences: &[Difference]| differences.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let id = item.found.as_ref().map(|found| found.id).unwrap_or_default();

    let text = match &item.decision {
        Decision::InSync { .. } => String::new(),
        Decision::Create(_) => "will be created".to_owned(),
        Decision::Update(change) => format!("template {id} is to be changed in {}", fields(&change.differences)),
        Decision::Replace(_) => format!("template {id} is to be replaced: CMDB does not update funcName"),
        Decision::Drifted(differences) if differences.is_empty() => {
            "somebody deleted its template in CMDB; set driftPolicy to Correct to have it created again, or remove the \
             process"
                .to_owned()
        }
        Decision::Drifted(differences) => {
            let is_own_change = item.found.as_ref().is_some_and(|found| found.is_own_change);
            let (who, advice) = if is_own_change { (OWN_USER, UNMANAGED) } else { ("somebody", "") };
            let fields = fields(differences);
            format!(
                "{who} changed template {id} in CMDB: {fields}; change it back there, or set driftPolicy to Correct{advice}"
            )
        }
        Decision::NeedsReplacement(differences) => format!(
            "template {id} differs in {}; CMDB does not update funcName: set replacePolicy to Recreate, or change it back",
            fields(differences)
        ),
        Decision::Undecided => {
            "a create was begun and may still be stored; it is sent again only when that is out of the question"
                .to_owned()
        }
        Decision::Held(Hold::OtherSetsCreate(set)) => {
            let set =
                set.as_ref().map_or_else(|| "another set".to_owned(), |set| format!("ProcessTemplateSet {set:?}"));
            format!(
                "{set} has begun a create of this name, which may still be stored; this set waits until that is known"
            )
        }
        Decision::Held(Hold::UnknownSchema(reason)) => format!(
            "waits until a process template has shown how this server keeps sockets, or schema of the connection says it: if it \
             is the other way, {reason}"
        ),
        Decision::Conflict(conflict) => explain_conflict(conflict, &fields(&conflict.differences)),
        Decision::Invalid(reason) => reason.clone(),
        Decision::Refused(reason) => format!("CMDB refused it: {reason}"),
        Decision::Unkept(differences) => explain_unkept(id, differences),
    };
    text + &explain_outer_flag(&item.decision)
}

// What the outer flag of the sockets is about, where that is all in which they differ.
fn explain_outer_flag(decision: &Decision) -> String {
    let differences = match decision {
        Decision::Update(change) => &change.differences,
        Decision::Drifted(differences) | Decision::NeedsReplacement(differences) | Decision::Unkept(differences) => {
            differences
        }
        Decision::Conflict(conflict) => &conflict.differences,
        _ => return String::new(),
    };
    let Some(difference) = differences.iter().find(|difference| difference.is_outer_flag()) else {
        return String::new();
    };
    let word = |pair: &Pair| if pair.locked { "true" } else { "false" };
    format!(
        ". The outer as_default_value of bindInfo is {} in CMDB, and the set wants {}: while it is false, CMDB's comparison of \
         instances does not look at sockets at all, and its synchronisation applies them all the same",
        word(&difference.found),
        word(&difference.wanted)
    )
}

fn explain_unkept(id: i64, differences: &[Difference]) -> String {
    let kept = differences.iter().map(|difference| {
        let Difference { property, wanted, found, .. } = difference;
        let shown = |pair: &Pair| shortened(&pair.value.to_json().to_string());
        if wanted.value.says_the_same(&found.value) {
            let lock = |pair: &Pair| if pair.locked { "locked" } else { "unlocked" };
            format!("{property} was sent {} and is {}", lock(wanted), lock(found))
        } else {
            format!("{property} was sent as {} and is {}", shown(wanted), shown(found))
        }
    });
    let names: Vec<&str> = differences.iter().map(|difference| difference.property.as_str()).collect();
    format!(
        "CMDB does not keep template {id} as it was sent: {}; say in the manifest what CMDB keeps, or list {} in unmanaged",
        kept.collect::<Vec<_>>().join("; "),
        names.join(", ")
    )
}

// Enough of a value to find it.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 200;
    if text.len() <= LONGEST {
        return text.to_owned();
    }
    format!("{}\u{2026}", &text[..text.floor_char_boundary(LONGEST)])
}

fn explain_conflict(conflict: &Conflict, fields: &str) -> String {
    let template = conflict.id.map_or_else(|| "the name".to_owned(), |id| format!("template {id} of this name"));

    match &conflict.owner {
        Owner::Process => format!("{template} is another process's of this set already"),
        Owner::Set(Some(name)) => {
            format!("{template} is ProcessTemplateSet {name:?}'s; take the process out of one of the two sets")
        }
        Owner::Set(None) => {
            format!(
                "{template} is another set's, in another namespace or under another URL; take the process out of one of \
                 the two sets"
            )
        }
        Owner::Stranger if conflict.is_adoption_off && !fields.is_empty() => format!(
            "{template} was not created by this set, which may not take it over, and differs in {fields}; remove or rename \
             it in CMDB, or set adoptionPolicy to Always, which changes it"
        ),
        Owner::Stranger if fields.is_empty() => format!(
            "{template} was not created by this set, which may not take it over; remove or rename it in CMDB, or change \
             adoptionPolicy"
        ),
        Owner::Stranger if conflict.differences.iter().all(Difference::is_outer_flag) => format!(
            "{template} was not created by this set and differs in {fields}; set adoptionPolicy to Always, which changes \
             the flag"
        ),
        Owner::Stranger => format!(
            "{template} was not created by this set and differs in {fields}; make the manifest say what it has, remove \
             it in CMDB, or set adoptionPolicy to Always"
        ),
    }
}

/// A number of things, in words.
#[must_use]
pub fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
