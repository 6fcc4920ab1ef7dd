//! What is created while it is not known how the server keeps sockets: the first template that is listed shows it.
//!
//! A server drops the form that it does not have. So an item that only one form can express would be created without its sockets on a
//! server of the other, and be found invalid afterwards. It is held while something else shows the schema. Where nothing else does,
//! one such item is created to find out, and the others are held.

use crate::plan::{Decision, Desired, DesiredItem, Hold, Item, Observed, ServerSchema};

/// Holds items that only one of the possible schemas can express.
pub fn hold_one_sided(desired: &Desired, observed: &Observed, items: &mut [Item]) {
    if observed.schema != ServerSchema::Unknown {
        return;
    }
    let reasons: Vec<Option<String>> =
        items.iter().map(|item| one_sided(desired.items.iter().find(|wanted| wanted.key == item.key)?)).collect();

    // A template that no list has shown yet, one that may still be stored, or one that is created now.
    let mut is_shown = observed.templates.iter().any(|template| template.shown.is_none());
    for (item, reason) in items.iter().zip(&reasons) {
        is_shown |= match item.decision {
            Decision::Undecided => true,
            Decision::Create(_) => reason.is_none(),
            _ => false,
        };
    }

    for (item, reason) in items.iter_mut().zip(reasons) {
        let Some(reason) = reason else { continue };
        match item.decision {
            Decision::Create(_) | Decision::Invalid(_) if is_shown => {
                item.decision = Decision::Held(Hold::UnknownSchema(reason));
            }
            Decision::Create(_) => is_shown = true,
            _ => {}
        }
    }
}

// Why one of the schemas cannot express what the other can.
fn one_sided(item: &DesiredItem) -> Option<String> {
    if !item.violations.is_empty() {
        return None;
    }
    match (item.properties(ServerSchema::Flat), item.properties(ServerSchema::BindInfo)) {
        (Err(reason), Ok(_)) | (Ok(_), Err(reason)) => Some(reason),
        (Ok(_), Ok(_)) | (Err(_), Err(_)) => None,
    }
}
