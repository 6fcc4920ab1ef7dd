//! A caller of the simulator, over the ESB.

use std::sync::Once;

use cmdb_sim::{Options, ProcessTemplate, Property, Schema, Simulator};
use serde_json::{Value, json};

pub const CREATE: &str = "batch_create_proc_template";
pub const DELETE: &str = "delete_proc_template";
pub const LIST: &str = "list_proc_template";
pub const UPDATE: &str = "update_proc_template";

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

    pub async fn raw(&self, name: &str, body: &str) -> Value {
        self.client.post(self.url(name)).body(body.to_owned()).send().await.unwrap().json().await.unwrap()
    }

    pub async fn create(&self, processes: Vec<Value>) -> Value {
        self.call(CREATE, batch(processes)).await
    }

    pub async fn refused(&self, processes: Vec<Value>) -> (i64, String) {
        refusal(&self.create(processes).await)
    }

    pub async fn list(&self) -> Vec<Value> {
        let reply = self.call(LIST, json!({"bk_biz_id": 2, "service_template_id": 1})).await;
        reply["data"]["info"].as_array().unwrap().clone()
    }

    pub async fn names(&self) -> Vec<String> {
        self.list().await.iter().map(|template| template["bk_process_name"].as_str().unwrap().to_owned()).collect()
    }

    pub async fn updated(&self, id: i64, property: Value) -> Value {
        let reply = self.call(UPDATE, change(id, property)).await;
        assert_eq!((&reply["code"], &reply["message"]), (&json!(0), &json!("success")), "{reply}");
        reply["data"].clone()
    }

    pub async fn refused_update(&self, id: i64, property: Value) -> (i64, String) {
        refusal(&self.call(UPDATE, change(id, property)).await)
    }

    pub async fn deleted(&self, ids: &[i64]) {
        let reply = self.call(DELETE, deletion(ids)).await;
        assert_eq!((&reply["code"], &reply["data"]), (&json!(0), &Value::Null), "{reply}");
    }

    pub async fn refused_delete(&self, ids: &[i64]) -> (i64, String) {
        refusal(&self.call(DELETE, deletion(ids)).await)
    }

    pub async fn list_by_id(&self) -> Vec<Value> {
        let body = json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"sort": "id"}});
        self.call(LIST, body).await["data"]["info"].as_array().unwrap().clone()
    }

    pub async fn names_by_id(&self) -> Vec<String> {
        self.list_by_id()
            .await
            .iter()
            .map(|template| template["bk_process_name"].as_str().unwrap().to_owned())
            .collect()
    }

    pub async fn one(&self, id: i64) -> Value {
        self.list_by_id().await.into_iter().find(|template| template["id"] == id).unwrap()
    }

    /// Changes a stored template behind the back of every rule.
    pub fn tamper(&self, id: i64, change: impl FnOnce(&mut ProcessTemplate)) {
        self.simulator.update_state(|state| {
            change(state.process_templates.iter_mut().find(|template| template.id == id).unwrap());
        });
    }

    /// IDs of the latest request of a call, as the simulator remembers it.
    pub fn recorded_ids(&self, call: &str) -> Vec<i64> {
        self.simulator.requests().iter().rfind(|request| request.call == call).unwrap().ids.clone()
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

pub fn change(id: i64, property: Value) -> Value {
    json!({"bk_biz_id": 2, "process_template_id": id, "process_property": property})
}

pub fn deletion(ids: &[i64]) -> Value {
    json!({"bk_biz_id": 2, "process_templates": ids})
}

pub fn none() -> Value {
    json!({"value": null, "as_default_value": null})
}

pub fn property(value: Value) -> Property {
    serde_json::from_value(value).unwrap()
}

pub fn missing_input() -> (i64, String) {
    (1_199_003, "invalid input parameter".to_owned())
}

pub fn not_found() -> (i64, String) {
    (1_199_019, "No relevant data found".to_owned())
}

pub fn name_taken(name: &str) -> (i64, String) {
    (1_113_019, format!("process name [{name}] unique validation failed"))
}

pub fn function_taken(function: &str, regex: &str) -> (i64, String) {
    (1_113_020, format!("process name [{function}] and start parameter [{regex}] unique validation failed"))
}

pub fn not_deleted() -> (i64, String) {
    (1_108_014, "delete config template failed".to_owned())
}

pub fn row_ids(template: &Value) -> Vec<i64> {
    let rows = template["property"]["bind_info"]["value"].as_array().unwrap();
    rows.iter().map(|row| row["row_id"].as_i64().unwrap()).collect()
}
