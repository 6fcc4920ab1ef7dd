//! The CMDB client, against a scripted server: what it sends, and what it makes of every answer.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use process_template_operator::cmdb::{
    Client, Config, Credentials, Disposition, Error, Lane, Observer, Operation, Properties, Property, UserCredential,
    WriteOutcome,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

const SECRET: &str = "planted-secret-value";

/// What the server does with a request.
#[derive(Clone)]
enum Answer {
    Reply {
        status: u16,
        headers: String,
        body: String,
    },
    /// The connection is closed without a word.
    Close,
    /// No answer, ever.
    Never,
}

/// A request as it came over the wire.
#[derive(Debug)]
struct Seen {
    head: String,
    body: Value,
}

struct Server {
    url: String,
    seen: mpsc::UnboundedReceiver<Seen>,
}

fn json_answer(body: &Value) -> Answer {
    Answer::Reply { status: 200, headers: String::new(), body: body.to_string() }
}

fn ok(data: Value) -> Answer {
    json_answer(&json!({ "result": true, "code": 0, "message": "success", "data": data }))
}

impl Server {
    /// Answers in this order; the last answer is repeated.
    async fn new(answers: Vec<Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, seen) = mpsc::unbounded_channel();
        let next = Arc::new(Mutex::new(answers));
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&next), sender.clone()));
            }
        });
        Self { url, seen }
    }

    fn requests(&mut self) -> Vec<Seen> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).collect()
    }
}

