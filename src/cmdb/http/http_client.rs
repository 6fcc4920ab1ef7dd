//! Builds the HTTP client of a configuration.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{Method, Request, Response, Url};
use serde::Serialize;

use super::network::{Network, NetworkError};
use super::proxy::of_environment;
#[cfg(test)]
use super::scripted::Script;
use super::url_policy::PolicyResolver;
use crate::cmdb::{Config, ConnectFailure, Error, UrlPolicy};

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

/// Sends requests, and reads their answers as they arrive: not decompressed, and bodies of any size.
#[derive(Clone)]
pub struct HttpClient {
    client: Wire,
}

#[derive(Clone)]
enum Wire {
    Network(Arc<Network>),
    #[cfg(test)]
    Scripted(Script),
}

/// Why no answer came.
#[derive(Debug)]
pub enum SendError {
    /// What the network says.
    Network(NetworkError),
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

    /// Sends a request. Only connecting has a timeout: the caller bounds the rest.
    pub async fn send(&self, request: Request) -> Result<Response, SendError> {
        match &self.client {
            Wire::Network(network) => network.send(request).await.map_err(SendError::Network),
            #[cfg(test)]
            Wire::Scripted(script) => script.answer(request).await.ok_or(SendError::Scripted),
        }
    }
}

impl SendError {
    /// Whether the request could not be built.
    pub fn is_builder(&self) -> bool {
        match self {
            Self::Network(error) => matches!(error, NetworkError::Unusable),
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// Whether no connection was made.
    pub fn is_connect(&self) -> bool {
        match self {
            Self::Network(error) => {
                matches!(error, NetworkError::NotConnected(_) | NetworkError::NotConnectedInTime)
            }
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// Whether connecting took too long.
    pub fn is_timeout(&self) -> bool {
        match self {
            Self::Network(error) => matches!(error, NetworkError::NotConnectedInTime),
            #[cfg(test)]
            Self::Scripted => false,
        }
    }

    /// What is in the way, if that is known.
    pub fn obstacle(&self, has_certificate: bool) -> Option<ConnectFailure> {
        match self {
            Self::Network(NetworkError::NotConnected(error)) => ConnectFailure::of(&**error, has_certificate),
            Self::Network(NetworkError::Broken(error)) => ConnectFailure::of(error, has_certificate),
            Self::Network(NetworkError::Unusable | NetworkError::NotConnectedInTime) => None,
            #[cfg(test)]
            Self::Scripted => None,
        }
    }
}

/// The HTTP client of a configuration. It neither follows redirects nor retries.
pub fn build(config: &Config) -> Result<HttpClient, Error> {
    let resolver = PolicyResolver(Arc::clone(&config.url_policy));
    let connect_timeout = CONNECT_TIMEOUT.min(config.timeout);
    let network = Network::new(&config.tls, resolver, of_environment(), connect_timeout).map_err(unusable)?;
    Ok(HttpClient { client: Wire::Network(Arc::new(network)) })
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
