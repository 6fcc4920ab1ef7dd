//! The simulator answers on each way to CMDB as what stands there does: the ESB, the gateway, the apiserver.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "support/authority.rs"]
mod authority;

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Once;
use std::time::{Duration, Instant};

use authority::Authority;
use cmdb_sim::{Account, Effect, Fault, Options, Quota, Simulator, Tls, Transport};
use rcgen::ExtendedKeyUsagePurpose;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Response};
use serde_json::{Value, json};

const CREATE: &str = "batch_create_proc_template";
const UPDATE: &str = "update_proc_template";
const DELETE: &str = "delete_proc_template";
const LIST: &str = "list_proc_template";
const TRANSPORTS: [Transport; 3] = [Transport::Esb, Transport::Gateway, Transport::Direct];

fn install_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

fn plain_client() -> reqwest::ClientBuilder {
    install_provider();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

/// Method and path of a call beyond the gateway and of the apiserver.
fn resource(call: &str) -> (Method, &'static str) {
    match call {
        CREATE => (Method::POST, "createmany/proc/proc_template"),
        UPDATE => (Method::PUT, "update/proc/proc_template"),
        DELETE => (Method::DELETE, "deletemany/proc/proc_template"),
        LIST => (Method::POST, "findmany/proc/proc_template"),
        "list_service_template" => (Method::POST, "findmany/proc/service_template"),
        "create_service_template" => (Method::POST, "create/proc/service_template"),
        "list_service_category" => (Method::POST, "findmany/proc/service_category"),
        other => panic!("{other}"),
    }
}

fn headers<const COUNT: usize>(headers: [(&str, &str); COUNT]) -> HeaderMap {
    let pair = |(name, value): (&str, &str)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value.to_owned()).unwrap())
    };
    headers.into_iter().map(pair).collect()
}

fn authorization(credentials: Value) -> HeaderMap {
    headers([("X-Bkapi-Authorization", &credentials.to_string())])
}

fn credentials() -> Value {
    json!({"bk_app_code": "app", "bk_app_secret": "secret", "bk_username": "ann"})
}

fn trusted() -> HeaderMap {
    headers([("BK_User", "ann"), ("HTTP_BLUEKING_SUPPLIER_ID", "0"), ("HTTP_BLUEKING_LANGUAGE", "en")])
}

struct Server {
    simulator: Simulator,
    client: reqwest::Client,
}

impl Server {
    /// A server with the service template 1, "web", in business 2.
    async fn start() -> Self {
        Self::with(Options::default()).await
    }

    async fn with(options: Options) -> Self {
        Self::seen_by(plain_client(), options).await
    }

    async fn seen_by(client: reqwest::ClientBuilder, options: Options) -> Self {
        let server = Self { simulator: Simulator::start(options).unwrap(), client: client.build().unwrap() };
        let body = json!({"bk_biz_id": 2, "name": "web", "service_category_id": 2});
        assert_eq!(server.call(Transport::Direct, "create_service_template", body).await["data"]["id"], 1);
        server.simulator.clear_requests();
        server
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: &Value,
    ) -> Result<Response, reqwest::Error> {
        let url = format!("{}{path}", self.simulator.url());
        self.client.request(method, url).headers(headers).json(body).send().await
    }

    /// A call as a caller with the right credentials sends it.
    async fn request(&self, transport: Transport, call: &str, mut body: Value) -> Result<Response, reqwest::Error> {
        match transport {
            Transport::Esb => {
                body.as_object_mut().unwrap().extend(credentials().as_object().unwrap().clone());
                let path = format!("/api/c/compapi/v2/cc/{call}/");
                self.send(Method::POST, &path, HeaderMap::new(), &body).await
            }
            Transport::Gateway => {
                let (method, path) = resource(call);
                let mut sent = authorization(credentials());
                sent.extend(headers([("X-Bkcmdb-Language", "en")]));
                self.send(method, &format!("/api/bk-cmdb/prod/api/v3/{path}"), sent, &body).await
            }
            Transport::Direct => {
                let (method, path) = resource(call);
                self.send(method, &format!("/api/v3/{path}"), trusted(), &body).await
            }
        }
    }

