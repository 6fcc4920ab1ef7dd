//! The examination of one connection: step by step, as far as it makes sense.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::advice::{Way, trouble};
use super::failed_step::stage;
use super::step::{Name, Step, Steps, Trouble};
use super::target::{Evidence, Found, Subject};
use super::{grants, lists};
use crate::api::{SecretRef, TransportChoice};
use crate::cli::connect::{Silent, from_environment};
use crate::cmdb;
use crate::cmdb::{Credentials, Responder, Transport, UrlPolicy, UserCredential, proxy_for};
use crate::controller;
use crate::controller::{Bounds, ConnectionName, Description, read_identity};
use crate::engine::Connection;

/// What is asked beyond the connection itself.
#[derive(Clone, Debug)]
pub struct Question {
    /// The namespace whose grants are looked at.
    pub namespace: Option<String>,
    /// The business whose templates are listed.
    pub biz_id: Option<i64>,
    /// The service template whose process templates are listed.
    pub service_template: Option<String>,
}

// Who we are to CMDB.
struct Keys {
    credentials: Credentials,
    identity: Option<SecretString>,
}

/// Takes every step that makes sense.
pub async fn examine(subject: &Subject, evidence: &Evidence, question: &Question) -> Vec<Step> {
    let mut steps = Steps::default();
    let is_shared = subject.name.as_ref().is_some_and(ConnectionName::is_shared);
    match &subject.found {
        Ok(found) => {
            steps.ok(Name::Connection, found.place.clone());
            if is_shared {
                let namespace = question.namespace.as_deref();
                grants::judge(&found.grants, evidence, namespace, question.biz_id, &mut steps);
            }
            walk(subject, found, evidence, question, &mut steps).await;
        }
        Err(trouble) => steps.failed(Name::Connection, trouble.clone()),
    }
    steps.finish(is_shared)
}

async fn walk(subject: &Subject, found: &Found, evidence: &Evidence, question: &Question, steps: &mut Steps) {
    let description = &found.description;
    let keys = match keys(subject, description, evidence) {
        Ok((keys, fact)) => {
            steps.ok(Name::Secrets, fact);
            keys
        }
        Err(trouble) => return steps.failed(Name::Secrets, trouble),
    };
    if let Err(trouble) = url(subject, description, &keys.credentials, steps) {
        return steps.failed(Name::Url, trouble);
    }
    let user = user(&keys.credentials);
    let connection = match connect(description, keys, UrlPolicy::none()) {
        Ok(connection) => connection,
        Err(reason) => {
            return steps.failed(Name::Tls, Trouble::new(reason, "Correct spec.tls, or the Secret that it names."));
        }
    };
    let client = &connection.client;
    let way = Way {
        transport: client.transport(),
        is_secure: client.url().starts_with("https:"),
        has_ca_bundle: description.ca_bundle.is_some(),
        has_certificate: description.certificate.is_some(),
        proxy: proxy_for(client.url()),
    };
    let biz_id = question.biz_id.or_else(|| found.grants.first()?.biz_ids.first().copied());
    let tried = client.try_once(biz_id.unwrap_or_default()).await;
    if go(tried.as_ref().err(), &way, &user, steps) {
        lists::judge(&connection, &way, biz_id, question.service_template.as_deref(), steps).await;
    }
}

fn keys(subject: &Subject, description: &Description, evidence: &Evidence) -> Result<(Keys, String), Trouble> {
    let Some(name) = &subject.name else {
        let credentials = from_environment(&description.endpoint)
            .map_err(|error| Trouble::new(error.to_string(), "Set it; it is a key of the Secret, as a variable."))?;
        return Ok((Keys { credentials, identity: None }, "credentials from the environment".to_owned()));
    };
    let secret = secret(name, &description.credentials, evidence)?;
    let credentials = description.read_credentials(secret).map_err(|error| lacking(&error, secret, description))?;
    let mut fact = format!("{:?} has {}", description.credentials.name, used(description, &credentials));
    let identity = match &description.certificate {
        Some(reference) => {
            let secret = self::secret(name, reference, evidence)?;
            let identity = read_identity(&reference.name, secret).map_err(|error| {
                let advice = format!("It needs tls.crt and tls.key; it has {}.", keys_of(secret));
                Trouble::new(error.to_string(), advice)
            })?;
            let _ = write!(fact, ", {:?} has tls.crt, tls.key", reference.name);
            Some(identity)
        }
        None => None,
    };
    Ok((Keys { credentials, identity }, fact))
}

