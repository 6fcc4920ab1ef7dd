//! Upgrades of the chart, good and bad ones, and the way back.

use serde_json::{Value, json};

use super::Told;
use crate::cluster::name;
use crate::next_chart::{NEW_FIELD, next_chart};
use crate::stage::{CHART, ONE, SHOP, Stage};

/// Whether the API server knows the field.
async fn has_new_field(stage: &Stage) -> bool {
    let crd = stage.cluster.get(&["crd", "processtemplatesets.cmdb.bk.tencent.com"]).await;
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
    schema["properties"]["spec"]["properties"].get(NEW_FIELD).is_some()
}

/// What must be the same after what does not concern CMDB.
async fn unchanged(stage: &Stage, word: &str, change: impl Future<Output = ()>) {
    let (ids, writes) = (stage.ids(SHOP).await, stage.writes().await.len());
    let before: Vec<String> = stage.cluster.pods_of(ONE).await.iter().map(|pod| name(pod).to_owned()).collect();
    change.await;
    let pods = stage.until_pods(ONE, 2).await;
    assert!(pods.iter().all(|pod| !before.contains(&name(pod).to_owned())), "its pods are the same: {before:?}");
    stage.look_at(SHOP, "web", word).await;
    assert_eq!(stage.ids(SHOP).await, ids);
    assert_eq!(stage.writes().await.len(), writes, "CMDB was written to");
}

async fn revision(stage: &Stage) -> Value {
    let history = stage.cluster.helm(&["history", ONE, "--namespace", ONE, "--output", "json"]).await;
    let history: Value = serde_json::from_str(&history).unwrap();
    let deployed = history.as_array().unwrap().iter().find(|revision| revision["status"] == "deployed");
    deployed.unwrap_or_else(|| panic!("{history}")).clone()
}

pub async fn upgrade(stage: &Stage) -> Told {
    let mut over = json!({ "log": { "filter": "debug" } });
    if let Some(node) = stage.cluster.node() {
        let mut next = stage.image.clone();
        next.tag.push_str("-next");
        node.tag(&stage.image.full_name(), &next.full_name()).await;
        over["image"] = json!({ "tag": next.tag });
    }
    let chart = next_chart(CHART, stage.cluster.folder()).display().to_string();
    unchanged(stage, "upgraded", async {
        let said = stage.try_helm("upgrade", ONE, &chart, &stage.values(over), &[]).await;
        assert!(said.is_ok(), "{said:?}");
    })
    .await;
    assert!(has_new_field(stage).await);
    stage.put_set(SHOP, "next", &[("next".to_owned(), "./run")], json!({ NEW_FIELD: "new" })).await;
    stage.until_ready(SHOP, "next").await;
    assert_eq!(revision(stage).await["revision"], 2);
    Told::Whole
}

pub async fn broken(stage: &Stage) -> Told {
    let values = stage.values(json!({ "extraArgs": ["--no-such-option"] }));
    let arguments = ["--rollback-on-failure", "--timeout", "20s"];
    let said = stage.try_helm("upgrade", ONE, CHART, &values, &arguments).await;
    assert!(said.is_err(), "{said:?}");
    // The third revision failed; the fourth is as the second.
    assert_eq!(revision(stage).await["revision"], 4, "{said:?}");
    stage.until_pods(ONE, 2).await;
    stage.put_set(SHOP, "meanwhile", &[("meanwhile".to_owned(), "./run")], json!({})).await;
    stage.until_ready(SHOP, "meanwhile").await;
    Told::Whole
}

pub async fn rollback(stage: &Stage) -> Told {
    unchanged(stage, "rolled-back", async {
        stage.cluster.helm(&["rollback", ONE, "1", "--namespace", ONE, "--wait", "--timeout", "120s"]).await;
    })
    .await;
    assert_eq!(revision(stage).await["revision"], 5);
    assert!(!has_new_field(stage).await);
    stage.look_at(SHOP, "next", "without-the-field").await;
    Told::Whole
}
