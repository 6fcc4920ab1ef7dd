//! From a request to the answer of the miniature API server.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::request::Parts;
use axum::http::{Method, Response, StatusCode, Uri};
use futures::stream;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};
use url::form_urlencoded;

use super::ApiServer;
use super::objects::{Expected, Place, Refusal, merge};

// What a request is about.
struct Address {
    place: Place,
    is_status: bool,
    query: BTreeMap<String, String>,
}

impl Address {
    // `/api/v1/...` or `/apis/{group}/{version}/...`, then `[namespaces/{namespace}/]{plural}[/{name}[/status]]`
    fn of(uri: &Uri) -> Self {
        let segments: Vec<&str> = uri.path().split('/').skip(1).collect();
        let (group, rest) = if segments[0] == "api" { ("", &segments[2..]) } else { (segments[1], &segments[3..]) };
        let (namespace, rest) = match rest {
            ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (*namespace, rest),
            rest => ("", rest),
        };
        let at = |index: usize| rest.get(index).copied().unwrap_or_default();
        let query = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()).into_owned().collect();
        Self { place: Place::new(group, at(0), namespace, at(1)), is_status: at(2) == "status", query }
    }

    fn is_watch(&self) -> bool {
        self.query.get("watch").is_some_and(|watch| watch == "true")
    }

    // As RBAC calls it.
    fn verb(&self, method: &Method) -> &'static str {
        match *method {
            Method::GET if self.is_watch() => "watch",
            Method::GET if self.place.name.is_empty() => "list",
            Method::GET => "get",
            Method::POST => "create",
            Method::PUT => "update",
            Method::PATCH => "patch",
            _ => "delete",
        }
    }
}

impl ApiServer {
    /// The answer to a request.
    pub(super) fn answer(&self, parts: &Parts, body: &Bytes) -> Response<Body> {
        let address = Address::of(&parts.uri);
        match self.failure(address.verb(&parts.method), &address.place.plural) {
            None => self.carry_out(address, parts, body),
            Some((status, is_carried_out)) => {
                let refused = refused(status, "Failed", &address.place);
                if is_carried_out {
                    self.carry_out(address, parts, body);
                }
                refused
            }
        }
    }

    fn carry_out(&self, address: Address, parts: &Parts, body: &Bytes) -> Response<Body> {
        let accepts = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let is_metadata = accepts.contains("as=PartialObjectMetadata");
        if address.is_watch() {
            return self.watch(address, is_metadata);
        }
        let place = &address.place;
        let sent: Value = serde_json::from_slice(body).unwrap_or_default();
        let expected = Expected::of(&sent);
        let result = match (&parts.method, address.is_status) {
            (&Method::GET, false) if place.name.is_empty() => return self.answer_list(place, is_metadata),
            (&Method::GET, false) => self.get(place).ok_or(Refusal::NotFound),
            (&Method::POST, false) => self.change(|objects| objects.create(place, sent)),
            (&Method::PUT, true) => {
                let replace = |object: &mut Value| object["status"] = sent["status"].clone();
                self.change(|objects| objects.update(place, &expected, replace))
            }
            (&Method::PATCH, false) if content_type(parts) == "application/merge-patch+json" => {
                self.change(|objects| objects.update(place, &expected, |object| merge(object, &sent)))
            }
            (&Method::DELETE, false) => self.change(|objects| objects.delete(place)),
            _ => Err(Refusal::Unsupported),
        };
        match result {
            Ok(object) => {
                let status = if parts.method == Method::POST { StatusCode::CREATED } else { StatusCode::OK };
                json_response(status, &shown(&object, is_metadata))
            }
            Err(refusal) => {
                let (status, reason) = match refusal {
                    Refusal::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
                    Refusal::AlreadyExists => (StatusCode::CONFLICT, "AlreadyExists"),
                    Refusal::Conflict => (StatusCode::CONFLICT, "Conflict"),
                    Refusal::Unsupported => (StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"),
                };
                refused(status, reason, place)
            }
        }
    }

    fn answer_list(&self, collection: &Place, is_metadata: bool) -> Response<Body> {
        let objects = self.shared.objects.lock().unwrap();
        let items: Vec<Value> = objects.list(collection).iter().map(|object| shown(object, is_metadata)).collect();
        let metadata = json!({ "resourceVersion": objects.version().to_string() });
        let list = json!({ "apiVersion": "v1", "kind": "List", "metadata": metadata, "items": items });
        json_response(StatusCode::OK, &list)
    }

    // One JSON text a line for each change, until the time that was asked for is up.
    fn watch(&self, address: Address, is_metadata: bool) -> Response<Body> {
        let number = |key: &str| address.query.get(key).and_then(|text| text.parse::<u64>().ok());
        let ends_at = Instant::now() + Duration::from_secs(number("timeoutSeconds").unwrap_or(290));
        let told = self.shared.objects.lock().unwrap().changes_until(number("resourceVersion").unwrap_or_default());
        let shared = &self.shared;
        let events = (shared.version.subscribe(), shared.are_watches_held.subscribe(), shared.watch_epoch.subscribe());
        let begin = (self.clone(), events, told, address.place);
        let lines = stream::unfold(begin, move |(server, mut events, mut told, collection)| async move {
            loop {
                let (version, held, epoch) = &mut events;
                version.borrow_and_update();
                if !*held.borrow_and_update() {
                    let (all, lines) = server.lines_after(told, &collection, is_metadata);
                    told = all;
                    if !lines.is_empty() {
                        return Some((Ok::<_, std::io::Error>(lines), (server, events, told, collection)));
                    }
                }
                tokio::select! {
                    changed = version.changed() => changed.ok()?,
                    changed = held.changed() => changed.ok()?,
                    _ = epoch.changed() => return None,
                    () = sleep_until(ends_at) => return None,
                }
            }
        });
        Response::builder().header(CONTENT_TYPE, "application/json").body(Body::from_stream(lines)).unwrap()
    }

    fn lines_after(&self, told: usize, collection: &Place, is_metadata: bool) -> (usize, String) {
        let objects = self.shared.objects.lock().unwrap();
        let (all, changes) = objects.changes_after(told, collection);
        let mut lines = String::new();
        for change in changes {
            let event = json!({ "type": change.type_, "object": shown(&change.object, is_metadata) });
            lines.push_str(&event.to_string());
            lines.push('\n');
        }
        (all, lines)
    }
}

fn content_type(parts: &Parts) -> &str {
    parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

fn shown(object: &Value, is_metadata: bool) -> Value {
    if is_metadata {
        let metadata = &object["metadata"];
        return json!({ "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": metadata });
    }
    object.clone()
}

fn refused(status: StatusCode, reason: &str, place: &Place) -> Response<Body> {
    let body = json!({
        "apiVersion": "v1", "kind": "Status", "metadata": {}, "status": "Failure", "reason": reason,
        "message": format!("{} {:?}: {reason}", place.plural, place.name), "code": status.as_u16(),
    });
    json_response(status, &body)
}

fn json_response(status: StatusCode, body: &Value) -> Response<Body> {
    let response = Response::builder().status(status).header(CONTENT_TYPE, "application/json");
    response.body(Body::from(body.to_string())).unwrap()
}
