//! Reading CMDB: the service template of a set and its process templates, from lists that sets share.

pub mod absences;
pub mod observe;
pub mod read_request;
pub mod service_template;
pub mod snapshot_cache;
