//! Makes connections: over proxies, DNS, TCP and TLS.

use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::rt::{Read, Write};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use hyper_util::rt::TokioIo;
use reqwest::Body;
use reqwest::header::{HeaderMap, HeaderValue, PROXY_AUTHORIZATION, USER_AGENT};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tower::{Service, ServiceExt as _};

use super::metered::{Meter, Metered};
use crate::cmdb::http::url_policy::PolicyResolver;

/// The name of this program in requests.
pub const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("process-template-operator/", env!("CARGO_PKG_VERSION")));

/// Interval at which the kernel asks a silent peer whether it is still there, and how often before it gives up.
const KEEPALIVE: (Duration, u32) = (Duration::from_secs(15), 3);

type BoxError = Box<dyn StdError + Send + Sync>;

/// Makes connections.
pub struct Connector {
    tcp: HttpConnector<PolicyResolver>,
    tls: Arc<ClientConfig>,
    // The same for a proxy that tunnels: what is within the tunnel says nothing of the proxy's protocols.
    proxy_tls: Arc<ClientConfig>,
    proxies: Matcher,
}

/// A connection, driven by a task of its own.
pub struct Connection {
    /// Sends requests over it.
    pub sender: SendRequest<Body>,
    /// Counts what it receives.
    pub meter: Arc<Meter>,
    /// Its task.
    pub task: AbortHandle,
}

/// Where a request goes: to its server or to a proxy.
pub struct Route {
    uri: Uri,
    proxy: Option<Intercept>,
}

impl Connector {
    /// A connector with these TLS settings, which resolves host names with `resolver`.
    pub fn new(tls: ClientConfig, resolver: PolicyResolver, proxies: Matcher) -> Self {
        let mut tcp = HttpConnector::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let (interval, retries) = KEEPALIVE;
        tcp.set_keepalive(Some(interval));
        tcp.set_keepalive_interval(Some(interval));
        tcp.set_keepalive_retries(Some(retries));

        let mut proxy_tls = tls.clone();
        proxy_tls.alpn_protocols.clear();
        Self { tcp, tls: Arc::new(tls), proxy_tls: Arc::new(proxy_tls), proxies }
    }

    /// The route of a request for this URI.
    pub fn route(&self, uri: &Uri) -> Route {
        Route { uri: uri.clone(), proxy: self.proxies.intercept(uri) }
    }

    /// Connects.
    pub async fn connect(&self, route: &Route) -> Result<Connection, BoxError> {
        let meter = Arc::<Meter>::default();
        let tcp = MeteredTcp { tcp: self.tcp.clone(), meter: Arc::clone(&meter) };
        let (tls, uri) = (Arc::clone(&self.tls), route.uri.clone());
        let stream: Box<dyn Stream> = match &route.proxy {
            None => Box::new(HttpsConnector::from((tcp, tls)).oneshot(uri).await?),
            Some(proxy) if route.is_plain() => {
                Box::new(HttpsConnector::from((tcp, tls)).oneshot(proxy.uri().clone()).await?)
            }
            Some(proxy) => {
                let to_proxy = HttpsConnector::from((tcp, Arc::clone(&self.proxy_tls)));
                let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy)
                    .with_headers(HeaderMap::from_iter([(USER_AGENT, AGENT)]));
                if let Some(authorization) = proxy.basic_auth() {
                    tunnel = tunnel.with_auth(authorization.clone());
                }
                Box::new(HttpsConnector::from((tunnel, tls)).oneshot(uri).await?)
            }
        };

        let (sender, connection) = handshake(stream).await?;
        let task = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to CMDB broke");
            }
        });
        Ok(Connection { sender, meter, task: task.abort_handle() })
    }
}

impl Route {
    fn is_plain(&self) -> bool {
        self.uri.scheme_str() == Some("http")
    }

    /// Writes the request as the other side of the connection wants it. A proxy that does not tunnel gets the whole URI.
    pub fn prepare(&self, request: &mut hyper::Request<Body>) -> Option<()> {
        match &self.proxy {
            Some(proxy) if self.is_plain() => {
                if let Some(authorization) = proxy.basic_auth() {
                    request.headers_mut().insert(PROXY_AUTHORIZATION, authorization.clone());
                }
            }
            Some(_) | None => *request.uri_mut() = self.uri.path_and_query()?.clone().into(),
        }
        Some(())
    }
}

// What hyper reads from and writes to.
trait Stream: Read + Write + Send + Unpin {}

impl<S: Read + Write + Send + Unpin> Stream for S {}

// TCP connections that are metered.
#[derive(Clone)]
struct MeteredTcp {
    tcp: HttpConnector<PolicyResolver>,
    meter: Arc<Meter>,
}

impl Service<Uri> for MeteredTcp {
    type Response = Metered<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (connecting, meter) = (self.tcp.call(uri), Arc::clone(&self.meter));
        Box::pin(async move { Ok(Metered::new(connecting.await?, meter)) })
    }
}
