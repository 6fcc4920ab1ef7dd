//! What the simulated CMDB stores, and its rules.

pub(crate) mod bind_info;
pub(crate) mod category;
pub(crate) mod cost;
pub(crate) mod database;
pub(crate) mod field;
pub(crate) mod flat;
pub(crate) mod holds;
pub(crate) mod port;
pub(crate) mod property;
pub(crate) mod schema;
pub(crate) mod state;
