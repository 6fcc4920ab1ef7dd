//! Builds the HTTP client of a configuration.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, ClientBuilder, Identity, Method, Request, Response, Url};
use secrecy::ExposeSecret;
use serde::Serialize;

#[cfg(test)]
use super::scripted::Script;
use super::url_policy::PolicyResolver;
use crate::cmdb::{Config, ConnectFailure, Error, Tls, UrlPolicy};

/// Longest idle time of a connection. A connection that was idle for longer may be one that a proxy is just closing: a
/// write on it would be lost.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Timeout of connecting. It is no longer than the time between when a leader considers its lease lost and when another
/// may take it, for a lease of the usual 15 s.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The normalised base URL of a configuration, if it is valid and permitted.
///
/// Scheme and host are in lower case and the default port is left out, so that one CMDB has one URL.
pub fn base_url(config: &Config) -> Result<(String, Url), Error> {
    let url = permitted(&config.url, &config.url_policy).map_err(unusable)?;
    Ok((normalised(&url), url))
}

/// The same of a URL alone: what [`base_url`] gives to a client of it, without building one.
///
/// # Errors
/// Why the URL is not valid or not permitted.
pub fn normalised_url(url: &str, policy: &UrlPolicy) -> Result<String, String> {
    permitted(url, policy).map(|url| normalised(&url))
}

fn permitted(url: &str, policy: &UrlPolicy) -> Result<Url, String> {
    let url = parse(url)?;
    policy.check(&url)?;
    Ok(url)
}

fn normalised(url: &Url) -> String {
    url.as_str().trim_end_matches('/').to_owned()
}

/// Sends requests, and reads their answers as they arrive: neither decompressed nor bounded.
#[derive(Clone)]
pub struct HttpClient {
    client: Wire,
}

#[derive(Clone)]
enum Wire {
    Network(Client),
    #[cfg(test)]
    Scripted(Script),
}

/// Why no answer came.
#[derive(Debug)]
pub enum SendError {
    /// What the HTTP client says.
    Network(reqwest::Error),
    /// The scripted answer is none.
    #[cfg(test)]
    Scripted,
}

impl HttpClient {
    /// A client that gives scripted answers.
    #[cfg(test)]
    pub fn scripted(script: Script) -> Self {
        Self { client: Wire::Scripted(script) }
    }

    /// A request with a JSON body. `None`: it cannot be built.
    pub fn request<T: Serialize>(method: Method, url: Url, mut headers: HeaderMap, body: &T) -> Option<Request> {
        let mut request = Request::new(method, url);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // Decompressed by `intake/body.rs`, which bounds it.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        *request.headers_mut() = headers;
        *request.body_mut() = Some(serde_json::to_vec(body).ok()?.into());
        Some(request)
    }

    /// Sends a request. The timeout of the client holds until the body has been read.
    pub async fn send(&self, request: Request) -> Result<Response, SendError> {
        match &self.client {
            Wire::Network(client) => client.execute(request).await.map_err(SendError::Network),
            #[cfg(test)]
            Wire::Scripted(script) => script.answer(request).await.ok_or(SendError::Scripted),
        }
    }
}

impl SendError {
    /// Whether the request could not be built.
    pub fn is_builder(&self) -> bool {
        match self {
            Self::Network(error) => error.is_builder(),
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// Whether no connection was made.
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Network(error) => error.is_connect(),
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// Whether it took too long.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Network(error) => error.is_timeout(),
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// What is in the way, if that is known.
    pub fn obstacle(&self, has_certificate: bool) -> Option<ConnectFailure> {
        match self {
            Self::Network(error) => ConnectFailure::of(error, has_certificate),
            #[cfg(test)]
            Self::Scripted => None,
        }
    }
}

/// The HTTP client of a configuration. It neither follows redirects nor retries.
pub fn build(config: &Config) -> Result<HttpClient, Error> {
    // Has no effect when the program has installed one already.
    let _ = rustls::crypto::ring::default_provider().install_default();

    let mut builder = Client::builder()
        .user_agent(concat!("process-template-operator/", env!("CARGO_PKG_VERSION")))
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .http1_only()
        .no_gzip()
        .pool_idle_timeout(MAX_IDLE)
        .connect_timeout(CONNECT_TIMEOUT.min(config.timeout))
        .timeout(config.timeout);

    if config.url_policy.is_restricted() {
        builder = builder.dns_resolver(PolicyResolver(Arc::clone(&config.url_policy)));
    }

    let client = with_tls(builder, &config.tls)?.build().map_err(|error| unusable(error.to_string()))?;
    Ok(HttpClient { client: Wire::Network(client) })
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
