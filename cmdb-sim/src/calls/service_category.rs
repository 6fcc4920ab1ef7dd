//! `list_service_category`.

use crate::access::refusal::Refusal;
use crate::calls::decode::{self, Object};
use crate::calls::list::Listed;
use crate::http::envelope;
use crate::model::category::ServiceCategory;
use crate::model::database::Database;

/// The categories of a business and those of all businesses, by name.
pub(crate) fn list(database: &Database, body: &Object) -> Result<String, Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let categories = database.state.service_categories.iter();
    let mut info: Vec<&ServiceCategory> =
        categories.filter(|category| category.bk_biz_id == 0 || category.bk_biz_id == bk_biz_id).collect();
    info.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(envelope::data(&Listed { count: info.len(), info }))
}
