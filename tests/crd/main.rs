//! The CRDs: their schemas, which manifests the real API server takes, and what becomes of the operator when they change.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "a failed step fails the test"
)]

mod applied;
mod changes;
mod examples;
mod kustomize;
mod lint;
mod manifests;
mod schema;
