//! Credentials: how each transport checks application and user.

use serde_json::Value;

use crate::access::refusal::{Refusal, code};
use crate::calls::decode::Object;
use crate::http::headers::Headers;
use crate::model::state::Account;

/// Keys whose value is a token of a user who has logged in.
const ESB_TOKENS: &[&str] = &["bk_token", "bk_access_token", "access_token"];
const GATEWAY_TOKENS: &[&str] = &["bk_token", "bk_ticket", "access_token"];

/// The user behind every token.
const TOKEN_USER: &str = "admin";

/// The supplier account of a caller that names none.
const SUPPLIER_ACCOUNT: &str = "0";

/// The headers that name the user of the apiserver, the newer one first.
pub(crate) const USER: &[&str] = &["x-bkcmdb-user", "bk_user"];

/// The header with credentials as JSON.
pub(crate) const AUTHORIZATION: &str = "x-bkapi-authorization";

/// User and supplier account of a call.
pub(crate) struct Caller {
    pub user: String,
    pub supplier_account: String,
}

/// The application's secret among credentials.
pub(crate) fn secret(source: &Object) -> Option<&str> {
    first(source, &["bk_app_secret", "app_secret"]).or_else(|| first(source, &["bk_access_token", "access_token"]))
}

/// The credentials of an authorisation header.
pub(crate) fn authorization(header: Option<&str>) -> Option<Object> {
    serde_json::from_str(header?).ok()
}

/// The ESB's check of a caller: an authorisation header takes the place of the body's credentials.
pub(crate) fn esb(accounts: &[Account], authorization: Option<&Object>, body: &Object) -> Result<Caller, Refusal> {
    let source = authorization.unwrap_or(body);
    let Some(app_code) = app_code(source) else {
        return Err(Refusal::esb("APP Code [bk_app_code] cannot be empty"));
    };
    let Some(app_secret) = app_secret(source) else {
        return Err(Refusal::esb("APP Secret [bk_app_secret] cannot be empty"));
    };

    match look_up(accounts, app_code, app_secret) {
        Match::Right => {}
        Match::UnknownApp => {
            return Err(Refusal::esb(&format!(
                "Invalid APP Code [bk_app_code={app_code}], please confirm if the APP Code has been registered"
            )));
        }
        // The misspelt word is the server's.
        Match::WrongSecret => {
            return Err(Refusal::esb(&format!(
                "APP Secret verification failed, pelase confirm if the APP Secret and APP Code \
                 [bk_app_code={app_code}] match"
            )));
        }
    }

    let Some(user) = user(source, ESB_TOKENS) else {
        return Err(Refusal::esb(
            "User authentication failed, please provide a valid user identity, such as bk_username, bk_token, \
             access_token",
        ));
    };

    Ok(Caller {
        user: user.to_owned(),
        supplier_account: first(body, &["bk_supplier_account"]).unwrap_or(SUPPLIER_ACCOUNT).to_owned(),
    })
}

/// The gateway's check of a caller, who has no credentials without a header, and CMDB's check of the user that the
/// gateway vouches for.
pub(crate) fn gateway(
    accounts: &[Account],
    authorization: Option<&Object>,
    headers: &Headers,
) -> Result<Caller, Refusal> {
    let none = Object::new();
    let source = match authorization {
        Some(authorization) => authorization,
        None if headers.get(AUTHORIZATION).is_none() => &none,
        None => return Err(Refusal::gateway("request header X-Bkapi-Authorization is not a valid JSON")),
    };
    let Some(app_code) = app_code(source) else { return Err(Refusal::gateway("app code cannot be empty")) };
    let Some(app_secret) = app_secret(source) else {
        return Err(Refusal::gateway("please provide bk_app_secret or bk_signature to verify app"));
    };

    match look_up(accounts, app_code, app_secret) {
        Match::Right => {}
        Match::UnknownApp => return Err(Refusal::gateway("app not found")),
        Match::WrongSecret => return Err(Refusal::gateway("bk_app_code or bk_app_secret is incorrect")),
    }

    // The gateway accepts a call without a user; CMDB does not.
    let Some(user) = user(source, GATEWAY_TOKENS) else {
        return Err(Refusal::new(code::UNKNOWN, &["user is not set"]));
    };
    Ok(Caller { user: user.to_owned(), supplier_account: SUPPLIER_ACCOUNT.to_owned() })
}

/// The apiserver's check of a caller that it trusts: headers of either family name the user.
pub(crate) fn trusted(headers: &Headers) -> Result<Caller, Refusal> {
    let supplier = ["x-bkcmdb-supplier-account", "http_bk_supplier_account", "http_blueking_supplier_id"];
    let Some(supplier_account) = headers.first(&supplier) else {
        return Err(Refusal::new(code::NOT_AUTHORIZED, &["owner_id"]));
    };
    let Some(user) = headers.first(USER) else {
        return Err(Refusal::new(code::NOT_AUTHORIZED, &["user"]));
    };
    Ok(Caller { user: user.to_owned(), supplier_account: supplier_account.to_owned() })
}

enum Match {
    Right,
    UnknownApp,
    WrongSecret,
}

fn look_up(accounts: &[Account], app_code: &str, app_secret: &str) -> Match {
    let mut known = accounts.iter().filter(|account| account.app_code == app_code);
    if accounts.is_empty() || known.clone().any(|account| account.app_secret == app_secret) {
        Match::Right
    } else if known.next().is_some() {
        Match::WrongSecret
    } else {
        Match::UnknownApp
    }
}

/// The application among credentials.
pub(crate) fn app_code(source: &Object) -> Option<&str> {
    first(source, &["bk_app_code", "app_code"])
}

fn app_secret(source: &Object) -> Option<&str> {
    first(source, &["bk_app_secret", "app_secret"])
}

fn user<'a>(source: &'a Object, tokens: &[&str]) -> Option<&'a str> {
    first(source, &["bk_username", "username"]).or_else(|| first(source, tokens).map(|_| TOKEN_USER))
}

fn first<'a>(object: &'a Object, keys: &[&str]) -> Option<&'a str> {
    keys.iter().find_map(|key| object.get(*key).and_then(Value::as_str).filter(|text| !text.is_empty()))
}
