//! From what a connection says and its Secrets to a client.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use crate::api::{
    ClusterCmdbConnectionSpec, CmdbConnectionSpec, DEFAULT_MAX_CONCURRENT, DEFAULT_REQUESTS_PER_SECOND,
    DEFAULT_TIMEOUT_SECONDS, EndpointSpec, LimitsSpec, SchemaChoice, SecretRef, TransportChoice,
};
use crate::cmdb;
use crate::cmdb::{Credentials, Limiters, Limits, Observer, Tls, Transport, UrlPolicy, UserCredential, WriteGate};
use crate::controller::error::Error;
use crate::engine::BareConnection;
use crate::outside;
use crate::plan::ServerSchema;

/// What a connection of either kind says.
#[derive(Clone, Debug, PartialEq)]
pub struct Description {
    /// Its namespace; the URL where all namespaces may use it. No namespace looks like a URL.
    pub owner: String,
    /// The CMDB, and how it is to be spoken to.
    pub endpoint: EndpointSpec,
    /// Certificates in PEM that are trusted; None: those of the system.
    pub ca_bundle: Option<String>,
    /// The Secret with the credentials.
    pub credentials: SecretRef,
    /// The Secret with our certificate and its key.
    pub certificate: Option<SecretRef>,
}

/// What bounds a connection, whatever it says.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Where it may lead.
    pub url_policy: Arc<UrlPolicy>,
    /// What it shares with others that lead there.
    pub limiters: Arc<Limiters>,
    /// Checked just before each write is sent.
    pub write_gate: Arc<dyn WriteGate>,
}

impl Description {
    /// What a connection of this namespace says.
    pub fn of(namespace: &str, spec: &CmdbConnectionSpec) -> Self {
        let secret = |name: &String| SecretRef { namespace: namespace.to_owned(), name: name.clone() };
        let tls = spec.tls.as_ref();
        let certificate = tls.and_then(|tls| tls.client_certificate_secret_ref.as_ref());
        Self {
            owner: namespace.to_owned(),
            endpoint: spec.endpoint.clone(),
            ca_bundle: tls.and_then(|tls| tls.ca_bundle.clone()),
            credentials: secret(&spec.credentials_secret_ref.name),
            certificate: certificate.map(|reference| secret(&reference.name)),
        }
    }

    /// What a connection of the cluster says.
    pub fn of_cluster(spec: &ClusterCmdbConnectionSpec) -> Self {
        let tls = spec.tls.as_ref();
        Self {
            owner: spec.endpoint.url.clone(),
            endpoint: spec.endpoint.clone(),
            ca_bundle: tls.and_then(|tls| tls.ca_bundle.clone()),
            credentials: spec.credentials_secret_ref.clone(),
            certificate: tls.and_then(|tls| tls.client_certificate_secret_ref.clone()),
        }
    }

    /// The CMDB that it leads to. `key` tells it, with these credentials, from all others.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub fn connect(
        &self,
        credentials: Credentials,
        identity: Option<SecretString>,
        bounds: Bounds,
        key: String,
        observer: Arc<dyn Observer>,
    ) -> Result<BareConnection, String> {
        let client = cmdb::Client::new(self.config(credentials, identity, bounds), observer);
        let schema = match self.endpoint.schema {
            None | Some(SchemaChoice::Auto) => ServerSchema::Unknown,
            Some(SchemaChoice::Flat) => ServerSchema::Flat,
            Some(SchemaChoice::BindInfo) => ServerSchema::BindInfo,
        };
        let reason = |error| match error {
            cmdb::Error::Configuration { message } => message,
            error => error.to_string(),
        };
        Ok(BareConnection { key, client: client.map_err(reason)?, schema })
    }

    fn config(&self, credentials: Credentials, identity: Option<SecretString>, bounds: Bounds) -> cmdb::Config {
        let endpoint = &self.endpoint;
        let timeout = endpoint.timeout_seconds.unwrap_or(DEFAULT_TIMEOUT_SECONDS);
        cmdb::Config {
            owner: self.owner.clone(),
            url: endpoint.url.clone(),
            transport: transport(endpoint),
            url_policy: bounds.url_policy,
            tls: Tls { ca_bundle: self.ca_bundle.clone(), identity },
            supplier_account: endpoint.supplier_account.clone().unwrap_or_else(|| "0".to_owned()),
            credentials,
            timeout: outside::call_timeout(timeout.into()),
            limits: limits(endpoint.limits.as_ref()),
            limiters: bounds.limiters,
            write_gate: bounds.write_gate,
        }
    }

    /// The credentials that its Secret holds.
    pub fn read_credentials(&self, secret: &Secret) -> Result<Credentials, Error> {
        let missing = |missing| Error::CredentialsIncomplete { secret: self.credentials.name.clone(), missing };
        read_credentials(&self.endpoint, |key| text(secret, key)).map_err(missing)
    }
}

fn limits(spec: Option<&LimitsSpec>) -> Limits {
    let rate = spec.and_then(|limits| limits.requests_per_second).unwrap_or(DEFAULT_REQUESTS_PER_SECOND);
    let places = spec.and_then(|limits| limits.max_concurrent).unwrap_or(DEFAULT_MAX_CONCURRENT);
    Limits {
        requests_per_second: outside::calls_per_second(rate.into()),
        max_concurrent: outside::calls_in_flight(places.into()),
    }
}

fn transport(endpoint: &EndpointSpec) -> Transport {
    match endpoint.transport {
        None | Some(TransportChoice::Esb) => Transport::Esb,
        Some(TransportChoice::Gateway) => Transport::Gateway,
        Some(TransportChoice::Direct) => Transport::Direct,
    }
}

/// The client certificate and key that a Secret holds, one after the other.
pub fn read_identity(name: &str, secret: &Secret) -> Result<SecretString, Error> {
    let read = |key| text(secret, key).ok_or(Error::CredentialsIncomplete { secret: name.to_owned(), missing: key });
    Ok(SecretString::from(format!("{}\n{}", read("tls.crt")?, read("tls.key")?)))
}

fn text(secret: &Secret, key: &str) -> Option<String> {
    Some(std::str::from_utf8(&secret.data.as_ref()?.get(key)?.0).ok()?.to_owned())
}

/// Credentials by the keys of a Secret, as the transport needs them; or what is missing.
pub fn read_credentials(
    endpoint: &EndpointSpec,
    read: impl Fn(&str) -> Option<String>,
) -> Result<Credentials, &'static str> {
    let read = |key: &str| {
        // A trailing line break comes from the editor.
        let text = read(key)?.trim_end_matches(['\r', '\n']).to_owned();
        Some(text).filter(|text| !text.is_empty())
    };
    let name = read("bk_username").map(UserCredential::Username);
    if transport(endpoint) == Transport::Direct {
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
