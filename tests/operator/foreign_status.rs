//! What somebody else writes into a status does not stand, and what is not known is not claimed.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::world::{Seen, World};

fn forged() -> Value {
    json!({ "summary": "1/1", "readyCount": 1, "conditions": [{ "type": "Ready", "status": "True", "reason": "InSync",
        "message": "forged", "lastTransitionTime": "2026-01-01T00:00:00Z", "observedGeneration": 1 }] })
}

async fn write(world: &World, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    world.sets().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

fn spec(names: &[&str]) -> Value {
    let processes: Vec<Value> =
        names.iter().map(|name| json!({ "name": name, "funcName": name, "startCmd": "./run" })).collect();
    json!({ "processes": processes })
}

// Nobody would look for ten minutes, be it after a finding or after a start.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_forged_status_is_put_right_at_once_however_long_the_set_would_have_waited() {
    let mut world = World::new("forged").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", spec(&["nginx"])).await;
    world.until_ready("web").await;
    let mut rival = spec(&["nginx"]);
    rival["serviceTemplate"] = json!({ "name": "web" });
    rival["processes"][0]["startCmd"] = "./other".into();
    world.apply("rival", rival).await;
    world.until_reason("rival", "Conflict").await;
    write(&world, "rival", forged()).await;
    world.until_reason("rival", "Conflict").await;

    world.stop_operator().await;
    world.start_operator(&[]).await;
    world.until_logged("begins").await;
    write(&world, "rival", forged()).await;
    world.until_reason("rival", "Conflict").await;
    // Without its memory a set is but one of two that want a name.
    world.delete("rival").await;
    world.until_gone("rival").await;
    for emptied in [json!({ "conditions": null, "observedGeneration": null }), json!({ "processes": null })] {
        write(&world, "web", emptied).await;
        let seen = world.until("web", "put right", |seen| seen.is_ready() && seen.ids().len() == 1).await;
        assert_eq!(seen.status.summary.as_deref(), Some("1/1"));
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_that_somebody_has_emptied_says_that_nobody_has_looked() {
    let world = World::new("emptied").await;
    world.service_template("web");
    world.apply("web", spec(&["nginx"])).await;
    let emptied = Patch::Json::<()>(
        serde_json::from_value(json!([{ "op": "replace", "path": "/status", "value": {} }])).unwrap(),
    );
    world.sets().patch_status("web", &PatchParams::default(), &emptied).await.unwrap();
    assert_eq!(Seen::new(world.set("web").await).status.observed_generation, Some(-1));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_was_seen_of_another_spec_is_not_said_of_this_one_and_the_ids_stay() {
    let mut world = World::new("unseen").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", spec(&["a", "b"])).await;
    let ids = world.until_ready("web").await.ids();
    let mut elsewhere = spec(&["b", "c"]);
    elsewhere["connectionRef"] = json!({ "name": "absent" });
    world.apply("web", elsewhere).await;
    let seen = world.until_reason("web", "WaitingForConnection").await;
    assert_eq!((seen.status.summary.as_deref(), seen.status.ready_count), (Some("0/2"), Some(0)));
    assert_eq!(seen.ids(), ids);
    let states: Vec<String> =
        seen.status.processes.iter().map(|process| format!("{} {:?}", process.name, process.state)).collect();
    assert_eq!(states, ["a Unknown", "b Unknown", "c Unknown"]);
    world.apply("web", spec(&["b", "c"])).await;
    let seen = world.until_ready("web").await;
    assert_eq!(seen.process("b").id, Some(ids[1]));
    world.end().await;
}
