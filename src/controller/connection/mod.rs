//! Connections: from an object and its Secrets to a client, and from what CMDB answers to their status.

pub mod authority;
pub mod build;
pub mod cache;
pub mod client_builder;
pub mod entry;
pub mod grants;
pub mod last_answer;
pub mod lookup;
pub mod name;
pub mod reconcile;
pub mod secrets;
pub mod set_connection;
pub mod status;
pub mod steadiness;
