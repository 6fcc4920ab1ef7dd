//! The login of a client: all that belongs to one set of credentials, and is replaced with them.

use std::sync::Arc;

use parking_lot::RwLock;

use super::http_client::HttpClient;
use crate::cmdb::Credentials;
use crate::cmdb::limits::limiter::LimiterHandle;

/// The credentials of a client, and what depends on them.
pub struct Login {
    /// The HTTP client, with the client certificate if there is one.
    pub http: HttpClient,
    /// Whether there is a client certificate.
    pub has_certificate: bool,
    /// The application and the user that calls are made as.
    pub credentials: Credentials,
    /// The limiter of the endpoint for this caller.
    pub limiter: LimiterHandle,
}

/// The present login of a client. Calls in flight keep the login that they were sent with.
pub struct CurrentLogin {
    login: RwLock<Arc<Login>>,
}

impl CurrentLogin {
    /// Starts with this login.
    pub fn new(login: Login) -> Self {
        Self { login: RwLock::new(Arc::new(login)) }
    }

    /// The present login.
    pub fn get(&self) -> Arc<Login> {
        Arc::clone(&self.login.read())
    }

    /// Replaces the login.
    pub fn set(&self, login: Arc<Login>) {
        *self.login.write() = login;
    }
}
