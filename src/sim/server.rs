//! HTTP: from a request on the wire to a call and back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use super::admin;
use super::call::{self, Reply, Request};
use super::connection::Connection;
use super::credentials;
use super::decode::Object;
use super::envelope;
use super::record::{RequestRecord, masked};
use super::refusal::Language;
use super::shared::Shared;
use super::state::now;

const MAXIMUM_BODY: usize = 64 << 20;

/// Where the ESB's calls of CMDB live.
const ESB_PATH: &str = "/api/c/compapi/v2/cc/";

const RECORDED_HEADERS: &[&str] =
    &["content-type", "user-agent", "blueking-language", "x-request-id", "x-bkapi-request-id"];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .nest("/sim", admin::router())
        .fallback(esb)
        .layer(DefaultBodyLimit::max(MAXIMUM_BODY))
        .with_state(shared)
}

/// The call runs in a task of its own: a caller that hangs up does not undo what the server has begun.
async fn esb(
    State(shared): State<Arc<Shared>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let Some(name) = uri.path().strip_prefix(ESB_PATH) else {
        return (StatusCode::NOT_FOUND, "404 page not found\n").into_response();
    };
    let hung_up = HangUp::default();
    let request = read(&shared, name.trim_end_matches('/'), &method, &uri, &headers, &bytes, &hung_up);
    let task = tokio::spawn(async move { call::answer(&shared, request).await });
    let reply = task.await.ok().flatten();
    hung_up.disarm();
    let Some(reply) = reply else {
        connection.cut();
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    write(reply)
}

fn read(
    shared: &Shared,
    name: &str,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    bytes: &[u8],
    hung_up: &HangUp,
) -> Request {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    // The ESB takes only what starts like an object for JSON, and everything else for a form.
    let is_json = bytes.trim_ascii_start().starts_with(b"{");
    let parsed: Option<Object> = if is_json { serde_json::from_slice(bytes).ok() } else { None };
    let is_broken = is_json && parsed.is_none();
    let recorded_body = match &parsed {
        Some(body) => masked(body),
        None => Value::Null,
    };
    let body = parsed.unwrap_or_default();
    let authorization = credentials::authorization(text("x-bkapi-authorization"));
    let secret = credentials::secret(authorization.as_ref(), &body);
    let recorded: BTreeMap<String, String> =
        RECORDED_HEADERS.iter().filter_map(|name| Some(((*name).to_owned(), text(name)?.to_owned()))).collect();
    let record = RequestRecord {
        time: now(),
        call: name.to_owned(),
        method: method.to_string(),
        path: uri.path().to_owned(),
        headers: recorded,
        credential: secret.map_or_else(String::new, |secret| envelope::digest(secret, 4)),
        body: recorded_body,
        ..RequestRecord::default()
    };
    let sequence = shared.requests().begin(record, bytes.len());
    Request {
        sequence,
        name: name.to_owned(),
        body,
        is_broken,
        authorization,
        language: Language::from_header(text("blueking-language")),
        hung_up: Arc::clone(&hung_up.gone),
    }
}

fn write(reply: Reply) -> Response {
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::from_str(&reply.content_type) {
        headers.insert(header::CONTENT_TYPE, value);
    }
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            headers.insert(name, value);
        }
    }
    response
}

/// Tells the call that its caller has gone: the server drops a request whose connection ends, and this with it.
#[derive(Default)]
struct HangUp {
    gone: Arc<AtomicBool>,
    disarmed: bool,
}

impl HangUp {
    fn disarm(mut self) {
        self.disarmed = true;
    }
}

impl Drop for HangUp {
    fn drop(&mut self) {
        if !self.disarmed {
            self.gone.store(true, Ordering::Release);
        }
    }
}
