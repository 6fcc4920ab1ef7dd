//! The CMDB client, against a scripted server: what it sends, and what it makes of every answer.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use futures::future::{join_all, pending};
use process_template_operator::cmdb::{
    Client, Config, Credentials, Disposition, Error, GrantedClient, Limits, Observer, OpenGate, Operation, PollKey,
    Priority, ProcessTemplate, Properties, Property, ServiceCategory, ServiceTemplate, Tls, Transport, UrlPolicy,
    UserCredential, WriteOutcome,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use test_support::closed::Closed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

use crate::{of, unbounded};

const BIZ: i64 = 2;
const TEMPLATE: i64 = 7;
const SECRET: &str = "planted-app-secret";
const TOKEN: &str = "planted-login-token";
const ESB: &str = "/api/c/compapi/v2/cc";

// ---- The server ----

/// What is sent back.
#[derive(Debug)]
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Body,
}

impl Answer {
    fn text(status: u16, body: impl Into<Body>) -> Self {
        Self { status, headers: Vec::new(), body: body.into() }
    }

    fn json(body: &Value) -> Self {
        Self::text(200, body.to_string()).header("content-type", "application/json")
    }

    fn ok(data: &Value) -> Self {
        Self::json(&json!({ "result": true, "code": 0, "message": "success", "data": data, "request_id": "theirs" }))
    }

    fn list(info: &Value) -> Self {
        Self::ok(&json!({ "count": info.as_array().map_or(0, Vec::len), "info": info }))
    }

    fn error(code: i64, message: &str) -> Self {
        Self::json(&json!({ "result": false, "code": code, "message": message, "data": null }))
    }

    fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    fn into_response(self) -> Response {
        let mut response = Response::builder().status(self.status);
        for (name, value) in self.headers {
            response = response.header(name, value);
        }
        response.body(self.body).unwrap()
    }
}

/// A request as it arrived.
#[derive(Clone, Debug)]
struct Seen {
    method: String,
    target: String,
    headers: HeaderMap,
    body: Value,
}

impl Seen {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// A request that waits for its answer; never gets one when this is dropped.
struct Held {
    seen: Seen,
    answer: oneshot::Sender<Answer>,
}

impl Held {
    fn answer(self, answer: Answer) {
        self.answer.send(answer).unwrap();
    }
}

struct Shared {
    // In their order; without a script each request is held.
    script: Option<Mutex<VecDeque<Answer>>>,
    seen: Mutex<Vec<Seen>>,
    held: mpsc::UnboundedSender<Held>,
    in_flight: AtomicUsize,
    most_in_flight: AtomicUsize,
}

struct Server {
    url: String,
    shared: Arc<Shared>,
    held: mpsc::UnboundedReceiver<Held>,
}

impl Server {
    /// Gives these answers, one after the other.
    async fn answering<const N: usize>(answers: [Answer; N]) -> Self {
        Self::start(Some(Mutex::new(answers.into()))).await
    }

    /// Holds every request until the test answers it.
    async fn holding() -> Self {
        Self::start(None).await
    }

    async fn start(script: Option<Mutex<VecDeque<Answer>>>) -> Self {
        Log::install();
        let (sender, held) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            script,
            seen: Mutex::default(),
            held: sender,
            in_flight: AtomicUsize::new(0),
            most_in_flight: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(arrived).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared, held }
    }

    /// The requests so far.
    fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// The only request.
    fn only(&self) -> Seen {
        let seen = self.seen();
        assert_eq!(seen.len(), 1, "exactly one request: {seen:?}");
        seen[0].clone()
    }

    async fn next(&mut self) -> Held {
        self.held.recv().await.unwrap()
    }
}

async fn arrived(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let bytes = to_bytes(body, usize::MAX).await.unwrap();
    let seen = Seen {
        method: head.method.to_string(),
        target: head.uri.to_string(),
        headers: head.headers,
        body: serde_json::from_slice(&bytes).unwrap_or(Value::Null),
    };
    let in_flight = shared.in_flight.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most_in_flight.fetch_max(in_flight, Ordering::SeqCst);
    shared.seen.lock().unwrap().push(seen.clone());
    let answer = if let Some(script) = &shared.script {
        let next = script.lock().unwrap().pop_front();
        next.unwrap_or_else(|| Answer::text(418, "the script is over"))
    } else {
        let (sender, answer) = oneshot::channel();
        let _ = shared.held.send(Held { seen, answer: sender });
        match answer.await {
            Ok(answer) => answer,
            Err(_) => pending().await,
        }
    };
    shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    answer.into_response()
}

/// Reads one request to its end.
async fn request_read(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            if body.len() >= length.unwrap_or(0_usize) {
                return text;
            }
        }
        assert_ne!(stream.read_buf(&mut bytes).await.unwrap(), 0, "the request is complete");
    }
}

// ---- The client ----

