//! Routes under `/sim`: the state, the faults, the quotas and the records of requests, for people and tests.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::rejection::JsonRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::calls::edit::{self, EditError};
use crate::cmdb::Cmdb;
use crate::control::fault::Fault;
use crate::model::state;

pub(crate) fn router() -> Router<Arc<Cmdb>> {
    Router::new()
        .route("/requests", get(requests).delete(clear_requests))
        .route("/state", get(show_state).put(put_state))
        .route("/faults", get(faults).post(add_fault).delete(clear_faults))
        .route("/quota", get(quota_windows).delete(clear_quota))
        .route("/faults/{id}", delete(remove_fault))
        .route("/process_templates", post(add_process_template))
        .route("/process_templates/{id}", delete(remove_process_template).patch(edit_process_template))
}

async fn requests(State(cmdb): State<Arc<Cmdb>>, Query(query): Query<HashMap<String, String>>) -> Response {
    let requests = cmdb.requests();
    if query.get("summary").is_some_and(|summary| summary == "true") {
        return Json(requests.summary()).into_response();
    }
    let records: Vec<_> = requests.all().collect();
    Json(json!({"requests": records})).into_response()
}

async fn clear_requests(State(cmdb): State<Arc<Cmdb>>) -> StatusCode {
    cmdb.requests().clear();
    StatusCode::NO_CONTENT
}

async fn show_state(State(cmdb): State<Arc<Cmdb>>) -> Json<state::State> {
    Json(cmdb.database().export())
}

/// Keys that are absent stay as they are. The changed state is what comes back.
async fn put_state(State(cmdb): State<Arc<Cmdb>>, change: Result<Json<Map<String, Value>>, JsonRejection>) -> Response {
    let change = match change {
        Ok(Json(change)) => change,
        Err(rejection) => return bad_request(&rejection.body_text()),
    };
    let state = {
        let mut database = cmdb.database();
        match merged(&database.export(), change) {
            Ok(state) => {
                database.replace(state);
                database.export()
            }
            Err(error) => return bad_request(&error.to_string()),
        }
    };

    cmdb.save();
    Json(state).into_response()
}

fn merged(state: &state::State, change: Map<String, Value>) -> Result<state::State, serde_json::Error> {
    let mut merged = serde_json::to_value(state)?;
    for (key, value) in change {
        match (merged.get_mut(&key), value) {
            // Counters one by one, lists as a whole.
            (Some(Value::Object(counters)), Value::Object(value)) => counters.extend(value),
            (_, value) => merged[key] = value,
        }
    }
    serde_json::from_value(merged)
}

async fn faults(State(cmdb): State<Arc<Cmdb>>) -> Json<Value> {
    Json(json!({"faults": cmdb.faults().all()}))
}

async fn add_fault(State(cmdb): State<Arc<Cmdb>>, fault: Result<Json<Fault>, JsonRejection>) -> Response {
    match fault {
        Ok(Json(fault)) => {
            let id = cmdb.faults().add(fault);
            (StatusCode::CREATED, Json(json!({"id": id}))).into_response()
        }
        Err(rejection) => bad_request(&rejection.body_text()),
    }
}

async fn clear_faults(State(cmdb): State<Arc<Cmdb>>) -> StatusCode {
    cmdb.faults().clear();
    StatusCode::NO_CONTENT
}

async fn remove_fault(State(cmdb): State<Arc<Cmdb>>, Path(id): Path<u64>) -> StatusCode {
    if cmdb.faults().remove(id) { StatusCode::NO_CONTENT } else { StatusCode::NOT_FOUND }
}

async fn quota_windows(State(cmdb): State<Arc<Cmdb>>) -> Json<Value> {
    let quotas = cmdb.quotas();
    let windows: Vec<_> = quotas.all().collect();
    Json(json!({"windows": windows}))
}

async fn clear_quota(State(cmdb): State<Arc<Cmdb>>) -> StatusCode {
    cmdb.quotas().clear();
    StatusCode::NO_CONTENT
}

/// What a user of the web interface does to a template.
async fn remove_process_template(State(cmdb): State<Arc<Cmdb>>, Path(id): Path<i64>) -> StatusCode {
    let removed = cmdb.database().remove(id).is_some();
    if removed {
        cmdb.save();
        StatusCode::NO_CONTENT
    } else {
        StatusCode::NOT_FOUND
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Addition {
    user: String,
    service_template_id: i64,
    property: state::Property,
}

/// What a user of the web interface creates beside the callers.
async fn add_process_template(
    State(cmdb): State<Arc<Cmdb>>,
    addition: Result<Json<Addition>, JsonRejection>,
) -> Response {
    let Addition { user, service_template_id, property } = match addition {
        Ok(Json(addition)) => addition,
        Err(rejection) => return bad_request(&rejection.body_text()),
    };
    match cmdb.edit(|database| edit::add(database, service_template_id, &user, &property)) {
        Ok(id) => (StatusCode::CREATED, Json(json!({"id": id}))).into_response(),
        Err(error) => bad_request(&error.to_string()),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    user: String,
    property: state::Property,
}

/// What a user of the web interface makes of a template.
async fn edit_process_template(
    State(cmdb): State<Arc<Cmdb>>,
    Path(id): Path<i64>,
    edit: Result<Json<Edit>, JsonRejection>,
) -> Response {
    let Edit { user, property } = match edit {
        Ok(Json(edit)) => edit,
        Err(rejection) => return bad_request(&rejection.body_text()),
    };
    match cmdb.edit(|database| edit::edit(database, id, &user, &property)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(EditError::NotFound(_)) => StatusCode::NOT_FOUND.into_response(),
        Err(error) => bad_request(&error.to_string()),
    }
}

fn bad_request(message: &str) -> Response {
    (StatusCode::BAD_REQUEST, Json(json!({"error": message}))).into_response()
}
