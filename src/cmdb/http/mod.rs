//! One call over HTTP: transports, credentials, TLS, and what a reply may contain.

pub mod credentials;
pub mod login;
pub mod proxy;
pub mod redact;
pub mod responder;
pub mod sender;
pub mod tls_error;
pub mod transport;
pub mod url_policy;
pub mod version;
