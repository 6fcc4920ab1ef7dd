//! How a simulator is started.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::http::tls::Tls;
use crate::model::schema::Schema;

/// What [`Simulator::start`](crate::Simulator::start) needs to know.
#[derive(Clone, Debug)]
pub struct Options {
    /// Address to listen on; port 0 picks a free one.
    pub listen: SocketAddr,
    /// What the port needs to speak HTTPS instead of HTTP.
    pub tls: Option<Tls>,
    /// Schema of a fresh state; a state file brings its own.
    pub schema: Schema,
    /// Loaded at the start when it exists, rewritten after every change.
    pub state_file: Option<PathBuf>,
    /// One JSON line per finished request is appended here.
    pub request_log: Option<PathBuf>,
    /// How many requests are recorded; the oldest are dropped first.
    pub request_limit: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            tls: None,
            schema: Schema::default(),
            state_file: None,
            request_log: None,
            request_limit: 100_000,
        }
    }
}