    async fn call(&self, transport: Transport, call: &str, body: Value) -> Value {
        let response = self.request(transport, call, body).await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    async fn gateway(&self, sent: HeaderMap, body: Value) -> Response {
        let path = "/api/bk-cmdb/prod/api/v3/findmany/proc/proc_template";
        self.send(Method::POST, path, sent, &body).await.unwrap()
    }

    async fn direct(&self, sent: HeaderMap, body: Value) -> Response {
        self.send(Method::POST, "/api/v3/findmany/proc/proc_template", sent, &body).await.unwrap()
    }

    async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(method, &format!("/sim/{path}"), HeaderMap::new(), &body).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    async fn fault(&self, effect: Value) {
        self.simulator.clear_faults();
        assert_eq!(self.admin(Method::POST, "faults", json!({"every": true, "do": effect})).await.0, 201);
    }

    fn account(&self, app_code: &str, app_secret: &str) {
        let account = Account { app_code: app_code.to_owned(), app_secret: app_secret.to_owned() };
        self.simulator.update_state(|state| state.accounts.push(account));
    }

    fn names(&self) -> Vec<String> {
        self.simulator.state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
    }
}

fn locked(value: impl Into<Value>) -> Value {
    json!({"value": value.into(), "as_default_value": true})
}

fn batch(names: &[&str]) -> Value {
    let process = |name: &&str| json!({"spec": {"bk_process_name": locked(*name), "bk_func_name": locked(*name)}});
    let processes: Vec<Value> = names.iter().map(process).collect();
    json!({"bk_biz_id": 2, "service_template_id": 1, "processes": processes})
}

fn everything() -> Value {
    json!({"bk_biz_id": 2, "service_template_id": 1})
}

/// Keys of code and text in the envelope of what CMDB's daemons answer.
fn keys(transport: Transport) -> (&'static str, &'static str) {
    if transport == Transport::Direct { ("bk_error_code", "bk_error_msg") } else { ("code", "message") }
}

fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Status and reply, of which the gateway's own headers must say the same as the envelope.
async fn gateways_own(response: Response) -> (u16, i64, String) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let reply: Value = response.json().await.unwrap();
    assert_eq!(names(&reply), ["code", "code_name", "data", "message", "result"]);
    assert_eq!((&reply["result"], &reply["data"]), (&json!(false), &Value::Null));
    assert_eq!(headers["x-bkapi-error-code"], reply["code"].to_string());
    assert_eq!(headers["x-bkapi-error-message"], reply["message"].as_str().unwrap());
    assert_eq!(headers["x-bkapi-request-id"].len(), 36);
    (status, reply["code"].as_i64().unwrap(), reply["message"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn every_call_does_the_same_on_each_transport_and_keeps_its_name() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let (code, _) = keys(transport);
        let call = async |name: &str, body: Value| {
            let reply = server.call(transport, name, body).await;
            assert_eq!((&reply["result"], &reply[code]), (&json!(true), &json!(0)), "{reply}");
            reply["data"].clone()
        };
        let new = json!({"bk_biz_id": 2, "name": "db", "service_category_id": 2});
        assert_eq!(call("create_service_template", new).await["creator"], "ann");
        let page = json!({"bk_biz_id": 2, "page": {"limit": 10}});
        assert_eq!(call("list_service_template", page).await["count"], 2);
        assert_eq!(call("list_service_category", json!({"bk_biz_id": 2})).await["count"], 2);
        assert_eq!(call(CREATE, batch(&["a", "b"])).await, json!([1, 2]));
        let change = json!({"bk_biz_id": 2, "process_template_id": 1, "process_property": {"user": locked("root")}});
        assert_eq!(call(UPDATE, change).await["property"]["user"]["value"], "root");
        assert_eq!(call(DELETE, json!({"bk_biz_id": 2, "process_templates": [2]})).await, Value::Null);
        let listed = call(LIST, everything()).await;
        assert_eq!((&listed["count"], &listed["info"][0]["modifier"]), (&json!(1), &json!("ann")));

        let requests = server.simulator.requests();
        let calls: Vec<&str> = requests.iter().map(|request| request.call.as_str()).collect();
        let expected =
            ["create_service_template", "list_service_template", "list_service_category", CREATE, UPDATE, DELETE, LIST];
        assert_eq!(calls, expected);
        assert!(requests.iter().all(|request| request.transport == transport && request.code == Some(0)));
    }
}

#[tokio::test]
async fn success_and_refusal_have_the_envelope_of_their_transport() {
    let server = Server::start().await;
    for (transport, expected) in [
        (Transport::Esb, vec!["code", "data", "message", "permission", "request_id", "result"]),
        (Transport::Gateway, vec!["code", "data", "message", "permission", "result"]),
        (Transport::Direct, vec!["bk_error_code", "bk_error_msg", "data", "permission", "result"]),
    ] {
        let (code, message) = keys(transport);
        let reply = server.call(transport, LIST, everything()).await;
        assert_eq!(names(&reply), expected);
        assert_eq!((&reply[code], &reply[message], &reply["data"]["count"]), (&json!(0), &json!("success"), &json!(0)));
        let reply = server.call(transport, LIST, json!({})).await;
        assert_eq!(names(&reply), expected);
        assert_eq!((&reply["result"], &reply[code], &reply["data"]), (&json!(false), &json!(1_199_006), &Value::Null));
        assert_eq!(reply[message], "'bk_biz_id' data parameter verification does not pass");
    }
}

#[tokio::test]
async fn a_body_that_is_no_object_is_refused_by_cmdb_and_no_body_is_an_empty_one() {
    let server = Server::start().await;
    for (transport, prefix) in [(Transport::Gateway, "/api/bk-cmdb/prod"), (Transport::Direct, "")] {
        for (body, expected) in [("{", 1_199_000), ("[]", 1_199_000), ("1", 1_199_000), ("", 0), ("null", 0)] {
            let url = format!("{}{prefix}/api/v3/createmany/proc/proc_template", server.simulator.url());
            let mut sent = authorization(credentials());
            sent.extend(trusted());
            let response = server.client.post(url).headers(sent).body(body).send().await.unwrap();
            let reply: Value = response.json().await.unwrap();
            assert_eq!(reply[keys(transport).0], expected, "{body} {reply}");
        }
    }
}

#[tokio::test]
async fn the_apiserver_believes_the_headers_of_either_family_and_needs_user_and_supplier() {
    let server = Server::start().await;
    for (user, supplier) in [
        ("BK_User", "HTTP_BLUEKING_SUPPLIER_ID"),
        ("BK_User", "HTTP_BK_SUPPLIER_ACCOUNT"),
        ("X-Bkcmdb-User", "X-Bkcmdb-Supplier-Account"),
    ] {
        let path = "/api/v3/createmany/proc/proc_template";
        let sent = headers([(user, "bob"), (supplier, "tencent")]);
        let reply = server.send(Method::POST, path, sent, &batch(&[supplier])).await.unwrap();
        assert_eq!(reply.json::<Value>().await.unwrap()["bk_error_code"], 0);
        let template = server.simulator.state().process_templates.pop().unwrap();
        assert_eq!(
            (template.creator.as_str(), template.modifier.as_str(), template.bk_supplier_account.as_str()),
            ("bob", "bob", "tencent")
        );
        for (sent, missing) in [
            (headers([(user, "bob")]), "owner_id"),
            (headers([(supplier, "0")]), "user"),
            (headers([(user, ""), (supplier, "0")]), "user"),
            (authorization(credentials()), "owner_id"),
        ] {
            let response = server.direct(sent, everything()).await;
            assert_eq!(response.status(), 500);
            let reply: Value = response.json().await.unwrap();
            let expected = json!({"result": false, "bk_error_code": 1_199_027, "permission": null, "data": null,
                "bk_error_msg": format!("[{missing}]授权信息查询失败")});
            assert_eq!(reply, expected);
        }
    }
    // Accounts are the business of others.
    server.account("other", "right");
    assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], 0);
}

