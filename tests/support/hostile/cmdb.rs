//! The hostile CMDB. It writes HTTP by hand, because HTTP libraries are too polite.
//!
//! Each behaviour has its own URL, so that all of them can be used at once, and its own simulator, which gives the
//! well-behaved answers.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cmdb_sim::{Simulator, State};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::behaviours::behaviour;
use super::objects::{BUSINESSES, Port};
use super::script::{Change, Request, Script, Step};

/// The ports that it listens on.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Ports {
    /// Serves all behaviours over HTTP.
    pub http: u16,
    /// Never answers a TLS handshake.
    pub stall: u16,
    /// Answers a TLS handshake with garbage.
    pub garbage: u16,
}

impl Ports {
    /// The nth URL of a behaviour.
    pub fn url(&self, behaviour: &str, nth: usize, port: Port) -> String {
        match port {
            Port::Http => format!("http://127.0.0.1:{}/{behaviour}/{nth}", self.http),
            Port::TlsStall => format!("https://127.0.0.1:{}/{behaviour}/{nth}", self.stall),
            Port::TlsGarbage => format!("https://127.0.0.1:{}/{behaviour}/{nth}", self.garbage),
        }
    }
}

/// A running hostile CMDB; it stops when it is dropped.
pub struct Cmdb {
    /// The ports that it listens on.
    pub ports: Ports,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Cmdb {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

// By name of a behaviour.
#[derive(Default)]
struct Behind {
    simulators: BTreeMap<String, Arc<Simulator>>,
    requests: BTreeMap<String, u64>,
}

impl Cmdb {
    /// Starts it in the present runtime.
    pub async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let behind = Arc::<Mutex<Behind>>::default();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut tasks = Vec::new();
        let serve = move |stream| {
            let (behind, http) = (Arc::clone(&behind), http.clone());
            tokio::spawn(async move { drop(serve(stream, &behind, &http).await) })
        };
        let http = listen(&mut tasks, serve).await;
        let stall = listen(&mut tasks, |stream| tokio::spawn(stall(stream))).await;
        let garbage = listen(&mut tasks, |stream| tokio::spawn(garbage(stream))).await;
        Self { ports: Ports { http, stall, garbage }, tasks }
    }
}

async fn listen<T: Send + 'static>(
    tasks: &mut Vec<JoinHandle<()>>,
    mut serve: impl FnMut(TcpStream) -> T + Send + 'static,
) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tasks.push(tokio::spawn(async move {
        loop {
            if let Ok((stream, _)) = listener.accept().await {
                drop(serve(stream));
            } else {
                sleep(Duration::from_millis(10)).await;
            }
        }
    }));
    port
}

async fn stall(mut stream: TcpStream) {
    let mut bytes = [0; 4096];
    while stream.read(&mut bytes).await.is_ok_and(|read| read > 0) {}
}

async fn garbage(mut stream: TcpStream) {
    // The header of a handshake record of 16 KiB, then a byte of it each second.
    let _ = stream.write_all(&[22, 3, 3, 64, 0]).await;
    while stream.write_all(&[0]).await.is_ok() {
        sleep(Duration::from_secs(1)).await;
    }
}

struct Head {
    method: String,
    behaviour: String,
    path: String,
    headers: Vec<(String, String)>,
    length: usize,
}

// Reads the head of the next request. `None`: the connection was closed.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Head>> {
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let text = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let (first, rest) = text.split_once("\r\n").unwrap_or((&text, ""));
    let mut words = first.split(' ');
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut parts = path.trim_start_matches('/').splitn(3, '/');
    let behaviour = parts.next().unwrap_or_default().to_owned();
    let path = format!("/{}", parts.nth(1).unwrap_or_default());
    let split = |line: &str| line.split_once(':').map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()));
    let headers: Vec<(String, String)> = rest.split("\r\n").filter_map(split).collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.and_then(|(_, value)| value.parse().ok()).unwrap_or_default();
    Ok(Some(Head { method: method.to_owned(), behaviour, path, headers, length }))
}

async fn serve(mut stream: TcpStream, behind: &Mutex<Behind>, http: &reqwest::Client) -> io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        while buffer.len() < head.length {
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let body: Vec<u8> = buffer.drain(..head.length).collect();
        let Some(known) = behaviour(&head.behaviour) else { return Ok(()) };
        let number = {
            let mut behind = behind.lock().unwrap();
            let number = behind.requests.entry(head.behaviour.clone()).or_default();
            std::mem::replace(number, *number + 1)
        };
        let parsed = serde_json::from_slice(&body).unwrap_or_default();
        let request = Request { operation: operation(&head.method, &head.path), body: parsed, number };
        let script = (known.cmdb)(&request);
        let exchange = Exchange { head: &head, body: &body, request: &request, behind, http };
        if !exchange.play(&mut stream, script).await? {
            return Ok(());
        }
    }
    Ok(())
}

