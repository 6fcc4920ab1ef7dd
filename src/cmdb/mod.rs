//! Floor 2: the CMDB client. Typed calls, the transports that send them, rate limits, and one table of what errors
//! mean. It knows neither Kubernetes nor plans.
//!
//! What arrives here was written by others. Nothing of it can panic: numbers come from [`outside`](crate::outside),
//! arithmetic saturates, and nothing is indexed.
#![cfg_attr(
    not(test),
    deny(clippy::arithmetic_side_effects, clippy::indexing_slicing, clippy::string_slice, clippy::integer_division)
)]

mod audit;
mod classify;
mod client;
mod config;
mod error;
mod error_class;
mod evidence;
mod granted_client;
mod grants;
#[cfg(test)]
pub(crate) mod hostile;
mod http;
mod intake;
mod kept;
mod limits;
mod operation;
mod rejected;
mod reply;
mod whole_list;
mod wire;
mod write_gate;

pub use audit::Behalf;
pub use classify::{is_out_of_reach, is_timeout};
pub use client::Client;
pub use config::{Config, Tls};
pub use error::{Error, Refusal};
pub use error_class::{Disposition, ErrorClass, WriteOutcome};
pub use granted_client::GrantedClient;
pub use grants::{Grants, ServiceTemplateRef, Touched, Unbounded};
pub use http::connect_failure::ConnectFailure;
pub use http::credentials::{Credentials, UserCredential};
pub use http::http_client::normalised_url;
pub use http::proxy::proxy_for;
pub use http::responder::Responder;
pub use http::sender::note_outcome;
pub use http::transport::Transport;
pub use http::url_policy::UrlPolicy;
pub use intake::footprint::Footprint;
pub use intake::list_budget::ListShare;
pub use kept::KeptForm;
pub use limits::client_limits::Limits;
pub use limits::jitter::jitter;
pub use limits::lanes::{LaneMember, Lanes};
pub use limits::limiters::Limiters;
pub use limits::priority::{PollKey, Priority};
pub use limits::readings::LimiterReadings;
pub use limits::wait::SentAt;
pub use operation::{Observer, Operation};
pub use reply::Reply;
pub use wire::{ProcessTemplate, Properties, Property, ServiceCategory, ServiceTemplate};
pub use write_gate::{OpenGate, WriteGate};