#[tokio::test]
async fn the_apiserver_speaks_chinese_unless_either_header_asks_for_english() {
    let server = Server::start().await;
    let (english, chinese) =
        ("'bk_biz_id' data parameter verification does not pass", "'bk_biz_id' 数据参数校验不通过");
    let both = [("X-Bkcmdb-Language", "zh-cn"), ("HTTP_BLUEKING_LANGUAGE", "en")];
    for (language, expected) in [
        (headers([]), chinese),
        (headers([("X-Bkcmdb-Language", "en")]), english),
        (headers([("HTTP_BLUEKING_LANGUAGE", "en")]), english),
        (headers([("HTTP_BLUEKING_LANGUAGE", "fr")]), chinese),
        (headers([("Blueking-Language", "en")]), chinese),
        (headers(both), chinese),
    ] {
        let mut sent = headers([("X-Bkcmdb-User", "ann"), ("X-Bkcmdb-Supplier-Account", "0")]);
        sent.extend(language.clone());
        let reply: Value = server.direct(sent, json!({})).await.json().await.unwrap();
        assert_eq!(reply["bk_error_msg"], expected, "{language:?}");
        // Behind a gateway the old name says nothing.
        let mut sent = authorization(credentials());
        sent.extend(language.clone());
        let expected = if language == headers([("X-Bkcmdb-Language", "en")]) { english } else { chinese };
        let reply: Value = server.gateway(sent, json!({})).await.json().await.unwrap();
        assert_eq!(reply["message"], expected, "{language:?}");
    }
}

#[tokio::test]
async fn the_apiserver_answers_an_address_without_a_call_in_plain_text_with_http_200() {
    let server = Server::start().await;
    for (method, path, expected) in [
        (Method::GET, "findmany/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "update/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "deletemany/proc/proc_template", "405: Method Not Allowed"),
        (Method::POST, "findmany/proc/no_such_thing", "404: Page Not Found"),
        (Method::POST, "", "404: Page Not Found"),
    ] {
        let response = server.send(method, &format!("/api/v3/{path}"), trusted(), &json!({})).await.unwrap();
        assert_eq!((response.status().as_u16(), content_type(&response)), (200, "text/plain"));
        assert_eq!(response.text().await.unwrap(), expected);
    }
    let requests = server.simulator.requests();
    assert!(requests.iter().all(|request| request.call.is_empty() && request.outcome() == "http 200"));
    let response = server.send(Method::POST, "/api/v3/nothing", HeaderMap::new(), &json!({})).await.unwrap();
    assert_eq!(response.status(), 500, "the headers come first");
    let response = server.send(Method::POST, "/elsewhere", trusted(), &json!({})).await.unwrap();
    assert_eq!(response.status(), 404);
    assert_eq!(server.simulator.requests().len(), 6, "what is nobody's address is no request");
}

#[tokio::test]
async fn the_gateway_refuses_wrong_and_missing_credentials_in_its_own_envelope() {
    let server = Server::start().await;
    let refused = async |sent: HeaderMap, reason: &str| {
        // Those in the body are not read.
        let mut body = everything();
        body.as_object_mut().unwrap().extend(credentials().as_object().unwrap().clone());
        let expected = (400, 1_640_001, format!("Parameters error [reason=\"{reason}\"]"));
        assert_eq!(gateways_own(server.gateway(sent, body).await).await, expected);
    };
    let without = |key: &str| {
        let mut credentials = credentials();
        credentials[key] = json!("");
        authorization(credentials)
    };
    refused(HeaderMap::new(), "app code cannot be empty").await;
    let broken = "request header X-Bkapi-Authorization is not a valid JSON";
    refused(headers([("X-Bkapi-Authorization", "{")]), broken).await;
    refused(headers([("X-Bkapi-Authorization", "1")]), broken).await;
    refused(without("bk_app_code"), "app code cannot be empty").await;
    refused(without("bk_app_secret"), "please provide bk_app_secret or bk_signature to verify app").await;
    server.account("other", "secret");
    refused(authorization(credentials()), "app not found").await;
    server.account("app", "right");
    refused(authorization(credentials()), "bk_app_code or bk_app_secret is incorrect").await;
    server.account("app", "secret");
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["code"], 0);
    let requests = server.simulator.requests();
    assert_eq!((requests[0].code, requests[0].http_status), (Some(1_640_001), Some(400)));
}

