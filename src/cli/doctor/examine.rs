//! The check of one connection: takes the steps in their order, and stops where the next makes no sense.

use std::fmt::Write as _;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::advice::{Endpoint, problem_of};
use super::failed_step::failed_step;
use super::step::{Problem, Step, StepName, Steps};
use super::target::{LoadedConnection, RelatedObjects, Target};
use super::{grants, lists};
use crate::api::{SecretRef, TransportChoice};
use crate::cli::connect::{NoObserver, from_environment};
use crate::cmdb;
use crate::cmdb::{Credentials, OpenGate, Responder, Transport, UrlPolicy, UserCredential, proxy_for};
use crate::controller;
use crate::controller::{Bounds, ConnectionName, Description, read_identity};
use crate::engine::BareConnection;

/// What to check beyond the connection itself.
#[derive(Clone, Debug)]
pub struct CheckScope {
    /// The namespace whose grants are checked.
    pub namespace: Option<String>,
    /// The business whose templates are listed.
    pub biz_id: Option<i64>,
    /// The service template whose process templates are listed.
    pub service_template: Option<String>,
}

// How the operator authenticates to CMDB: credentials, and a client certificate with its key.
struct Authentication {
    credentials: Credentials,
    identity: Option<SecretString>,
}

/// Checks a connection, and returns every step with its result.
pub async fn examine(target: &Target, related: &RelatedObjects, scope: &CheckScope) -> Vec<Step> {
    let mut steps = Steps::default();
    let is_shared = target.name.as_ref().is_some_and(ConnectionName::is_shared);
    match &target.connection {
        Ok(connection) => {
            steps.ok(StepName::Connection, connection.origin.clone());
            if is_shared {
                let namespace = scope.namespace.as_deref();
                grants::check(&connection.grants, related, namespace, scope.biz_id, &mut steps);
            }
            check_access(target, connection, related, scope, &mut steps).await;
        }
        Err(problem) => steps.failed(StepName::Connection, problem.clone()),
    }
    steps.finish(is_shared)
}

// The steps after the connection itself: from its Secrets to what may be listed in CMDB.
async fn check_access(
    target: &Target,
    loaded: &LoadedConnection,
    related: &RelatedObjects,
    scope: &CheckScope,
    steps: &mut Steps,
) {
    let description = &loaded.description;

    // Secrets.
    let authentication = match read_secrets(target, description, related) {
        Ok((authentication, fact)) => {
            steps.ok(StepName::Secrets, fact);
            authentication
        }
        Err(problem) => return steps.failed(StepName::Secrets, problem),
    };

    // URL, and whether a client can be built.
    if let Err(problem) = check_url(target, description, &authentication.credentials, steps) {
        return steps.failed(StepName::Url, problem);
    }
    let user = user(&authentication.credentials);
    let connection = match connect(description, authentication, UrlPolicy::none()) {
        Ok(connection) => connection,
        Err(reason) => {
            let problem = Problem::new(reason, "Correct spec.tls, or the Secret that it names.");
            return steps.failed(StepName::Tls, problem);
        }
    };

    // The first call: it shows network, TLS, CMDB and credentials.
    let client = &connection.client;
    let endpoint = Endpoint {
        transport: client.transport(),
        is_secure: client.url().starts_with("https:"),
        has_ca_bundle: description.ca_bundle.is_some(),
        has_certificate: description.certificate.is_some(),
        proxy: proxy_for(client.url()),
    };
    let biz_id = scope.biz_id.or_else(|| loaded.grants.first()?.biz_ids.first().copied());
    let first_call = client.try_once(biz_id.unwrap_or_default()).await;

    // What the lists of the business show.
    if add_first_call(first_call.as_ref().err(), &endpoint, &user, steps) {
        lists::check(&connection, &endpoint, biz_id, scope.service_template.as_deref(), steps).await;
    }
}

// What the Secrets or the environment hold, and a fact that names the keys.
fn read_secrets(
    target: &Target,
    description: &Description,
    related: &RelatedObjects,
) -> Result<(Authentication, String), Problem> {
    let Some(name) = &target.name else {
        let credentials = from_environment(&description.endpoint)
            .map_err(|error| Problem::new(error.to_string(), "Set it; it is a key of the Secret, as a variable."))?;
        return Ok((Authentication { credentials, identity: None }, "credentials from the environment".to_owned()));
    };

    let secret = secret(name, &description.credentials, related)?;
    let credentials = description.read_credentials(secret).map_err(|error| missing_key(&error, secret, description))?;
    let mut fact = format!("{:?} has {}", description.credentials.name, used_keys(description, &credentials));

    let identity = match &description.certificate {
        Some(reference) => {
            let secret = self::secret(name, reference, related)?;
            let identity = read_identity(&reference.name, secret).map_err(|error| {
                let advice = format!("It needs tls.crt and tls.key; it has {}.", keys_of(secret));
                Problem::new(error.to_string(), advice)
            })?;
            let _ = write!(fact, ", {:?} has tls.crt, tls.key", reference.name);
            Some(identity)
        }
        None => None,
    };

    Ok((Authentication { credentials, identity }, fact))
}

