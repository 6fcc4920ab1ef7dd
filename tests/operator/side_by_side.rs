//! Several installations in one cluster, each for namespaces of its own and with a lease of its own.

use cmdb_sim::{self as sim, Simulator};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::{Value, json};
use test_support::world::World;
use tokio::time::{Duration, Instant};

fn spec(start_cmd: &str) -> Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }] })
}

/// The one set of a namespace, of its name.
async fn put(world: &World, start_cmd: &str) {
    world.apply(&world.namespace, spec(start_cmd)).await;
}

async fn holder(world: &World, lease: &str) -> Option<String> {
    let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
    leases.get_opt(lease).await.unwrap()?.spec?.holder_identity
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn each_installation_serves_the_namespaces_it_was_given_and_no_others() {
    let mut first = World::new("side-first").await;
    let second = World::new("side-second").await;
    let mut other = World::new("side-other").await;
    let nobodys = World::new("side-nobodys").await;
    for world in [&first, &second, &other, &nobodys] {
        // Of a name of its own: two simulated CMDBs may give one ID at one instant, and pass for one CMDB under two URLs.
        world.service_template(&world.namespace);
        put(world, "./run").await;
    }
    let home = ["--lease-namespace", "side-first"];
    first
        .start_operator_of_the_cluster(
            &[["--watch-namespaces", "side-first,side-second"], ["--lease", "one"], home].concat(),
        )
        .await;
    other
        .start_operator_of_the_cluster(&[["--watch-namespaces", "side-other"], ["--lease", "two"], home].concat())
        .await;
    for world in [&first, &second, &other] {
        world.until_ready(&world.namespace).await;
    }
    let holders = [holder(&first, "one").await.unwrap(), holder(&first, "two").await.unwrap()];
    assert_ne!(holders[0], holders[1]);

    // What is new is seen in each namespace, and what goes.
    for world in [&first, &second] {
        put(world, "./changed").await;
        world.until_ready(&world.namespace).await;
        world.delete(&world.namespace).await;
        world.until_gone(&world.namespace).await;
        put(world, "./changed").await;
        world.until_ready(&world.namespace).await;
    }
    assert!(nobodys.sim.requests().is_empty(), "nobody was given that namespace");
    assert_eq!(nobodys.set(&nobodys.namespace).await.status.and_then(|status| status.observed_generation), Some(-1));

    // One that ends leaves the other at work.
    first.stop_operator().await;
    assert_eq!(holder(&first, "one").await.as_deref(), Some(""));
    put(&other, "./changed").await;
    other.until_ready(&other.namespace).await;
    let of_first = second.sim.requests().len();
    put(&second, "./again").await;
    put(&other, "./again").await;
    other.until_ready(&other.namespace).await;
    assert_eq!(second.sim.requests().len(), of_first, "its own installation is not there");
    for world in [first, second, other, nobodys] {
        world.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_secret_that_is_read_and_not_watched_is_in_use_at_the_next_reconcile() {
    let sim = Simulator::start(sim::Options::default()).unwrap();
    let url = sim.url();
    let mut world = World::with("side-secrets", sim, &url).await;
    world.service_template("web");
    world.start_operator(&["--secrets", "read"]).await;
    world.apply("web", spec("./run")).await;
    world.until_ready("web").await;

    // What one reconcile has read serves all for a second.
    let before = world.requests("batch_create_proc_template")[0].credential.clone();
    world.put_secret("another-secret").await;
    let deadline = Instant::now() + Duration::from_mins(1);
    for change in 0.. {
        world.apply("web", spec(&format!("./run-{change}"))).await;
        world.until_ready("web").await;
        if world.requests("update_proc_template").last().is_some_and(|update| update.credential != before) {
            break;
        }
        assert!(Instant::now() <= deadline, "the former secret is still in use\n{}", world.operator_log());
    }
    world.end().await;
}
