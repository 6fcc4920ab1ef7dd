//! Floor 2: the CMDB client. Typed calls, one way to send, one table that gives errors their meanings. Knows neither
//! Kubernetes nor plans.

mod classify;
mod client;
mod credentials;
mod error;
mod gate;
mod operation;
mod transport;
mod wire;

pub use client::{Client, Config};
pub use credentials::{Credentials, UserCredential};
pub use error::{Disposition, Error, Reply, WriteOutcome};
pub use gate::Lane;
pub use operation::{Observer, Operation};
pub use wire::{ProcessTemplate, Properties, Property, ServiceCategory, ServiceTemplate};
