//! `ptset doctor` on a cluster.

use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use process_template_operator::api::ClusterCmdbConnection;
use serde_json::json;
use test_support::command::{Said, ptset};
use test_support::world::World;

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn on_a_cluster_the_connection_and_its_secrets_are_read_with_ones_own_rights() {
    let world = World::new("doctor").await;
    let run = async |kubeconfig: &std::path::Path, arguments: &[&str]| {
        let mut command = ptset(&[&["doctor"], arguments].concat());
        command.env("KUBECONFIG", kubeconfig).args(["-n", "doctor", "--biz", "2"]);
        Said::by(&mut command, &["a-secret"]).await
    };
    world.service_template("web");
    let (admin, nobody) = (world.plane.kubeconfig_path(), world.plane.kubeconfig_for("eve", &[]).unwrap());
    let said = run(&admin, &["cmdbconn/default"]).await;
    assert_eq!((said.status, said.errors.as_str()), (0, ""), "{said:#?}");
    assert_eq!(said.step("connection").1, "read from the cluster");
    let said = run(&admin, &["CmdbConnection/other"]).await;
    assert_eq!(said.failed().1, "CmdbConnection \"other\" does not exist in namespace \"doctor\"");
    let said = run(&nobody, &["CmdbConnection/default"]).await;
    assert!(said.failed().1.contains("eve") && said.failed().2.contains("may not read"), "{said:#?}");

    let labelled = json!([{ "namespaces": { "selector": { "matchLabels": { "team": "shop" } } }, "bizIds": [2] }]);
    let shared = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ClusterCmdbConnection", "metadata": { "name": "doctor" },
        "spec": {
            "url": world.sim.url(), "credentialsSecretRef": { "namespace": "doctor", "name": "cmdb" }, "grants": labelled,
        },
    });
    let force = PatchParams::apply("test").force();
    let connections: Api<ClusterCmdbConnection> = Api::all(world.client.clone());
    connections.patch("doctor", &force, &Patch::Apply(&shared)).await.unwrap();
    let said = run(&admin, &["ccmdbconn/doctor"]).await;
    assert_eq!(said.failed().0, "grants");
    let label = json!({ "metadata": { "labels": { "team": "shop" } } });
    let namespaces: Api<Namespace> = Api::all(world.client.clone());
    namespaces.patch("doctor", &PatchParams::default(), &Patch::Merge(label)).await.unwrap();
    let said = run(&admin, &["ClusterCmdbConnection/doctor"]).await;
    assert_eq!((said.status, said.step("grants").1), (0, "namespace \"doctor\" is granted business 2"), "{said:#?}");
    assert!(world.sim.requests().iter().all(|request| request.call.starts_with("list_")));
    world.end().await;
}
