//! Floor 4: the controller. From watches to reconciles, from what came of them to status and events.

mod action;
mod connection;
mod context;
mod error;
#[cfg(test)]
pub(crate) mod fuzz;
mod kubernetes;
mod leader;
mod liveness;
mod names;
mod observer;
mod places;
mod reason;
mod run;
mod set;
mod settings;
mod snapshot;
mod tasks;
mod watch;

pub use connection::build::{Bounds, Description, read_credentials, read_identity};
pub use connection::grants::cover;
pub use connection::name::ConnectionName;
pub use error::Error;
pub use leader::election::{Election, Leadership};
pub use leader::lease::Terms;
pub use leader::state::LeadershipState;
pub use liveness::{Liveness, TICK};
pub use observer::{ACTIONS, DRIFT_OUTCOMES, KINDS, Observer};
pub use reason::{Reason, UNJUDGED, outcomes, reasons};
pub use run::run;
pub use set::status::memory::from_status;
pub use settings::{DEFAULT_SHARED_PLACES, SecretAccess, Settings};
pub use snapshot::{ControllerState, StateSource};
pub use tasks::{TaskFailure, TaskResult, Tasks};
pub use watch::readiness_check::{NO_ANSWER, ReadinessCheck};
