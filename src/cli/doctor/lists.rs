//! The last steps: lists the templates of a business, which shows the permission and how the server keeps sockets.

use std::sync::Arc;

use super::advice::{Endpoint, problem_of};
use super::step::{Problem, StepName, Steps};
use crate::cmdb::{Behalf, GrantedClient, Priority, ServiceTemplate, ServiceTemplateRef, Transport, Unbounded};
use crate::controller;
use crate::engine;
use crate::engine::{BareConnection, Listed, shown_schema};
use crate::plan::{ServerSchema, count};

const WRITE_PERMISSION: &str = "Whether they may be written cannot be told without a write, for CMDB has no dry run: the user needs \
                       the IAM action edit_biz_service_template for the business.";

/// Takes the steps permission and schema. Lists the templates of `biz_id`; without it, permission is skipped.
pub async fn check(
    connection: &BareConnection,
    endpoint: &Endpoint,
    biz_id: Option<i64>,
    service_template: Option<&str>,
    steps: &mut Steps,
) {
    let templates = if let Some(biz_id) = biz_id {
        permission(connection, endpoint, biz_id, service_template, steps).await
    } else {
        steps.skipped(StepName::Permission, "no business is given: --biz ID");
        Vec::new()
    };
    let version = match (endpoint.transport, connection.client.version().await) {
        (_, Some(version)) => format!("version {version}"),
        (Transport::Direct, None) => "the version is not told".to_owned(),
        (Transport::Esb | Transport::Gateway, None) => "only transport Direct shows the version".to_owned(),
    };
    add_schema(connection.schema, shown_schema(templates), &version, steps);
}

async fn permission(
    connection: &BareConnection,
    endpoint: &Endpoint,
    biz_id: i64,
    wanted: Option<&str>,
    steps: &mut Steps,
) -> Vec<Listed> {
    // With the credentials of its own, for the person who has started it.
    let client = GrantedClient::new(connection.client.clone(), Arc::new(Unbounded), Behalf::default());
    let found = match client.list_service_templates(Priority::Interactive, biz_id).await {
        Ok(found) => found,
        Err(error) => {
            steps.failed(StepName::Permission, problem_of(&error, endpoint));
            return Vec::new();
        }
    };
    let total = format!("{} of business {biz_id} may be listed", count(found.len(), "service template"));
    let Some(chosen) = choose(&found, wanted) else {
        add_nothing_chosen(biz_id, found.is_empty(), wanted, &total, steps);
        return Vec::new();
    };
    let chosen_ref = ServiceTemplateRef { biz_id, id: chosen.id, name: &chosen.name };
    match client.hold_process_templates(Priority::Interactive, chosen_ref).await {
        Ok((templates, _share)) => {
            let fact = format!("{total}, and {} of {:?}", count(templates.len(), "process template"), chosen.name);
            steps.ok_with_advice(StepName::Permission, fact, WRITE_PERMISSION);
            templates
        }
        Err(error) => {
            steps.failed(StepName::Permission, problem_of(&error, endpoint));
            Vec::new()
        }
    }
}

fn choose<'a>(found: &'a [ServiceTemplate], wanted: Option<&str>) -> Option<&'a ServiceTemplate> {
    found.iter().find(|template| wanted.is_none_or(|name| template.name == name))
}

// Nothing was chosen: there are no service templates, or not the one that is wanted.
fn add_nothing_chosen(biz_id: i64, none_at_all: bool, wanted: Option<&str>, total: &str, steps: &mut Steps) {
    let Some(name) = wanted else {
        let advice = format!("Check the ID: a business that does not exist has none either. {WRITE_PERMISSION}");
        return steps.ok_with_advice(StepName::Permission, total, advice);
    };
    let missing = engine::Error::ServiceTemplateMissing { biz_id, name: name.to_owned(), none_at_all };
    let missing = controller::Error::Engine(missing);
    steps.failed(StepName::Permission, Problem::new(missing.to_string(), missing.advice()));
}

fn add_schema(configured: ServerSchema, shown: Option<ServerSchema>, version: &str, steps: &mut Steps) {
    let fact = match (configured, shown) {
        (ServerSchema::Flat, Some(ServerSchema::BindInfo)) | (ServerSchema::BindInfo, Some(ServerSchema::Flat)) => {
            let fact =
                format!("spec.schema says {configured:?}, and the server's templates are of the other; {version}");
            return steps.failed(StepName::Schema, Problem::new(fact, "Take spec.schema away, or correct it."));
        }
        (ServerSchema::Unknown, None) => {
            "not known until a process template is listed; until then both forms are sent".to_owned()
        }
        (ServerSchema::Unknown, Some(shown)) => format!("{shown:?}, as its templates show"),
        (configured, _) => format!("{configured:?}, as spec.schema says"),
    };
    steps.ok(StepName::Schema, format!("{fact}; {version}"));
}
