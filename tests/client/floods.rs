//! The client against servers that send without end, as fast as they are read: a call ends after a bounded number of
//! bytes, its connection with it, and meanwhile other tasks of the same thread go on.

use std::io::{BufRead as _, BufReader, Read as _, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use process_template_operator::cmdb::{Config, Tls, WriteOutcome};
use rcgen::ExtendedKeyUsagePurpose;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use test_support::authority::Authority;
use tokio::task::yield_now;

use crate::calls::{built, config, create};

/// What a server sends before it gives up: much more than the client may read and the kernel may hold.
const MOST: usize = 64 << 20;

/// Turns of other tasks, at least, while a mebibyte comes in.
const TURNS: usize = 8;

/// Longest wait for the other side in a run that fails.
const PATIENCE: Duration = Duration::from_mins(2);

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
const HINTS: &str = "HTTP/1.1 103 Early Hints\r\n\r\n";
const SUCCESS: &str = "HTTP/1.1 200 OK\r\ncontent-length: 37\r\n\r\n{\"result\":true,\"code\":0,\"data\":[52]}\n";

/// What a connection was good for.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The client closed it.
    Closed,
    /// The client read all of it.
    ReadToTheEnd,
}

/// A server that sends a start and then the same again and again, and what became of its connections.
struct Peer {
    url: String,
    ends: Receiver<End>,
}

impl Peer {
    fn flooding(start: &[u8], again: &[u8], tls: Option<Arc<ServerConfig>>) -> Self {
        let (start, block) = (start.to_owned(), again.repeat((64 << 10) / again.len()));
        Self::serving(tls, move |stream| flood(stream, &start, &block))
    }

    fn serving(tls: Option<Arc<ServerConfig>>, serve: impl Fn(&mut dyn Stream) -> End + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let scheme = if tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", listener.local_addr().unwrap());
        let (sender, ends) = channel();
        thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                stream.set_write_timeout(Some(PATIENCE)).unwrap();
                let end = match &tls {
                    None => serve(&mut { stream }),
                    Some(tls) => {
                        let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
                        serve(&mut StreamOwned::new(connection, stream))
                    }
                };
                if sender.send(end).is_err() {
                    return;
                }
            }
        });
        Self { url, ends }
    }

    /// How its next connection ended.
    async fn end(self) -> (Self, End) {
        let waiting = tokio::task::spawn_blocking(move || {
            let end = self.ends.recv_timeout(PATIENCE).unwrap();
            (self, end)
        });
        waiting.await.unwrap()
    }
}

trait Stream: std::io::Read + Write {}

impl Stream for TcpStream {}
impl Stream for StreamOwned<ServerConnection, TcpStream> {}

// Reads a request. `false`: there is none any more.
fn read_request(stream: &mut dyn Stream) -> bool {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(1..) => {}
            Ok(0) | Err(_) => return false,
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line == "\r\n" {
            return reader.read_exact(&mut vec![0; length]).is_ok();
        }
    }
}

fn flood(stream: &mut dyn Stream, start: &[u8], block: &[u8]) -> End {
    assert!(read_request(stream));
    let mut left = MOST;
    let mut sent = stream.write_all(start);
    while sent.is_ok() && left > 0 {
        sent = stream.write_all(block);
        left = left.saturating_sub(block.len());
    }
    if sent.is_ok() { End::ReadToTheEnd } else { End::Closed }
}

/// Counts the turns of another task on this thread, until this is dropped.
struct Turns {
    count: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
}

impl Turns {
    fn count() -> Self {
        let turns = Self { count: Arc::default(), is_over: Arc::default() };
        let (count, is_over) = (Arc::clone(&turns.count), Arc::clone(&turns.is_over));
        tokio::spawn(async move {
            while !is_over.load(Ordering::Relaxed) {
                count.fetch_add(1, Ordering::Relaxed);
                yield_now().await;
            }
        });
        turns
    }
}

