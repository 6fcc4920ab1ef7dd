//! What the lists of a business show: that it may be looked at, and how the server keeps sockets.

use super::advice::{Way, trouble};
use super::step::{Name, Steps, Trouble};
use crate::cmdb::{Priority, ProcessTemplate, ServiceTemplate, Transport};
use crate::controller;
use crate::engine;
use crate::engine::{Connection, shown_schema};
use crate::plan::{ServerSchema, count};

const WRITING: &str = "Whether they may be written cannot be told without a write, for CMDB has no dry run: the user needs \
                       the IAM action edit_biz_service_template for the business.";

/// Lists the templates of a business, and judges what comes.
pub async fn judge(
    connection: &Connection,
    way: &Way,
    biz_id: Option<i64>,
    service_template: Option<&str>,
    steps: &mut Steps,
) {
    let templates = if let Some(biz_id) = biz_id {
        permission(connection, way, biz_id, service_template, steps).await
    } else {
        steps.skipped(Name::Permission, "no business is given: --biz ID");
        Vec::new()
    };
    let version = match (way.transport, connection.client.version().await) {
        (_, Some(version)) => format!("version {version}"),
        (Transport::Direct, None) => "the version is not told".to_owned(),
        (Transport::Esb | Transport::Gateway, None) => "only transport Direct shows the version".to_owned(),
    };
    schema(connection.schema, shown_schema(templates), &version, steps);
}

async fn permission(
    connection: &Connection,
    way: &Way,
    biz_id: i64,
    wanted: Option<&str>,
    steps: &mut Steps,
) -> Vec<ProcessTemplate> {
    let client = &connection.client;
    let found = match client.list_service_templates(Priority::Interactive, biz_id).await {
        Ok(found) => found,
        Err(error) => {
            steps.failed(Name::Permission, trouble(&error, way));
            return Vec::new();
        }
    };
    let total = format!("{} of business {biz_id} may be listed", count(found.len(), "service template"));
    let Some(chosen) = chosen(&found, wanted) else {
        none(biz_id, found.is_empty(), wanted, &total, steps);
        return Vec::new();
    };
    match client.list_process_templates(Priority::Interactive, biz_id, chosen.id).await {
        Ok(templates) => {
            let fact = format!("{total}, and {} of {:?}", count(templates.len(), "process template"), chosen.name);
            steps.ok_with(Name::Permission, fact, WRITING);
            templates
        }
        Err(error) => {
            steps.failed(Name::Permission, trouble(&error, way));
            Vec::new()
        }
    }
}

fn chosen<'a>(found: &'a [ServiceTemplate], wanted: Option<&str>) -> Option<&'a ServiceTemplate> {
    found.iter().find(|template| wanted.is_none_or(|name| template.name == name))
}

fn none(biz_id: i64, none_at_all: bool, wanted: Option<&str>, total: &str, steps: &mut Steps) {
    let Some(name) = wanted else {
        let advice = format!("Check the ID: a business that does not exist has none either. {WRITING}");
        return steps.ok_with(Name::Permission, total, advice);
    };
    let missing = engine::Error::ServiceTemplateMissing { biz_id, name: name.to_owned(), none_at_all };
    let missing = controller::Error::Engine(missing);
    steps.failed(Name::Permission, Trouble::new(missing.to_string(), missing.advice()));
}

fn schema(said: ServerSchema, shown: Option<ServerSchema>, version: &str, steps: &mut Steps) {
    let fact = match (said, shown) {
        (ServerSchema::Flat, Some(ServerSchema::BindInfo)) | (ServerSchema::BindInfo, Some(ServerSchema::Flat)) => {
            let fact = format!("spec.schema says {said:?}, and the server's templates are of the other; {version}");
            return steps.failed(Name::Schema, Trouble::new(fact, "Take spec.schema away, or correct it."));
        }
        (ServerSchema::Unknown, None) => {
            "not known until a process template is listed; until then both forms are sent".to_owned()
        }
        (ServerSchema::Unknown, Some(shown)) => format!("{shown:?}, as its templates show"),
        (said, _) => format!("{said:?}, as spec.schema says"),
    };
    steps.ok(Name::Schema, format!("{fact}; {version}"));
}
