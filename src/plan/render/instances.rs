//! What instances make of a change of their template, where CMDB does not say it.

use super::values::Change;
use crate::api::{BindCell, Property};
use crate::plan::properties::property::{Pair, Row, Value};
use crate::plan::properties::rows;
use crate::plan::{Difference, LaggingCell};

/// What instances make of an update that removes these differences.
#[must_use]
pub fn effects(differences: &[Difference]) -> Vec<String> {
    let changes: Vec<Change> = differences.iter().map(Change::of).collect();
    effects_of(&changes)
}

/// What instances make of these changes.
pub fn effects_of(changes: &[Change]) -> Vec<String> {
    let mut effects = Vec::new();
    let (extra, known): (Vec<&Change>, Vec<&Change>) =
        changes.iter().filter(|change| leaves_value(change)).partition(|change| change.known().is_none());
    if !known.is_empty() {
        let names = names(&known);
        let is_flat = known.iter().any(|change| is_flat(change));
        let unknown = if is_flat {
            ", but what instances do with locked and empty sockets of this form is not recorded"
        } else {
            ""
        };
        effects.push(format!("instances keep {names}; to clear it there write locked: [{names}]{unknown}"));
    }
    if !extra.is_empty() {
        let names = names(&extra);
        effects.push(format!("instances keep {names}; to clear it there give {names} asDefaultValue: true"));
    }

    let locked: Vec<&Change> =
        changes.iter().filter(|change| is_flat(change) && change.after().is_locked_null()).collect();
    if !locked.is_empty() {
        let (names, verb) = (names(&locked), if locked.len() == 1 { "is" } else { "are" });
        effects.push(format!(
            "{names} {verb} sent as null and locked; what instances of a CMDB that keeps sockets in this form do then is not recorded"
        ));
    }

    effects.extend(changes.iter().filter(|change| change.known() == Some(Property::BindInfo)).flat_map(of_sockets));
    effects
}

/// What is wrong with a cell that instances never match, and what a person can do.
pub fn lagging(cell: &LaggingCell) -> String {
    let LaggingCell { cell, port } = cell;
    let cure = match cell {
        BindCell::Enable => "write enable: false (or true) in the row",
        _ => "write an ip in the row, or unlocked: [ip]",
    };
    format!(
        "{} of the bindInfo row of port {port} is null and locked in CMDB, so instances are never in sync, and every \
         synchronisation writes them again: {cure}",
        cell.name()
    )
}

fn names(changes: &[&Change]) -> String {
    changes.iter().map(|change| change.property()).collect::<Vec<_>>().join(", ")
}

fn is_flat(change: &Change) -> bool {
    change.known().is_some_and(|property| Property::FLAT_SOCKETS.contains(&property))
}

fn is_text(pair: &Pair) -> bool {
    pair.value != Value::Empty && pair.value.as_text() != Some("")
}

// Whether a value becomes empty and unlocked: CMDB then compares and synchronises nothing.
fn leaves_value(change: &Change) -> bool {
    let is_rows = change.known() == Some(Property::BindInfo);
    !is_rows && change.after().is_empty() && change.before().is_some_and(is_text)
}

// The sockets that are removed, and the cells of the others that instances keep.
fn of_sockets(change: &Change) -> Vec<String> {
    let Some(old) = change.before() else { return Vec::new() };
    let Value::Rows(old_rows) = &old.value else { return Vec::new() };
    match &rows::paired(change.after(), old) {
        Pair { value: Value::Rows(new_rows), .. } => new_rows.iter().flat_map(|new| of_row(new, old_rows)).collect(),
        Pair { locked: true, .. } => {
            vec!["instances show a difference, and the next synchronisation removes their sockets".to_owned()]
        }
        Pair { locked: false, .. } => vec![
            "instances show no difference, and the next synchronisation of their module, for whatever reason, removes their \
             sockets; to have it shown write locked: [bindInfo]"
                .to_owned(),
        ],
    }
}

fn of_row(new: &Row, old_rows: &[Row]) -> Vec<String> {
    let Some(old) = old_rows.iter().find(|old| new.id.is_some() && old.id == new.id) else { return Vec::new() };
    let port = new.port.value.as_text().unwrap_or_default();
    [(BindCell::Enable, &old.enable, &new.enable, "enable: false"), (BindCell::Ip, &old.ip, &new.ip, "locked: [ip]")]
        .into_iter()
        .filter(|(_, old, new, _)| is_text(old) && new.is_empty())
        .map(|(cell, _, _, cure)| {
            format!("instances keep {} of port {port}; to clear it there write {cure} in the row", cell.name())
        })
        .collect()
}
