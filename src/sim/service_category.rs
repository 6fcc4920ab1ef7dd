//! `list_service_category`.

use super::database::Database;
use super::decode::{self, Object};
use super::envelope;
use super::list::Listed;
use super::refusal::Refusal;
use super::state::ServiceCategory;

/// The categories of a business and those of everybody, by name.
pub(super) fn list(database: &Database, body: &Object) -> Result<String, Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let categories = database.state.service_categories.iter();
    let mut info: Vec<&ServiceCategory> =
        categories.filter(|category| category.bk_biz_id == 0 || category.bk_biz_id == bk_biz_id).collect();
    info.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(envelope::data(&Listed { count: info.len(), info }))
}
