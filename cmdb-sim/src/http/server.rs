//! HTTP: from a request on the wire to a call and back.

use std::sync::Arc;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

use crate::cmdb::Cmdb;
use crate::dispatch;
use crate::http::admin;
use crate::http::connection::Connection;
use crate::http::headers::Headers;
use crate::http::request::Request;
use crate::http::transport::Address;

const MAXIMUM_BODY: usize = 64 << 20;

pub(crate) fn router(cmdb: Arc<Cmdb>) -> Router {
    Router::new()
        .nest("/sim", admin::router())
        .route("/version", get(version))
        .fallback(serve)
        .layer(DefaultBodyLimit::max(MAXIMUM_BODY))
        .with_state(cmdb)
}

/// The version of the apiserver, answered without credentials. It is no call, and is not recorded.
async fn version(State(cmdb): State<Arc<Cmdb>>) -> Response {
    let version = cmdb.database().state.version.clone();
    if version.is_empty() {
        return not_found();
    }
    Json(About {
        module: "apiserver",
        version: &version,
        build_time: "2024-01-01 00:00:00",
        commit_id: "0000000000000000000000000000000000000000",
    })
    .into_response()
}

/// What `GET /version` says of the apiserver, in the server's order.
#[derive(Serialize)]
struct About<'a> {
    module: &'static str,
    version: &'a str,
    build_time: &'static str,
    commit_id: &'static str,
}

fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "404 page not found\n").into_response()
}

/// The call runs in a task of its own, so that a caller that hangs up does not cancel it.
async fn serve(
    State(cmdb): State<Arc<Cmdb>>,
    ConnectInfo(connection): ConnectInfo<Connection>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    bytes: Bytes,
) -> Response {
    let Some(address) = Address::of(method.as_str(), uri.path()) else {
        return not_found();
    };

    let hung_up = HangUp::default();
    let gone = hung_up.gone.clone();
    let request = Request::read(&cmdb, method.as_str(), uri.path(), &address, Headers::new(headers), &bytes, gone);

    let task = tokio::spawn(async move { dispatch::answer(&cmdb, request).await });
    let reply = task.await.ok().flatten();
    hung_up.disarm();

    let Some(reply) = reply else {
        connection.cut();
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    reply.into_response()
}

/// Marks a request as abandoned by its caller: the server drops a request whose connection closes, and this with it.
#[derive(Default)]
struct HangUp {
    gone: CancellationToken,
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
            self.gone.cancel();
        }
    }
}
