//! The end of an installation, and a new beginning.

use serde_json::json;

use super::Told;
use crate::stage::{ONE, SHOP, Stage};

pub async fn comes_back(stage: &Stage) -> Told {
    let (ids, writes) = (stage.ids(SHOP).await, stage.writes().await.len());
    let templates = stage.simulator.templates(&stage.cluster).await;
    stage.uninstall(ONE).await;
    for crd in ["processtemplatesets", "cmdbconnections", "clustercmdbconnections"] {
        stage.cluster.kubectl(&["get", "crd", &format!("{crd}.cmdb.bk.tencent.com")]).await;
    }
    assert_eq!(stage.ids(SHOP).await, ids);

    stage.helm("install", ONE, &stage.values(json!({}))).await;
    stage.until_pods(ONE, 2).await;
    for (number, set) in ["web", "deleted"].iter().enumerate() {
        stage.look_at(SHOP, set, &format!("back-{number}")).await;
    }
    assert_eq!(stage.ids(SHOP).await, ids);
    assert_eq!(stage.simulator.templates(&stage.cluster).await, templates);
    assert_eq!(stage.writes().await.len(), writes, "CMDB was written to");
    Told::Whole
}
