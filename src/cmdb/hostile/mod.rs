//! Hostile servers, within the process: what their answers can do to it.

pub(crate) mod fuzz;
pub(crate) mod generate;
mod lists;
mod replies;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use super::http::scripted::Piece;
use super::http::scripted::Script;
use super::{
    Client, Config, Credentials, Limiters, Limits, Observer, OpenGate, Operation, Tls, Transport, UrlPolicy,
    UserCredential,
};

/// An application secret that no text may show.
pub(crate) const SECRET: &str = "planted-app-secret";

/// Observes nothing.
pub(crate) struct Unobserved;

impl Observer for Unobserved {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

/// The configuration of a client of this host, whose owner has the same name.
pub(crate) fn config(host: &str, limiters: &Arc<Limiters>) -> Config {
    Config {
        owner: host.to_owned(),
        url: format!("http://{host}"),
        transport: Transport::Gateway,
        tls: Tls::default(),
        url_policy: Arc::new(UrlPolicy::none()),
        supplier_account: "0".to_owned(),
        credentials: Credentials {
            app_code: "app".to_owned(),
            app_secret: SECRET.into(),
            user: UserCredential::Username("ann".to_owned()),
        },
        timeout: Duration::from_secs(45),
        limits: Limits { requests_per_second: 1000, max_concurrent: 100 },
        limiters: Arc::clone(limiters),
        write_gate: Arc::new(OpenGate),
    }
}

/// A client of this host that gets these answers.
pub(crate) fn client(host: &str, limiters: &Arc<Limiters>, script: Script) -> Client {
    Client::scripted(config(host, limiters), Arc::new(Unobserved), script).unwrap()
}

/// An answer with this head and body.
pub(crate) fn http(status: u16, headers: &str, body: &[u8]) -> Vec<Piece> {
    let head = format!("HTTP/1.1 {status} Status\r\n{headers}content-length: {}\r\n\r\n", body.len());
    vec![Piece::Bytes([head.as_bytes(), body].concat())]
}

/// The start of an answer whose body ends with the connection.
pub(crate) fn endless(body: &str) -> Piece {
    Piece::Bytes(format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{body}").into_bytes())
}
