//! What CMDB would not do with a change, known before it is sent: why, and the way out.

use super::properties::rows;
use super::{Difference, Template};
use crate::api::Property;

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
