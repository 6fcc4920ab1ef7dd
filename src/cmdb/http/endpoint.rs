//! One CMDB at one URL: sends one request to it and reads the answer.

use std::time::Duration;

use reqwest::Response;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::body::read_bounded;
use super::login::Login;
use crate::cmdb::classify::classify;
use crate::cmdb::limits::quota::Quota;
use crate::cmdb::wire::{Envelope, Success};
use crate::cmdb::{ConnectFailure, Error, Operation, Reply, Transport};

/// Largest answer that is read, in bytes.
const MAX_BODY_BYTES: usize = 32 << 20;

/// A CMDB, and how it is reached.
pub struct Endpoint {
    /// Normalised base URL.
    pub url: String,
    /// How it is reached.
    pub transport: Transport,
    /// `bk_supplier_account`
    pub supplier_account: String,
}

impl Endpoint {
    /// Sends one request. Returns the data of a success, with the ID that the server gives to the request.
    ///
    /// `quota` is set as soon as an answer reports it, also when the call then fails or is dropped.
    pub async fn exchange<T: DeserializeOwned>(
        &self,
        login: &Login,
        (operation, id): (Operation, &str),
        parameters: &Map<String, Value>,
        quota: &mut Option<Quota>,
    ) -> Result<(T, String), Error> {
        // Send the request.
        let call = self.transport.call(operation, parameters, &login.credentials, &self.supplier_account)?;
        let request = login
            .http
            .request(call.method, format!("{}{}", self.url, call.path))
            .headers(call.headers)
            .header("X-Request-Id", id)
            .header("X-Bkapi-Request-Id", id)
            .json(&call.body);
        let response = request.send().await.map_err(|error| not_sent(operation, &error, id, login.has_certificate))?;

        // Read status and headers.
        let status = response.status().as_u16();
        let reset = number(&response, "X-Bkapi-RateLimit-Reset").map(Duration::from_secs);
        let limit = number(&response, "X-Bkapi-RateLimit-Limit");
        let remaining = number(&response, "X-Bkapi-RateLimit-Remaining");
        let quota_with = |remaining| reset.map(|reset| Quota { limit, remaining, reset });
        *quota = remaining.and_then(quota_with);
        let header_id = header(&response, "X-Bkapi-Request-Id").or_else(|| header(&response, "X-Request-Id"));

        // Read the body.
        let bytes = body(operation, response, id).await?;
        // Even what should be an ID may repeat a secret.
        let redacted_id = |request_id: &str| login.credentials.redacted(request_id);
        let reply = |code, message: &str, request_id: Option<&str>| Reply {
            operation,
            code,
            http_status: Some(status),
            message: message.to_owned(),
            request_id: request_id.or(header_id.as_deref()).map(redacted_id).or_else(|| Some(id.to_owned())),
            obstacle: None,
        };

        // Read the envelope. A redirect is not an answer of CMDB, whatever its body is.
        let envelope = serde_json::from_slice::<Envelope>(&bytes).ok().filter(|_| !(300..400).contains(&status));
        let Some(envelope) = envelope else {
            let message = format!("HTTP status {status} with a body that is not CMDB's");
            return Err(classify(reply(None, &message, None), reset));
        };

        // Classify a failure.
        if !envelope.is_success() {
            let message = login.credentials.redacted(envelope.message().unwrap_or("no message"));
            let error = classify(reply(envelope.code(), &message, envelope.request_id()), reset);
            if matches!(error, Error::Throttled { .. }) {
                // A server that reports only the reset of its window has nothing left of it.
                *quota = quota_with(remaining.unwrap_or_default());
            }
            return Err(error);
        }

        // Decode the data of a success.
        let request_id = reply(None, "", envelope.request_id()).request_id.unwrap_or_default();
        if let Ok(success) = serde_json::from_slice::<Success<T>>(&bytes) {
            Ok((success.data, request_id))
        } else {
            let reply = reply(Some(0), "a success whose data have another form", Some(&request_id));
            Err(Error::Protocol { reply })
        }
    }
}

// Without a connection nothing was sent. After that, the outcome is not known.
fn not_sent(operation: Operation, error: &reqwest::Error, id: &str, has_certificate: bool) -> Error {
    if error.is_builder() {
        return Error::Configuration { message: "the request could not be built".to_owned() };
    }

    let obstacle = ConnectFailure::of(error, has_certificate);
    let message = match (obstacle, error.is_connect(), error.is_timeout()) {
        (Some(obstacle), _, _) => obstacle.to_string(),
        (None, true, true) => "no connection in time".to_owned(),
        (None, true, false) => "no connection".to_owned(),
        (None, false, true) => "no answer in time".to_owned(),
        (None, false, false) => "the connection broke".to_owned(),
    };
    let reply = Reply { obstacle, ..Reply::unanswered(operation, &message, id) };

    // The endpoint is up, and rejects our certificate.
    if obstacle.is_some_and(ConnectFailure::is_of_client_certificate) {
        return Error::Authentication { reply };
    }
    if error.is_connect() { Error::Unavailable { reply, retry_after: None } } else { Error::OutcomeUnknown { reply } }
}

async fn body(operation: Operation, response: Response, id: &str) -> Result<Vec<u8>, Error> {
    let http_status = Some(response.status().as_u16());
    match read_bounded(response, MAX_BODY_BYTES).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            let reply = Reply::unanswered(operation, "the answer is larger than any of CMDB's", id);
            Err(Error::Protocol { reply: Reply { http_status, ..reply } })
        }
        Err(_) => {
            let reply = Reply::unanswered(operation, "the connection broke within the answer", id);
            Err(Error::OutcomeUnknown { reply })
        }
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn number(response: &Response, name: &str) -> Option<u64> {
    header(response, name)?.trim().parse().ok()
}