/// Every call that the observer was told of.
#[derive(Default)]
struct Calls(Mutex<Vec<(Operation, &'static str)>>);

impl Calls {
    fn outcomes(&self) -> Vec<&'static str> {
        self.0.lock().unwrap().iter().map(|call| call.1).collect()
    }
}

impl Observer for Calls {
    fn call_finished(&self, operation: Operation, outcome: &'static str, _: Duration) {
        self.0.lock().unwrap().push((operation, outcome));
    }
}

fn credentials(user: UserCredential) -> Credentials {
    Credentials { app_code: "app".to_owned(), app_secret: SecretString::from(SECRET), user }
}

pub fn config(url: &str) -> Config {
    Config {
        owner: String::new(),
        transport: Transport::Esb,
        tls: Tls::default(),
        url_policy: Arc::new(UrlPolicy::none()),
        url: url.to_owned(),
        supplier_account: "0".to_owned(),
        credentials: credentials(UserCredential::Username("ann".to_owned())),
        timeout: Duration::from_mins(1),
        limits: Limits { requests_per_second: 1000, max_concurrent: 4 },
        limiters: Arc::default(),
        write_gate: Arc::new(OpenGate),
    }
}

fn at_a_time(max_concurrent: usize) -> Limits {
    Limits { requests_per_second: 1000, max_concurrent }
}

pub fn built(config: Config) -> GrantedClient {
    observed(config).0
}

fn observed(config: Config) -> (GrantedClient, Arc<Calls>) {
    Log::install();
    let calls = Arc::new(Calls::default());
    (unbounded(Client::new(config, Arc::<Calls>::clone(&calls)).unwrap()), calls)
}

fn client(url: &str) -> GrantedClient {
    built(config(url))
}

fn hasty(url: &str) -> Config {
    Config { timeout: Duration::from_millis(500), ..config(url) }
}

fn specs() -> Vec<Properties> {
    let pair = |value: Value, flag| Property { value, as_default_value: flag };
    vec![
        Properties::from([
            ("bk_process_name".to_owned(), pair(json!("web"), Some(true))),
            ("proc_num".to_owned(), pair(json!(2), Some(false))),
        ]),
        Properties::from([("bk_process_name".to_owned(), pair(json!("job"), None))]),
    ]
}

pub async fn create(client: &GrantedClient) -> Result<Vec<i64>, Error> {
    client.create_process_templates(of(TEMPLATE), &specs()).await
}

async fn list(client: &GrantedClient) -> Result<Vec<ProcessTemplate>, Error> {
    client.list_process_templates(Priority::Interactive, of(TEMPLATE)).await
}

/// What a create makes of an answer, which it asks for once.
async fn created_from(answer: Answer) -> Result<Vec<i64>, Error> {
    let server = Server::answering([answer]).await;
    let result = create(&client(&server.url)).await;
    server.only();
    result
}

/// What a list makes of the entries of an answer.
async fn listed_from(info: Value) -> Vec<ProcessTemplate> {
    let server = Server::answering([Answer::list(&info)]).await;
    list(&client(&server.url)).await.unwrap()
}

fn unknown(result: Result<Vec<i64>, Error>) -> Error {
    let error = result.unwrap_err();
    assert_eq!(error.outcome(), WriteOutcome::Unknown, "{error:?}");
    error
}

// ---- What is sent ----

#[tokio::test]
async fn a_create_has_the_exact_form_of_the_document() {
    let server = Server::answering([Answer::ok(&json!([52, 53]))]).await;
    assert_eq!(create(&client(&server.url)).await, Ok(vec![52, 53]));
    let seen = server.only();
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.target, "/api/c/compapi/v2/cc/batch_create_proc_template/");
    assert_eq!(seen.header("Blueking-Language"), "en");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(
        seen.body,
        json!({
            "bk_app_code": "app", "bk_app_secret": SECRET, "bk_username": "ann", "bk_supplier_account": "0",
            "bk_biz_id": 2, "service_template_id": 7,
            "processes": [
                { "spec": {
                    "bk_process_name": { "value": "web", "as_default_value": true },
                    "proc_num": { "value": 2, "as_default_value": false },
                } },
                { "spec": { "bk_process_name": { "value": "job", "as_default_value": null } } },
            ],
        })
    );
}

#[tokio::test]
async fn every_other_call_has_the_form_of_the_document_too() {
    let created = json!({ "id": 7, "name": "web", "bk_biz_id": 2, "service_category_id": 3 });
    let server = Server::answering([
        Answer::list(&json!([])),
        Answer::list(&json!([created])),
        Answer::ok(&created),
        Answer::list(&json!([{ "id": 3, "name": "Default", "bk_parent_id": 1, "bk_biz_id": 0 }])),
    ])
    .await;
    let client = client(&server.url);
    let template = ServiceTemplate { id: 7, name: "web".to_owned(), bk_biz_id: 2, service_category_id: 3 };
    let category = ServiceCategory { id: 3, name: "Default".to_owned(), bk_parent_id: 1, bk_biz_id: 0 };
    assert_eq!(list(&client).await, Ok(vec![]));
    assert_eq!(
        client.list_service_templates(Priority::Background(PollKey::default()), BIZ).await,
        Ok(vec![template.clone()])
    );
    assert_eq!(client.create_service_template(BIZ, "web", 3).await, Ok(template));
    assert_eq!(client.list_service_categories(BIZ).await, Ok(vec![category]));

    let expected = [
        ("list_proc_template", json!({ "bk_biz_id": 2, "service_template_id": 7 })),
        ("list_service_template", json!({ "bk_biz_id": 2, "page": { "start": 0, "limit": 500, "sort": "id" } })),
        ("create_service_template", json!({ "bk_biz_id": 2, "name": "web", "service_category_id": 3 })),
        ("list_service_category", json!({ "bk_biz_id": 2 })),
    ];
    let seen = server.seen();
    assert_eq!(seen.len(), expected.len());
    for (mut seen, (name, own)) in seen.into_iter().zip(expected) {
        let common = ["bk_app_code", "bk_app_secret", "bk_username", "bk_supplier_account"];
        let body = seen.body.as_object_mut().unwrap();
        assert!(common.iter().all(|key| body.remove(*key).is_some()), "{name}: {body:?}");
        assert_eq!(seen.body, own);
        assert_eq!((seen.method, seen.target), ("POST".to_owned(), format!("{ESB}/{name}/")));
    }
}

