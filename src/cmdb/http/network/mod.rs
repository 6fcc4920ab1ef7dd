//! HTTP/1.1 over the network, bounded below the HTTP parser.
//!
//! # Flow
//! 1. A request goes over an idle connection of its origin (`idle.rs`) or over a new one (`connector.rs`: proxies, DNS,
//!    TCP and TLS).
//! 2. hyper writes it and parses the answer. It reads from a stream that counts (`metered.rs`).
//! 3. The connection belongs to its call (`call.rs`) until the answer has come to its end. Then it is idle.
//!
//! # Guarantees
//! * One poll of a connection reads a few pieces, however fast the peer sends: timers and other tasks go on.
//! * What is received for an answer is at most a mebibyte more than twice its body: an endless head, informational
//!   heads, chunk framing, trailers or TLS records break the connection.
//! * A connection ends with its call, unless the answer was read to its end.
//! * A request is sent at most once. One that an idle connection gives back unsent goes over another connection.
//!
//! # Assumptions
//! The caller bounds the time of a call, and the size of the body.

pub mod call;
pub mod connector;
pub mod idle;
pub mod metered;
pub mod tls;

use std::error::Error as StdError;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::header::{ACCEPT, Entry, HOST, HeaderMap, HeaderValue, USER_AGENT};
use reqwest::{Body, Request, Response, Url};
use tokio::time::timeout;

use self::call::Call;
use self::connector::{AGENT, Connector};
use self::idle::Idle;
use super::url_policy::PolicyResolver;
use crate::cmdb::Tls;

/// Why no answer came.
#[derive(Debug)]
pub enum NetworkError {
    /// The request cannot be sent to its URL.
    Unusable,
    /// No connection was made.
    NotConnected(Box<dyn StdError + Send + Sync>),
    /// No connection was made in time.
    NotConnectedInTime,
    /// The connection broke, or what came is no answer.
    Broken(hyper::Error),
}

/// Sends requests over connections of its own.
pub struct Network {
    connector: Connector,
    connect_timeout: Duration,
    idle: Arc<Idle>,
}

impl Network {
    /// A network without connections.
    ///
    /// # Errors
    /// Why the TLS settings are not usable.
    pub fn new(
        tls: &Tls,
        resolver: PolicyResolver,
        proxies: Matcher,
        connect_timeout: Duration,
    ) -> Result<Self, String> {
        let connector = Connector::new(tls::config(tls)?, resolver, proxies);
        Ok(Self { connector, connect_timeout, idle: Arc::default() })
    }

    /// Sends a request. The connection ends when this future or the response is dropped before the end of the answer.
    pub async fn send(&self, request: Request) -> Result<Response, NetworkError> {
        let origin = request.url().origin().ascii_serialization();
        let host = host(request.url()).ok_or(NetworkError::Unusable)?;
        let mut request: hyper::Request<Body> = request.try_into().map_err(|_| NetworkError::Unusable)?;
        let route = self.connector.route(request.uri());

        put(request.headers_mut(), HOST, &host);
        put(request.headers_mut(), ACCEPT, &HeaderValue::from_static("*/*"));
        put(request.headers_mut(), USER_AGENT, &AGENT);
        route.prepare(&mut request).ok_or(NetworkError::Unusable)?;

        // A connection may have broken while it was idle. Then it gives the request back, and nothing of it was sent.
        while let Some(connection) = self.idle.take(&origin) {
            match Call::new(connection, &origin, &self.idle).send(request).await {
                Ok(response) => return Ok(response),
                Err(mut error) => match error.take_message() {
                    Some(unsent) => request = unsent,
                    None => return Err(NetworkError::Broken(error.into_error())),
                },
            }
        }

        let connecting = timeout(self.connect_timeout, self.connector.connect(&route)).await;
        let connection = connecting.map_err(|_| NetworkError::NotConnectedInTime)?;
        let connection = connection.map_err(NetworkError::NotConnected)?;
        let sent = Call::new(connection, &origin, &self.idle).send(request).await;
        sent.map_err(|error| NetworkError::Broken(error.into_error()))
    }
}