#[tokio::test]
async fn the_gateway_takes_a_name_or_a_token_and_cmdb_refuses_nobody_with_an_envelope_of_its_own() {
    let server = Server::start().await;
    for (at, (key, creator)) in
        [("bk_username", "t"), ("bk_token", "admin"), ("bk_ticket", "admin"), ("access_token", "admin")]
            .into_iter()
            .enumerate()
    {
        let sent = authorization(json!({"bk_app_code": "app", "bk_app_secret": "secret", key: "t"}));
        let path = "/api/bk-cmdb/some-stage/api/v3/createmany/proc/proc_template";
        let reply = server.send(Method::POST, path, sent, &batch(&[key])).await.unwrap();
        assert_eq!(reply.json::<Value>().await.unwrap()["code"], 0);
        assert_eq!(server.simulator.state().process_templates[at].creator, creator);
    }
    let mut sent = authorization(json!({"bk_app_code": "app", "bk_app_secret": "secret", "bk_username": ""}));
    sent.extend(headers([("BK_User", "ann"), ("X-Bkcmdb-User", "ann")]));
    let response = server.gateway(sent, everything()).await;
    assert_eq!(response.status(), 200);
    let expected = json!({"result": false, "bk_error_code": 1_199_998, "bk_error_msg": "user is not set",
        "permission": null, "data": null});
    assert_eq!(response.json::<Value>().await.unwrap(), expected);
}

#[tokio::test]
async fn the_gateway_knows_a_resource_by_stage_method_and_path() {
    let server = Server::start().await;
    for (method, path) in [
        (Method::POST, "prod/api/v3/findmany/proc/no_such_thing"),
        (Method::GET, "prod/api/v3/findmany/proc/proc_template"),
        (Method::POST, "api/v3/findmany/proc/proc_template"),
        (Method::POST, "prod/findmany/proc/proc_template"),
        (Method::POST, "two/stages/api/v3/findmany/proc/proc_template"),
        (Method::POST, "prod"),
        (Method::POST, "/api/v3/findmany/proc/proc_template"),
    ] {
        // Even without credentials.
        let response = server.send(method, &format!("/api/bk-cmdb/{path}"), HeaderMap::new(), &json!({})).await;
        assert_eq!(gateways_own(response.unwrap()).await, (404, 1_640_401, "API not found".to_owned()));
    }
    assert!(server.simulator.requests().iter().all(|request| request.call.is_empty()));
}

#[tokio::test]
async fn each_reply_of_the_gateway_has_its_own_request_id_and_keeps_the_callers() {
    let server = Server::start().await;
    let id = |response: &Response| response.headers()["x-bkapi-request-id"].to_str().unwrap().to_owned();
    let mut sent = authorization(credentials());
    sent.extend(headers([("X-Request-Id", "mine"), ("X-Bkapi-Request-Id", "not mine to choose")]));
    let first = server.gateway(sent.clone(), everything()).await;
    let second = server.gateway(sent, everything()).await;
    assert_ne!(id(&first), id(&second));
    assert_eq!(first.headers()["x-request-id"], "mine");
    server.fault(json!({"http_status": 200, "body": "<html>"})).await;
    let raw = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(id(&raw).replace('-', ""), raw.headers()["x-request-id"].to_str().unwrap());
    let direct = server.request(Transport::Direct, LIST, everything()).await.unwrap();
    assert_eq!((direct.headers()["x-request-id"].len(), direct.headers().get("x-bkapi-request-id")), (32, None));
}

#[tokio::test]
async fn secrets_in_headers_are_known_by_their_digest_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("requests.jsonl");
    let server = Server::with(Options { request_log: Some(log.clone()), ..Options::default() }).await;
    let mut body = everything();
    body["bk_app_secret"] = json!("misplaced");
    let secrets = json!({"bk_app_code": "app", "bk_app_secret": "hunter2", "bk_token": "t0ken", "bk_ticket": "t1cket",
        "access_token": "acce55"});
    server.gateway(authorization(secrets), body.clone()).await;
    server.direct(trusted(), body).await;
    let (_, shown) = server.admin(Method::GET, "requests", json!({})).await;
    let request = &shown["requests"][0];
    assert_eq!((&request["transport"], &request["credential"]), (&json!("gateway"), &json!("f52fbd32")));
    assert_eq!(request["path"], "/api/bk-cmdb/prod/api/v3/findmany/proc/proc_template");
    let request = &shown["requests"][1];
    assert_eq!((&request["transport"], &request["credential"]), (&json!("direct"), &json!("")));
    assert_eq!((&request["method"], &request["headers"]["bk_user"]), (&json!("POST"), &json!("ann")));
    let logged = std::fs::read_to_string(&log).unwrap();
    for secret in ["hunter2", "t0ken", "t1cket", "acce55", "misplaced"] {
        assert!(!logged.contains(secret) && !shown.to_string().contains(secret), "{secret}");
    }
    server.call(Transport::Esb, LIST, everything()).await;
    assert_eq!(serde_json::to_value(&server.simulator.requests()[2]).unwrap()["transport"], "esb");
}