async fn serve(mut stream: TcpStream, next: Arc<Mutex<Vec<Answer>>>, sender: mpsc::UnboundedSender<Seen>) {
    let mut bytes = Vec::new();
    loop {
        let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
            let mut chunk = [0; 4096];
            match stream.read(&mut chunk).await {
                Ok(count) if count > 0 => bytes.extend_from_slice(&chunk[..count]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok()).unwrap();
        while bytes.len() < end + 4 + length {
            let mut chunk = [0; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            bytes.extend_from_slice(&chunk[..count]);
        }
        let body = serde_json::from_slice(&bytes[end + 4..end + 4 + length]).unwrap();
        bytes.drain(..end + 4 + length);
        sender.send(Seen { head, body }).unwrap();
        let answer = {
            let mut answers = next.lock().unwrap();
            if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
        };
        match answer {
            Answer::Reply { status, headers, body } => {
                let text = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
                if stream.write_all(text.as_bytes()).await.is_err() {
                    return;
                }
            }
            Answer::Close => return,
            Answer::Never => std::future::pending().await,
        }
    }
}

struct Nobody;

impl Observer for Nobody {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

fn config(url: &str) -> Config {
    Config {
        url: url.to_owned(),
        supplier_account: "0".to_owned(),
        credentials: Credentials {
            app_code: "code".to_owned(),
            app_secret: SecretString::from(SECRET),
            user: UserCredential::Username("admin".to_owned()),
        },
        timeout: Duration::from_secs(20),
        max_concurrent: 4,
    }
}

fn client(url: &str) -> Client {
    Client::new(config(url), Arc::new(Nobody)).unwrap()
}

fn specs() -> Vec<Properties> {
    let pair = |value: Value| Property { value, as_default_value: Some(true) };
    vec![Properties::from([
        ("bk_process_name".to_owned(), pair("nginx".into())),
        ("proc_num".to_owned(), Property { value: 1.into(), as_default_value: Some(false) }),
    ])]
}

#[tokio::test]
async fn a_create_has_the_form_of_the_api_document() {
    let mut server = Server::new(vec![ok(json!([52])), ok(json!([[53]]))]).await;
    let client = client(&format!("{}/base/", server.url));
    assert_eq!(client.create_process_templates(2, 7, &specs()).await, Ok(vec![52]));
    assert_eq!(
        client.create_process_templates(2, 7, &specs()).await,
        Ok(vec![53]),
        "nested once, as the old document has it"
    );
    let [first, second] = &server.requests()[..] else { panic!() };
    assert!(
        first.head.starts_with("post /base/api/c/compapi/v2/cc/batch_create_proc_template/ http/1.1"),
        "{}",
        first.head
    );
    assert!(first.head.contains("blueking-language: en"));
    assert_eq!(
        first.body,
        json!({
            "bk_app_code": "code", "bk_app_secret": SECRET, "bk_username": "admin", "bk_supplier_account": "0",
            "bk_biz_id": 2, "service_template_id": 7,
            "processes": [{ "spec": {
                "bk_process_name": { "value": "nginx", "as_default_value": true },
                "proc_num": { "value": 1, "as_default_value": false },
            } }],
        })
    );
    let id = |seen: &Seen| seen.head.lines().find_map(|line| line.strip_prefix("x-request-id: ").map(str::to_owned));
    assert!(id(first).is_some() && id(first) != id(second), "each call has an ID of its own");
}

#[tokio::test]
async fn lists_are_read_leniently_and_in_order() {
    let info = json!([
        { "id": 9, "bk_process_name": "b", "property": null, "creator": null, "create_time": "2024-05-18T02:40:00.123456789+08:00" },
        { "id": 3, "bk_process_name": "a", "property": { "new": { "value": 1 } }, "create_time": "yesterday", "more": true },
    ]);
    let server =
        Server::new(vec![ok(json!({ "count": 2, "info": info })), ok(json!({ "count": 0, "info": null }))]).await;
    let client = client(&server.url);
    let listed = client.list_process_templates(Lane::Work, 2, 7).await.unwrap();
    assert_eq!(listed.iter().map(|template| template.id).collect::<Vec<_>>(), [3, 9]);
    assert_eq!(listed[0].create_time, None);
    assert_eq!(listed[1].create_time.unwrap().as_millisecond(), 1_715_971_200_123);
    assert!(client.list_process_templates(Lane::Work, 2, 7).await.unwrap().is_empty());
}

#[tokio::test]
async fn service_templates_are_read_page_by_page() {
    let page = |from: i64, count: i64| {
        let info: Value = (from..from + count).map(|id| json!({ "id": id, "name": format!("t{id}") })).collect();
        ok(json!({ "count": 501, "info": info }))
    };
    let mut server = Server::new(vec![page(1, 500), page(501, 1)]).await;
    assert_eq!(client(&server.url).list_service_templates(Lane::Poll, 2).await.unwrap().len(), 501);
    let starts: Vec<Value> = server.requests().iter().map(|seen| seen.body["page"]["start"].clone()).collect();
    assert_eq!(starts, [json!(0), json!(500)]);
}

#[tokio::test]
async fn a_read_is_tried_again_and_a_write_never() {
    let mut server = Server::new(vec![Answer::Close, Answer::Close, ok(json!({ "count": 0, "info": [] }))]).await;
    assert!(client(&server.url).list_process_templates(Lane::Work, 2, 7).await.is_ok());
    assert_eq!(server.requests().len(), 3);

    let mut server = Server::new(vec![Answer::Close, ok(json!([52]))]).await;
    let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
    assert_eq!(error.outcome(), WriteOutcome::Unknown);
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn without_a_connection_nothing_was_stored_and_without_an_answer_nobody_knows() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", closed.local_addr().unwrap());
    drop(closed);
    let error = client(&url).create_process_templates(2, 7, &specs()).await.unwrap_err();
    assert_eq!((error.label(), error.outcome()), ("unavailable", WriteOutcome::NotStored));

    let server = Server::new(vec![Answer::Never]).await;
    let short = Config { timeout: Duration::from_millis(300), ..config(&server.url) };
    let error =
        Client::new(short, Arc::new(Nobody)).unwrap().create_process_templates(2, 7, &specs()).await.unwrap_err();
    assert_eq!((error.label(), error.outcome()), ("outcome_unknown", WriteOutcome::Unknown));
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_an_endless_answer_not_read() {
    let mut target = Server::new(vec![ok(json!([52]))]).await;
    let headers = format!("location: {}/\r\n", target.url);
    let server = Server::new(vec![Answer::Reply { status: 307, headers, body: String::new() }]).await;
    let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
    assert_eq!(error.label(), "protocol");
    assert!(target.requests().is_empty());

    let server =
        Server::new(vec![Answer::Reply { status: 200, headers: String::new(), body: "x".repeat(33 << 20) }]).await;
    let error = client(&server.url).list_process_templates(Lane::Work, 2, 7).await.unwrap_err();
    assert_eq!(error.label(), "protocol");
}

#[tokio::test]
async fn the_gateways_window_says_how_long_to_wait() {
    let headers = "x-bkapi-ratelimit-reset: 17\r\n".to_owned();
    let body = json!({ "code": 1_642_901, "message": "slow down", "result": false, "data": null }).to_string();
    let server = Server::new(vec![Answer::Reply { status: 429, headers, body }]).await;
    let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::RetryLater { after: Some(Duration::from_secs(17)) });
}

#[test]
fn a_url_has_one_name_and_what_is_no_base_url_is_refused() {
    let url = |text: &str| Client::new(config(text), Arc::new(Nobody)).map(|client| client.url().to_owned());
    assert_eq!(url("HTTPS://CMDB.example.com:443/base/").unwrap(), "https://cmdb.example.com/base");
    for text in ["ftp://cmdb", "cmdb", "https://me:pass@cmdb", "https://cmdb/?a=b", "https://cmdb/#a"] {
        assert!(matches!(url(text), Err(Error::Configuration { .. })), "{text}");
    }
}

#[derive(Clone, Copy)]
enum After {
    Change,
    Wait,
}
use After::{Change, Wait};

/// Code, HTTP status, text; label, what next, whether a write was certainly not stored, whether an item is to blame.
type Row = (Option<i64>, u16, &'static str, &'static str, After, bool, bool);

#[rustfmt::skip]
const TABLE: &[Row] = &[
    (Some(1_199_000), 200, "", "invalid", Change, true, true),
    (Some(1_199_002), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_003), 200, "", "invalid", Change, true, false),
    (Some(1_199_006), 200, "'bk_process_name' data parameter verification does not pass", "invalid", Change, true, true),
    (Some(1_199_006), 200, "'bind_info[0].port' data parameter verification does not pass", "invalid", Change, true, true),
    (Some(1_199_006), 200, "'bk_biz_id' data parameter verification does not pass", "invalid", Change, true, false),
    (Some(1_199_006), 200, "'service_template_id' data parameter verification does not pass", "invalid", Change, true, false),
    (Some(1_199_006), 200, "something else", "invalid", Change, true, false),
    (Some(1_199_010), 200, "", "invalid", Change, true, false),
    (Some(1_199_014), 200, "", "conflict", Wait, true, false),
    (Some(1_199_017), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_018), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_019), 200, "", "not_found", Wait, true, false),
    (Some(1_199_020), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_021), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_027), 500, "", "authentication", Change, true, false),
    (Some(1_199_035), 200, "", "invalid", Change, true, false),
    (Some(1_199_036), 500, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_037), 500, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_045), 200, "", "invalid", Change, true, false),
    (Some(1_199_046), 200, "", "permission", Change, true, false),
    (Some(1_199_047), 200, "", "permission", Change, true, false),
    (Some(9_900_403), 200, "", "permission", Change, true, false),
    (Some(1_199_058), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_059), 200, "", "invalid", Change, true, false),
    (Some(1_199_065), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_066), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_199_089), 200, "", "invalid", Change, true, false),
    (Some(1_199_997), 200, "", "throttled", Wait, true, false),
    (Some(1_199_998), 200, "field bk_process_name contains space: ' x'", "invalid", Change, true, true),
    (Some(1_199_998), 200, "crypto/rsa: verification error", "authentication", Change, true, false),
    (Some(1_199_998), 200, "token is expired by 1m", "authentication", Change, true, false),
    (Some(1_199_998), 200, "Post \"http://x/transaction/abort\": connection refused", "outcome_unknown", Wait, false, false),
    (Some(1_199_998), 500, "proxy request failed", "outcome_unknown", Wait, false, false),
    (Some(1_199_999), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_100_004), 200, "", "authentication", Change, true, false),
    (Some(1_113_019), 200, "", "conflict", Wait, true, true),
    (Some(1_113_020), 200, "", "conflict", Wait, true, true),
    (Some(1_113_032), 200, "", "invalid", Change, true, false),
    (Some(1_306_000), 200, "APP Secret verification failed", "authentication", Change, true, false),
    (Some(1_306_000), 200, "User authentication failed", "authentication", Change, true, false),
    (Some(1_306_000), 200, "internal error", "outcome_unknown", Wait, false, false),
    (Some(1_306_201), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_306_203), 200, "", "outcome_unknown", Wait, false, false),
    (Some(1_306_206), 200, "", "protocol", Change, false, false),
    (Some(1_306_401), 200, "", "permission", Change, true, false),
    (Some(1_306_403), 200, "", "permission", Change, true, false),
    (Some(1_306_404), 200, "", "protocol", Change, false, false),
    (Some(1_306_406), 200, "", "invalid", Change, true, false),
    (Some(1_306_429), 200, "", "throttled", Wait, true, false),
    (Some(1_640_001), 400, "", "authentication", Change, true, false),
    (Some(1_640_301), 403, "", "permission", Change, true, false),
    (Some(1_640_401), 404, "", "protocol", Change, false, false),
    (Some(1_641_301), 413, "", "invalid", Change, true, false),
    (Some(1_642_904), 429, "", "throttled", Wait, true, false),
    (Some(1_650_200), 502, "", "outcome_unknown", Wait, false, false),
    (Some(1_650_401), 504, "", "outcome_unknown", Wait, false, false),
    (Some(4_711), 200, "nobody knows this code", "outcome_unknown", Wait, false, false),
    (None, 200, "404: Page Not Found", "protocol", Change, false, false),
    (None, 401, "", "authentication", Change, true, false),
    (None, 403, "", "permission", Change, true, false),
    (None, 404, "", "protocol", Change, false, false),
    (None, 408, "", "outcome_unknown", Wait, false, false),
    (None, 429, "", "throttled", Wait, true, false),
    (None, 502, "<html>", "outcome_unknown", Wait, false, false),
    (None, 503, "", "outcome_unknown", Wait, false, false),
];

