//! Properties in canonical form: values, sockets, comparison, hashes.

pub mod compare;
pub mod hash;
pub mod ports;
pub mod property;
pub mod rows;
pub mod sockets;
pub mod unknown_schema;
