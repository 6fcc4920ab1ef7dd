//! Floor 2: the CMDB client. Typed calls, three ways to send them, one table that gives errors their meanings. Knows neither
//! Kubernetes nor plans.

mod audit;
mod breaker;
mod chance;
mod classify;
mod client;
mod credentials;
mod error;
mod fence;
mod gate;
mod limiter;
mod limits;
mod login;
mod mask;
mod obstacle;
mod operation;
mod pace;
mod proxy;
mod sender;
mod speaker;
mod transport;
mod version;
mod wire;

pub use audit::Behalf;
pub use chance::by_chance;
pub use client::{Client, Config, Tls};
pub use credentials::{Credentials, UserCredential};
pub use error::{Disposition, Error, Reply, WriteOutcome};
pub use fence::Fence;
pub use gate::{Gate, Open};
pub use limiter::{Lane, PollKey};
pub use limits::{LimiterReadings, Limiters, Limits};
pub use obstacle::Obstacle;
pub use operation::{Observer, Operation};
pub use proxy::proxy_for;
pub use sender::note_outcome;
pub use speaker::Speaker;
pub use transport::Transport;
pub use wire::{ProcessTemplate, Properties, Property, ServiceCategory, ServiceTemplate};
