//! What an operator lives through while Prometheus records it: as much as the dashboard has panels for.

use std::time::SystemTime;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};

use super::prometheus::Prometheus;
use test_support::world::World;

const CREATE: &str = "batch_create_proc_template";

/// What was recorded, of an operator that still runs.
pub struct Recorded {
    world: World,
    pub prometheus: Prometheus,
    pub begun: SystemTime,
    /// The last scrape, as the operator gives it.
    pub scrape: String,
}

impl Recorded {
    pub async fn end(self) {
        self.prometheus.end().await;
        self.world.end().await;
    }
}

fn spec(drift_policy: &str) -> Value {
    json!({
        "deletionPolicy": "Delete", "driftPolicy": drift_policy, "resyncIntervalSeconds": 5,
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": "./run" }],
    })
}

// Somebody changes every template of a service template in CMDB.
fn change(world: &World, service_template: &str) {
    world.sim.update_state(|state| {
        let id = state.service_templates.iter().find(|template| template.name == service_template).unwrap().id;
        for template in state.process_templates.iter_mut().filter(|template| template.service_template_id == id) {
            template.property = serde_json::from_value(json!({
                "bk_func_name": { "value": "nginx", "as_default_value": true },
                "bk_process_name": { "value": "nginx", "as_default_value": true },
                "start_cmd": { "value": "./other", "as_default_value": true },
            }))
            .unwrap();
        }
    });
}

/// Records it.
pub async fn record() -> Recorded {
    let mut world = World::new("recorded").await;
    let begun = SystemTime::now();
    // More sets than find a place, which are four and one, and more places than calls may be in flight.
    world.start_operator(&["--concurrency", "1", "--lease", "recorded", "--removal-delay-seconds", "0"]).await;
    let address = world.operator.as_ref().unwrap().address().await;
    let prometheus = Prometheus::start(world.plane.folder(), &address).await;
    let until = async |expression: &str| prometheus.until(expression, &world.sim).await;
    until("ptset_leader == 1").await;

    world.sim.add_fault(Fault::every(CREATE, Effect::delay(3000)));
    let names: Vec<String> = (0..8).map(|number| format!("s{number}")).collect();
    for name in &names {
        world.service_template(name);
        world.apply(name, spec(if name == "s0" { "Detect" } else { "Correct" })).await;
    }
    until("ptset_queue_depth > 0").await;
    until("ptset_limiter_calls{state=\"edits_waiting\"} > 0").await;
    until("ptset_pending_intents > 0").await;
    world.sim.clear_faults();
    until("ptset_sets{reason=\"InSync\"} == 8").await;

    for name in ["s0", "s1"] {
        change(&world, name);
    }
    until("ptset_drift_total{outcome=\"corrected\"} > 0").await;
    until("ptset_sets{reason=\"Drifted\"} > 0").await;

    world.sim.add_fault(Fault::every("*", Effect::code(1_306_429)));
    until("ptset_limiters{state=\"slowed\"} > 0").await;
    world.sim.clear_faults();
    world.sim.add_fault(Fault::every("*", Effect::drop_before_commit()));
    until("ptset_limiters{state=\"down\"} > 0").await;
    world.sim.clear_faults();
    until("ptset_sets{reason=\"InSync\"} == 7 and on () ptset_limiters{state=\"down\"} == 0").await;

    world.delete("s7").await;
    until("ptset_process_templates_written_total{action=\"deleted\"} > 0").await;
    until("ptset_sets{reason=\"InSync\"} == 6 and on () ptset_sets{reason=\"Drifted\"} == 1").await;
    let (_, scrape) = world.operator.as_ref().unwrap().answer("/metrics").await;
    Recorded { world, prometheus, begun, scrape }
}