#[tokio::test]
async fn a_fault_refuses_in_the_envelope_of_the_transport() {
    let server = Server::start().await;
    server.fault(json!({"code": 1_199_018, "after_commit": true})).await;
    for transport in TRANSPORTS {
        let (code, message) = keys(transport);
        let reply = server.call(transport, CREATE, batch(&[code, message])).await;
        assert_eq!((&reply[code], &reply[message]), (&json!(1_199_018), &json!("New data failed")), "{reply}");
        server.simulator.update_state(|state| {
            assert_eq!(state.process_templates.len(), 2);
            state.process_templates.clear();
        });
    }
    let requests = server.simulator.requests();
    assert!(requests.iter().all(|one| one.code == Some(1_199_018) && one.fault.as_deref() == Some("code")));
}

#[tokio::test]
async fn what_the_apiserver_answers_itself_keeps_its_envelope_behind_the_gateway() {
    let server = Server::start().await;
    let is_own = async |effect: Value, call: &str| {
        server.fault(effect).await;
        let reply: Value = server.request(Transport::Gateway, call, everything()).await.unwrap().json().await.unwrap();
        assert!(reply["code"].is_null() != reply["bk_error_code"].is_null(), "{reply}");
        reply["code"].is_null()
    };
    assert!(is_own(json!({"code": 1_199_997}), LIST).await);
    assert!(is_own(json!({"code": 1_199_998, "http_status": 500}), LIST).await);
    assert!(!is_own(json!({"code": 1_199_998}), LIST).await);
    for code in [9_900_403, 1_199_046] {
        assert!(is_own(json!({"code": code}), "list_service_template").await);
        assert!(!is_own(json!({"code": code}), LIST).await);
    }
}

#[tokio::test]
async fn a_code_of_the_gateway_comes_in_its_own_envelope_and_status_through_the_gateway_alone() {
    let server = Server::start().await;
    for (code, status, text) in [
        (1_640_001, 400, "Parameters error"),
        (1_640_101, 401, "App authentication failed"),
        (1_640_301, 403, "App has no permission to the resource"),
        (1_641_301, 413, "Request body size too large."),
        (1_642_904, 429, "Request concurrency exceeds"),
        (1_650_000, 500, "Request backend service status code is 5xx"),
        (1_650_201, 502, "Request backend service failed"),
        (1_650_300, 503, "Service Unavailable"),
        (1_650_401, 504, "Request backend service timeout"),
        (1_650_801, 508, "Recursive request detected"),
        (1_600_001, 500, "unknown error"),
        (1_699_999, 500, "unknown error"),
    ] {
        server.fault(json!({"code": code})).await;
        let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
        assert_eq!(gateways_own(response).await, (status, code, text.to_owned()));
        assert_eq!(server.call(Transport::Esb, LIST, everything()).await["code"], code);
        assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], code);
    }
    server
        .fault(json!({"code": 1_642_901, "message": "slow down", "http_status": 200, "headers": {"X-More": "7"}}))
        .await;
    let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(response.headers()["x-more"], "7");
    assert_eq!(gateways_own(response).await, (200, 1_642_901, "slow down".to_owned()));
}

#[tokio::test]
async fn raw_replies_drops_delays_and_hangs_work_on_each_transport() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        server.simulator.add_fault(Fault::nth(LIST, 1, Effect::raw(504, "text/html", "<html>")));
        let response = server.request(transport, LIST, everything()).await.unwrap();
        assert_eq!((response.status().as_u16(), content_type(&response)), (504, "text/html"));
        assert_eq!(response.text().await.unwrap(), "<html>");

        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
        server.simulator.add_fault(Fault::nth(CREATE, 2, Effect::drop_after_commit()));
        assert!(server.request(transport, CREATE, batch(&["before"])).await.is_err());
        assert!(server.request(transport, CREATE, batch(&["after"])).await.is_err());
        assert_eq!(server.names(), ["after"]);
        assert_eq!(server.simulator.requests().last().unwrap().outcome(), "no reply");

        let delay = Effect::delay(300);
        server.simulator.add_fault(Fault::nth(LIST, 1, delay).when("service_template_id", 1));
        let started = Instant::now();
        server.call(transport, LIST, everything()).await;
        assert!(started.elapsed() >= Duration::from_millis(300));

        server.simulator.clear_faults();
        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hang(0.6, false)));
        let send = server.request(transport, CREATE, batch(&["hung up"]));
        assert!(tokio::time::timeout(Duration::from_millis(200), send).await.is_err());
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert_eq!(server.names(), ["after"]);
        assert!(server.simulator.requests().last().unwrap().client_hung_up);

        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(60.0, false)));
        assert!(server.request(transport, CREATE, batch(&["held"])).await.is_err());
        assert_eq!(server.call(transport, CREATE, batch(&["held"])).await[keys(transport).0], 1_199_066);
    }
}

impl Authority {
    fn client(&self) -> reqwest::ClientBuilder {
        plain_client().tls_certs_only([reqwest::Certificate::from_pem(self.certificate.as_bytes()).unwrap()])
    }

    fn client_with_certificate(&self, signed_by: &Self) -> reqwest::ClientBuilder {
        let (certificate, key) = signed_by.sign(ExtendedKeyUsagePurpose::ClientAuth);
        self.client().identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
    }

