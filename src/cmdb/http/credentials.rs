//! The credentials of an application and its user, and how they are written into calls.

use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};

use crate::cmdb::intake::redact::{self, Message};

/// Credentials of an application and its user. CMDB's own API server knows no applications: code and secret are then
/// empty.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// `bk_app_code`
    pub app_code: String,
    /// `bk_app_secret`
    pub app_secret: SecretString,
    /// The user that the application acts for.
    pub user: UserCredential,
}

/// The user that an application acts for.
#[derive(Clone, Debug)]
pub enum UserCredential {
    /// `bk_username`: for applications on the ESB's white list.
    Username(String),
    /// `bk_token`: a login session.
    Token(SecretString),
    /// `access_token`
    AccessToken(SecretString),
}

impl Credentials {
    // The ESB reads the credentials from the body. It calls the access token `bk_access_token`.
    pub(in crate::cmdb) fn put_into(&self, body: &mut Map<String, Value>) {
        let mut put = |name: &str, value: &str| body.insert(name.to_owned(), value.into());
        put("bk_app_code", &self.app_code);
        put("bk_app_secret", self.app_secret.expose_secret());
        match &self.user {
            UserCredential::Username(name) => put("bk_username", name),
            UserCredential::Token(token) => put("bk_token", token.expose_secret()),
            UserCredential::AccessToken(token) => put("bk_access_token", token.expose_secret()),
        };
    }

    // The gateway reads them from a header, as JSON.
    pub(in crate::cmdb) fn authorization(&self) -> String {
        let (name, value) = match &self.user {
            UserCredential::Username(name) => ("bk_username", name.as_str()),
            UserCredential::Token(token) => ("bk_token", token.expose_secret()),
            UserCredential::AccessToken(token) => ("access_token", token.expose_secret()),
        };
        let (code, secret) = (self.app_code.as_str(), self.app_secret.expose_secret());
        json!({ "bk_app_code": code, "bk_app_secret": secret, name: value }).to_string()
    }

    // The other side may repeat in its texts what was sent.
    pub(in crate::cmdb) fn redacted(&self, text: &Message) -> String {
        let token = match &self.user {
            UserCredential::Username(_) => "",
            UserCredential::Token(token) | UserCredential::AccessToken(token) => token.expose_secret(),
        };
        redact::redacted(text, &[self.app_secret.expose_secret(), token])
    }
}
