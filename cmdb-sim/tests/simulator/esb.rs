//! A caller of the simulator, over the ESB.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::sync::Once;

use cmdb_sim::{Options, Schema, Simulator};
use serde_json::{Value, json};

pub const CREATE: &str = "batch_create_proc_template";
pub const LIST: &str = "list_proc_template";

/// A simulator, and its caller: application "app", user "ann".
pub struct Server {
    pub simulator: Simulator,
    pub client: reqwest::Client,
}

pub fn client() -> reqwest::Client {
    static PROVIDER: Once = Once::new();
    PROVIDER.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder().no_proxy().build().unwrap()
}

impl Server {
    /// A server with the service template 1, "web", in business 2.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    pub async fn flat() -> Self {
        Self::with(Options { schema: Schema::Flat, ..Options::default() }).await
    }

    pub async fn with(options: Options) -> Self {
        let server = Self { simulator: Simulator::start(options).unwrap(), client: client() };
        let reply = server.call("create_service_template", service_template("web")).await;
        assert_eq!(reply["data"]["id"], 1, "{reply}");
        server
    }

    pub fn url(&self, name: &str) -> String {
        format!("{}/api/c/compapi/v2/cc/{name}/", self.simulator.url())
    }

    pub async fn send(&self, name: &str, mut body: Value) -> Result<reqwest::Response, reqwest::Error> {
        for (key, value) in [("bk_app_code", "app"), ("bk_app_secret", "secret"), ("bk_username", "ann")] {
            let object = body.as_object_mut().unwrap();
            object.entry(key).or_insert(json!(value));
        }
        self.client.post(self.url(name)).json(&body).send().await
    }

    pub async fn call(&self, name: &str, body: Value) -> Value {
        let response = self.send(name, body).await.unwrap();
        assert_eq!(response.status(), 200);
        response.json().await.unwrap()
    }

    pub async fn created(&self, processes: Vec<Value>) -> Vec<i64> {
        let reply = self.call(CREATE, batch(processes)).await;
        assert_eq!(reply["code"], 0, "{reply}");
        serde_json::from_value(reply["data"].clone()).unwrap()
    }

    pub async fn admin(&self, method: reqwest::Method, path: &str, body: Value) -> (u16, Value) {
        let url = format!("{}/sim/{path}", self.simulator.url());
        let response = self.client.request(method, url).json(&body).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap_or(Value::Null))
    }
}

pub fn batch(processes: Vec<Value>) -> Value {
    json!({"bk_biz_id": 2, "service_template_id": 1, "processes": processes})
}

pub fn service_template(name: &str) -> Value {
    json!({"bk_biz_id": 2, "name": name, "service_category_id": 2})
}

pub fn locked(value: impl Into<Value>) -> Value {
    json!({"value": value.into(), "as_default_value": true})
}

pub fn process(name: &str) -> Value {
    json!({"spec": {"bk_process_name": locked(name), "bk_func_name": locked(format!("{name}d"))}})
}

pub fn process_with(name: &str, property: &str, value: Value) -> Value {
    let mut process = process(name);
    process["spec"][property] = value;
    process
}

pub fn refusal(reply: &Value) -> (i64, String) {
    assert_eq!(reply["result"], false, "{reply}");
    assert_eq!(reply["data"], Value::Null);
    assert_eq!(reply["permission"], Value::Null);
    (reply["code"].as_i64().unwrap(), reply["message"].as_str().unwrap().to_owned())
}

pub fn invalid(field: &str) -> (i64, String) {
    (1_199_006, format!("'{field}' data parameter verification does not pass"))
}

pub fn undecodable() -> (i64, String) {
    (1_199_000, "Deserializing JSON data failed".to_owned())
}