impl Drop for Turns {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

// A write ends with this error, its connection with it, and other tasks had at least these turns.
async fn ends(what: &str, peer: Peer, config: Config, label: &str, least: usize) {
    let client = built(config);
    let turns = Turns::count();
    let error = create(&client).await.unwrap_err();
    let had = turns.count.load(Ordering::Relaxed);
    drop(turns);
    assert!(had >= least, "{what}: other tasks had {had} turns");
    assert_eq!((error.label(), error.outcome()), (label, WriteOutcome::Unknown), "{what}: {error}");
    let (peer, end) = peer.end().await;
    assert_eq!(end, End::Closed, "{what}");
    assert!(peer.ends.try_recv().is_err(), "{what}: a write is sent once");
}

#[tokio::test]
async fn whatever_a_server_sends_without_end_is_read_to_a_bound() {
    let chunked = |start: &str| format!("{CHUNKED}{start}").into_bytes();
    let gzip = [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n\x1f\x8b\x08".as_slice(), &[0; 7]].concat();
    let broken = "outcome_unknown";
    for (what, start, again, label, least) in [
        ("early hints", Vec::new(), HINTS.as_bytes(), broken, TURNS),
        ("continue", Vec::new(), b"HTTP/1.1 100 Continue\r\n\r\n", broken, TURNS),
        ("early hints with links", Vec::new(), b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", broken, TURNS),
        ("blank lines", Vec::new(), b"\r\n", broken, TURNS / 2),
        ("header lines", b"HTTP/1.1 200 OK\r\n".to_vec(), b"X-More: more\r\n", broken, 0),
        ("one header line", b"HTTP/1.1 200 OK\r\nX-More: ".to_vec(), b"more", broken, TURNS / 2),
        ("zeros of a chunk size", chunked(""), b"0", broken, TURNS),
        ("spaces after a chunk size", chunked("1"), b" ", broken, TURNS),
        ("a chunk extension", chunked("1;"), b"x", broken, 0),
        ("chunk extensions", chunked(""), b"1;more=more\r\n \r\n", broken, 0),
        ("tiny chunks", chunked(""), b"1\r\n \r\n", broken, TURNS),
        ("trailers", chunked("0\r\n"), b"X-More: more\r\n", broken, 0),
        ("a body", b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), b" ", "protocol", TURNS),
        ("compressed nothing", gzip, b"\0\0\0\xff\xff", "protocol", TURNS),
    ] {
        let peer = Peer::flooding(&start, again, None);
        let config = config(&peer.url);
        ends(what, peer, config, label, least).await;
    }
}

#[tokio::test]
async fn within_tls_the_same_bound_holds() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let authority = Authority::new();
    let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let tls = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![certificate], key).unwrap();
    let peer = Peer::flooding(b"", HINTS.as_bytes(), Some(Arc::new(tls)));
    let tls = Tls { ca_bundle: Some(authority.certificate), identity: None };
    let config = Config { tls, ..config(&peer.url) };
    ends("early hints", peer, config, "outcome_unknown", TURNS).await;
}

#[tokio::test]
async fn a_connection_ends_with_a_call_that_is_given_up() {
    for start in ["", HINTS, CHUNKED, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{"] {
        let (sender, mut reached) = tokio::sync::mpsc::unbounded_channel();
        let peer = Peer::serving(None, move |stream| {
            assert!(read_request(stream));
            stream.write_all(start.as_bytes()).unwrap();
            sender.send(()).unwrap();
            if matches!(stream.read(&mut [0]), Ok(1..)) { End::ReadToTheEnd } else { End::Closed }
        });
        let client = built(config(&peer.url));
        tokio::select! {
            result = create(&client) => panic!("{start:?}: {result:?}"),
            reached = reached.recv() => reached.unwrap(),
        }
        assert_eq!(peer.end().await.1, End::Closed, "{start:?}");
    }
}

#[tokio::test]
async fn each_answer_of_a_connection_is_counted_by_itself() {
    let peer = Peer::serving(None, |stream| {
        while read_request(stream) {
            stream.write_all(HINTS.repeat(20_000).as_bytes()).unwrap();
            stream.write_all(SUCCESS.as_bytes()).unwrap();
        }
        End::Closed
    });
    let client = built(config(&peer.url));
    for _ in 0..5 {
        assert_eq!(create(&client).await, Ok(vec![52]));
    }
    assert!(peer.ends.try_recv().is_err(), "all of them used one connection");
}
