//! The proxies that the environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `NO_PROXY`), as the HTTP client reads them.

use hyper_util::client::proxy::matcher::Matcher;

/// The proxies of the environment.
#[must_use]
pub fn of_environment() -> Matcher {
    Matcher::from_system()
}

/// Host and port of the proxy for this URL, without its user. `None`: the URL is reached directly.
#[must_use]
pub fn proxy_for(url: &str) -> Option<String> {
    let proxy = of_environment().intercept(&url.parse().ok()?)?;
    let host = proxy.uri().host()?;
    Some(proxy.uri().port_u16().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}
