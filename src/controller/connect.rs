//! From a connection's spec and its Secrets to a client.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::Error;
use crate::api::{
    CmdbConnectionSpec, DEFAULT_MAX_CONCURRENT, DEFAULT_REQUESTS_PER_SECOND, DEFAULT_TIMEOUT_SECONDS, LimitsSpec,
    SchemaChoice, TransportChoice,
};
use crate::cmdb::{self, Credentials, Fence, Limiters, Limits, Observer, Tls, Transport, UserCredential};
use crate::engine::Connection;
use crate::plan::ServerSchema;

/// The CMDB that a connection leads to. `key` tells it, with these credentials, from all others.
#[allow(clippy::too_many_arguments, reason = "each of another kind, and all of them needed")]
pub fn connect(
    name: &str,
    spec: &CmdbConnectionSpec,
    credentials: Credentials,
    identity: Option<SecretString>,
    fence: Arc<Fence>,
    limiters: Arc<Limiters>,
    key: String,
    observer: Arc<dyn Observer>,
) -> Result<Connection, Error> {
    let invalid = |error: cmdb::Error| Error::ConnectionInvalid { name: name.to_owned(), reason: error.to_string() };
    let client = cmdb::Client::new(config(spec, credentials, identity, fence, limiters), observer).map_err(invalid)?;
    let schema = match spec.schema {
        None | Some(SchemaChoice::Auto) => ServerSchema::Unknown,
        Some(SchemaChoice::Flat) => ServerSchema::Flat,
        Some(SchemaChoice::BindInfo) => ServerSchema::BindInfo,
    };
    Ok(Connection { key, client, schema })
}

fn config(
    spec: &CmdbConnectionSpec,
    credentials: Credentials,
    identity: Option<SecretString>,
    fence: Arc<Fence>,
    limiters: Arc<Limiters>,
) -> cmdb::Config {
    let timeout = spec.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
    cmdb::Config {
        url: spec.url.clone(),
        transport: transport(spec),
        fence,
        tls: Tls { ca_bundle: spec.tls.as_ref().and_then(|tls| tls.ca_bundle.clone()), identity },
        supplier_account: spec.supplier_account.clone().unwrap_or_else(|| "0".to_owned()),
        credentials,
        timeout: Duration::from_secs(u64::try_from(timeout).unwrap_or_default()),
        limits: limits(spec.limits.as_ref()),
        limiters,
    }
}

fn limits(spec: Option<&LimitsSpec>) -> Limits {
    let rate = spec.and_then(|limits| limits.requests_per_second).unwrap_or(DEFAULT_REQUESTS_PER_SECOND);
    let places = spec.and_then(|limits| limits.max_concurrent).unwrap_or(DEFAULT_MAX_CONCURRENT);
    Limits {
        requests_per_second: u32::try_from(rate).unwrap_or(1),
        max_concurrent: usize::try_from(places).unwrap_or(1),
    }
}

fn transport(spec: &CmdbConnectionSpec) -> Transport {
    match spec.transport {
        None | Some(TransportChoice::Esb) => Transport::Esb,
        Some(TransportChoice::Gateway) => Transport::Gateway,
        Some(TransportChoice::Direct) => Transport::Direct,
    }
}

/// The credentials that a connection's Secret holds.
pub fn secret_credentials(spec: &CmdbConnectionSpec, secret: &Secret) -> Result<Credentials, Error> {
    let name = &spec.credentials_secret_ref.name;
    let missing = |missing| Error::CredentialsIncomplete { secret: name.clone(), missing };
    read_credentials(spec, |key| text(secret, key)).map_err(missing)
}

/// The client certificate and key that a Secret holds, one after the other.
pub fn secret_identity(name: &str, secret: &Secret) -> Result<SecretString, Error> {
    let read = |key| text(secret, key).ok_or(Error::CredentialsIncomplete { secret: name.to_owned(), missing: key });
    Ok(SecretString::from(format!("{}\n{}", read("tls.crt")?, read("tls.key")?)))
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    Some(std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?.to_owned())
}

/// Credentials by the keys of a Secret, as the connection's transport needs them; or what is missing.
pub fn read_credentials(
    spec: &CmdbConnectionSpec,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, &'static str> {
    let read = |key: &str| {
        // A trailing line break comes from the editor.
        let text = read(key)?.trim_end_matches(['\r', '\n']).to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let name = read("bk_username").map(UserCredential::Username);
    if transport(spec) == Transport::Direct {
        let user = name.ok_or("bk_username")?;
        return Ok(Credentials { app_code: String::new(), app_secret: SecretString::default(), user });
    }
    let user = name
        .or_else(|| read("bk_token").map(|token| UserCredential::Token(SecretString::from(token))))
        .or_else(|| read("access_token").map(|token| UserCredential::AccessToken(SecretString::from(token))));
    Ok(Credentials {
        app_code: read("bk_app_code").ok_or("bk_app_code")?,
        app_secret: SecretString::from(read("bk_app_secret").ok_or("bk_app_secret")?),
        user: user.ok_or("all of bk_username, bk_token and access_token")?,
    })
}
