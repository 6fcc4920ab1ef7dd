//! A proxy that holds or loses the nth request, or its reply: crash points from outside.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, request::Parts};
use axum::response::Response;
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;

use super::chance::chance;

/// Which side of a call is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The request: the server does not see it before it is let go.
    Request,
    /// The reply: the server has done what was asked, the caller does not learn of it before it is let go.
    Reply,
    /// The request is lost: the caller is told so by the proxy.
    RequestLost,
    /// The reply is lost, and the server has done what was asked.
    ReplyLost,
}

/// A call that is to be held.
#[derive(Clone, Debug)]
pub struct Point {
    pub method: String,
    /// What its path ends with.
    pub path_end: String,
    /// The nth such call, from 1.
    pub nth: usize,
    pub side: Side,
}

impl Point {
    /// The reply to the next POST whose path ends so.
    pub fn reply_to(path_end: &str) -> Self {
        Self { method: "POST".to_owned(), path_end: path_end.to_owned(), nth: 1, side: Side::Reply }
    }
}

/// A proxy in front of one server.
pub struct Proxy {
    pub address: SocketAddr,
    state: Arc<Shared>,
}

struct Shared {
    upstream: String,
    http: reqwest::Client,
    point: Mutex<Option<(Point, usize)>>,
    reached: Notify,
    let_go: Notify,
    calls: Mutex<Vec<(String, String)>>,
    storm: Mutex<Option<Storm>>,
}

/// Random faults that a seed decides.
struct Storm {
    seed: u64,
    percent: u64,
    seen: u64,
}

impl Storm {
    fn next(&mut self) -> Option<Side> {
        self.seen += 1;
        let bits = chance(self.seed, self.seen);
        let side = if bits & 1 == 0 { Side::RequestLost } else { Side::ReplyLost };
        ((bits >> 8) % 100 < self.percent).then_some(side)
    }
}

impl Proxy {
    /// In front of a plain HTTP server.
    pub async fn to(upstream: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().http1_only().build().unwrap();
        Self::start(upstream.to_owned(), http).await
    }

    /// In front of the API server that a kubeconfig names, as the user that it names.
    pub async fn to_api_server(kubeconfig: &Path) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let kubeconfig = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
        let read = |path: &Option<String>| std::fs::read(path.as_deref().unwrap()).unwrap();
        let auth = &config.auth_info;
        let identity = [read(&auth.client_certificate), read(&auth.client_key)].concat();
        let http = reqwest::Client::builder()
            .no_proxy()
            .http1_only()
            .danger_accept_invalid_certs(true)
            .identity(reqwest::Identity::from_pem(&identity).unwrap())
            .build()
            .unwrap();
        Self::start(config.cluster_url.to_string().trim_end_matches('/').to_owned(), http).await
    }

    /// In front of the API server, for those who bring a token.
    pub async fn to_api_server_with_tokens(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().http1_only().danger_accept_invalid_certs(true);
        Self::start(url.to_owned(), http.build().unwrap()).await
    }

    async fn start(upstream: String, http: reqwest::Client) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Shared {
            upstream,
            http,
            point: Mutex::default(),
            reached: Notify::new(),
            let_go: Notify::new(),
            calls: Mutex::default(),
            storm: Mutex::default(),
        });
        let router = Router::new().fallback(forward).with_state(Arc::clone(&state));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { address, state }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// A kubeconfig that leads here.
    pub fn kubeconfig(&self, folder: &Path) -> std::path::PathBuf {
        self.kubeconfig_of(folder, &json!({}))
    }

    /// The same of a user who brings something.
    pub fn kubeconfig_of(&self, folder: &Path, user: &Value) -> std::path::PathBuf {
        let path = folder.join(format!("proxy-{}.kubeconfig", self.address.port()));
        let kubeconfig = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "proxy",
            "clusters": [{ "name": "proxy", "cluster": { "server": self.url() } }],
            "users": [{ "name": "proxy", "user": user }],
            "contexts": [{ "name": "proxy", "context": { "cluster": "proxy", "user": "proxy" } }],
        });
        std::fs::write(&path, kubeconfig.to_string()).unwrap();
        path
    }

    /// Method and path of every call since the last time, the path without a slash at its end.
    pub fn take_calls(&self) -> Vec<(String, String)> {
        std::mem::take(&mut self.state.calls.lock().unwrap())
    }

    /// Holds a call, until it is let go.
    pub fn hold(&self, point: Point) {
        *self.state.point.lock().unwrap() = Some((point, 0));
    }

    /// Waits until the call is held.
    pub async fn reached(&self) {
        self.state.reached.notified().await;
    }

    /// Lets the call go that is held.
    pub fn let_go(&self) {
        self.state.let_go.notify_one();
    }

    /// From now on loses so many requests or replies of a hundred.
    pub fn storm(&self, seed: u64, percent: u64) {
        *self.state.storm.lock().unwrap() = Some(Storm { seed, percent, seen: 0 });
    }

    /// Loses nothing any more.
    pub fn calm(&self) {
        *self.state.storm.lock().unwrap() = None;
    }

    /// Holds nothing any more.
    pub fn let_all_pass(&self) {
        *self.state.point.lock().unwrap() = None;
    }
}

impl Shared {
    fn is_due(&self, parts: &Parts) -> Option<Side> {
        let path = parts.uri.path().trim_end_matches('/');
        self.calls.lock().unwrap().push((parts.method.to_string(), path.to_owned()));
        if let Some(storm) = self.storm.lock().unwrap().as_mut() {
            return storm.next();
        }
        let mut point = self.point.lock().unwrap();
        let (point, seen) = point.as_mut()?;
        if parts.method.as_str() != point.method || !path.ends_with(&point.path_end) {
            return None;
        }
        *seen += 1;
        (*seen == point.nth).then_some(point.side)
    }

    fn lost(&self) -> Response {
        self.reached.notify_one();
        let mut response = Response::new(Body::from("lost on the way"));
        *response.status_mut() = StatusCode::BAD_GATEWAY;
        response
    }

    // When the caller is gone before, that drops this.
    async fn hold(&self) {
        self.reached.notify_one();
        self.let_go.notified().await;
    }
}

async fn forward(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (mut parts, body) = request.into_parts();
    let due = shared.is_due(&parts);
    match due {
        Some(Side::Request) => shared.hold().await,
        Some(Side::RequestLost) => return shared.lost(),
        Some(Side::Reply | Side::ReplyLost) | None => {}
    }
    parts.headers.remove("host");
    let url = format!("{}{}", shared.upstream, parts.uri.path_and_query().map_or("/", |path| path.as_str()));
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default();
    // A task of its own: a server goes on when its caller hangs up.
    let sent = shared.http.request(parts.method, url).headers(parts.headers).body(body).send();
    let reply = tokio::spawn(sent).await.unwrap();
    match due {
        Some(Side::Reply) => shared.hold().await,
        Some(Side::ReplyLost) => return shared.lost(),
        Some(Side::Request | Side::RequestLost) | None => {}
    }
    match reply {
        Ok(reply) => {
            let (parts, body) = axum::http::Response::from(reply).into_parts();
            Response::from_parts(parts, Body::new(body))
        }
        Err(error) => {
            let mut response = Response::new(Body::from(error.to_string()));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    }
}