#[tokio::test]
async fn every_answer_has_the_meaning_of_the_table() {
    for &(code, status, text, label, after, not_stored, item) in TABLE {
        for envelope in ["code", "bk_error_code"] {
            let message = if envelope == "code" { "message" } else { "bk_error_msg" };
            let body = code.map_or_else(
                || text.to_owned(),
                |code| json!({ "result": false, envelope: code, message: text, "data": null }).to_string(),
            );
            let server = Server::new(vec![Answer::Reply { status, headers: String::new(), body }]).await;
            let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
            let waits = matches!(error.disposition(), Disposition::RetryLater { .. });
            let seen = (error.label(), waits, error.outcome() == WriteOutcome::NotStored, error.is_item_error());
            assert_eq!(seen, (label, matches!(after, Wait), not_stored, item), "{code:?} {status} {text:?}");
        }
    }
    println!("error classes: rows={} envelopes=2 wrong=0", TABLE.len());
}

#[tokio::test]
async fn a_success_is_code_0_and_a_true_result() {
    let data = json!([52]);
    for body in [
        json!({ "result": false, "code": 0, "message": "", "data": data }),
        json!({ "code": 0, "message": "", "data": data }),
        json!({ "result": true, "code": 0, "message": "success", "data": "52" }),
    ] {
        let server = Server::new(vec![json_answer(&body)]).await;
        let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
        assert_eq!(error.outcome(), WriteOutcome::Unknown, "{body}");
    }
}

