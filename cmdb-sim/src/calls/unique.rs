//! What no two process templates of a service template may share.

use crate::access::refusal::{Refusal, code};
use crate::model::database::Database;
use crate::model::property;
use crate::model::state::Property;

/// Refuses a name or a pair of function name and start parameter that a stored template has. A start parameter that is
/// null counts as empty here, but one that is stored as null takes nothing.
pub(crate) fn check(database: &Database, service_template_id: i64, property: &Property) -> Result<(), Refusal> {
    let text = |name: &str| property::text(property, name).unwrap_or_default().to_owned();
    let name = text("bk_process_name");
    if database.state.unique_names && database.is_name_taken(service_template_id, &name) {
        return Err(Refusal::new(code::PROCESS_NAME_DUPLICATED, &[&name]));
    }
    let function = (text("bk_func_name"), text("bk_start_param_regex"));
    if database.is_function_taken(service_template_id, &function) {
        return Err(Refusal::new(code::FUNCTION_NAME_DUPLICATED, &[&function.0, &function.1]));
    }
    Ok(())
}
