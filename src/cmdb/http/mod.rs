//! One call over HTTP: transports, credentials, TLS, and what may be shown of an answer.

pub mod connect_failure;
pub mod credentials;
pub mod endpoint;
pub mod http_client;
pub mod login;
pub mod network;
pub mod proxy;
pub mod responder;
#[cfg(test)]
pub mod scripted;
pub mod sender;
pub mod transport;
pub mod url_policy;
pub mod version;