#[tokio::test]
async fn cmdbs_words_are_bounded_and_carry_no_request_id() {
    let message = format!("line\u{1b}[1m\n{}", "\u{4e2d}".repeat(400));
    let body = json!({ "result": false, "code": 1_199_006, "message": message, "request_id": "its-id", "data": null });
    let server = Server::new(vec![json_answer(&body)]).await;
    let error = client(&server.url).create_process_templates(2, 7, &specs()).await.unwrap_err();
    let said = error.user_message();
    assert!(said.len() < 540 && !said.contains(char::is_control) && !said.contains("its-id"), "{said}");
    assert!(!error.to_string().contains("its-id"));
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    let mut server = Server::new(vec![Answer::Never]).await;
    let few = Config { max_concurrent: 2, timeout: Duration::from_secs(60), ..config(&server.url) };
    let client = Client::new(few, Arc::new(Nobody)).unwrap();
    let calls: Vec<_> = (0..5)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.list_process_templates(Lane::Work, 2, 7).await })
        })
        .collect();
    for _ in 0..2 {
        server.seen.recv().await.unwrap();
    }
    // A third would have come by the time that the first is given up.
    calls[0].abort();
    server.seen.recv().await.unwrap();
    assert!(server.requests().is_empty());
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_or_text() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let token = Config {
        credentials: Credentials {
            user: UserCredential::Token(SecretString::from(SECRET)),
            ..config("http://x").credentials
        },
        ..config("http://x")
    };
    let mut texts = vec![format!("{token:?}"), format!("{:?}", client("http://x"))];
    for answer in [
        ok(json!([52])),
        Answer::Close,
        json_answer(&json!({ "result": false, "code": 1_306_000, "message": "APP Secret verification failed" })),
    ] {
        let server = Server::new(vec![answer]).await;
        if let Err(error) = client(&server.url).create_process_templates(2, 7, &specs()).await {
            texts.push(format!("{error} {error:?} {}", error.user_message()));
        }
    }
    texts.push(String::from_utf8_lossy(&log.0.lock().unwrap()).into_owned());
    assert!(texts.last().unwrap().contains("batch_create_proc_template"), "it does log");
    assert!(!texts.iter().any(|text| text.contains(SECRET)));
}
