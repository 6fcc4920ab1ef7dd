//! One CMDB at one URL: sends one request to it and reads the answer.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::HeaderValue;
use reqwest::{Response, Url};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};

use super::http_client::{HttpClient, SendError};
use super::login::Login;
use crate::cmdb::classify::classify;
use crate::cmdb::intake::body::{self, BodyError};
use crate::cmdb::intake::budget::{ReplyBudget, Share};
use crate::cmdb::intake::parse::{Parsed, parse};
use crate::cmdb::limits::quota::Quota;
use crate::cmdb::operation::MAX_OTHER_BYTES;
use crate::cmdb::wire::{Data, MAX_REQUEST_ID};
use crate::cmdb::{ConnectFailure, Error, Operation, Reply, Transport, UrlPolicy};
use crate::outside;

/// Wait before a list is read again for which there was no memory.
const NO_ROOM_WAIT: Duration = Duration::from_secs(5);

/// A CMDB, and how it is reached.
pub struct Endpoint {
    /// Normalised base URL.
    pub url: String,
    /// The same, parsed.
    pub parsed_url: Url,
    /// The URLs and addresses that are permitted now.
    pub url_policy: Arc<UrlPolicy>,
    /// How it is reached.
    pub transport: Transport,
    /// `bk_supplier_account`
    pub supplier_account: String,
    /// Longest time from the start of a request to the end of its answer.
    pub timeout: Duration,
    /// The budget of the process for answers.
    pub replies: Arc<ReplyBudget>,
    /// Whose connection it is.
    pub owner: Arc<str>,
}

impl Endpoint {
    /// Sends one request. Returns the data of a success, with the ID that the server gives to the request.
    ///
    /// `quota` is set as soon as an answer reports it, also when the call then fails or is dropped.
    pub async fn exchange<T: Data>(
        &self,
        login: &Login,
        (operation, id): (Operation, &str),
        parameters: &Map<String, Value>,
        quota: &mut Option<Quota>,
    ) -> Result<(T, String), Error> {
        let deadline = outside::later(Instant::now(), self.timeout);

        // Check the URL again: the forbidden addresses change.
        if self.url_policy.check(&self.parsed_url).is_err() {
            let obstacle = ConnectFailure::Forbidden;
            let reply = Reply::unanswered(operation, &obstacle.to_string(), id);
            return Err(Error::Unavailable { reply: Reply { obstacle: Some(obstacle), ..reply }, retry_after: None });
        }

        // Send the request.
        let call = self.transport.call(operation, parameters, &login.credentials, &self.supplier_account)?;
        let unusable = || Error::Configuration { message: "the request could not be built".to_owned() };
        let url = Url::parse(&format!("{}{}", self.url, call.path)).map_err(|_| unusable())?;
        let correlation_id = HeaderValue::try_from(id).map_err(|_| unusable())?;
        let mut headers = call.headers;
        headers.insert("X-Request-Id", correlation_id.clone());
        headers.insert("X-Bkapi-Request-Id", correlation_id);
        let request = HttpClient::request(call.method, url, headers, &call.body).ok_or_else(unusable)?;
        let response = match timeout_at(deadline, login.http.send(request)).await {
            Ok(sent) => sent.map_err(|error| not_sent(operation, &error, id, login.has_certificate))?,
            Err(_) => {
                return Err(Error::OutcomeUnknown { reply: Reply::unanswered(operation, "no answer in time", id) });
            }
        };

        // Read status and headers.
        let status = response.status().as_u16();
        let reset = header(&response, "X-Bkapi-RateLimit-Reset").and_then(outside::window);
        let number = |name| header(&response, name).and_then(|text| outside::natural(text.trim()));
        let limit = number("X-Bkapi-RateLimit-Limit");
        let remaining = number("X-Bkapi-RateLimit-Remaining");
        let quota_with = |remaining| reset.map(|reset| Quota { limit, remaining, reset });
        *quota = remaining.and_then(quota_with);
        let retry_after = reset.map(|reset| reset.min(outside::MAX_STOP));
        let header_id = header_id(&response);
        let target = header(&response, "Location").and_then(|location| redirect_target(response.url(), location));

        // Read the body and parse it. A redirect is not an answer of CMDB, whatever its body is.
        let mut share = Share::new(&self.replies, &self.owner);
        let bytes = body((operation, id), response, &mut share, deadline).await?;
        let is_empty = bytes.is_empty();
        let parsed = if (300..400).contains(&status) { Parsed::Other } else { parse::<T>(bytes, share).await };

        // Even what should be an ID may repeat a secret.
        let redacted = |text: &str| login.credentials.redacted(&text.into());
        let reply = |code, message: String, request_id: Option<&str>| Reply {
            operation,
            code,
            http_status: Some(status),
            message,
            request_id: request_id.or(header_id.as_deref()).map(redacted).or_else(|| Some(id.to_owned())),
            obstacle: None,
        };

        // Read the envelope.
        let (envelope, data) = match parsed {
            Parsed::Answer(envelope, data) => (envelope, data),
            Parsed::TooLarge(envelope, what) => {
                let message = format!("a success with {what}, which is more than CMDB has");
                return Err(Error::Protocol { reply: reply(Some(0), message, envelope.request_id()) });
            }
            Parsed::NoRoom => {
                let message = "the memory for lists is in use; it is read again".to_owned();
                return Err(Error::Unavailable { reply: reply(None, message, None), retry_after: Some(NO_ROOM_WAIT) });
            }
            Parsed::OutOfShape => {
                let message = format!("HTTP status {status} with more values than any answer of CMDB");
                return Err(Error::Protocol { reply: reply(None, message, None) });
            }
            Parsed::Other => {
                let message = match target.filter(|_| (300..400).contains(&status)) {
                    Some(target) => format!("HTTP status {status}, a redirect to {}", redacted(&target)),
                    None if is_empty => format!("HTTP status {status} with an empty body"),
                    None => format!("HTTP status {status} with a body that is not CMDB's"),
                };
                return Err(classify(reply(None, message, None), retry_after));
            }
        };

        // Classify a failure.
        if !envelope.is_success() {
            let message = envelope.failure().map(|message| login.credentials.redacted(&message));
            let message = message.unwrap_or_else(|| format!("no message, with {}", envelope.oddity()));
            let error = classify(reply(envelope.code(), message, envelope.request_id()), retry_after);
            if matches!(error, Error::Throttled { .. }) {
                // A server that reports only the reset of its window has nothing left of it.
                *quota = quota_with(remaining.unwrap_or_default());
            }
            return Err(error);
        }

        // Return the data of a success.
        let request_id = reply(None, String::new(), envelope.request_id()).request_id.unwrap_or_default();
        let message = || "a success whose data have another form".to_owned();
        let other_form = || Error::Protocol { reply: reply(Some(0), message(), Some(&request_id)) };
        let data = data.ok_or_else(other_form)?;
        Ok((data, request_id))
    }
}

