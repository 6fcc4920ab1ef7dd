//! `list_proc_template` and `get_proc_template`.

use std::cmp::Ordering;
use std::collections::HashSet;

use serde::Serialize;

use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};
use crate::calls::page::Page;
use crate::http::envelope;
use crate::model::database::Database;
use crate::model::property::Shown;
use crate::model::state::ProcessTemplate;

const MAXIMUM_IDS: usize = 200;

/// The `data` of every list.
#[derive(Serialize)]
pub(crate) struct Listed<T> {
    pub count: usize,
    pub info: Vec<T>,
}

/// One process template, of whatever business.
pub(crate) fn get(database: &Database, id: Option<&str>) -> Result<String, Refusal> {
    let id = decode::path_id(id, "process_template_id")?;
    let template = database.template(id).ok_or_else(|| Refusal::new(code::NOT_FOUND, &[]))?;
    Ok(envelope::data(&Shown { schema: database.state.schema, template }))
}

/// A page of the process templates of a business.
pub(crate) fn list(database: &Database, body: &Object) -> Result<String, Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let service_template_id = decode::integer(body, "service_template_id")?;
    let ids = decode::integers(body, "process_template_ids")?;
    let page = Page::decode(body)?;

    if bk_biz_id <= 0 {
        return Err(Refusal::invalid("bk_biz_id"));
    }
    if ids.len() > MAXIMUM_IDS {
        return Err(Refusal::new(code::ARRAY_LENGTH, &["bk_process_ids", &MAXIMUM_IDS.to_string()]));
    }
    if service_template_id == 0 && ids.is_empty() {
        return Err(Refusal::invalid("service_template_id and process_template_ids can't be empty at the same time"));
    }

    page.check_start()?;
    let mut templates = select(database, service_template_id, &ids);
    templates.retain(|template| template.bk_biz_id == bk_biz_id);
    let count = templates.len();
    page.apply(&mut templates, |field, one, other| compare(field, one, other));

    let schema = database.state.schema;
    let info: Vec<_> = templates.into_iter().map(|template| Shown { schema, template }).collect();
    Ok(envelope::data(&Listed { count, info }))
}

/// Both filters together. A negative service template counts as given and then filters nothing: so the server does.
fn select<'a>(database: &'a Database, service_template_id: i64, ids: &[i64]) -> Vec<&'a ProcessTemplate> {
    if !ids.is_empty() {
        if !database.state.id_filter {
            return Vec::new();
        }
        let ids: HashSet<i64> = ids.iter().copied().collect();
        let templates = ids.into_iter().filter_map(|id| database.template(id));
        let in_scope = |template: &ProcessTemplate| {
            service_template_id <= 0 || template.service_template_id == service_template_id
        };
        return templates.filter(|template| in_scope(template)).collect();
    }
    if service_template_id > 0 {
        return database.templates_of(service_template_id).collect();
    }
    database.templates().collect()
}

fn compare(field: &str, one: &ProcessTemplate, other: &ProcessTemplate) -> Ordering {
    match field {
        "id" => one.id.cmp(&other.id),
        "bk_process_name" => one.bk_process_name.cmp(&other.bk_process_name),
        "service_template_id" => one.service_template_id.cmp(&other.service_template_id),
        "creator" => one.creator.cmp(&other.creator),
        "modifier" => one.modifier.cmp(&other.modifier),
        "create_time" => one.create_time.cmp(&other.create_time),
        "last_time" => one.last_time.cmp(&other.last_time),
        _ => Ordering::Equal,
    }
}
