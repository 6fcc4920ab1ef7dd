//! Who calls: the ESB's look at application and user.

use serde_json::{Map, Value};

use super::decode::Object;
use super::refusal::Refusal;
use super::state::Account;

/// Body keys whose values nobody may read in a log.
pub(super) const SECRETS: &[&str] = &["bk_app_secret", "app_secret", "bk_token", "bk_access_token", "access_token"];

/// Who makes a call.
pub(super) struct Caller {
    pub user: String,
    pub supplier_account: String,
}

/// The application's secret, wherever it was given.
pub(super) fn secret<'a>(authorization: Option<&'a Object>, body: &'a Object) -> Option<&'a str> {
    let source = authorization.unwrap_or(body);
    first(source, &["bk_app_secret", "app_secret"]).or_else(|| first(source, &["bk_access_token", "access_token"]))
}

/// An authorisation header takes the place of the body's credentials.
pub(super) fn authorization(header: Option<&str>) -> Option<Map<String, Value>> {
    serde_json::from_str(header?).ok()
}

pub(super) fn authenticate(
    accounts: &[Account],
    authorization: Option<&Object>,
    body: &Object,
) -> Result<Caller, Refusal> {
    let source = authorization.unwrap_or(body);
    let Some(app_code) = first(source, &["bk_app_code", "app_code"]) else {
        return Err(Refusal::esb("APP Code [bk_app_code] cannot be empty"));
    };
    let Some(app_secret) = first(source, &["bk_app_secret", "app_secret"]) else {
        return Err(Refusal::esb("APP Secret [bk_app_secret] cannot be empty"));
    };
    if !accounts.is_empty() {
        let mut known = accounts.iter().filter(|account| account.app_code == app_code).peekable();
        if known.peek().is_none() {
            return Err(Refusal::esb(&format!(
                "Invalid APP Code [bk_app_code={app_code}], please confirm if the APP Code has been registered"
            )));
        }
        if !known.any(|account| account.app_secret == app_secret) {
            // The misspelt word is the server's.
            return Err(Refusal::esb(&format!(
                "APP Secret verification failed, pelase confirm if the APP Secret and APP Code \
                 [bk_app_code={app_code}] match"
            )));
        }
    }
    let token = || first(source, &["bk_token", "bk_access_token", "access_token"]).map(|_| "admin");
    let Some(user) = first(source, &["bk_username", "username"]).or_else(token) else {
        return Err(Refusal::esb(
            "User authentication failed, please provide a valid user identity, such as bk_username, bk_token, \
             access_token",
        ));
    };
    Ok(Caller {
        user: user.to_owned(),
        supplier_account: first(body, &["bk_supplier_account"]).unwrap_or("0").to_owned(),
    })
}

fn first<'a>(object: &'a Object, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key).and_then(Value::as_str).filter(|text| !text.is_empty()))
}
