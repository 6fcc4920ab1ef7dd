//! Lists that do not tell the truth.

use serde::Serialize;
use serde_json::Value;

use crate::calls::decode::Object;
use crate::control::effect::ForeignScope;
use crate::model::database::Database;
use crate::model::property::Shown;
use crate::operation::Operation;

/// Adds to the count of a list.
pub(crate) fn miscount(list: &mut Value, off: i64) {
    if let Some(count) = list.get("count").and_then(Value::as_i64) {
        list["count"] = count.saturating_add(off).into();
    }
}

/// Cuts a list behind the back of its count.
pub(crate) fn cut(list: &mut Value, limit: usize) {
    if let Some(info) = info(list) {
        info.truncate(limit);
    }
}

/// Whether a list asks for more items than this, or for all.
pub(crate) fn exceeds(body: &Object, limit: usize) -> bool {
    let asked = body.get("page").and_then(|page| page.get("limit")).and_then(Value::as_u64).unwrap_or(0);
    asked == 0 || usize::try_from(asked).unwrap_or(usize::MAX) > limit
}

/// Adds items that another scope has to a list, and counts them.
pub(crate) fn mix(
    database: &Database,
    operation: Operation,
    body: &Object,
    scope: ForeignScope,
    most: usize,
    list: &mut Value,
) {
    let number = |key: &str| body.get(key).and_then(Value::as_i64).unwrap_or(0);
    let (bk_biz_id, service_template_id) = (number("bk_biz_id"), number("service_template_id"));
    let shown = info(list).map(|info| info.iter().filter_map(|item| item.get("id")?.as_i64()).collect::<Vec<_>>());
    let Some(shown) = shown else { return };

    let foreign: Vec<Value> = match operation {
        Operation::ListProcTemplate => {
            let schema = database.state.schema;
            let foreign = database.templates().filter(|template| match scope {
                ForeignScope::Business => template.bk_biz_id != bk_biz_id,
                ForeignScope::ServiceTemplate => {
                    template.bk_biz_id == bk_biz_id && template.service_template_id != service_template_id
                }
            });
            values(
                foreign.filter(|template| !shown.contains(&template.id)).map(|template| Shown { schema, template }),
                most,
            )
        }
        Operation::ListServiceTemplate => {
            let foreign = database.state.service_templates.iter().filter(|template| match scope {
                ForeignScope::Business => template.bk_biz_id != bk_biz_id,
                ForeignScope::ServiceTemplate => template.bk_biz_id == bk_biz_id,
            });
            values(foreign.filter(|template| !shown.contains(&template.id)), most)
        }
        _ => Vec::new(),
    };

    miscount(list, i64::try_from(foreign.len()).unwrap_or(i64::MAX));
    if let Some(info) = info(list) {
        info.extend(foreign);
    }
}

fn values<T: Serialize>(items: impl Iterator<Item = T>, most: usize) -> Vec<Value> {
    items.take(most).filter_map(|item| serde_json::to_value(item).ok()).collect()
}

fn info(list: &mut Value) -> Option<&mut Vec<Value>> {
    list.get_mut("info")?.as_array_mut()
}
