//! Replies, in the form of the transport of the request.

use std::collections::BTreeMap;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde_json::Value;

use crate::access::refusal::{Refusal, code, default_text};
use crate::control::effect::{Raw, Redirect, Refuse};
use crate::control::quota::QuotaStatus;
use crate::http::envelope::{self, Shape};
use crate::http::gateway;
use crate::http::request::Request;
use crate::http::transport::Transport;
use crate::operation::Operation;

/// The type of what the apiserver's filters and a daemon's router write without a type of their own.
const PLAIN_TEXT: &str = "text/plain; charset=utf-8";

/// A reply that is due.
pub(crate) struct Reply {
    pub http_status: u16,
    pub content_type: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
    /// Code in the envelope; nothing when there is no envelope.
    pub code: Option<i64>,
}

/// Who refuses a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// What is in front of CMDB's daemons: the ESB, the gateway, the apiserver's filters.
    Frontend,
    /// The daemon that carries the call out.
    Daemon,
}

impl Reply {
    pub fn success(request: &Request, data: &str) -> Self {
        Self::json(0, envelope::success(shape(request.transport), data, &request.id))
    }

    /// Text instead of an envelope, as an address without a call gets it.
    pub fn plain(text: &str) -> Self {
        Self {
            http_status: 200,
            content_type: PLAIN_TEXT.to_owned(),
            headers: BTreeMap::new(),
            body: text.to_owned(),
            code: None,
        }
    }

    pub fn refusal(request: &Request, refusal: &Refusal, origin: Origin) -> Self {
        let message = refusal.message(request.language);
        let mut reply = Self::failure(request, refusal.code, &message, refusal.http_status(), &Value::Null, origin);
        // JSON, but the filter that finds no user does not say so.
        if refusal.code == code::NOT_AUTHORIZED {
            PLAIN_TEXT.clone_into(&mut reply.content_type);
        }
        reply
    }

    /// A fault's refusal.
    pub fn refused(request: &Request, refuse: Refuse) -> Self {
        let text = || default_text(refuse.code, request.language).replace("%s", "");
        let message = refuse.message.unwrap_or_else(text);
        let status = refuse.http_status;
        let mut reply = Self::failure(request, refuse.code, &message, status, &refuse.permission, Origin::Daemon);
        reply.headers.extend(refuse.headers);
        reply
    }

    pub fn raw(raw: Raw) -> Self {
        Self {
            http_status: raw.http_status,
            content_type: raw.content_type.unwrap_or_else(|| "text/html".to_owned()),
            headers: raw.headers,
            body: raw.body,
            code: None,
        }
    }

    pub fn redirect(redirect: Redirect) -> Self {
        Self {
            http_status: redirect.http_status,
            content_type: "text/plain".to_owned(),
            headers: BTreeMap::from([("Location".to_owned(), redirect.redirect)]),
            ..Self::plain("")
        }
    }

    /// Adds the headers that every reply of a transport has, those of a quota only when they are to be shown.
    pub fn sign(&mut self, request: &Request, status: Option<QuotaStatus>) {
        let mut add = |name: &str, value: String| {
            // What a fault says about a header stays.
            if !self.headers.keys().any(|given| given.eq_ignore_ascii_case(name)) {
                self.headers.insert(name.to_owned(), value);
            }
        };
        if request.transport == Transport::Gateway {
            add("X-Bkapi-Request-Id", envelope::dashed(&request.id));
            if let Some(status) = status {
                add("X-Bkapi-RateLimit-Limit", status.limit.to_string());
                add("X-Bkapi-RateLimit-Remaining", status.remaining.to_string());
                add("X-Bkapi-RateLimit-Reset", status.reset.to_string());
            }
        }
        if request.transport != Transport::Esb {
            add("X-Request-Id", request.headers.get("x-request-id").unwrap_or(&request.id).to_owned());
        }
    }

    pub fn into_response(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = StatusCode::from_u16(self.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        if let Ok(value) = HeaderValue::from_str(&self.content_type) {
            headers.insert(header::CONTENT_TYPE, value);
        }
        for (name, value) in self.headers {
            if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
                headers.insert(name, value);
            }
        }
        response
    }

    fn failure(
        request: &Request,
        code: i64,
        message: &str,
        http_status: Option<u16>,
        permission: &Value,
        origin: Origin,
    ) -> Self {
        if request.transport == Transport::Gateway && gateway::is_own(code) {
            return Self {
                http_status: http_status.unwrap_or_else(|| gateway::http_status(code)),
                content_type: "application/json; charset=utf-8".to_owned(),
                headers: BTreeMap::from([
                    ("X-Bkapi-Error-Code".to_owned(), code.to_string()),
                    ("X-Bkapi-Error-Message".to_owned(), message.to_owned()),
                ]),
                ..Self::json(code, gateway::envelope(code, message))
            };
        }

        let http_status = http_status.unwrap_or(200);
        let shape = match shape(request.transport) {
            Shape::Proxied if origin == Origin::Frontend || is_filters(request, code, http_status) => Shape::Apiserver,
            shape => shape,
        };
        Self { http_status, ..Self::json(code, envelope::failure(shape, code, message, permission, &request.id)) }
    }

    fn json(code: i64, body: String) -> Self {
        Self {
            http_status: 200,
            content_type: "application/json".to_owned(),
            headers: BTreeMap::new(),
            body,
            code: Some(code),
        }
    }
}

fn shape(transport: Transport) -> Shape {
    match transport {
        Transport::Esb => Shape::Esb,
        Transport::Gateway => Shape::Proxied,
        Transport::Direct => Shape::Apiserver,
    }
}

/// Whether the apiserver answers this itself instead of passing the call on; behind a gateway it keeps its own envelope
/// then. Permissions to change process templates are the daemon's business.
fn is_filters(request: &Request, code: i64, http_status: u16) -> bool {
    match code {
        1_199_045 | code::TOO_MANY_REQUESTS => true,
        1_199_046 | 9_900_403 => request.operation.is_ok_and(Operation::is_of_service_templates),
        _ => http_status == 500,
    }
}