// Host and port of a URL, as servers want them.
fn host(url: &Url) -> Option<HeaderValue> {
    let host = url.host_str()?;
    let text = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    HeaderValue::try_from(text).ok()
}

fn put(headers: &mut HeaderMap, name: reqwest::header::HeaderName, value: &HeaderValue) {
    if let Entry::Vacant(place) = headers.entry(name) {
        place.insert(value.clone());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hyper_util::client::proxy::matcher::Matcher;
    use reqwest::{Method, Request, Response, Url};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::{TcpListener, TcpStream};

    use super::{Network, NetworkError};
    use crate::cmdb::http::url_policy::PolicyResolver;
    use crate::cmdb::{Tls, UrlPolicy};

    const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\n\r\n";

    fn network(proxies: Matcher) -> Network {
        let resolver = PolicyResolver(Arc::new(UrlPolicy::none()));
        Network::new(&Tls::default(), resolver, proxies, Duration::from_mins(1)).unwrap()
    }

    async fn head(stream: &mut TcpStream) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap().to_ascii_lowercase()
    }

    // The head of the request for this URL at a proxy with a user, which answers so.
    async fn through_proxy(url: &str, answer: &str) -> (String, Result<Response, NetworkError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = format!("http://ann:pass@{}", listener.local_addr().unwrap());
        let network = network(Matcher::builder().all(proxy).build());
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = head(&mut stream).await;
            // It may be closed before all is written.
            let _ = stream.write_all(answer.as_bytes()).await;
            head
        };
        tokio::join!(answering, network.send(Request::new(Method::GET, Url::parse(url).unwrap())))
    }

    #[tokio::test]
    async fn a_proxy_gets_the_whole_url_of_plain_http() {
        let (head, sent) = through_proxy("http://cmdb.example:8080/api?x=1", NO_CONTENT).await;
        assert!(head.starts_with("get http://cmdb.example:8080/api?x=1 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nhost: cmdb.example:8080\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic yw5uonbhc3m=\r\n"), "{head}");
        assert!(head.contains("\r\nuser-agent: process-template-operator/"), "{head}");
        assert_eq!(sent.unwrap().status(), 204);
    }

    #[tokio::test]
    async fn a_proxy_is_asked_for_a_tunnel_for_https() {
        let (head, sent) = through_proxy("https://cmdb.example/api", "HTTP/1.1 403 Forbidden\r\n\r\n").await;
        assert!(head.starts_with("connect cmdb.example:443 http/1.1\r\n"), "{head}");
        assert!(head.contains("\r\nproxy-authorization: basic yw5uonbhc3m=\r\n"), "{head}");
        assert!(head.contains("\r\nuser-agent: process-template-operator/"), "{head}");
        assert!(matches!(sent, Err(NetworkError::NotConnected(_))), "{sent:?}");
    }

    #[tokio::test]
    async fn a_proxy_that_answers_without_end_is_read_to_a_bound() {
        for answer in ["HTTP/1.1 103 Early Hints\r\n\r\n", "HTTP/1.1 200 OK\r\nX-More: ", "\r\n"] {
            let (_, sent) = through_proxy("https://cmdb.example", &answer.repeat(9000)).await;
            assert!(matches!(sent, Err(NetworkError::NotConnected(_))), "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_server_gets_the_path_alone_and_an_idle_connection_is_used_again() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = Url::parse(&format!("http://{}/api?x=1", listener.local_addr().unwrap())).unwrap();
        let network = network(Matcher::builder().build());
        let answering = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..3 {
                let head = head(&mut stream).await;
                assert!(head.starts_with("get /api?x=1 http/1.1\r\n"), "{head}");
                stream.write_all(NO_CONTENT.as_bytes()).await.unwrap();
            }
        };
        let asking = async {
            for _ in 0..3 {
                network.send(Request::new(Method::GET, url.clone())).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        tokio::join!(answering, asking);
    }
}
