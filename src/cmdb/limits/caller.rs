//! The caller of a client: clients with the same URL and caller share a limiter.

use secrecy::ExposeSecret;
use sha2::{Digest, Sha256};

use crate::cmdb::{Credentials, UserCredential};

/// A caller: a digest of application, user, secrets and trusted certificates.
///
/// All of them count, so that a connection that only names an application without knowing its secret, or that cannot
/// reach the endpoint for lack of a CA certificate, neither slows down nor stops the calls of those that can.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Caller([u8; 32]);

impl Caller {
    /// The caller with these credentials and trusted certificates.
    pub fn of(credentials: &Credentials, ca_bundle: Option<&str>) -> Self {
        let Credentials { app_code, app_secret, user } = credentials;
        let (kind, user) = match user {
            UserCredential::Username(name) => ("name", name.as_str()),
            UserCredential::Token(token) => ("token", token.expose_secret()),
            UserCredential::AccessToken(token) => ("access token", token.expose_secret()),
        };

        let mut digest = Sha256::new();
        for part in [app_code, app_secret.expose_secret(), kind, user, ca_bundle.unwrap_or_default()] {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        Self(digest.finalize().into())
    }
}