// CMDB's name of the call at a path of any transport.
fn operation(method: &str, path: &str) -> String {
    if let Some((_, name)) = path.split_once("/v2/cc/") {
        return name.trim_end_matches('/').to_owned();
    }
    let known = match (method, path.split_once("/api/v3/").map_or(path, |(_, resource)| resource)) {
        ("POST", "createmany/proc/proc_template") => "batch_create_proc_template",
        ("PUT", "update/proc/proc_template") => "update_proc_template",
        ("DELETE", "deletemany/proc/proc_template") => "delete_proc_template",
        ("POST", "findmany/proc/proc_template") => "list_proc_template",
        ("POST", "findmany/proc/service_template") => "list_service_template",
        ("POST", "create/proc/service_template") => "create_service_template",
        ("POST", "findmany/proc/service_category") => "list_service_category",
        _ => path,
    };
    known.to_owned()
}

struct Exchange<'a> {
    head: &'a Head,
    body: &'a [u8],
    request: &'a Request,
    behind: &'a Mutex<Behind>,
    http: &'a reqwest::Client,
}

impl Exchange<'_> {
    // Whether the connection serves another request.
    async fn play(&self, stream: &mut TcpStream, script: Script) -> io::Result<bool> {
        for step in script {
            match step {
                Step::Polite(headers, change) => self.be_polite(stream, &headers, change).await?,
                Step::Unsaid => drop(self.ask().await?),
                Step::Text(text) => stream.write_all(text.as_bytes()).await?,
                Step::Bytes(bytes) => stream.write_all(&bytes).await?,
                Step::Repeat(text, times) => repeat(stream, text, times).await?,
                Step::Drip(text, pause) => loop {
                    for byte in text.bytes() {
                        stream.write_all(&[byte]).await?;
                        sleep(pause).await;
                    }
                },
                Step::Wait(time) => sleep(time).await,
                Step::Silence => {
                    let mut bytes = [0; 4096];
                    while stream.read(&mut bytes).await? > 0 {}
                    return Ok(false);
                }
                Step::Close => return Ok(false),
                Step::Reset => {
                    stream.set_zero_linger()?;
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    // Status and body of the well-behaved answer.
    async fn ask(&self) -> io::Result<(u16, Value)> {
        let simulator = {
            let mut behind = self.behind.lock().unwrap();
            let known = behind.simulators.entry(self.head.behaviour.clone());
            Arc::clone(known.or_insert_with(|| Arc::new(simulator())))
        };
        let method = self.head.method.parse().map_err(io::Error::other)?;
        let mut call = self.http.request(method, format!("{}{}", simulator.url(), self.head.path));
        let is_passed_on = |name: &str| !["host", "content-length", "accept-encoding", "connection"].contains(&name);
        for (name, value) in self.head.headers.iter().filter(|(name, _)| is_passed_on(name)) {
            call = call.header(name, value);
        }
        let response = call.body(self.body.to_vec()).send().await.map_err(io::Error::other)?;
        let status = response.status().as_u16();
        let text = response.bytes().await.map_err(io::Error::other)?;
        Ok((status, serde_json::from_slice(&text).unwrap_or_default()))
    }

    async fn be_polite(&self, stream: &mut TcpStream, headers: &str, change: Change) -> io::Result<()> {
        let (status, mut answer) = self.ask().await?;
        change(self.request, &mut answer);
        let (text, kind) = (answer.to_string(), "Content-Type: application/json");
        let head = format!("HTTP/1.1 {status} OK\r\n{kind}\r\nContent-Length: {}\r\n{headers}\r\n", text.len());
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(text.as_bytes()).await
    }
}

async fn repeat(stream: &mut TcpStream, text: &str, times: u64) -> io::Result<()> {
    const CHUNK: u64 = 64 << 10;
    let many = (CHUNK / text.len() as u64).max(1);
    let chunk = text.repeat(usize::try_from(many).map_err(io::Error::other)?);
    let mut left = times;
    while left >= many {
        stream.write_all(chunk.as_bytes()).await?;
        left -= many;
    }
    let rest = usize::try_from(left).map_err(io::Error::other)? * text.len();
    stream.write_all(&chunk.as_bytes()[..rest]).await
}

// A simulator with the service templates that the sets name.
fn simulator() -> Simulator {
    let options = cmdb_sim::Options { request_limit: 1, ..cmdb_sim::Options::default() };
    let simulator = Simulator::start(options).unwrap();
    let template = |biz: usize, number: usize| {
        let id = biz * 1000 + number;
        json!({ "id": id, "name": format!("t{number}"), "bk_biz_id": biz, "service_category_id": 2 })
    };
    let shared = (0..BUSINESSES).map(|number| template(2, number));
    let own = (0..BUSINESSES).map(|number| template(number + 3, number));
    let state = json!({
        "service_templates": shared.chain(own).collect::<Value>(),
        "businesses": (2..BUSINESSES + 3).map(|biz| json!({ "bk_biz_id": biz, "bk_biz_name": format!("b{biz}") }))
            .collect::<Value>(),
    });
    let state: State = serde_json::from_value(state).unwrap();
    simulator.update_state(|present| {
        present.service_templates = state.service_templates;
        present.businesses = state.businesses;
    });
    simulator
}