// Without a connection nothing was sent. After that, the outcome is not known.
fn not_sent(operation: Operation, error: &SendError, id: &str, has_certificate: bool) -> Error {
    if error.is_builder() {
        return Error::Configuration { message: "the request could not be built".to_owned() };
    }

    let obstacle = error.obstacle(has_certificate);
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
        return Error::Authentication { reply, were_replaced: false };
    }
    if error.is_connect() { Error::Unavailable { reply, retry_after: None } } else { Error::OutcomeUnknown { reply } }
}

// Reads the body before the deadline of its call, whatever pace it comes at.
async fn body(
    (operation, id): (Operation, &str),
    response: Response,
    share: &mut Share,
    deadline: Instant,
) -> Result<Vec<u8>, Error> {
    let http_status = Some(response.status().as_u16());
    let unread = |message, http_status| Reply { http_status, ..Reply::unanswered(operation, message, id) };

    // Only a success is large.
    let max_bytes = operation.max_answer_bytes();
    let max_bytes = if response.status().is_success() { max_bytes } else { max_bytes.min(MAX_OTHER_BYTES) };
    match timeout_at(deadline, body::read(response, max_bytes, share)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(BodyError::TooLarge)) => {
            Err(Error::Protocol { reply: unread("the answer is larger than any of CMDB's", http_status) })
        }
        Ok(Err(BodyError::Revoked)) => {
            let message = "the answer came so slowly that its memory was given to others";
            Err(Error::OutcomeUnknown { reply: unread(message, http_status) })
        }
        Ok(Err(BodyError::Broken)) | Err(_) => {
            Err(Error::OutcomeUnknown { reply: unread("the connection broke within the answer", None) })
        }
    }
}

fn header<'r>(response: &'r Response, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

// Where a redirect leads: without query and fragment, which differ each time, and without user and password.
fn redirect_target(asked: &Url, location: &str) -> Option<String> {
    let mut target = asked.join(location).ok()?;
    target.set_query(None);
    target.set_fragment(None);
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Some(target.into())
}

fn header_id(response: &Response) -> Option<String> {
    let id = header(response, "X-Bkapi-Request-Id").or_else(|| header(response, "X-Request-Id"))?;
    Some(id).filter(|id| id.len() <= MAX_REQUEST_ID).map(str::to_owned)
}