#[tokio::test]
async fn each_kind_of_user_has_its_own_parameter_and_no_other() {
    let secret = || SecretString::from(TOKEN);
    let users = [
        (UserCredential::Username("ann".to_owned()), "bk_username", "ann", Some("ann")),
        (UserCredential::Token(secret()), "bk_token", TOKEN, None),
        (UserCredential::AccessToken(secret()), "bk_access_token", TOKEN, None),
    ];
    for (user, parameter, value, name) in users {
        let server = Server::answering([Answer::ok(&json!([]))]).await;
        let client = built(Config { credentials: credentials(user), ..config(&server.url) });
        create(&client).await.unwrap();
        let body = server.only().body;
        let sent: Vec<_> =
            ["bk_username", "bk_token", "bk_access_token"].into_iter().filter(|key| body.get(key).is_some()).collect();
        assert_eq!((sent, &body[parameter], client.user().as_deref()), (vec![parameter], &json!(value), name));
        assert!(!server.only().target.contains(TOKEN));
    }
}

#[tokio::test]
async fn every_request_has_a_correlation_id_of_its_own() {
    let retried = [Answer::text(502, ""), Answer::list(&json!([])), Answer::ok(&json!([])), Answer::ok(&json!([]))];
    let server = Server::answering(retried).await;
    let client = client(&server.url);
    list(&client).await.unwrap();
    create(&client).await.unwrap();
    create(&client.clone()).await.unwrap();
    let mut ids: Vec<String> = server.seen().iter().map(|seen| seen.header("X-Request-Id").to_owned()).collect();
    assert!(server.seen().iter().all(|seen| seen.header("X-Bkapi-Request-Id") == seen.header("X-Request-Id")));
    ids.sort();
    ids.dedup();
    assert!(ids.len() == 4 && ids.iter().all(|id| !id.is_empty()), "{ids:?}");
}

#[tokio::test]
async fn a_base_url_may_have_a_path_and_a_slash_at_the_end() {
    for (suffix, prefix) in [("", ""), ("/", ""), ("/stage/a", "/stage/a"), ("/stage/a/", "/stage/a")] {
        let server = Server::answering([Answer::ok(&json!([]))]).await;
        create(&client(&format!("{}{suffix}", server.url))).await.unwrap();
        assert_eq!(server.only().target, format!("{prefix}{ESB}/batch_create_proc_template/"));
    }
}

#[test]
fn a_cmdb_has_one_name_and_what_is_no_base_url_is_refused() {
    let url = |text: &str| Client::new(config(text), Arc::new(Calls::default())).map(|client| client.url().to_owned());
    assert_eq!(url("HTTPS://CMDB.Example.com:443/base/"), Ok("https://cmdb.example.com/base".to_owned()));
    assert_eq!(url("http://cmdb.example.com:80"), Ok("http://cmdb.example.com".to_owned()));
    let planted = [
        format!("https://ann:{SECRET}@cmdb.example.com"),
        format!("https://ann:{SECRET}@cmdb.example.com:99999"),
        format!("https://cmdb.example.com/?token={SECRET}"),
    ];
    let plain = ["", "cmdb.example.com", "ftp://cmdb.example.com", "http://", "http://cmdb.example.com/#top"];
    for text in planted.iter().map(String::as_str).chain(plain) {
        let error = url(text).unwrap_err();
        assert_eq!((error.label(), error.outcome()), ("configuration", WriteOutcome::NotStored), "{text}");
        assert_eq!(error.disposition(), Disposition::WaitForChange);
        assert!(!format!("{error} {error:?} {}", error.user_message()).contains(SECRET), "{error}");
    }
}

// ---- What is made of answers ----

#[tokio::test]
async fn a_success_is_understood_in_both_envelopes_and_with_ids_nested_or_flat() {
    for data in [json!([52]), json!([[52]])] {
        for body in [
            json!({ "result": true, "code": 0, "message": "success", "data": data }),
            json!({ "result": true, "code": "0", "message": "success", "data": data }),
            json!({ "result": true, "bk_error_code": 0, "bk_error_msg": "success", "permission": null, "data": data }),
            json!({ "result": true, "code": null, "bk_error_code": 0, "message": null, "data": data }),
        ] {
            assert_eq!(created_from(Answer::json(&body)).await, Ok(vec![52]), "{body}");
        }
    }
    assert_eq!(created_from(Answer::ok(&json!([]))).await, Ok(vec![]));
    assert_eq!(
        created_from(Answer::ok(&json!([40, 41, 52, 53]))).await,
        Ok(vec![40, 41, 52, 53]),
        "more than was sent"
    );
}

#[tokio::test]
async fn a_failure_is_understood_in_both_envelopes_within_http_200() {
    for body in [
        json!({ "result": false, "code": 1_113_019, "message": "taken", "data": null, "request_id": "theirs" }),
        json!({ "result": false, "bk_error_code": 1_113_019, "bk_error_msg": "taken", "request_id": "theirs" }),
        json!({ "result": false, "code": null, "bk_error_code": 1_113_019, "message": null, "bk_error_msg": "taken",
            "request_id": "theirs" }),
    ] {
        let error = created_from(Answer::json(&body)).await.unwrap_err();
        let reply = error.reply().unwrap();
        assert_eq!((error.label(), reply.code, reply.http_status), ("conflict", Some(1_113_019), Some(200)), "{body}");
        assert_eq!((reply.message.as_str(), reply.request_id.as_deref()), ("taken", Some("theirs")));
        assert_eq!(reply.operation, Operation::CreateProcessTemplates);
    }
}

#[tokio::test]
async fn a_refusal_carries_the_id_by_which_the_other_side_knows_it() {
    let body = json!({ "result": false, "code": 1_199_010, "message": "x" });
    for name in ["X-Bkapi-Request-Id", "X-Request-Id"] {
        let error = created_from(Answer::json(&body).header(name, "from-a-header")).await.unwrap_err();
        assert_eq!(error.reply().unwrap().request_id.as_deref(), Some("from-a-header"));
    }
    let server = Server::answering([Answer::json(&body)]).await;
    let error = create(&client(&server.url)).await.unwrap_err();
    assert_eq!(
        error.reply().unwrap().request_id.as_deref(),
        Some(server.only().header("X-Request-Id")),
        "else our own"
    );
}