fn secret<'a>(
    name: &ConnectionName,
    reference: &SecretRef,
    related: &'a RelatedObjects,
) -> Result<&'a Secret, Problem> {
    match related.secrets.get(&(reference.namespace.clone(), reference.name.clone())) {
        Some(Ok(secret)) => Ok(secret),
        Some(Err(problem)) => Err(problem.clone()),
        None => {
            let missing = controller::Error::SecretMissing { connection: name.clone(), secret: reference.clone() };
            let fact = format!(
                "Secret {:?} of namespace {:?} is not in {}",
                reference.name, reference.namespace, related.source
            );
            Err(Problem::new(fact, missing.advice()))
        }
    }
}

// The names of the keys, never a value.
fn keys_of(secret: &Secret) -> String {
    let keys: Vec<&str> = secret.data.iter().flatten().map(|(key, _)| key.as_str()).collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}

fn missing_key(error: &controller::Error, secret: &Secret, description: &Description) -> Problem {
    let advice = match description.endpoint.transport {
        Some(TransportChoice::Direct) => "With transport Direct it needs bk_username.",
        None | Some(TransportChoice::Esb | TransportChoice::Gateway) => error.advice(),
    };
    Problem::new(error.to_string(), format!("{advice} It has {}; one without a value does not count.", keys_of(secret)))
}

fn used_keys(description: &Description, credentials: &Credentials) -> String {
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

// The step URL: builds a client without a CA bundle or certificate, so that only the URL can be the reason of a failure.
fn check_url(
    target: &Target,
    description: &Description,
    credentials: &Credentials,
    steps: &mut Steps,
) -> Result<(), Problem> {
    let authentication = || Authentication { credentials: credentials.clone(), identity: None };
    let without_tls = Description { ca_bundle: None, ..description.clone() };
    let connection = connect(&without_tls, authentication(), UrlPolicy::none())
        .map_err(|reason| Problem::new(reason, "Correct spec.url, as in https://bkapi.example.com."))?;
    let default_policy = UrlPolicy::around(&[], Vec::new()).unwrap_or_default();
    let hint = match &target.name {
        None => String::new(),
        Some(name) => {
            let policy = if name.is_shared() { default_policy.for_any_url() } else { default_policy };
            let refused = connect(&without_tls, authentication(), policy).err();
            refused.map_or_else(String::new, |reason| {
                format!("The operator, unless its options allow it, says: {reason}.")
            })
        }
    };
    steps.ok_with_advice(StepName::Url, connection.client.url(), hint);
    Ok(())
}

fn connect(
    description: &Description,
    authentication: Authentication,
    policy: UrlPolicy,
) -> Result<BareConnection, String> {
    let bounds = Bounds { url_policy: Arc::new(policy), limiters: Arc::default(), write_gate: Arc::new(OpenGate) };
    description.connect(
        authentication.credentials,
        authentication.identity,
        bounds,
        String::new(),
        Arc::new(NoObserver),
    )
}

// Adds the steps that the first call shows. Returns whether the checks can go on.
fn add_first_call(error: Option<&cmdb::Error>, endpoint: &Endpoint, user: &str, steps: &mut Steps) -> bool {
    let failed_at = error.and_then(failed_step);
    for name in [StepName::Network, StepName::Tls, StepName::Cmdb, StepName::Credentials, StepName::Permission] {
        if let Some(error) = error.filter(|_| failed_at == Some(name)) {
            steps.failed(name, problem_of(error, endpoint));
            return false;
        }
        match name {
            StepName::Network => steps.ok(name, reached(endpoint)),
            StepName::Tls if !endpoint.is_secure => steps.skipped(name, "the URL is plain http"),
            StepName::Tls => steps.ok(name, "the server's certificate is trusted"),
            StepName::Cmdb => steps.ok(name, answers(error, endpoint)),
            StepName::Credentials if endpoint.transport == Transport::Direct => {
                steps.ok(name, format!("Direct has none: the server trusts whoever reaches it, {user}"));
            }
            StepName::Credentials => steps.ok(name, format!("accepted, {user}")),
            _ => {}
        }
    }
    true
}

fn answers(error: Option<&cmdb::Error>, endpoint: &Endpoint) -> String {
    match error.and_then(cmdb::Error::reply).map(cmdb::Reply::speaker) {
        Some(Responder::Esb) => "an ESB answers".to_owned(),
        Some(Responder::Gateway) => "an API gateway answers".to_owned(),
        _ => format!("a CMDB answers over {}", endpoint.transport.as_str()),
    }
}

fn reached(endpoint: &Endpoint) -> String {
    match &endpoint.proxy {
        Some(proxy) => format!("connected through the proxy {proxy} of the environment"),
        None => "connected, without a proxy".to_owned(),
    }
}
