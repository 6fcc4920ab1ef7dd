//! The worst hostile behaviours: the operator stays alive, serves a healthy and a new tenant, and releases the sets of the
//! hostile one. `make hostile` runs all behaviours and measures latency and memory.

use serde_json::json;
use test_support::hostile::{Cmdb, Tenant, behaviour};
use test_support::world::{Operator, PATIENCE, World};

/// Behaviours that once stopped the operator, or all others' sets, for longer than this test waits.
const WORST: &[&str] =
    &["reset-max-u64", "quota-jumps", "message-near-secret", "throttles-many", "never-answers", "drips", "endless-103"];

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_hostile_tenant_and_its_cmdb_stop_no_other_tenant() {
    let mut world = World::new("hostile").await;
    let cmdb = Cmdb::start().await;
    let tenants: Vec<Tenant> = WORST
        .iter()
        .map(|name| Tenant::new(&world.client, behaviour(name).unwrap(), usize::MAX, cmdb.ports, &world.sim.url()))
        .collect();
    let namespaces: Vec<&str> = tenants.iter().flat_map(|tenant| ["--watch-namespaces", &tenant.namespace]).collect();
    world.service_template("healthy");
    world.start_operator(&namespaces).await;
    world.apply("healthy", json!({ "processes": [{ "name": "a", "funcName": "a" }] })).await;
    world.until_ready("healthy").await;
    for (number, tenant) in tenants.iter().enumerate() {
        println!("hostile tenant: {}", tenant.namespace);
        tenant.create().await;

        // The operator serves an edit of the healthy tenant, and a new tenant.
        let command = format!("./run {number}");
        world.apply("healthy", json!({ "processes": [{ "name": "a", "funcName": "a", "startCmd": command }] })).await;
        world.until_ready("healthy").await;
        let values = world.sim.state().process_templates[0].property.clone();
        assert_eq!(values["start_cmd"].value, command, "{}", tenant.namespace);
        let newcomer = format!("new-{number}");
        world.put_connection(&newcomer, &world.sim.url()).await;
        world.service_template(&newcomer);
        let processes = json!([{ "name": "a", "funcName": "a" }]);
        world.apply(&newcomer, json!({ "connectionRef": { "name": newcomer }, "processes": processes })).await;
        world.until_ready(&newcomer).await;
        assert_alive(world.operator.as_ref().unwrap(), &tenant.namespace).await;

        // It releases the hostile sets without waiting for their CMDB.
        let released = tenant.release(PATIENCE).await;
        assert!(released.left.is_empty(), "{}: {:?}\n{}", tenant.namespace, released.left, world.operator_log());
        assert_alive(world.operator.as_ref().unwrap(), &tenant.namespace).await;
        tenant.remove().await;
    }
    world.end().await;
}

async fn assert_alive(operator: &Operator, namespace: &str) {
    assert!(operator.process.is_running(), "{namespace}: the operator's process ended");
    for path in ["/healthz", "/readyz"] {
        let (status, text) = operator.answer(path).await;
        assert_eq!(status, 200, "{namespace}: {path}: {text}");
    }
}