#[tokio::test]
async fn what_is_no_clear_success_leaves_the_outcome_of_a_write_unknown() {
    let protocol = [
        Answer::text(200, "404: Page Not Found").header("content-type", "text/plain"),
        Answer::text(200, r#"{"code":,"message":}"#),
        Answer::text(200, ""),
        Answer::text(200, "[]"),
        Answer::text(204, ""),
        Answer::json(&json!({ "result": false, "code": 0, "message": "success", "data": [52] })),
        Answer::json(&json!({ "code": 0, "message": "success", "data": [52] })),
        Answer::json(&json!({ "result": true, "data": [52] })),
        Answer::ok(&json!(null)),
        Answer::ok(&json!({ "id": 52 })),
        Answer::ok(&json!(["52"])),
    ];
    for answer in protocol {
        let shown = format!("{answer:?}");
        assert_eq!(unknown(created_from(answer).await).label(), "protocol", "{shown}");
    }
    for status in [500, 502, 503, 504] {
        let page = Answer::text(status, "<html>Bad Gateway</html>").header("content-type", "text/html");
        let error = unknown(created_from(page).await);
        assert_eq!(error.label(), "outcome_unknown");
        assert!(!format!("{error} {error:?}").contains("html"), "never a raw body: {error:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    for status in [301, 302, 303, 307, 308] {
        let target = Server::answering([Answer::ok(&json!([52]))]).await;
        let moved = Answer::text(status, "").header("location", format!("{}{ESB}/", target.url));
        assert_eq!(unknown(created_from(moved).await).label(), "protocol", "{status}");
        assert!(target.seen().is_empty(), "credentials go nowhere else");
    }
}

#[tokio::test]
async fn an_endless_answer_is_refused() {
    let spaces = Bytes::from(vec![b' '; 1 << 20]);
    let endless = || {
        futures::stream::repeat_with({
            let spaces = spaces.clone();
            move || Ok::<_, io::Error>(spaces.clone())
        })
    };
    let error = unknown(created_from(Answer::text(200, Body::from_stream(endless()))).await);
    assert_eq!((error.label(), error.reply().unwrap().http_status), ("protocol", Some(200)));

    let server = Server::answering([Answer::text(200, Body::from_stream(endless()))]).await;
    assert_eq!(list(&client(&server.url)).await.unwrap_err().label(), "protocol");
    server.only();
}

#[tokio::test]
async fn times_are_read_with_any_fraction_and_offset_and_else_not_known() {
    let second = 1_715_971_200_i64;
    let mut rows = vec![
        (json!("2024-05-17T18:40:00Z"), Some((second, 0))),
        (json!("2024-05-18T02:40:00+08:00"), Some((second, 0))),
        (json!("2024-05-18T02:40:00.5+08:00"), Some((second, 500_000_000))),
        (json!("2024-05-17T11:40:00.000000001-07:00"), Some((second, 1))),
        (json!("0001-01-01T00:00:00Z"), Some((-62_135_596_800, 0))),
    ];
    for digits in 1..=9 {
        let fraction = &"123456789"[..digits];
        let nanoseconds = format!("{fraction:0<9}").parse().unwrap();
        rows.push((json!(format!("2024-05-17T18:40:00.{fraction}Z")), Some((second, nanoseconds))));
    }
    for garbage in [json!("yesterday"), json!(""), json!("2024-05-17"), json!(12), json!({}), Value::Null] {
        rows.push((garbage, None));
    }
    let entry = |((time, _), id): (&(Value, _), i64)| json!({ "id": id, "bk_process_name": "p", "create_time": time, "last_time": time });
    let info: Value = rows.iter().zip(1..).map(entry).collect();
    let listed = listed_from(info).await;
    assert_eq!(listed.len(), rows.len());
    for (found, (text, expected)) in listed.iter().zip(rows) {
        let known = |time: Option<jiff::Timestamp>| time.map(|time| (time.as_second(), time.subsec_nanosecond()));
        assert_eq!((known(found.create_time), known(found.last_time)), (expected, expected), "{text}");
    }
}

#[tokio::test]
async fn fields_of_a_list_may_be_null_missing_or_new() {
    let listed = listed_from(json!([
        { "id": 1, "bk_process_name": "all null", "bk_biz_id": null, "service_template_id": null, "property": null,
            "creator": null, "modifier": null, "create_time": null, "last_time": null },
        { "id": 2, "bk_process_name": "all missing" },
        { "id": 3, "bk_process_name": "new", "later": { "a": [1] }, "property": { "later": { "value": 1, "more": 2 } } },
        { "id": 4, "bk_process_name": "null within", "property": {
            "user": null, "pid_file": {}, "work_path": { "value": null, "as_default_value": null } } },
    ]))
    .await;
    let [null, missing, new, within] = &listed[..] else { panic!("{listed:?}") };
    assert_eq!(*null, ProcessTemplate { id: 1, bk_process_name: "all null".to_owned(), ..missing.clone() });
    assert!(missing.property.is_empty() && missing.creator.is_empty() && missing.create_time.is_none());
    assert_eq!((missing.bk_biz_id, missing.service_template_id), (0, 0));
    assert_eq!(new.property["later"], Property { value: json!(1), as_default_value: None });
    assert_eq!(within.property.len(), 3);
    assert!(within.property.values().all(|property| *property == Property::default()));

    let server = Server::answering([
        Answer::ok(&json!({ "count": 0, "info": null })),
        Answer::ok(&json!({ "count": null, "info": [{ "id": 7, "name": "t", "bk_biz_id": null, "service_category_id": null }] })),
        Answer::ok(&json!({ "info": null })),
        Answer::ok(&json!({ "info": [{ "id": 3, "name": "c", "bk_parent_id": null, "bk_biz_id": null }] })),
    ])
    .await;
    let client = client(&server.url);
    assert_eq!(list(&client).await, Ok(vec![]));
    assert_eq!(client.list_service_templates(Priority::Interactive, BIZ).await.unwrap()[0].bk_biz_id, 0);
    assert_eq!(client.list_service_categories(BIZ).await.unwrap()[0].bk_parent_id, 0);
}

#[tokio::test]
async fn process_templates_are_listed_by_ascending_id() {
    let info = [30, 9, 10, 1].map(|id| json!({ "id": id, "bk_process_name": "p" }));
    let ids: Vec<i64> = listed_from(json!(info)).await.iter().map(|template| template.id).collect();
    assert_eq!(ids, [1, 9, 10, 30]);
}

#[tokio::test]
async fn service_templates_are_read_page_by_page_to_the_end() {
    for total in [0_usize, 1, 499, 500, 501, 1000, 1203] {
        for counted in [true, false] {
            let mut server = Server::holding().await;
            let client = client(&server.url);
            let mut starts = Vec::new();
            let pages = async {
                loop {
                    let held = server.next().await;
                    assert_eq!(held.seen.body["page"]["limit"], 500);
                    let start = usize::try_from(held.seen.body["page"]["start"].as_u64().unwrap()).unwrap();
                    let end = total.min(start + 500);
                    let info: Value =
                        (start + 1..=end).map(|id| json!({ "id": id, "name": format!("t{id}") })).collect();
                    held.answer(Answer::ok(&json!({ "count": counted.then_some(total), "info": info })));
                    starts.push(start);
                }
            };
            let found = tokio::select! {
                found = client.list_service_templates(Priority::Interactive, BIZ) => found.unwrap(),
                () = pages => unreachable!(),
            };
            let ids: Vec<i64> = found.iter().map(|template| template.id).collect();
            assert_eq!(ids, (1..).take(total).collect::<Vec<i64>>(), "each once");
            // Each page starts with the last item of the page before it; without a count the last shows no other.
            let (most, last) = (total.saturating_sub(1), usize::from(!counted && total > 0));
            let requests = most.div_ceil(499).max(1) + last;
            assert_eq!(starts, (0..requests).map(|page| most.min(page * 499)).collect::<Vec<_>>(), "{total}");
        }
    }
}

// ---- Failures of the network ----

#[tokio::test]
async fn without_a_connection_nothing_was_stored() {
    let closed = Closed::new();
    let error = create(&client(&closed.url())).await.unwrap_err();
    assert_eq!((error.label(), error.outcome()), ("unavailable", WriteOutcome::NotStored));
    assert_eq!(error.disposition(), Disposition::RetryLater { after: None });
}

#[tokio::test]
async fn without_an_answer_in_time_nobody_knows() {
    let mut server = Server::holding().await;
    let (client, calls) = observed(hasty(&server.url));
    let error = unknown(create(&client).await);
    assert_eq!((error.label(), calls.outcomes()), ("outcome_unknown", vec!["outcome_unknown"]));
    server.next().await;
    assert!(server.held.try_recv().is_err(), "a write is sent once");
}

#[tokio::test]
async fn the_observer_hears_of_a_read_that_ran_out_of_time() {
    let server = Server::holding().await;
    let (client, calls) = observed(hasty(&server.url));
    assert_eq!(list(&client).await.unwrap_err().label(), "outcome_unknown");
    assert_eq!(calls.outcomes(), ["outcome_unknown"]);
}

#[tokio::test]
async fn an_answer_that_stops_in_the_middle_leaves_the_outcome_unknown() {
    let begun = || futures::stream::once(async { Ok::<_, io::Error>(Bytes::from(r#"{"result":true,"#)) });
    let stalled = futures::StreamExt::chain(begun(), futures::stream::pending());
    let server = Server::answering([Answer::text(200, Body::from_stream(stalled))]).await;
    assert_eq!(unknown(create(&built(hasty(&server.url))).await).label(), "outcome_unknown");

    let broken = futures::stream::once(async { Err(io::Error::other("gone")) });
    let broken = futures::StreamExt::chain(begun(), broken);
    let error = unknown(created_from(Answer::text(200, Body::from_stream(broken))).await);
    assert_eq!(error.label(), "outcome_unknown");
}

#[tokio::test]
async fn a_connection_that_is_closed_or_reset_after_the_request_leaves_the_outcome_unknown() {
    for reset in [false, true] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = client(&format!("http://{}", listener.local_addr().unwrap()));
        let mut requests = 0;
        let server = async {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                assert!(request_read(&mut stream).await.contains("batch_create_proc_template"));
                requests += 1;
                if reset {
                    stream.set_zero_linger().unwrap();
                }
            }
        };
        let result = tokio::select! {
            result = create(&client) => result,
            () = server => unreachable!(),
        };
        assert_eq!((unknown(result).label(), requests), ("outcome_unknown", 1), "reset: {reset}");
    }
}

#[tokio::test]
async fn a_kept_connection_that_breaks_makes_a_write_neither_lost_nor_sent_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = client(&format!("http://{}", listener.local_addr().unwrap()));
    let server = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        request_read(&mut stream).await;
        let body = json!({ "result": true, "code": 0, "data": [52] }).to_string();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(answer.as_bytes()).await.unwrap();
        request_read(&mut stream).await;
        drop(stream);
        listener.accept().await.unwrap();
    };
    let calls = async {
        assert_eq!(create(&client).await, Ok(vec![52]));
        create(&client).await
    };
    let second = tokio::select! {
        second = calls => second,
        () = server => panic!("sent again on another connection"),
    };
    assert_eq!(unknown(second).label(), "outcome_unknown");
}

// ---- Repeating ----

#[tokio::test]
async fn a_read_is_tried_again_until_the_third_time() {
    let found = json!([{ "id": 1, "bk_process_name": "p" }]);
    let server =
        Server::answering([Answer::text(502, ""), Answer::error(1_199_002, "lost"), Answer::list(&found)]).await;
    let (client, calls) = observed(config(&server.url));
    assert_eq!(list(&client).await.unwrap().len(), 1);
    assert_eq!(server.seen().len(), 3);
    assert_eq!(calls.outcomes(), ["outcome_unknown", "outcome_unknown", "ok"]);
    assert!(calls.0.lock().unwrap().iter().all(|call| call.0 == Operation::ListProcessTemplates));

    let server = Server::answering([502, 503, 504, 200].map(|status| Answer::text(status, ""))).await;
    let error = client_error(&server).await;
    assert_eq!((error.reply().unwrap().http_status, server.seen().len()), (Some(504), 3));
}

async fn client_error(server: &Server) -> Error {
    list(&client(&server.url)).await.unwrap_err()
}

#[tokio::test]
async fn a_read_is_tried_again_when_there_is_no_connection() {
    let closed = Closed::new();
    let (client, calls) = observed(config(&closed.url()));
    assert_eq!(list(&client).await.unwrap_err().label(), "unavailable");
    assert_eq!(calls.outcomes(), ["unavailable"; 3]);
}

#[tokio::test]
async fn a_read_that_was_refused_is_not_tried_again() {
    for (code, label) in [(1_199_010, "invalid"), (1_199_046, "permission"), (1_199_997, "throttled")] {
        let server = Server::answering([Answer::error(code, "no")]).await;
        assert_eq!(client_error(&server).await.label(), label);
        server.only();
    }
}

// CMDB may take the old credentials no more while a call with them is in flight.
#[tokio::test]
async fn a_read_that_was_refused_with_replaced_credentials_is_sent_with_the_new_ones() {
    let mut server = Server::holding().await;
    let (client, new) = (client(&server.url), client(&server.url));
    let mut listing = begin(list(&client));
    for answer in [Answer::error(1_306_000, "APP Secret verification failed"), Answer::list(&json!([]))] {
        let held = tokio::select! {
            held = server.next() => held,
            listed = &mut listing => panic!("{listed:?}"),
        };
        client.bare().switch_login(new.bare());
        held.answer(answer);
    }
    assert!(listing.await.unwrap().is_empty());
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_check_that_was_refused_with_replaced_credentials_is_made_with_the_new_ones() {
    let mut server = Server::holding().await;
    let (client, new) = (client(&server.url), client(&server.url));
    let mut checking = begin(client.bare().check(BIZ));
    for answer in [Answer::error(1_306_000, "APP Secret verification failed"), Answer::list(&json!([]))] {
        let held = tokio::select! {
            held = server.next() => held,
            checked = &mut checking => panic!("{checked:?}"),
        };
        client.bare().switch_login(new.bare());
        held.answer(answer);
    }
    checking.await.unwrap();
    assert_eq!(server.seen().len(), 2);
}

#[tokio::test]
async fn a_write_is_never_sent_again() {
    for unclear in [|| Answer::text(502, ""), || Answer::error(1_199_066, "held"), || Answer::error(1_199_997, "slow")]
    {
        let server = Server::answering([unclear(), unclear()]).await;
        let client = client(&server.url);
        create(&client).await.unwrap_err();
        server.only();
        client.create_service_template(BIZ, "web", 3).await.unwrap_err();
        let targets: Vec<String> = server.seen().into_iter().map(|seen| seen.target).collect();
        assert_eq!(
            targets,
            ["batch_create_proc_template", "create_service_template"].map(|name| format!("{ESB}/{name}/"))
        );
    }
}

// ---- The meanings: all of them are in errors.rs ----

#[tokio::test]
async fn an_invalid_property_is_named() {
    for (code, text, expected) in [
        (1_199_006, "'bind_info[0].port' data parameter verification does not pass", Some("bind_info[0].port")),
        (1_199_006, "'bk_biz_id' data parameter verification does not pass", Some("bk_biz_id")),
        (1_199_006, "something is not valid", None),
        (1_199_998, "field work_path contains space: '/a '", Some("work_path")),
        (1_199_000, "'user' does not decode", None),
    ] {
        let error = created_from(Answer::error(code, text)).await.unwrap_err();
        assert_eq!((error.label(), error.field()), ("invalid", expected), "{text}");
    }
}

#[tokio::test]
async fn only_a_batch_has_items_that_may_be_to_blame() {
    for code in [1_113_019, 1_199_000] {
        let server = Server::answering([Answer::error(code, "no"), Answer::error(code, "no")]).await;
        let client = client(&server.url);
        assert!(create(&client).await.unwrap_err().is_item_error());
        assert!(!client.create_service_template(BIZ, "web", 3).await.unwrap_err().is_item_error());
    }
}

#[tokio::test]
async fn the_gateway_says_how_long_to_wait() {
    let reset = "X-Bkapi-RateLimit-Reset";
    let seconds = Duration::from_secs;
    for (value, expected) in
        [("17", Some(seconds(17))), (" 3 ", Some(seconds(3))), ("0", Some(seconds(0))), ("soon", None), ("-1", None)]
    {
        for body in [json!({ "result": false, "code": 1_642_901, "message": "slow down" }).to_string(), String::new()] {
            let error = created_from(Answer::text(429, body).header(reset, value)).await.unwrap_err();
            let Error::Throttled { retry_after, .. } = &error else { panic!("{error:?}") };
            assert_eq!(*retry_after, expected, "{value}");
            assert_eq!(error.disposition(), Disposition::RetryLater { after: expected });
        }
    }
    let within_200 = Answer::error(1_199_997, "slow down").header(reset, "5");
    let disposition = created_from(within_200).await.unwrap_err().disposition();
    assert_eq!(disposition, Disposition::RetryLater { after: Some(seconds(5)) });
}

// ---- What is told of it ----

thread_local! {
    // A test has a thread to itself.
    static LOG: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

struct Log;

impl Log {
    /// Has everything written down. Before the first call: what is logged meanwhile may else be lost for good.
    fn install() {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| {
            let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false);
            tracing::subscriber::set_global_default(subscriber.with_writer(|| Log).finish()).unwrap();
        });
    }

    /// What this test has logged since it last asked.
    fn take() -> String {
        LOG.with_borrow_mut(|log| String::from_utf8(std::mem::take(log)).unwrap())
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.with_borrow_mut(|log| log.extend_from_slice(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_is_in_any_log_line_error_or_debug_output() {
    Log::take();
    let mut texts = Vec::new();
    for user in [UserCredential::Token, UserCredential::AccessToken] {
        let with = |url: &str| Config { credentials: credentials(user(SecretString::from(TOKEN))), ..config(url) };
        texts.push(format!("{:?} {:?}", with("http://cmdb.example.com"), with("http://cmdb.example.com").credentials));
        let answers = [
            Answer::ok(&json!([52])),
            Answer::ok(&json!("other")),
            Answer::text(200, "404: Page Not Found"),
            Answer::text(502, "<html>"),
            Answer::error(1_306_000, "APP Secret verification failed"),
            Answer::error(1_113_019, &format!("what was sent is repeated: {SECRET} {TOKEN}")),
        ];
        let server = Server::answering(answers).await;
        let closed = Closed::new();
        let silent = Server::holding().await;
        let mut results = Vec::new();
        let client = built(with(&server.url));
        texts.push(format!("{client:?}"));
        for _ in 0..6 {
            results.push(create(&client).await);
        }
        results.push(create(&built(with(&closed.url()))).await);
        results.push(create(&built(Config { timeout: hasty("").timeout, ..with(&silent.url) })).await);
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
        for error in results.into_iter().filter_map(Result::err) {
            texts.push(format!("{error} {error:?} {error:#?} {}", error.user_message()));
        }
    }
    let log = Log::take();
    for (level, target) in [(" INFO", " audit"), ("DEBUG", " process_template_operator"), ("TRACE", " hyper")] {
        let is_logged = log.lines().any(|line| line.contains(level) && line.contains(target));
        assert!(is_logged, "it does log: {level}{target}: {log}");
    }
    texts.push(log);
    for text in texts {
        assert!(![SECRET, TOKEN].iter().any(|secret| text.contains(secret)), "{text}");
    }
}

#[tokio::test]
async fn every_write_is_audited_with_what_became_of_it() {
    Log::take();
    let server = Server::answering([
        Answer::ok(&json!([52, 53])),
        Answer::text(502, "").header("X-Request-Id", "of-the-proxy"),
        Answer::list(&json!([])),
    ])
    .await;
    let client = client(&server.url);
    create(&client).await.unwrap();
    create(&client).await.unwrap_err();
    list(&client).await.unwrap();
    let silent = Server::holding().await;
    create(&built(hasty(&silent.url))).await.unwrap_err();
    let log = Log::take();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains(" audit: ")).collect();
    let [stored, unclear, silence] = lines[..] else { panic!("{log}") };
    for line in [stored, unclear, silence] {
        for part in
            ["operation=\"batch_create_proc_template\"", "biz_id=2", "service_template_id=7", "process_names=[\""]
        {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
    assert!(
        stored.contains("ids=[52,53]") && stored.contains("theirs") && stored.contains("outcome=\"ok\""),
        "{stored}"
    );
    assert!(unclear.contains("of-the-proxy") && unclear.contains("outcome=\"outcome_unknown\""), "{unclear}");
    assert!(silence.contains("outcome=\"outcome_unknown\""), "{silence}");
    let sent = silent.only();
    assert!(silence.contains(sent.header("X-Request-Id")), "what nobody answered can be asked for: {silence}");
}

#[tokio::test]
async fn what_users_are_told_is_short_printable_and_the_same_each_time() {
    let texts = [
        "failed at 2024-05-17 18:40:01.5 for @: @ is lost".to_owned(),
        "a\u{1b}[31mred\u{7}\r\nnext\u{0}\u{85}".to_owned(),
        "x".repeat(40_000),
        "名".repeat(4_000),
        String::new(),
    ];
    for text in texts {
        let mut told = Vec::new();
        for (id, second) in [("id-of-the-first", "02"), ("id-of-the-second", "03")] {
            let text = text.replace('@', id).replace("01.5", second);
            let body = json!({ "result": false, "code": 1_113_019, "message": text, "request_id": id });
            let error = created_from(Answer::json(&body)).await.unwrap_err();
            for said in [error.user_message(), error.to_string()] {
                assert!(said.len() <= 512 + 100 && !said.chars().any(char::is_control), "{said:?}");
                assert!(!said.contains("id-of-the") && said.contains("1113019"), "{said:?}");
            }
            told.push(error.user_message());
        }
        assert_eq!(told[0], told[1]);
    }
    let closed = Closed::new();
    let error = create(&client(&closed.url())).await.unwrap_err();
    assert_eq!(error.user_message(), "the connection was refused", "neither address nor port");
}

// ---- How many at a time ----

/// Lets a call begin: it takes its place, or queues for one.
fn begin<T>(call: impl Future<Output = T>) -> Pin<Box<impl Future<Output = T>>> {
    let mut call = Box::pin(call);
    let context = &mut std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.as_mut().poll(context).is_pending());
    call
}

#[tokio::test]
async fn what_people_wait_for_is_served_in_order_and_polls_do_not_wait() {
    let mut server = Server::holding().await;
    let client = built(Config { limits: at_a_time(1), ..config(&server.url) });
    let queued = [1, 3, 5].map(|template| begin(client.list_process_templates(Priority::Interactive, of(template))));
    let write = begin(create(&client));
    let poll = client.list_process_templates(Priority::Background(PollKey::default()), of(2)).await;
    assert_eq!(poll.unwrap_err().label(), "busy");
    let mut order = Vec::new();
    let answering = async {
        for _ in 0..4 {
            let held = server.next().await;
            let write = held.seen.target.contains("create");
            order.push(held.seen.body["service_template_id"].as_i64().unwrap());
            held.answer(if write { Answer::ok(&json!([])) } else { Answer::list(&json!([])) });
        }
    };
    let (lists, write, ()) = tokio::join!(join_all(queued), write, answering);
    assert!(lists.iter().all(Result::is_ok) && write.is_ok());
    assert_eq!(order, [1, 3, 5, TEMPLATE]);
}

#[tokio::test]
async fn no_more_calls_are_in_flight_than_allowed() {
    for allowed in [1, 3] {
        let mut server = Server::holding().await;
        let client = built(Config { limits: at_a_time(allowed), ..config(&server.url) });
        let calls: Vec<_> = (0..10).map(|_| begin(list(&client))).collect();
        let answering = async {
            let mut held = VecDeque::new();
            for _ in 0..allowed {
                held.push_back(server.next().await);
            }
            // One that arrives later than any of the ten would have: they began before it.
            let other = built(config(&server.url));
            let (found, ()) = tokio::join!(other.list_service_categories(BIZ), async {
                let arrived = server.next().await;
                assert!(arrived.seen.target.contains("list_service_category"), "one call too many: {:?}", arrived.seen);
                arrived.answer(Answer::list(&json!([])));
            });
            found.unwrap();
            for place in 0..10 {
                held.pop_front().unwrap().answer(Answer::list(&json!([])));
                if place + allowed < 10 {
                    held.push_back(server.next().await);
                }
            }
        };
        let (results, ()) = tokio::join!(join_all(calls), answering);
        assert!(results.iter().all(Result::is_ok));
        assert_eq!(server.seen().len(), 11);
        let most = server.shared.most_in_flight.load(Ordering::SeqCst);
        assert_eq!(most, allowed + 1, "all places were used, and one by the other client");
    }
}

#[tokio::test]
async fn a_call_that_is_given_up_gives_its_place_back() {
    let mut server = Server::holding().await;
    let client = built(Config { limits: at_a_time(1), ..config(&server.url) });
    let first = begin(create(&client));
    let waiting = begin(list(&client));
    let second = begin(create(&client));
    drop((waiting, first));
    let (result, ()) = tokio::join!(second, async {
        let held = server.next().await;
        assert!(held.seen.target.contains("create"), "{:?}", held.seen);
        held.answer(Answer::ok(&json!([52])));
    });
    assert_eq!(result, Ok(vec![52]));
}

// ---- What must not pass for something else ----

#[tokio::test]
async fn a_redirect_is_no_success_whatever_its_body_says() {
    let body = json!({ "result": true, "code": 0, "message": "success", "data": [52] }).to_string();
    let error = unknown(created_from(Answer::text(307, body)).await);
    assert_eq!(error.label(), "protocol");
}

#[tokio::test]
async fn a_list_that_is_missing_is_no_empty_list() {
    for data in [json!({ "count": 0 }), json!(null)] {
        let server = Server::answering([Answer::ok(&data)]).await;
        assert_eq!(list(&client(&server.url)).await.unwrap_err().label(), "protocol", "{data}");
    }
    assert!(listed_from(json!(null)).await.is_empty());
}

#[tokio::test]
async fn a_property_of_another_form_does_not_hide_the_others() {
    let property =
        json!({ "bare": 5, "flag": { "value": "x", "as_default_value": "yes" }, "proc_num": { "value": 1 } });
    let listed = listed_from(json!([{ "id": 3, "bk_process_name": "a", "property": property }])).await;
    let found = |name: &str| listed[0].property[name].clone();
    assert_eq!(found("bare"), Property { value: json!(5), as_default_value: None });
    assert_eq!(found("flag"), Property { value: json!("x"), as_default_value: None });
    assert_eq!(found("proc_num"), Property { value: json!(1), as_default_value: None });
}

#[tokio::test]
async fn waiting_behind_calls_of_our_own_is_no_slowness_of_the_server() {
    let mut server = Server::holding().await;
    let client = built(Config { limits: at_a_time(1), ..hasty(&server.url) });
    let (first, second, third, ()) = tokio::join!(list(&client), list(&client), list(&client), async {
        let _silent = [server.next().await, server.next().await];
        server.next().await.answer(Answer::list(&json!([])));
    });
    assert_eq!([first, second].map(|result| result.unwrap_err().label()), ["outcome_unknown"; 2]);
    assert!(third.unwrap().is_empty());
}

#[tokio::test]
async fn without_a_supplier_account_none_is_sent() {
    let server = Server::answering([Answer::ok(&json!([52, 53]))]).await;
    create(&built(Config { supplier_account: String::new(), ..config(&server.url) })).await.unwrap();
    assert!(server.only().body.get("bk_supplier_account").is_none());
}

#[test]
fn a_password_in_a_url_is_not_shown() {
    let config = config(&format!("https://me:{SECRET}@cmdb.example.com:99999"));
    assert!(!format!("{config:?}").contains(SECRET));
    let refused = Client::new(config, Arc::new(Calls::default())).unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains(SECRET));
}

#[tokio::test]
async fn a_write_has_one_line_of_information_and_a_read_none() {
    Log::install();
    Log::take();
    let server = Server::answering([Answer::error(1_113_019, "taken"), Answer::list(&json!([]))]).await;
    let client = client(&server.url);
    create(&client).await.unwrap_err();
    list(&client).await.unwrap();
    let log = Log::take();
    let told = log.lines().filter(|line| !line.contains(" TRACE ") && !line.contains(" DEBUG "));
    let [line] = told.collect::<Vec<_>>()[..] else { panic!("{log}") };
    assert!(line.contains(" INFO audit: ") && line.contains("outcome=\"conflict\""), "{line}");
}
