//! Headers of a request.

use axum::http::HeaderMap;

/// Headers of a request as text. An empty value, and one that is not ASCII text, counts as absent.
pub(crate) struct Headers(HeaderMap);

impl Headers {
    pub fn new(headers: HeaderMap) -> Self {
        Self(headers)
    }

    /// The value of a header.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok()).filter(|value| !value.is_empty())
    }

    /// The value of the first of these headers that has one.
    pub fn first(&self, names: &[&str]) -> Option<&str> {
        names.iter().find_map(|name| self.get(name))
    }
}
