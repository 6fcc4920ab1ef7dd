//! Calls to the API server: bounded in time, with errors in the server's own words.

use std::time::Duration;

/// Longest wait for one answer of the API server.
pub const API_SERVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the API server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// What the client says.
    #[error("{}", words(.0))]
    Kube(#[from] kube::Error),
    /// It took too long.
    #[error("no answer within {} s", API_SERVER_TIMEOUT.as_secs())]
    Late(#[from] tokio::time::error::Elapsed),
}

// The client repeats the whole answer after its message.
fn words(error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if !status.message.is_empty() => status.message.clone(),
        error => error.to_string(),
    }
}

impl Failure {
    /// Whether there is no such object.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.is_not_found())
    }

    /// Whether the object has changed or is gone.
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Kube(kube::Error::Api(status)) if status.is_conflict() || status.is_not_found())
    }
}

/// Bounds a call to the API server; the client itself would wait and retry for minutes.
pub async fn bounded<T>(call: impl Future<Output = Result<T, kube::Error>>) -> Result<T, Failure> {
    Ok(tokio::time::timeout(API_SERVER_TIMEOUT, call).await??)
}