    /// The files of a server, with this as the clients' CA, too.
    fn files(&self, directory: &Path) -> Tls {
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let (certificate, key) = self.sign(ExtendedKeyUsagePurpose::ServerAuth);
        Tls {
            certificate: write("server.pem", &certificate),
            key: write("server.key", &key),
            client_ca: Some(write("ca.pem", &self.certificate)),
        }
    }
}

#[tokio::test]
async fn https_serves_calls_and_admin_routes_to_those_who_trust_its_ca() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = Tls { client_ca: None, ..authority.files(directory.path()) };
    let options = Options { tls: Some(tls), ..Options::default() };
    let server = Server::seen_by(authority.client(), options).await;
    assert!(server.simulator.url().starts_with("https://127.0.0.1:"));
    for transport in TRANSPORTS {
        assert_eq!(server.call(transport, LIST, everything()).await[keys(transport).0], 0);
    }
    let many: Vec<String> = (0..100).map(|at| format!("{at} {}", "x".repeat(200))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.call(Transport::Direct, CREATE, batch(&many)).await;
    let listed = server.call(Transport::Direct, LIST, everything()).await;
    assert_eq!(listed["data"]["info"].as_array().unwrap().len(), 100);
    assert_eq!(server.admin(Method::GET, "state", json!({})).await.0, 200);

    let url = format!("{}/sim/state", server.simulator.url());
    for stranger in [Authority::new().client(), plain_client()] {
        assert!(stranger.build().unwrap().get(&url).send().await.is_err());
    }
    assert!(plain_client().build().unwrap().get(url.replace("https", "http")).send().await.is_err());
    server.call(Transport::Direct, LIST, everything()).await;
    server.simulator.stop().await;
}

#[tokio::test]
async fn with_a_client_ca_only_its_certificates_get_in() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let options = Options { tls: Some(authority.files(directory.path())), ..Options::default() };
    let server = Server::seen_by(authority.client_with_certificate(&authority), options).await;
    assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], 0);
    let url = format!("{}/sim/state", server.simulator.url());
    for stranger in [authority.client(), authority.client_with_certificate(&Authority::new())] {
        assert!(stranger.build().unwrap().get(&url).send().await.is_err());
    }
}

#[tokio::test]
async fn a_drop_cuts_an_https_connection_before_any_byte_of_the_reply() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let options = Options { tls: Some(authority.files(directory.path())), ..Options::default() };
    let server = Server::seen_by(authority.client_with_certificate(&authority), options).await;
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    server.simulator.add_fault(Fault::nth(CREATE, 2, Effect::drop_after_commit()));
    server.simulator.add_fault(Fault::nth(CREATE, 3, Effect::hold_names(60.0, false)));
    for name in ["before", "after", "held"] {
        let error = server.request(Transport::Direct, CREATE, batch(&[name])).await.unwrap_err();
        assert!(!error.is_connect() && error.status().is_none(), "{error:?}");
    }
    assert_eq!(server.names(), ["after"]);
    assert_eq!(server.call(Transport::Direct, CREATE, batch(&["held"])).await["bk_error_code"], 1_199_066);
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hang(0.5, false)));
    let send = server.request(Transport::Direct, CREATE, batch(&["hung up"]));
    assert!(tokio::time::timeout(Duration::from_millis(200), send).await.is_err());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(server.simulator.requests().last().unwrap().client_hung_up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_shakes_no_hands_holds_up_nobody() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = Tls { client_ca: None, ..authority.files(directory.path()) };
    let options = Options { tls: Some(tls), ..Options::default() };
    let server = Server::seen_by(authority.client(), options).await;
    let silent = std::net::TcpStream::connect(server.simulator.address()).unwrap();
    let mut rude = std::net::TcpStream::connect(server.simulator.address()).unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    server.client.get(format!("{}/sim/state", server.simulator.url())).send().await.unwrap();
    rude.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = Vec::new();
    let _ = rude.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    drop(silent);
}

#[tokio::test]
async fn files_that_are_no_certificates_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let good = authority.files(directory.path());
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (_, other) = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let other_key = directory.path().join("other.key");
    std::fs::write(&other_key, other).unwrap();
    for (tls, named) in [
        (Tls { certificate: empty.clone(), ..good.clone() }, "empty.pem"),
        (Tls { key: empty.clone(), ..good.clone() }, "empty.pem"),
        (Tls { client_ca: Some(empty.clone()), ..good.clone() }, "empty.pem"),
        (Tls { key: "missing.key".into(), ..good.clone() }, "missing.key"),
        (Tls { key: other_key, ..good.clone() }, "server.pem"),
    ] {
        let error = Simulator::start(Options { tls: Some(tls), ..Options::default() }).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn the_program_speaks_https_when_it_is_given_certificate_and_key() {
    use tokio::io::{AsyncBufReadExt, BufReader};
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = authority.files(directory.path());
    let program = || {
        let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_cmdb-sim"));
        program.args(["--listen", "127.0.0.1:0", "--tls-certificate"]).arg(&tls.certificate);
        program.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).kill_on_drop(true);
        program
    };
    assert!(!program().status().await.unwrap().success(), "a certificate needs a key");
    let mut running = program();
    running.arg("--tls-key").arg(&tls.key).arg("--tls-client-ca").arg(tls.client_ca.as_ref().unwrap());
    let mut running = running.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    let url = line.trim_end().strip_prefix("cmdb-sim listening on ").unwrap();
    assert!(url.starts_with("https://"), "{url}");
    let known = authority.client_with_certificate(&authority).build().unwrap();
    assert_eq!(known.get(format!("{url}/sim/state")).send().await.unwrap().status(), 200);
    assert!(authority.client().build().unwrap().get(format!("{url}/sim/state")).send().await.is_err());
}

