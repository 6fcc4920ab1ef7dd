//! The wire: requests, replies, TLS, and the routes under `/sim`.

pub(crate) mod admin;
pub(crate) mod connection;
pub(crate) mod envelope;
pub(crate) mod gateway;
pub(crate) mod headers;
pub(crate) mod outage;
pub(crate) mod reply;
pub(crate) mod request;
pub(crate) mod server;
pub(crate) mod tls;
pub(crate) mod transport;
