//! Sets whose connection lets through less than they ask for.

use futures::future::join_all;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use process_template_operator::api::CmdbConnection;
use serde_json::json;
use test_support::world::World;

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn sets_at_rest_that_wait_for_their_turn_change_nothing_and_an_edit_overtakes_them() {
    let mut world = World::new("limits-turns").await;
    let names: Vec<String> = (0..12).map(|number| format!("s{number:02}")).collect();
    let spec = |command: &str| json!({ "resyncIntervalSeconds": 5, "processes": [{ "name": "a", "funcName": "a", "startCmd": command }] });
    for name in &names {
        world.service_template(name);
    }
    world.start_operator(&["--log", "process_template_operator=debug"]).await;
    for name in &names {
        world.apply(name, spec("./run")).await;
    }
    for name in &names {
        world.until_ready(name).await;
    }
    let limit = json!({ "spec": { "limits": { "requestsPerSecond": 2 } } });
    let connections: Api<CmdbConnection> = Api::namespaced(world.client.clone(), &world.namespace);
    connections.patch("default", &PatchParams::default(), &Patch::Merge(&limit)).await.unwrap();
    let versions = async || {
        let sets = join_all(names[1..].iter().map(|name| world.set(name))).await;
        sets.iter().map(|set| set.resource_version().unwrap()).collect::<Vec<_>>()
    };
    let before = versions().await;
    world.until_logged("rate limited, retrying later").await;
    world.apply(&names[0], spec("./edited")).await;
    world.until_ready(&names[0]).await;
    world.until_logged_again("rate limited, retrying later", world.logged("rate limited, retrying later")).await;
    assert_eq!(versions().await, before, "no status was written");
    assert!(!world.operator_log().contains("reconcile failed"), "{}", world.operator_log());
    assert!(world.events("Busy").await.is_empty());
    world.end().await;
}
