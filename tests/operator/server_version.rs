//! The version of CMDB in a connection's status: what CMDB's own API server tells, and nothing over other transports.

use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use kube::Api;
use kube::api::{Patch, PatchParams};
use process_template_operator::api::{CmdbConnection, ConnectionStatus};
use process_template_operator::cmdb::Transport;
use serde_json::json;
use test_support::world::{PATIENCE, World};
use tokio::time::{Instant, sleep};

async fn world(name: &str, transport: Transport) -> World {
    let sim = Simulator::start(sim::Options::default()).unwrap();
    let url = sim.url();
    let mut world = World::through(transport, name, sim, &url).await;
    world.start_operator(&[]).await;
    world
}

fn connections(world: &World) -> Api<CmdbConnection> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

// Waits until the connection is judged, and its status is as it must become.
async fn until(world: &World, holds: impl Fn(&ConnectionStatus) -> bool) -> ConnectionStatus {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let connection = connections(world).get("default").await.unwrap();
        let status = connection.status.unwrap_or_default();
        let is_ready =
            status.conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
        if is_ready && status.observed_generation == connection.metadata.generation && holds(&status) {
            return status;
        }
        assert!(Instant::now() <= deadline, "{status:#?}\n{}", world.operator_log());
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn over_direct_the_status_has_the_version_and_a_changed_connection_looks_anew() {
    let world = world("version-direct", Transport::Direct).await;
    let status = until(&world, |status| status.version.is_some()).await;
    assert_eq!(status.version.as_deref(), Some("3.14.7-simulated"));
    world.sim.update_state(|state| state.version = "3.15.0-simulated".to_owned());
    let change = Patch::Merge(json!({ "spec": { "timeoutSeconds": 60 } }));
    connections(&world).patch("default", &PatchParams::default(), &change).await.unwrap();
    until(&world, |status| status.version.as_deref() == Some("3.15.0-simulated")).await;
    let calls = world.sim.requests();
    assert!(calls.iter().all(|record| record.call == "list_service_category"), "it is no call: {calls:?}");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn over_the_esb_no_version_is_told() {
    let world = world("version-esb", Transport::Esb).await;
    assert_eq!(until(&world, |_| true).await.version, None);
    world.end().await;
}
