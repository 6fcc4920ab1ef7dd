//! What tests set and read: faults, quotas and records of requests.

pub(crate) mod effect;
pub(crate) mod fault;
pub(crate) mod quota;
pub(crate) mod record;
