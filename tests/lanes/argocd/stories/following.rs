//! CMDB follows Git.

use cmdb_sim::{self as sim, Simulator};
use serde_json::{Value, json};

use super::{CREATE, finish, set};
use crate::Told;
use crate::application::{Application, Mode};
use crate::processes::ArgoCd;
use crate::repository::Repository;
use test_support::proxy::{Point, Proxy, Side};
use test_support::world::{World, usual_transport};

pub async fn added(argo: &'static ArgoCd) -> Told {
    let sim = Simulator::start(sim::Options::default()).unwrap();
    let cmdb = Proxy::to(&sim.url()).await;
    let mut world = World::through(usual_transport(), "added", sim, &cmdb.url()).await;
    world.service_template("web");
    world.start_operator(&[]).await;
    let repository = Repository::new(argo.folder(), "added").await;
    let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "of-the-team" } });
    repository.write("settings.yaml", &[settings]);
    let before = repository.commit("no set yet").await;
    let application = Application::create(argo, &repository, "added", Mode::ClientSide, false).await;
    application.until("healthy", |state| state.is_healthy_at(&before)).await;

    cmdb.hold(Point { method: "POST".into(), path_end: CREATE.into(), nth: 1, side: Side::Request });
    repository.write("web.yaml", &[set("web", 0, &json!({}))]);
    let commit = repository.commit("a set").await;
    application.notify().await;
    cmdb.reached().await;
    let held = application.until("synced while CMDB is asked", |state| state.is_synced_to(&commit)).await;
    assert_eq!((held.health(), held.health_of("web").0), ("Progressing", "Progressing"), "{held:?}");
    cmdb.let_go();
    application.until("healthy", |state| state.is_healthy_at(&commit)).await;
    let stored: Vec<i64> = world.sim.state().process_templates.iter().map(|template| template.id).collect();
    let seen = world.until_ready("web").await;
    assert_eq!(stored.len(), 1);
    assert_eq!(seen.ids(), stored);
    finish(world, &application).await;
    Told::default()
}

pub async fn changed(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("changed").await;
    world.service_template("web");
    world.start_operator(&["--removal-delay-seconds", "0"]).await;
    let repository = Repository::new(argo.folder(), "changed").await;
    let process = |key: &str, name: &str, command: &str| json!({ "name": key, "processName": name, "funcName": format!("f-{key}"), "startCmd": command });
    let stages = [
        ("two processes", json!([process("a", "one", "./run"), process("b", "two", "./run")])),
        ("another command", json!([process("a", "one", "./go"), process("b", "two", "./run")])),
        ("another name", json!([process("a", "three", "./go"), process("b", "two", "./run")])),
        ("one less", json!([process("a", "three", "./go")])),
    ];
    let mut application = None;
    let mut ids = Vec::new();
    for (message, processes) in stages {
        let spec = json!({ "deletionPolicy": "Delete", "processes": processes });
        repository.write("web.yaml", &[set("web", 0, &spec)]);
        let commit = repository.commit(message).await;
        match &application {
            None => {
                let created = Application::create(argo, &repository, "changed", Mode::ClientSide, false).await;
                application = Some(created);
            }
            Some(application) => application.notify().await,
        }
        let application = application.as_ref().unwrap();
        application.until(message, |state| state.is_healthy_at(&commit)).await;
        assert_eq!(stored(&world), wanted(&processes), "{message}");
        ids.push(world.until_ready("web").await.process("a").id);
    }
    assert!(ids.iter().all(|id| id.is_some() && *id == ids[0]), "a change or a rename makes no new template: {ids:?}");
    assert_eq!(world.requests(CREATE).len(), 1);
    finish(world, &application.unwrap()).await;
    Told::default()
}

// Name and command of each, in the order of the names.
fn stored(world: &World) -> Vec<(Value, Value)> {
    let state = world.sim.state();
    let value = |template: &sim::ProcessTemplate, name: &str| template.property[name].value.clone();
    let pair = |template| (value(template, "bk_process_name"), value(template, "start_cmd"));
    sorted(state.process_templates.iter().map(pair).collect())
}

fn wanted(processes: &Value) -> Vec<(Value, Value)> {
    let pair = |process: &Value| (process["processName"].clone(), process["startCmd"].clone());
    sorted(processes.as_array().unwrap().iter().map(pair).collect())
}

fn sorted(mut pairs: Vec<(Value, Value)>) -> Vec<(Value, Value)> {
    pairs.sort_by_key(|(name, _)| name.to_string());
    pairs
}