/// Limit, remaining and reset as the headers of a reply say them.
fn quota_headers(response: &Response) -> Option<(u64, u64, u64)> {
    let number = |name: &str| response.headers().get(name)?.to_str().unwrap().parse().ok();
    let name = |last: &str| format!("x-bkapi-ratelimit-{last}");
    Some((number(&name("limit"))?, number(&name("remaining"))?, number(&name("reset"))?))
}

async fn put_quota(server: &Server, quota: Value) {
    assert_eq!(server.admin(Method::PUT, "state", json!({"quota": quota})).await.0, 200);
}

#[tokio::test]
async fn what_is_over_the_quota_is_refused_as_the_transport_does() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 60})).await;
    for transport in TRANSPORTS {
        for name in ["a", "b"] {
            let reply = server.call(transport, CREATE, batch(&[&format!("{transport:?} {name}")])).await;
            assert_eq!(reply[keys(transport).0], 0);
        }
    }
    let stored = server.names();
    server.simulator.clear_requests();
    // What comes no further than the limit meets no fault.
    let fault = server.simulator.add_fault(Fault::every("*", Effect::drop_after_commit()));
    let response = server.request(Transport::Gateway, CREATE, batch(&["c"])).await.unwrap();
    assert_eq!(quota_headers(&response), None);
    let expected = (429, 1_642_901, "API rate limit exceeded by stage global limit".to_owned());
    assert_eq!(gateways_own(response).await, expected);
    let reply = server.call(Transport::Esb, CREATE, batch(&["c"])).await;
    assert_eq!((&reply["code"], &reply["message"]), (&json!(1_306_429), &json!("Access frequency limit")));
    let reply = server.call(Transport::Direct, CREATE, batch(&["c"])).await;
    assert_eq!((&reply["bk_error_code"], &reply["bk_error_msg"]), (&json!(1_199_997), &json!("too many requests")));
    assert_eq!(server.names(), stored);
    let codes: Vec<_> = server.simulator.requests().iter().map(|one| (one.http_status, one.code)).collect();
    let expected = [(429, 1_642_901), (200, 1_306_429), (200, 1_199_997)];
    assert_eq!(codes, expected.map(|(status, code)| (Some(status), Some(code))));
    assert_eq!(server.simulator.faults().iter().find(|one| one.id == fault).unwrap().matched, 0);
    assert!(server.simulator.requests().iter().all(|request| request.fault.is_none() && request.finished));
}

#[tokio::test]
async fn a_quota_chooses_its_code_and_ends_with_the_state_key() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 0, "windowSeconds": 60, "code": 1_642_903})).await;
    let response = server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    assert_eq!(gateways_own(response).await.1, 1_642_903);
    assert_eq!(server.call(Transport::Esb, LIST, everything()).await["code"], 1_642_903);
    put_quota(&server, json!({"code": 1_199_997})).await;
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["bk_error_code"], 1_199_997);
    put_quota(&server, Value::Null).await;
    assert_eq!(server.call(Transport::Gateway, LIST, everything()).await["code"], 0);
    for wrong in [json!({"limit": 1}), json!({"limit": 1, "windowSeconds": 1, "burst": 2}), json!(1)] {
        assert_eq!(server.admin(Method::PUT, "state", json!({"quota": wrong})).await.0, 400);
    }
}

#[tokio::test]
async fn with_quota_headers_every_reply_of_the_gateway_says_what_is_left() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 60, "headers": true})).await;
    let list = async || server.request(Transport::Gateway, LIST, everything()).await.unwrap();
    // Nothing is taken by who is nobody and by what leads nowhere.
    assert_eq!(quota_headers(&server.gateway(HeaderMap::new(), everything()).await), Some((2, 2, 60)));
    let sent = authorization(credentials());
    let nowhere = server.send(Method::POST, "/api/bk-cmdb/prod/api/v3/x", sent, &json!({})).await.unwrap();
    assert_eq!(quota_headers(&nowhere), Some((2, 2, 60)));
    let (limit, remaining, early) = quota_headers(&list().await).unwrap();
    assert!((limit, remaining) == (2, 1) && (30..=60).contains(&early), "{limit} {remaining} {early}");
    server.fault(json!({"http_status": 504, "body": "<html>"})).await;
    assert_eq!(quota_headers(&list().await).unwrap().1, 0);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let over = list().await;
    let (limit, remaining, late) = quota_headers(&over).unwrap();
    assert_eq!((over.status().as_u16(), limit, remaining), (429, 2, 0));
    assert!(late < early, "{late} {early}");
    assert_eq!(quota_headers(&server.gateway(HeaderMap::new(), everything()).await), Some((2, 2, 60)));

    // The other two have no such headers, and a fault's own words stay.
    server.simulator.clear_faults();
    for transport in [Transport::Esb, Transport::Direct] {
        assert_eq!(quota_headers(&server.request(transport, LIST, everything()).await.unwrap()), None);
    }
    server.simulator.clear_quota();
    server.fault(json!({"code": 1_642_901, "headers": {"x-bkapi-ratelimit-reset": "7"}})).await;
    assert_eq!(quota_headers(&list().await), Some((2, 1, 7)));
}

