//! A caller of the simulator over each of the three transports.

use std::sync::Once;

use cmdb_sim::{Account, Options, Simulator, Transport};
use reqwest::{Method, Response};
use serde_json::{Value, json};

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

pub const CREATE: &str = "batch_create_proc_template";

pub const UPDATE: &str = "update_proc_template";

pub const DELETE: &str = "delete_proc_template";

pub const LIST: &str = "list_proc_template";

pub const DELETE_SERVICE_TEMPLATE: &str = "delete_service_template";

pub const TRANSPORTS: [Transport; 3] = [Transport::Esb, Transport::Gateway, Transport::Direct];

pub fn install_provider() {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
}

pub fn plain_client() -> reqwest::ClientBuilder {
    install_provider();
    reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none())
}

/// Method and path of a call beyond the gateway and of the apiserver.
pub fn resource(call: &str) -> (Method, &'static str) {
    match call {
        CREATE => (Method::POST, "createmany/proc/proc_template"),
        UPDATE => (Method::PUT, "update/proc/proc_template"),
        DELETE => (Method::DELETE, "deletemany/proc/proc_template"),
        LIST => (Method::POST, "findmany/proc/proc_template"),
        "list_service_template" => (Method::POST, "findmany/proc/service_template"),
        "create_service_template" => (Method::POST, "create/proc/service_template"),
        DELETE_SERVICE_TEMPLATE => (Method::DELETE, "delete/proc/service_template"),
        "list_service_category" => (Method::POST, "findmany/proc/service_category"),
        other => panic!("{other}"),
    }
}

pub fn headers<const COUNT: usize>(headers: [(&str, &str); COUNT]) -> HeaderMap {
    let pair = |(name, value): (&str, &str)| {
        (HeaderName::try_from(name).unwrap(), HeaderValue::try_from(value.to_owned()).unwrap())
    };
    headers.into_iter().map(pair).collect()
}

pub fn authorization(credentials: Value) -> HeaderMap {
    headers([("X-Bkapi-Authorization", &credentials.to_string())])
}

pub fn credentials() -> Value {
    json!({"bk_app_code": "app", "bk_app_secret": "secret", "bk_username": "ann"})
}

pub fn trusted() -> HeaderMap {
    headers([("BK_User", "ann"), ("HTTP_BLUEKING_SUPPLIER_ID", "0"), ("HTTP_BLUEKING_LANGUAGE", "en")])
}

pub struct Server {
    pub simulator: Simulator,
    pub client: reqwest::Client,
}

impl Server {
    /// A server with the service template 1, "web", in business 2.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> Self {
        Self::seen_by(plain_client(), options).await
    }

    pub async fn seen_by(client: reqwest::ClientBuilder, options: Options) -> Self {
        let server = Self { simulator: Simulator::start(options).unwrap(), client: client.build().unwrap() };
        let body = json!({"bk_biz_id": 2, "name": "web", "service_category_id": 2});
        assert_eq!(server.call(Transport::Direct, "create_service_template", body).await["data"]["id"], 1);
        server.simulator.clear_requests();
        server
    }

    pub async fn send(
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
    pub async fn request(&self, transport: Transport, call: &str, mut body: Value) -> Result<Response, reqwest::Error> {
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

    pub async fn call(&self, transport: Transport, call: &str, body: Value) -> Value {
        let response = self.request(transport, call, body).await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    pub async fn gateway(&self, sent: HeaderMap, body: Value) -> Response {
        let path = "/api/bk-cmdb/prod/api/v3/findmany/proc/proc_template";
        self.send(Method::POST, path, sent, &body).await.unwrap()
    }

    pub async fn direct(&self, sent: HeaderMap, body: Value) -> Response {
        self.send(Method::POST, "/api/v3/findmany/proc/proc_template", sent, &body).await.unwrap()
    }

    pub async fn admin(&self, method: Method, path: &str, body: Value) -> (u16, Value) {
        let response = self.send(method, &format!("/sim/{path}"), HeaderMap::new(), &body).await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }

    pub async fn fault(&self, effect: Value) {
        self.simulator.clear_faults();
        assert_eq!(self.admin(Method::POST, "faults", json!({"every": true, "do": effect})).await.0, 201);
    }

    pub fn account(&self, app_code: &str, app_secret: &str) {
        let account = Account { app_code: app_code.to_owned(), app_secret: app_secret.to_owned() };
        self.simulator.update_state(|state| state.accounts.push(account));
    }

    pub fn names(&self) -> Vec<String> {
        self.simulator.state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
    }
}

pub fn locked(value: impl Into<Value>) -> Value {
    json!({"value": value.into(), "as_default_value": true})
}

pub fn batch(names: &[&str]) -> Value {
    let process = |name: &&str| json!({"spec": {"bk_process_name": locked(*name), "bk_func_name": locked(*name)}});
    let processes: Vec<Value> = names.iter().map(process).collect();
    json!({"bk_biz_id": 2, "service_template_id": 1, "processes": processes})
}

pub fn everything() -> Value {
    json!({"bk_biz_id": 2, "service_template_id": 1})
}

/// Keys of code and text in the envelope of what CMDB's daemons answer.
pub fn keys(transport: Transport) -> (&'static str, &'static str) {
    if transport == Transport::Direct { ("bk_error_code", "bk_error_msg") } else { ("code", "message") }
}

pub fn content_type(response: &Response) -> &str {
    response.headers()["content-type"].to_str().unwrap()
}

pub fn names(object: &Value) -> Vec<&str> {
    object.as_object().unwrap().keys().map(String::as_str).collect()
}

/// Status and reply, of which the gateway's own headers must say the same as the envelope.
pub async fn gateways_own(response: Response) -> (u16, i64, String) {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let reply: Value = response.json().await.unwrap();
    assert_eq!(names(&reply), ["code", "code_name", "data", "message", "result"]);
    assert_eq!((&reply["result"], &reply["data"]), (&json!(false), &Value::Null));
    assert_eq!(headers["x-bkapi-error-code"], reply["code"].to_string());
    assert_eq!(headers["x-bkapi-error-message"], reply["message"].as_str().unwrap());
    assert_eq!(headers["x-bkapi-request-id"].len(), 36);
    (status, reply["code"].as_i64().unwrap(), reply["message"].as_str().unwrap().to_owned())
}
