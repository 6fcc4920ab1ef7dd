//! Whose credentials were rejected, as far as a code or the text of an answer tells. The texts are those of the legacy ESB and of
//! the API gateway.

use super::reply::Reply;

const ESB_APP_TEXTS: &[&str] = &["APP Secret verification failed", "Invalid APP Code"];

const GATEWAY_APP_TEXT: &str = "bk_app_code or bk_app_secret is incorrect";

const ESB_USER_TEXT: &str = "User authentication failed";

/// Whose credentials a server in front of CMDB rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejected {
    /// The application's: its code or its secret.
    App,
    /// The user's, by the ESB. It takes a `bk_username` without a login only from applications on a list of its own.
    EsbUser,
    /// The user's, by the gateway.
    GatewayUser,
}

/// Whose credentials were rejected, where the answer tells.
pub fn rejected(reply: &Reply) -> Option<Rejected> {
    match reply.code? {
        1_306_000 if ESB_APP_TEXTS.iter().any(|start| reply.message.starts_with(start)) => Some(Rejected::App),
        1_306_000 if reply.message.starts_with(ESB_USER_TEXT) => Some(Rejected::EsbUser),
        1_640_001 if reply.message.contains(GATEWAY_APP_TEXT) => Some(Rejected::App),
        1_640_100 | 1_640_101 => Some(Rejected::App),
        1_640_102 => Some(Rejected::GatewayUser),
        _ => None,
    }
}
