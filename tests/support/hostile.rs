//! A CMDB and a tenant that try to harm the other tenants of the same operator.
//!
//! [`behaviours`] is the table: how the CMDB answers each request, and which objects the tenant has. `make hostile` runs
//! all of it; a test of the binary `operator` runs the worst of it.

mod behaviours;
mod bodies;
mod cmdb;
mod objects;
mod script;
mod tenant;

pub use behaviours::{Behaviour, behaviour, behaviours};
pub use cmdb::{Cmdb, Ports};
pub use tenant::{Released, Tenant};
