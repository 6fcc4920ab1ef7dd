//! What CMDB would not do with a change, known before it is sent: why, and the way out.

use std::collections::BTreeMap;

use super::properties::rows;
use super::{Decision, DesiredItem, Difference, LaggingCell, Name, ServerSchema, Template, Unkept};
use crate::api::Property;

/// Updates after which a value that CMDB does not keep is not sent again.
pub const MOST_UPDATES: usize = 2;

/// Why a template is not renamed.
pub const RENAME_IGNORED: &str = "this CMDB does not rename process templates (3.9.27 and later do): rename it by hand in \
                                  CMDB, or change the name back";

/// Why a template is not replaced by a server that ignores new names: the replacement would keep its temporary name.
pub fn cannot_replace(id: i64) -> String {
    format!(
        "template {id} cannot be replaced, because this CMDB does not rename process templates (3.9.27 and later do), and a \
         replacement gets its name at the end; delete the template by hand in CMDB, and it is created as the set says, or \
         change funcName back"
    )
}

/// Where a template differs, by what our own updates have come to.
pub struct Sorted {
    /// Differences that an update may remove.
    pub open: Vec<Difference>,
    /// Differences that CMDB makes of what is sent, and that are not sent again.
    pub unkept: Vec<Difference>,
    /// Whether all open ones are what CMDB has made of our own update: there is no other change.
    pub is_own: bool,
}

/// Sorts differences; an unkept one is sent `most` times.
pub fn sorted(differences: Vec<Difference>, known: Option<&BTreeMap<Name, Unkept>>, most: usize) -> Sorted {
    let updates = |difference: &Difference| {
        let unkept = known?.get(&difference.cmdb_name)?;
        unkept.kept.says_the_same(&difference.found.shortened()).then_some(unkept.updates)
    };
    let is_own = differences.iter().all(|difference| updates(difference).is_some());
    let (unkept, open) = differences.into_iter().partition(|difference| updates(difference) >= Some(most));
    Sorted { open, unkept, is_own }
}

/// Cells of a template's rows that instances never match, where the set manages the rows and the plan does not send them.
pub fn lagging_cells(item: &DesiredItem, template: &Template, decision: &Decision) -> Vec<LaggingCell> {
    let name = Property::BindInfo.cmdb_name();
    let is_sent = matches!(decision, Decision::Update(change) if change.properties.get(name).is_some());
    let Some(pair) = template.properties.get(name).filter(|_| !is_sent) else { return Vec::new() };
    let mut cells = rows::lagging(&pair.value).peekable();
    let is_managed = || item.properties(ServerSchema::BindInfo).is_ok_and(|wanted| wanted.get(name).is_some());
    if cells.peek().is_none() || !is_managed() {
        return Vec::new();
    }
    cells.map(|(cell, port)| LaggingCell { cell, port: port.to_owned() }).collect()
}

/// Why no change of a template is possible that leaves its sockets alone: CMDB judges the whole template at every update, also
/// what is not sent.
pub fn blocked(differences: &[Difference], template: &Template) -> Option<String> {
    let name = Property::BindInfo.cmdb_name();
    if differences.iter().any(|difference| difference.cmdb_name == name) {
        return None;
    }
    let row = rows::blocking(&template.properties.get(name)?.value)?;
    Some(format!(
        "CMDB refuses every change of template {}: row {} of its bindInfo has no port or no protocol, as an old version \
         left it; repair the row in CMDB, or take bindInfo out of unmanaged and say what it is to be",
        template.id,
        row + 1
    ))
}
