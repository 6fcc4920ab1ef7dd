//! An operator whose CRDs are not installed says so, waits for them, and goes on by itself.

use std::sync::Arc;

use cmdb_sim::{Options, Simulator};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::PostParams;
use serde_json::json;
use test_support::control_plane::install_crds;
use test_support::world::{PATIENCE, World, usual_transport};
use tokio::time::{Duration, Instant, sleep};

use super::Alone;

async fn until_readyz(world: &World, status: u16, lines: &[&str]) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (seen, text) = world.operator.as_ref().unwrap().answer("/readyz").await;
        if seen == status && text.lines().count() == 3 && lines.iter().all(|line| text.contains(line)) {
            return;
        }
        assert!(Instant::now() < deadline, "{seen}: {text}\n{}", world.operator_log());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_operator_without_its_crds_says_which_are_missing_and_goes_on_when_they_are_there() {
    let alone = Alone::without_crds().await;
    let plane = Arc::clone(&alone.plane);
    let (client, namespace) = (plane.client().await, "readiness".to_owned());
    let sim = Simulator::start(Options::default()).unwrap();
    let object: Namespace = serde_json::from_value(json!({ "metadata": { "name": namespace } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &object).await.unwrap();
    let transport = usual_transport();
    let mut world = World { plane, client, namespace, sim, transport, operator: None };
    world.start_operator_of_the_cluster(&[]).await;
    let missing = [
        "crd: clustercmdbconnections.cmdb.bk.tencent.com, cmdbconnections.cmdb.bk.tencent.com, \
         processtemplatesets.cmdb.bk.tencent.com: not installed",
        "kubectl apply --server-side -f crds/",
        "leader: ok",
    ];
    until_readyz(&world, 503, &missing).await;
    let operator = world.operator.as_ref().unwrap();
    assert_eq!(operator.answer("/healthz").await, (200, "ok\n".to_owned()), "it lives");
    let metrics = operator.answer("/metrics").await.1;
    assert!(metrics.contains("ptset_gate{gate=\"crd\"} 0\n") && metrics.contains("ptset_gate{gate=\"leader\"} 1\n"));
    // Some tries more, and it has still said it once for each.
    sleep(Duration::from_secs(3)).await;
    let told = |text: &str| std::fs::read_to_string(&operator.log).unwrap().matches(text).count();
    assert_eq!(told("the CRD is not installed"), 3, "{}", world.operator_log());
    assert_eq!(told("is begun again"), 0, "{}", world.operator_log());

    install_crds(&world.client).await;
    until_readyz(&world, 200, &["crd: ok\n", "watches: ok\n", "leader: ok\n"]).await;
    world.put_secret("a-secret").await;
    world.put_connection("default", &world.sim.url()).await;
    world.service_template("web");
    world.apply("web", json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })).await;
    world.until_ready("web").await;
    world.end().await;
}
