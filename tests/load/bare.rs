//! The bare loop: only the calls that nobody can do without. A list, the creates, one status write a set.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use futures::TryStreamExt;
use kube::api::{ApiResource, DynamicObject, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::measure::{IN_FLIGHT, client_of};

/// Most process templates that CMDB takes in one request.
const CHUNK: usize = 100;

struct Bare {
    client: Client,
    http: reqwest::Client,
    url: String,
    in_flight: Semaphore,
}

/// Creates what the sets of a namespace want, until it is killed.
pub async fn run(kubeconfig: &Path, url: &str, namespace: &str) -> anyhow::Result<()> {
    let client = client_of(kubeconfig, "bare-loop").await?;
    let http = reqwest::Client::builder().no_proxy().http1_only().build()?;
    let bare = Bare { client: client.clone(), http, url: url.to_owned(), in_flight: Semaphore::new(IN_FLIGHT) };
    let bare = Arc::new(bare);
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client, namespace);
    let mut appeared = std::pin::pin!(watcher(sets, watcher::Config::default()).default_backoff().applied_objects());
    let mut tasks = JoinSet::new();
    println!("begins");
    while let Some(set) = appeared.try_next().await? {
        let is_new = set.status.as_ref().is_none_or(|status| status.processes.is_empty());
        if is_new {
            let bare = Arc::clone(&bare);
            tasks.spawn(async move { bare.create(set).await });
        }
    }
    Ok(())
}

impl Bare {
    async fn create(&self, set: ProcessTemplateSet) -> anyhow::Result<()> {
        let name = set.spec.service_template.name.as_deref().context("a service template by name")?;
        let template: i64 = name.trim_start_matches('t').parse()?;
        let scope = json!({ "bk_biz_id": 2, "service_template_id": template });
        self.call("list_proc_template", scope.clone()).await?;
        let mut ids = Vec::new();
        for chunk in set.spec.processes.chunks(CHUNK) {
            let locked = |value: Value| json!({ "value": value, "as_default_value": true });
            let processes = chunk.iter().map(|process| {
                json!({ "spec": {
                    "bk_process_name": locked(process.name.as_str().into()),
                    "bk_func_name": locked(process.func_name.as_str().into()),
                    "start_cmd": locked(process.start_cmd.as_deref().into()),
                    "proc_num": locked(process.proc_num.into()),
                } })
            });
            let mut body = scope.clone();
            body["processes"] = processes.collect();
            ids.extend(self.call("batch_create_proc_template", body).await?.as_array().context("ids")?.clone());
        }
        let processes = set.spec.processes.iter().zip(ids);
        let processes = processes.map(|(process, id)| json!({ "name": process.name, "id": id, "state": "InSync" }));
        let status = json!({
            "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
            "metadata": { "name": set.name_any(), "resourceVersion": set.resource_version() },
            "status": { "observedGeneration": set.metadata.generation, "processes": processes.collect::<Value>() },
        });
        let status: DynamicObject = serde_json::from_value(status)?;
        let resource = ApiResource::erase::<ProcessTemplateSet>(&());
        let namespace = set.namespace().unwrap_or_default();
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &namespace, &resource);
        api.replace_status(&set.name_any(), &PostParams::default(), &status).await?;
        Ok(())
    }

    async fn call(&self, name: &str, mut body: Value) -> anyhow::Result<Value> {
        let _place = self.in_flight.acquire().await?;
        body["bk_app_code"] = "bare".into();
        body["bk_app_secret"] = "bare".into();
        body["bk_username"] = "bare".into();
        let url = format!("{}/api/c/compapi/v2/cc/{name}/", self.url);
        let mut reply: Value = self.http.post(url).json(&body).send().await?.json().await?;
        anyhow::ensure!(reply["code"] == json!(0), "{name}: {reply}");
        Ok(reply["data"].take())
    }
}
