//! The operator against a real control plane and simulated CMDBs. The tests share one control plane and run at a time:
//! `test_support` has the rules.
#![allow(clippy::unwrap_used, clippy::panic, clippy::float_cmp, reason = "a failed step fails the test")]

mod audit;
mod conditions;
mod control_plane;
mod deletion;
mod doctor;
mod errors;
mod fence;
mod foreign_status;
mod golden;
mod history;
mod hostile;
mod judges;
mod kubectl;
mod leader;
mod life;
mod limits;
mod metrics;
mod namespaces;
mod plan_equals;
mod reconcile;
mod rights;
mod rotation;
mod secrets;
mod server_version;
mod side_by_side;
mod tasks;
#[cfg(feature = "otel")]
mod traces;
mod verdicts;
