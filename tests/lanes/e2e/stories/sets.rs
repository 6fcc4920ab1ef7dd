//! What the operator is for.

use serde_json::{Value, json};

use super::Told;
use crate::cluster::name;
use crate::stage::{ONE, SHOP, Stage};

pub async fn ids(stage: &Stage) -> Told {
    stage.put_connection(SHOP).await;
    stage
        .cluster
        .kubectl(&["wait", "--for=condition=Ready", "cmdbconn/default", "--namespace", SHOP, "--timeout=60s"])
        .await;
    let processes = ["nginx", "php-fpm"].map(|name| (name.to_owned(), "./start.sh"));
    stage.put_set(SHOP, "web", &processes, json!({})).await;
    stage.put_set(SHOP, "batch", &[("cron".to_owned(), "./cron")], json!({ "deletionPolicy": "Delete" })).await;
    for set in ["web", "batch"] {
        stage.until_ready(SHOP, set).await;
    }
    assert_eq!(stage.ids(SHOP).await.len(), 3);
    stage.assert_in_cmdb(SHOP).await;

    let leader = stage.leader(ONE).await;
    let log = stage.cluster.logs(ONE, name(&leader)).await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let audit = lines.iter().filter(|line| line["target"] == "audit").count();
    assert_eq!(audit, stage.writes().await.len(), "{log}");
    Told::Whole
}

pub async fn deletion(stage: &Stage) -> Told {
    stage.cluster.kubectl(&["delete", "ptset", "batch", "--namespace", SHOP, "--timeout=60s"]).await;
    let templates = stage.simulator.templates(&stage.cluster).await;
    let left = templates.keys().filter(|(service, _)| *service == format!("{SHOP}-batch")).count();
    assert_eq!(left, 0, "{templates:?}");
    stage.assert_in_cmdb(SHOP).await;
    Told::Whole
}
