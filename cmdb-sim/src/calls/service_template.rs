//! `list_service_template`, `get_service_template`, `create_service_template` and `delete_service_template`.

use std::cmp::Ordering;
use std::collections::HashSet;

use crate::access::credentials::Caller;
use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};
use crate::calls::hold;
use crate::calls::list::Listed;
use crate::calls::page::Page;
use crate::clock::now;
use crate::http::envelope;
use crate::model::category::ServiceCategory;
use crate::model::database::Database;
use crate::model::holds::Held;
use crate::model::state::ServiceTemplate;

const MAXIMUM_PAGE: i64 = 1000;
/// What a refusal suggests.
const SUGGESTED_PAGE: usize = 200;
/// The limit that means "all".
const NO_LIMIT: i64 = 999_999_999;
const MAXIMUM_NAME: usize = 256;

/// A page of service templates.
pub(crate) fn list(database: &Database, body: &Object) -> Result<String, Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let service_category_id = decode::integer(body, "service_category_id")?;
    let search = decode::text(body, "search")?;
    let is_exact = decode::flag(body, "is_exact")?;
    let ids: HashSet<i64> = decode::integers(body, "service_template_ids")?.into_iter().collect();
    let page = Page::decode(body)?;
    if !(1..=MAXIMUM_PAGE).contains(&page.limit) && page.limit != NO_LIMIT {
        return Err(Refusal::page_limit(SUGGESTED_PAGE));
    }
    page.check_start()?;

    let categories = with_descendants(&database.state.service_categories, service_category_id);
    let contained = search.to_lowercase();
    let is_wanted = |template: &&ServiceTemplate| {
        (bk_biz_id == 0 || template.bk_biz_id == bk_biz_id)
            && (service_category_id <= 0 || categories.contains(&template.service_category_id))
            && (ids.is_empty() || ids.contains(&template.id))
            && match is_exact {
                _ if search.is_empty() => true,
                true => template.name == search,
                false => template.name.to_lowercase().contains(&contained),
            }
    };

    let mut info: Vec<&ServiceTemplate> = database.state.service_templates.iter().filter(is_wanted).collect();
    let count = info.len();
    page.apply(&mut info, |field, one, other| compare(field, one, other));
    Ok(envelope::data(&Listed { count, info }))
}

fn with_descendants(categories: &[ServiceCategory], id: i64) -> HashSet<i64> {
    let mut found = HashSet::from([id]);
    loop {
        let before = found.len();
        let children = categories.iter().filter(|category| found.contains(&category.bk_parent_id));
        let children: Vec<i64> = children.map(|category| category.id).collect();
        found.extend(children);
        if found.len() == before {
            return found;
        }
    }
}

fn compare(field: &str, one: &ServiceTemplate, other: &ServiceTemplate) -> Ordering {
    match field {
        "id" => one.id.cmp(&other.id),
        "name" => one.name.cmp(&other.name),
        "service_category_id" => one.service_category_id.cmp(&other.service_category_id),
        "create_time" => one.create_time.cmp(&other.create_time),
        "last_time" => one.last_time.cmp(&other.last_time),
        _ => Ordering::Equal,
    }
}

/// One service template, of whatever business.
pub(crate) fn get(database: &Database, id: Option<&str>) -> Result<String, Refusal> {
    let id = decode::path_id(id, "service_template_id")?;
    let template = database.state.service_templates.iter().find(|template| template.id == id);
    Ok(envelope::data(template.ok_or_else(|| Refusal::new(code::NOT_FOUND, &[]))?))
}

/// Deletes a service template and answers its ID. Neither the business is checked nor whether process templates belong to
/// it: they stay, without a service template. With `commit` unset nothing is deleted.
pub(crate) fn delete(database: &mut Database, body: &Object, commit: bool) -> Result<i64, Refusal> {
    decode::integer(body, "bk_biz_id")?;
    let id = decode::integer(body, "service_template_id")?;
    let templates = &mut database.state.service_templates;
    let Some(at) = templates.iter().position(|template| template.id == id) else {
        return Err(Refusal::new(code::DELETE_SERVICE_TEMPLATE, &[]));
    };
    if commit {
        templates.remove(at);
    }
    Ok(id)
}

/// Stores a service template and answers the whole of it. With `commit` unset nothing is stored.
pub(crate) fn create(
    database: &mut Database,
    caller: &Caller,
    body: &Object,
    commit: bool,
) -> Result<(i64, String), Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let service_category_id = decode::integer(body, "service_category_id")?;
    let name = decode::text(body, "name")?.trim_matches(' ');
    let host_apply_enabled = decode::flag(body, "host_apply_enabled")?;

    if !is_name(name) {
        return Err(Refusal::invalid("name"));
    }
    if !database.has_business(bk_biz_id) {
        return Err(Refusal::invalid("bk_biz_id"));
    }

    let categories = &database.state.service_categories;
    let Some(category) = categories.iter().find(|category| category.id == service_category_id) else {
        return Err(Refusal::invalid("service_category_id"));
    };
    if categories.iter().any(|child| child.bk_parent_id == category.id) {
        return Err(Refusal::new(code::CATEGORY_NOT_LEAF, &[]));
    }
    if category.bk_biz_id != 0 && category.bk_biz_id != bk_biz_id {
        return Err(Refusal::invalid("bk_biz_id"));
    }

    let mut templates = database.state.service_templates.iter();
    if templates.any(|template| template.bk_biz_id == bk_biz_id && template.name == name) {
        return Err(Refusal::new(code::DUPLICATE, &["name"]));
    }
    if database.holds.has(&Held::ServiceTemplateName { bk_biz_id, name: name.to_owned() }) {
        return Err(hold::retries_exhausted());
    }

    let time = now();
    let template = ServiceTemplate {
        bk_biz_id,
        id: database.next_service_template_id(),
        name: name.to_owned(),
        service_category_id,
        creator: caller.user.clone(),
        modifier: caller.user.clone(),
        create_time: time.clone(),
        last_time: time,
        bk_supplier_account: caller.supplier_account.clone(),
        host_apply_enabled,
    };

    let data = envelope::data(&template);
    let id = template.id;
    if commit {
        database.state.service_templates.push(template);
    }
    Ok((id, data))
}

/// The rule for names in the topology of a business.
fn is_name(name: &str) -> bool {
    let is_refused = |character: char| {
        matches!(character, '\\' | '|' | '/' | ':' | '*' | ',' | '<' | '>' | '"' | '?' | '#')
            || matches!(character, ' ' | '\t' | '\n' | '\r' | '\x0c')
    };
    !name.is_empty() && name.chars().count() <= MAXIMUM_NAME && !name.contains(is_refused)
}
