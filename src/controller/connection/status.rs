//! From what is known of a connection to its status. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::api::{ConnectionStatus, SchemaChoice};
use crate::cmdb;
use crate::controller::error::Error;
use crate::controller::kubernetes::conditions::{ConditionSet, WorkState, clip};
use crate::controller::reason::Reason;
use crate::engine;
use crate::outside;

/// What is known of a connection.
#[derive(Clone, Debug)]
pub struct Facts {
    /// Generation of the spec.
    pub generation: i64,
    /// The present.
    pub now: Time,
    /// How the server keeps sockets.
    pub schema: Option<SchemaChoice>,
    /// Version of CMDB.
    pub version: Option<String>,
    /// Value of the annotation that requests a reconcile.
    pub requested_at: Option<String>,
    /// Sets that use it.
    pub sets: usize,
    /// Calls a second that CMDB takes at present.
    pub requests_per_second: Option<f64>,
    /// `resourceVersion` of the Secret whose credentials are in use.
    pub credentials_version: Option<String>,
}

/// The verdict on a connection over which CMDB answers; `pending_credentials_error` tells why newer credentials are not in use.
pub fn reachable(pending_credentials_error: Option<&cmdb::Error>) -> ConditionSet {
    let Some(error) = pending_credentials_error else {
        let message = "CMDB answers and takes the credentials".to_owned();
        return ConditionSet { ready: true, reason: Reason::Reachable, message, work_state: WorkState::Settled };
    };
    let why = Error::Engine(engine::Error::Cmdb(std::sync::Arc::new(error.clone())));
    let message = format!("the changed credentials are not in use, and those before them still are: {}", why.message());
    ConditionSet {
        ready: true,
        reason: Reason::NewCredentialsRefused,
        message: clip(message),
        work_state: WorkState::Settled,
    }
}

/// The status that says so.
pub fn compose(previous: &ConnectionStatus, facts: &Facts, conditions: &ConditionSet) -> ConnectionStatus {
    let mut status = previous.clone();
    conditions.write_to(&mut status.conditions, facts.generation, &facts.now);
    status.observed_generation = Some(facts.generation);
    status.last_handled_reconcile_at.clone_from(&facts.requested_at);
    status.sets = i32::try_from(facts.sets).ok();
    if previous.observed_generation != Some(facts.generation) {
        // It may lead elsewhere now.
        status.version = None;
    }
    if conditions.ready {
        status.schema = facts.schema.or(status.schema);
        status.version.clone_from(&facts.version);
        status.requests_per_second = facts.requests_per_second.and_then(whole);
    }
    if facts.credentials_version.is_some() {
        status.credentials_version.clone_from(&facts.credentials_version);
    }
    status
}

/// The status of a connection whose reconcile failed before it learned anything new.
pub fn failed(previous: &ConnectionStatus, generation: i64, now: Time, conditions: &ConditionSet) -> ConnectionStatus {
    let facts = Facts {
        generation,
        now,
        schema: None,
        version: None,
        requested_at: previous.last_handled_reconcile_at.clone(),
        sets: 0,
        requests_per_second: None,
        credentials_version: None,
    };
    ConnectionStatus { sets: previous.sets, ..compose(previous, &facts, conditions) }
}

// Kubernetes advises against fractions in an API.
fn whole(rate: f64) -> Option<i32> {
    i32::try_from(outside::whole(rate.max(1.0).round_ties_even())?).ok()
}
