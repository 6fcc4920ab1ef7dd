//! A set that an operator cannot read any more goes as it says.

use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::json;
use test_support::world::PATIENCE;
use tokio::time::{Instant, sleep};

use super::Alone;

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_that_cannot_be_read_any_more_deletes_or_leaves_its_templates_as_it_says() {
    let alone = Alone::with_crds().await;
    let mut world = alone.world("undecodable").await;
    world.service_template("delete");
    world.service_template("orphan");
    world.start_operator(&[]).await;
    for (name, policy) in [("delete", "Delete"), ("orphan", "Orphan")] {
        let processes = json!([{ "name": "a", "funcName": "a" }]);
        world.apply(name, json!({ "deletionPolicy": policy, "processes": processes })).await;
        world.until_ready(name).await;
    }
    world.loosen_the_schema().await;
    let resource = ApiResource::erase::<ProcessTemplateSet>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let broken = Patch::Merge(json!({ "spec": { "processes": [{ "name": "a", "funcName": ["a"] }] } }));
    for name in ["delete", "orphan"] {
        let deadline = Instant::now() + PATIENCE;
        while objects.patch(name, &PatchParams::default(), &broken).await.is_err() {
            assert!(Instant::now() < deadline);
            sleep(std::time::Duration::from_millis(100)).await;
        }
        while !objects.get(name).await.unwrap().data["status"]["conditions"].to_string().contains("Malformed") {
            assert!(Instant::now() < deadline, "{}", world.operator_log());
            sleep(std::time::Duration::from_millis(100)).await;
        }
        objects.delete(name, &kube::api::DeleteParams::default()).await.unwrap();
        while objects.get_opt(name).await.unwrap().is_some() {
            assert!(Instant::now() < deadline, "{name} is held\n{}", world.operator_log());
            sleep(std::time::Duration::from_millis(50)).await;
        }
    }
    let left: Vec<i64> = world.sim.state().process_templates.iter().map(|left| left.service_template_id).collect();
    assert_eq!(left, [2], "only the orphaned one");
    world.end().await;
}
