//! `update_proc_template`.

use jiff::Timestamp;
use jiff::tz::{self, Offset};

use crate::access::credentials::Caller;
use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};
use crate::calls::hold;
use crate::calls::unique;
use crate::clock::stored_time;
use crate::http::envelope;
use crate::model::database::Database;
use crate::model::holds::Held;
use crate::model::property::{self, Shown};
use crate::model::state::{ProcessTemplate, Property};

/// The server's own time zone, which only the reply of an update shows.
const LOCAL: Offset = tz::offset(8);

/// Changes one process template and answers its ID and the whole of it. With `commit` unset nothing is stored.
pub(crate) fn update(
    database: &mut Database,
    caller: &Caller,
    body: &Object,
    commit: bool,
) -> Result<(i64, String), Refusal> {
    let bk_biz_id = decode::integer(body, "bk_biz_id")?;
    let id = decode::integer(body, "process_template_id")?;
    let change = decode::object(body, "process_property")?;
    let Some(change) = change.filter(|_| id > 0) else { return Err(Refusal::new(code::INPUT_INVALID, &[])) };
    // Any other business will do: the server only asks it for permissions.
    if bk_biz_id == 0 {
        return Err(Refusal::invalid("bk_biz_id"));
    }

    if database.template(id).is_none() {
        return Err(Refusal::new(code::NOT_FOUND, &[]));
    }

    let schema = database.state.schema;
    // The properties pass the first of the server's two stages undecoded.
    let mut change = property::decode_given(schema, change)?;
    change.remove("bk_func_name");
    if !database.state.rename {
        change.remove("bk_process_name");
    }

    let time = Timestamp::now();
    let mut template = merge(database, id, change, &caller.user, time, commit)?;
    // The reply is made before the database rounds the time.
    template.last_time = time.display_with_offset(LOCAL).to_string();
    Ok((id, envelope::data(&Shown { schema, template: &template })))
}

/// Puts properties in the place of those that a template has, and answers the whole.
pub(crate) fn merge(
    database: &mut Database,
    id: i64,
    change: Property,
    user: &str,
    time: Timestamp,
    commit: bool,
) -> Result<ProcessTemplate, Refusal> {
    // While it is out of the database, it does not collide with itself.
    let Some(stored) = database.remove(id) else { return Err(Refusal::new(code::NOT_FOUND, &[])) };

    let merged = merged(database, &stored, change).map(|(name, property)| ProcessTemplate {
        bk_process_name: name,
        property,
        modifier: user.to_owned(),
        last_time: stored_time(time),
        ..stored.clone()
    });

    database.insert(match &merged {
        Ok(template) if commit => template.clone(),
        _ => stored,
    });
    merged
}

/// Name and properties after a change, judged as a whole: what was stored before a rule existed breaks it now.
fn merged(database: &Database, stored: &ProcessTemplate, change: Property) -> Result<(String, Property), Refusal> {
    let mut property = stored.property.clone();
    property.extend(change);
    if let Some(field) = property::violation(database.state.schema, &property) {
        return Err(Refusal::invalid(&field));
    }
    property::settle(&mut property);
    let name = property::text(&property, "bk_process_name").unwrap_or_default().to_owned();
    let held = Held::ProcessName { service_template_id: stored.service_template_id, name: name.clone() };
    if name != stored.bk_process_name && database.holds.has(&held) {
        return Err(hold::name_conflict());
    }
    if database.holds.has(&Held::ProcessTemplate(stored.id)) {
        return Err(hold::retries_exhausted());
    }
    unique::check(database, stored.service_template_id, &property)?;
    Ok((name, property))
}
