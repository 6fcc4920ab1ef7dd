//! The table of behaviours.

mod answers;
mod connections;
mod headers;
mod sizes;
mod tenants;

use super::objects::Objects;
use super::script::{Request, Script};

/// One way to be hostile.
pub struct Behaviour {
    /// Its name: a part of a URL and of a namespace.
    pub name: &'static str,
    /// How the CMDB answers a request.
    pub cmdb: fn(&Request) -> Script,
    /// The objects of the tenant.
    pub objects: Objects,
}

/// Every behaviour, in the order in which they run.
pub fn behaviours() -> impl Iterator<Item = &'static Behaviour> {
    [headers::HEADERS, sizes::SIZES, connections::CONNECTIONS, answers::ANSWERS, tenants::TENANTS].into_iter().flatten()
}

/// The behaviour with this name.
pub fn behaviour(name: &str) -> Option<&'static Behaviour> {
    behaviours().find(|behaviour| behaviour.name == name)
}

const fn behaviour_of(name: &'static str, cmdb: fn(&Request) -> Script, objects: Objects) -> Behaviour {
    Behaviour { name, cmdb, objects }
}