fn secret<'a>(name: &ConnectionName, reference: &SecretRef, evidence: &'a Evidence) -> Result<&'a Secret, Trouble> {
    match evidence.secrets.get(&(reference.namespace.clone(), reference.name.clone())) {
        Some(Ok(secret)) => Ok(secret),
        Some(Err(trouble)) => Err(trouble.clone()),
        None => {
            let missing = controller::Error::SecretMissing { connection: name.clone(), secret: reference.clone() };
            let fact = format!(
                "Secret {:?} of namespace {:?} is not in {}",
                reference.name, reference.namespace, evidence.source
            );
            Err(Trouble::new(fact, missing.advice()))
        }
    }
}

// Names of keys, and never a value.
fn keys_of(secret: &Secret) -> String {
    let keys: Vec<&str> = secret.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

fn lacking(error: &controller::Error, secret: &Secret, description: &Description) -> Trouble {
    let advice = match description.endpoint.transport {
        Some(TransportChoice::Direct) => "With transport Direct it needs bk_username.",
        None | Some(TransportChoice::Esb | TransportChoice::Gateway) => error.advice(),
    };
    Trouble::new(error.to_string(), format!("{advice} It has {}; one without a value does not count.", keys_of(secret)))
}

fn used(description: &Description, credentials: &Credentials) -> String {
    let user = match &credentials.user {
        UserCredential::Username(_) => "bk_username",
        UserCredential::Token(_) => "bk_token",
        UserCredential::AccessToken(_) => "access_token",
    };
    match description.endpoint.transport {
        Some(TransportChoice::Direct) => user.to_owned(),
        None | Some(TransportChoice::Esb | TransportChoice::Gateway) => format!("bk_app_code, bk_app_secret, {user}"),
    }
}

fn user(credentials: &Credentials) -> String {
    match &credentials.user {
        UserCredential::Username(name) => format!("as user {name:?}"),
        UserCredential::Token(_) | UserCredential::AccessToken(_) => "as the user of the token".to_owned(),
    }
}

// The URL alone: without what else may keep a client from being made.
fn url(
    subject: &Subject,
    description: &Description,
    credentials: &Credentials,
    steps: &mut Steps,
) -> Result<(), Trouble> {
    let keys = || Keys { credentials: credentials.clone(), identity: None };
    let alone = Description { ca_bundle: None, ..description.clone() };
    let connection = connect(&alone, keys(), UrlPolicy::none())
        .map_err(|reason| Trouble::new(reason, "Correct spec.url, as in https://bkapi.example.com."))?;
    let closed = UrlPolicy::around(&[], Vec::new()).unwrap_or_default();
    let hint = match &subject.name {
        None => String::new(),
        Some(name) => {
            let fence = if name.is_shared() { closed.for_any_url() } else { closed };
            let refused = connect(&alone, keys(), fence).err();
            refused.map_or_else(String::new, |reason| {
                format!("The operator, unless its options allow it, says: {reason}.")
            })
        }
    };
    steps.ok_with(Name::Url, connection.client.url(), hint);
    Ok(())
}

fn connect(description: &Description, keys: Keys, fence: UrlPolicy) -> Result<Connection, String> {
    let bounds = Bounds { url_policy: Arc::new(fence), limiters: Arc::default() };
    description.connect(keys.credentials, keys.identity, bounds, String::new(), Arc::new(Silent))
}

// Tells how far the first call came; whether there is more to ask.
fn go(error: Option<&cmdb::Error>, way: &Way, user: &str, steps: &mut Steps) -> bool {
    let failed_at = error.and_then(stage);
    for name in [Name::Network, Name::Tls, Name::Cmdb, Name::Credentials, Name::Permission] {
        if let Some(error) = error.filter(|_| failed_at == Some(name)) {
            steps.failed(name, trouble(error, way));
            return false;
        }
        match name {
            Name::Network => steps.ok(name, reached(way)),
            Name::Tls if !way.is_secure => steps.skipped(name, "the URL is plain http"),
            Name::Tls => steps.ok(name, "the server's certificate is trusted"),
            Name::Cmdb => steps.ok(name, answers(error, way)),
            Name::Credentials if way.transport == Transport::Direct => {
                steps.ok(name, format!("Direct has none: the server trusts whoever reaches it, {user}"));
            }
            Name::Credentials => steps.ok(name, format!("accepted, {user}")),
            _ => {}
        }
    }
    true
}

fn answers(error: Option<&cmdb::Error>, way: &Way) -> String {
    match error.and_then(cmdb::Error::reply).map(cmdb::Reply::speaker) {
        Some(Responder::Esb) => "an ESB answers".to_owned(),
        Some(Responder::Gateway) => "an API gateway answers".to_owned(),
        _ => format!("a CMDB answers over {}", way.transport.as_str()),
    }
}

fn reached(way: &Way) -> String {
    match &way.proxy {
        Some(proxy) => format!("connected through the proxy {proxy} of the environment"),
        None => "connected, without a proxy".to_owned(),
    }
}
