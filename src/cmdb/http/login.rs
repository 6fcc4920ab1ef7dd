//! Who we are to one CMDB: what belongs to one set of credentials, and is exchanged with them.

use std::sync::Arc;

use parking_lot::RwLock;

use crate::cmdb::Credentials;
use crate::cmdb::limits::limiter::Member;

/// What is sent with, and as whom.
pub struct Login {
    /// The connections; they carry our certificate, if we have one.
    pub http: reqwest::Client,
    /// Whether they do.
    pub has_certificate: bool,
    /// Who we are.
    pub credentials: Credentials,
    /// Our share in the limiter of the endpoint.
    pub member: Member,
}

/// The login of a client, which may be exchanged under way.
pub struct CurrentLogin {
    login: RwLock<Arc<Login>>,
}

impl CurrentLogin {
    /// Begins with this one.
    pub fn new(login: Login) -> Self {
        Self { login: RwLock::new(Arc::new(login)) }
    }

    /// The present one.
    pub fn get(&self) -> Arc<Login> {
        Arc::clone(&self.login.read())
    }

    /// From now on this one.
    pub fn set(&self, login: Arc<Login>) {
        *self.login.write() = login;
    }
}