#[tokio::test]
async fn each_application_has_its_own_quota_and_each_user_of_the_apiserver() {
    let server = Server::start().await;
    let quota = Quota { limit: 1, window_seconds: 60.0, headers: false, code: None };
    server.simulator.update_state(|state| state.quota = Some(quota));
    let as_app = async |app: &str, user: &str| {
        let sent = authorization(json!({"bk_app_code": app, "bk_app_secret": "secret", "bk_username": user}));
        server.gateway(sent, everything()).await.status().as_u16()
    };
    assert_eq!([as_app("one", "ann").await, as_app("one", "bob").await, as_app("two", "ann").await], [200, 429, 200]);
    let as_user = async |header: &str, user: &str| {
        let sent = headers([(header, user), ("HTTP_BLUEKING_SUPPLIER_ID", "0")]);
        server.direct(sent, everything()).await.json::<Value>().await.unwrap()["bk_error_code"].as_i64().unwrap()
    };
    assert_eq!([as_user("BK_User", "ann").await, as_user("X-Bkcmdb-User", "ann").await], [0, 1_199_997]);
    assert_eq!(as_user("BK_User", "bob").await, 0);
    let path = "/api/c/compapi/v2/cc/list_proc_template/";
    let as_esb = async |app: &str| {
        let mut body = everything();
        body.as_object_mut().unwrap().extend(credentials().as_object().unwrap().clone());
        body["bk_app_code"] = json!(app);
        let response = server.send(Method::POST, path, HeaderMap::new(), &body).await.unwrap();
        response.json::<Value>().await.unwrap()["code"].as_i64().unwrap()
    };
    assert_eq!([as_esb("one").await, as_esb("one").await, as_esb("two").await], [0, 1_306_429, 0]);
    let windows: Vec<_> = server.simulator.quota_windows();
    let windows: Vec<_> =
        windows.iter().map(|one| (one.transport, one.caller.as_str(), one.taken, one.refused)).collect();
    let (gateway, direct, esb) = (Transport::Gateway, Transport::Direct, Transport::Esb);
    let expected = [
        (gateway, "one", 1, 1),
        (gateway, "two", 1, 0),
        (direct, "ann", 1, 1),
        (direct, "bob", 1, 0),
        (esb, "one", 1, 1),
        (esb, "two", 1, 0),
    ];
    assert_eq!(windows, expected);
}

#[tokio::test]
async fn a_new_window_begins_with_the_first_call_after_the_end_of_the_last() {
    let server = Server::start().await;
    put_quota(&server, json!({"limit": 2, "windowSeconds": 1.5})).await;
    let code = async || server.call(Transport::Esb, LIST, everything()).await["code"].as_i64().unwrap();
    assert_eq!([code().await, code().await, code().await], [0, 0, 1_306_429]);
    tokio::time::sleep(Duration::from_millis(1600)).await;
    assert_eq!(code().await, 0);
    let (status, shown) = server.admin(Method::GET, "quota", json!({})).await;
    assert_eq!(status, 200);
    let windows = shown["windows"].as_array().unwrap();
    let of = |window: &Value| (window["taken"].as_u64().unwrap(), window["refused"].as_u64().unwrap());
    assert_eq!(windows.iter().map(of).collect::<Vec<_>>(), [(2, 1), (1, 0)]);
    assert_eq!((&windows[0]["transport"], &windows[0]["caller"]), (&json!("esb"), &json!("app")));
    assert!(windows[0]["start"].as_str().unwrap() < windows[1]["start"].as_str().unwrap());
    put_quota(&server, json!({"windowSeconds": 60})).await;
    assert_eq!([code().await, code().await], [0, 1_306_429]);
    assert_eq!(server.admin(Method::DELETE, "quota", json!({})).await.0, 204);
    assert!(server.simulator.quota_windows().is_empty());
    assert_eq!([code().await, code().await, code().await], [0, 0, 1_306_429]);
}

#[tokio::test]
async fn a_redirect_sends_the_caller_elsewhere_instead_of_the_call() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        for (effect, status) in [
            (json!({"redirect": "https://login.example/?next=1"}), 302),
            (json!({"redirect": "https://login.example/?next=1", "http_status": 307}), 307),
        ] {
            server.fault(effect).await;
            let response = server.request(transport, CREATE, batch(&["a"])).await.unwrap();
            assert_eq!(response.status(), status);
            assert_eq!(response.headers()["location"], "https://login.example/?next=1");
            assert_eq!(response.headers().contains_key("x-bkapi-request-id"), transport == Transport::Gateway);
            assert_eq!(response.text().await.unwrap(), "");
        }
    }
    assert!(server.names().is_empty());
    let request = server.simulator.requests().pop().unwrap();
    assert_eq!((request.outcome().as_str(), request.fault.as_deref()), ("http 307", Some("redirect")));

    // Who follows arrives.
    let other = Server::start().await;
    server.simulator.clear_faults();
    server.simulator.add_fault(Fault::every("*", Effect::redirect(&format!("{}/sim/state", other.simulator.url()))));
    let follower = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("{}/api/v3/findmany/proc/proc_template", server.simulator.url());
    let followed = follower.post(url).headers(trusted()).json(&everything()).send().await.unwrap();
    assert_eq!(followed.url().path(), "/sim/state");
}
