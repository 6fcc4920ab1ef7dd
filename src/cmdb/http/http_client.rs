//! Builds the HTTP client of a configuration.

use std::sync::Arc;
use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Url};
use secrecy::ExposeSecret;

use super::url_policy::PolicyResolver;
use crate::cmdb::{Config, Error, Tls};

/// Longest idle time of a connection. A connection that was idle for longer may be one that a proxy is just closing: a
/// write on it would be lost.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Timeout of connecting. It is no longer than the time between when a leader considers its lease lost and when another
/// may take it, for a lease of the usual 15 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The normalised base URL of a configuration, if it is valid and permitted.
///
/// Scheme and host are in lower case and the default port is left out, so that one CMDB has one URL.
pub fn base_url(config: &Config) -> Result<String, Error> {
    let url = parse(&config.url).map_err(unusable)?;
    config.url_policy.check(&url).map_err(unusable)?;
    Ok(url.as_str().trim_end_matches('/').to_owned())
}

/// The HTTP client of a configuration. It neither follows redirects nor retries.
pub fn build(config: &Config) -> Result<Client, Error> {
    // Has no effect when the program has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut builder = Client::builder()
        .user_agent(concat!("process-template-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .pool_idle_timeout(MAX_IDLE)
        .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
        .timeout(config.timeout);

    if config.url_policy.is_restricted() {
        builder = builder.dns_resolver(PolicyResolver(Arc::clone(&config.url_policy)));
    }

    with_tls(builder, &config.tls)?.build().map_err(|error| unusable(error.to_string()))
}

fn with_tls(mut builder: ClientBuilder, tls: &Tls) -> Result<ClientBuilder, Error> {
    if let Some(bundle) = &tls.ca_bundle {
        // A text without any certificate is read as an empty list, which would trust no server.
        let certificates = Certificate::from_pem_bundle(bundle.as_bytes()).ok().filter(|list| !list.is_empty());
        let certificates =
            certificates.ok_or_else(|| unusable("tls.caBundle is no list of certificates in PEM".to_owned()))?;
        builder = builder.tls_certs_only(certificates);
    }

    if let Some(identity) = &tls.identity {
        let identity = Identity::from_pem(identity.expose_secret().as_bytes())
            .map_err(|_| unusable("the client certificate and key are not in PEM".to_owned()))?;
        builder = builder.identity(identity);
    }

    Ok(builder)
}

fn parse(url: &str) -> Result<Url, String> {
    // The URL is not shown: it may contain a password.
    let parsed = Url::parse(url).map_err(|error| format!("the URL is none: {error}"))?;

    let is_plain = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.has_host();
    if !is_plain || !["http", "https"].contains(&parsed.scheme()) {
        return Err("the URL must be http or https, with a host, without user, query and fragment".to_owned());
    }
    Ok(parsed)
}

fn unusable(message: String) -> Error {
    Error::Configuration { message }
}
