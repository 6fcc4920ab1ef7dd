//! What is written for people is so: documents, generated files, the chart's values, and what is given to users of others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod argocd_examples;
mod chart_values;
mod documents;
mod generated;
mod security_promises;
