//! `batch_create_proc_template`.

use crate::access::credentials::Caller;
use crate::access::refusal::{Refusal, code};
use crate::calls::decode::{self, Object};
use crate::calls::hold;
use crate::calls::unique;
use crate::clock::now;
use crate::model::database::Database;
use crate::model::holds::Held;
use crate::model::property;
use crate::model::state::{ProcessTemplate, Property};

const MAXIMUM: usize = 100;

/// A create as its body says it.
struct Request {
    bk_biz_id: i64,
    service_template_id: i64,
    processes: Vec<Option<Property>>,
}

/// Stores every process or none, and adds the IDs of those that are stored to `created`, in the order of the request.
/// With `commit` unset the transaction is rolled back at its very end: the IDs are gone, the names are free.
pub(crate) fn create(
    database: &mut Database,
    caller: &Caller,
    body: &Object,
    commit: bool,
    created: &mut Vec<i64>,
) -> Result<(), Refusal> {
    let request = decode(database, body)?;
    if request.processes.is_empty() {
        return Ok(());
    }

    if database.state.whitespace_rule {
        let schema = database.state.schema;
        let outer_space =
            request.processes.iter().flatten().find_map(|property| property::outer_space(schema, property));
        if let Some((name, value)) = outer_space {
            return Err(Refusal::new(code::UNKNOWN, &[&format!("field {name} contains space: {value}")]));
        }
    }

    if database.state.create_limit && request.processes.len() > MAXIMUM {
        return Err(Refusal::new(code::EXCEED_LIMIT, &["create process template", &MAXIMUM.to_string()]));
    }

    let mut ids = Vec::with_capacity(request.processes.len());
    let mut outcome = Ok(());
    for process in request.processes {
        match create_one(database, caller, request.bk_biz_id, request.service_template_id, process) {
            Ok(id) => ids.push(id),
            Err(refusal) => {
                outcome = Err(refusal);
                break;
            }
        }
    }

    if commit && (outcome.is_ok() || database.state.non_atomic) {
        created.extend(ids);
    } else {
        for id in ids {
            database.remove(id);
        }
    }
    outcome
}

fn decode(database: &Database, body: &Object) -> Result<Request, Refusal> {
    let processes = decode::array(body, "processes")?.unwrap_or_default();
    Ok(Request {
        bk_biz_id: decode::integer(body, "bk_biz_id")?,
        service_template_id: decode::integer(body, "service_template_id")?,
        processes: processes
            .iter()
            .map(|process| {
                if process.is_null() {
                    return Ok(None);
                }
                let process = process.as_object().ok_or_else(Refusal::undecodable)?;
                let spec = decode::object(process, "spec")?;
                spec.map(|spec| property::decode(database.state.schema, spec)).transpose()
            })
            .collect::<Result<_, _>>()?,
    })
}

/// One step of the transaction, in the server's order of checks. The ID is taken last, so a process that is refused
/// burns none, while those before it in the batch have burnt theirs.
pub(crate) fn create_one(
    database: &mut Database,
    caller: &Caller,
    bk_biz_id: i64,
    service_template_id: i64,
    property: Option<Property>,
) -> Result<i64, Refusal> {
    let Some(mut property) = property else { return Err(Refusal::invalid("property")) };
    if let Some(field) = property::violation(database.state.schema, &property) {
        return Err(Refusal::invalid(&field));
    }

    property::settle(&mut property);
    if !database.has_business(bk_biz_id) {
        return Err(Refusal::invalid("bk_biz_id"));
    }
    let service_template = database.state.service_templates.iter().find(|template| template.id == service_template_id);
    match service_template {
        None => return Err(Refusal::invalid("service_template_id")),
        Some(template) if template.bk_biz_id != bk_biz_id => return Err(Refusal::invalid("bk_biz_id")),
        Some(_) => {}
    }

    let name = property::text(&property, "bk_process_name").unwrap_or_default().to_owned();
    if database.holds.has(&Held::ProcessName { service_template_id, name: name.clone() }) {
        return Err(hold::name_conflict());
    }
    unique::check(database, service_template_id, &property)?;

    let id = database.next_process_template_id();
    let time = now();
    database.insert(ProcessTemplate {
        id,
        bk_process_name: name,
        bk_biz_id,
        service_template_id,
        property,
        creator: caller.user.clone(),
        modifier: caller.user.clone(),
        create_time: time.clone(),
        last_time: time,
        bk_supplier_account: caller.supplier_account.clone(),
    });
    Ok(id)
}
