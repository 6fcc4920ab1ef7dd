//! A set that no operator can read is told so, and keeps nobody from working.

use kube::Api;
use kube::api::{ApiResource, DeleteParams, DynamicObject, PostParams};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::{Value, json};
use test_support::world::{PATIENCE, Seen};
use tokio::time::{Instant, sleep};

use super::Alone;

fn spec() -> Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }], "resyncIntervalSeconds": 5 })
}

// The schema lets no such object in; an older or a newer CRD might.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_object_that_cannot_be_read_is_told_and_keeps_nobody_from_working() {
    let alone = Alone::with_crds().await;
    let mut world = alone.world("malformed").await;
    world.service_template("well");
    world.start_operator(&["--create-grace-seconds", "2"]).await;
    world.apply("well", spec()).await;
    world.until_ready("well").await;
    world.service_template("web");
    world.loosen_the_schema().await;
    let resource = ApiResource::erase::<ProcessTemplateSet>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let malformed = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": "web" },
        "spec": { "bizId": "two", "serviceTemplate": { "name": "web" }, "processes": [] },
    });
    let malformed: DynamicObject = serde_json::from_value(malformed).unwrap();
    // The API server takes a moment to serve the changed schema.
    let deadline = Instant::now() + PATIENCE;
    while objects.create(&PostParams::default(), &malformed).await.is_err() {
        assert!(Instant::now() < deadline);
        sleep(std::time::Duration::from_millis(100)).await;
    }
    let reason = async || {
        let object = objects.get("web").await.unwrap();
        let conditions = object.data["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let find = |type_: &str| conditions.iter().find(|condition| condition["type"] == type_).cloned();
        (find("Ready"), find("Stalled"))
    };
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let (Some(ready), Some(stalled)) = reason().await {
            assert_eq!((&ready["reason"], &stalled["status"]), (&json!("Malformed"), &json!("True")));
            assert!(ready["message"].as_str().unwrap().contains("Correct the spec"), "{ready}");
            break;
        }
        assert!(Instant::now() < deadline, "no status\n{}", world.operator_log());
        sleep(std::time::Duration::from_millis(100)).await;
    }
    world.service_template("other");
    world.apply("other", spec()).await;
    world.until_ready("other").await;
    world.restore_the_schema().await;
    objects.delete("web", &DeleteParams::default()).await.unwrap();
    assert!(Seen::new(world.set("well").await).is_ready());
    world.end().await;
}
