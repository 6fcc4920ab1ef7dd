//! Without their kind, sets go and their templates stay.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::DeleteParams;
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, CustomResourceExt, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::json;
use test_support::world::PATIENCE;

use super::Alone;

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn removing_the_crd_deletes_nothing_in_cmdb() {
    let alone = Alone::with_crds().await;
    let mut world = alone.world("no-kind").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    let processes = json!([{ "name": "a", "funcName": "a" }, { "name": "b", "funcName": "b" }]);
    world.apply("web", json!({ "deletionPolicy": "Delete", "processes": processes })).await;
    world.until_ready("web").await;
    let crds: Api<CustomResourceDefinition> = Api::all(world.client.clone());
    let name = ProcessTemplateSet::crd_name();
    let uid = crds.get(name).await.unwrap().uid().unwrap();
    crds.delete(name, &DeleteParams::default()).await.unwrap();
    let gone = await_condition(crds, name, conditions::is_deleted(&uid));
    tokio::time::timeout(PATIENCE, gone).await.expect("the CRD is held").unwrap();
    assert_eq!(world.requests("delete_proc_template").len(), 0);
    assert_eq!(world.sim.state().process_templates.len(), 2);
    world.end().await;
}
