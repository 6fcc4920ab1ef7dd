//! What one wave waits for, and what fails it.

use std::sync::Arc;

use cmdb_sim::{self as sim, Effect, Fault, Property, Simulator};
use serde_json::{Value, json};

use super::{CREATE, finish, set};
use crate::Told;
use crate::application::{Application, Mode, State};
use crate::processes::ArgoCd;
use crate::repository::Repository;
use test_support::proxy::{Point, Proxy, Side};
use test_support::world::{World, usual_transport};

/// Message of a set that the operator has not looked at.
const UNSEEN: &str = "Waiting for the operator";

/// A story of the sets "first" in wave 0 and "second" in wave 1.
struct Waves {
    world: World,
    application: Application,
    commit: String,
}

impl Waves {
    async fn begin(argo: &'static ArgoCd, world: World, objects: &[Value]) -> Self {
        for name in ["first", "second"] {
            if !world.sim.state().service_templates.iter().any(|template| template.name == name) {
                world.service_template(name);
            }
        }
        let repository = Repository::new(argo.folder(), &world.namespace).await;
        repository.write("sets.yaml", &[objects, &[set("second", 1, &json!({}))]].concat());
        let commit = repository.commit("two waves").await;
        let application = Application::create(argo, &repository, &world.namespace, Mode::ClientSide, false).await;
        Self { world, application, commit }
    }

    async fn has_begun(&self, set: &str) -> bool {
        self.world.sets().get_opt(set).await.unwrap().is_some()
    }

    // The sync goes on although the set of wave 0 says this.
    async fn until_first_waits(&self, reasons: &[&str]) {
        let waits = |state: &State| state.phase() == "Running" && state.health_of("first").0 == "Progressing";
        self.application.until("the sync waits", waits).await;
        self.world.until("first", "it waits", |seen| reasons.contains(&seen.reason("Ready"))).await;
        // The status that says so has been seen, and the sync goes on. Argo CD may write that down only half a minute later.
        self.application.refresh_hard().await;
        let said = |state: &State| waits(state) && state.health_of("first").1 != UNSEEN;
        self.application.until("the sync waits for what the status says", said).await;
        assert!(!self.has_begun("second").await);
    }

    async fn until_done(self) {
        self.application.until("both waves", |state| state.is_healthy_at(&self.commit)).await;
        for name in ["first", "second"] {
            assert_eq!(self.world.until_ready(name).await.ids().len(), 1);
        }
        finish(self.world, &self.application).await;
    }
}

pub async fn in_turn(argo: &'static ArgoCd) -> Told {
    let sim = Simulator::start(sim::Options::default()).unwrap();
    let cmdb = Proxy::to(&sim.url()).await;
    let mut world = World::through(usual_transport(), "in-turn", sim, &cmdb.url()).await;
    world.start_operator(&[]).await;
    cmdb.hold(Point { method: "POST".into(), path_end: CREATE.into(), nth: 1, side: Side::Request });
    let waves = Waves::begin(argo, world, &[set("first", 0, &json!({}))]).await;
    cmdb.reached().await;
    waves.application.until("the sync waits", |state| state.message().contains("waiting for healthy state")).await;
    assert!(!waves.has_begun("second").await);
    cmdb.let_go();
    waves.application.until("both waves", |state| state.is_healthy_at(&waves.commit)).await;
    let (namespace, plane) = (waves.world.namespace.clone(), Arc::clone(&waves.world.plane));
    waves.until_done().await;

    // The API server's own record: the status with the IDs was complete before the second wave was written.
    let of = |name: &str, subresource: Option<&str>, verbs: &[&str]| -> Vec<String> {
        let events = plane.audit_events(&namespace);
        let matches = events.iter().filter(|event| {
            let object = &event["objectRef"];
            object["namespace"] == namespace.as_str()
                && object["name"] == name
                && object["subresource"].as_str() == subresource
                && verbs.contains(&event["verb"].as_str().unwrap_or_default())
        });
        matches.map(|event| event["stageTimestamp"].as_str().unwrap().to_owned()).collect()
    };
    let statuses = of("first", Some("status"), &["update", "patch"]);
    let begun = of("second", None, &["create", "patch"]);
    let (last, begun) = (statuses.iter().max().unwrap(), begun.iter().min().unwrap());
    assert!(last < begun, "the last status at {last}, the second wave at {begun}");
    Told::default()
}

pub async fn stalled(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("stalled").await;
    let id = world.service_template("first");
    let stranger: Property = serde_json::from_value(json!({
        "bk_process_name": { "value": "first" }, "bk_func_name": { "value": "f-first" },
        "start_cmd": { "value": "./something-else", "as_default_value": true },
    }))
    .unwrap();
    world.sim.add_process_template(id, "somebody", &stranger).unwrap();
    world.start_operator(&[]).await;
    let waves = Waves::begin(argo, world, &[set("first", 0, &json!({}))]).await;
    let failed = waves.application.until("the sync fails", |state| state.phase() == "Failed").await;
    assert!(!waves.has_begun("second").await);
    let state = waves.application.until("degraded", |state| state.health() == "Degraded").await;
    let (status, message) = state.health_of("first");
    assert!(status == "Degraded" && message.starts_with("Conflict: "), "{status} {message} {failed:?}");
    assert!(waves.world.requests(CREATE).is_empty());
    finish(waves.world, &waves.application).await;
    Told::default()
}

pub async fn away_for_a_while(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("away").await;
    let bad_gateway = || Effect::raw(502, "text/html", "<html>bad gateway</html>");
    let everything = world.sim.add_fault(Fault::every("*", bad_gateway()));
    world.start_operator(&["--create-grace-seconds", "2"]).await;
    let waves = Waves::begin(argo, world, &[set("first", 0, &json!({}))]).await;
    waves.until_first_waits(&["Unreachable", "Unavailable"]).await;
    // It comes back, and the first create is lost on the way.
    assert!(waves.world.sim.faults().iter().any(|fault| fault.id == everything && fault.hits > 0));
    waves.world.sim.clear_faults();
    waves.world.sim.add_fault(Fault::nth(CREATE, 1, bad_gateway()));
    waves.until_done().await;
    Told::default()
}

pub async fn late_secret(argo: &'static ArgoCd) -> Told {
    let mut world = World::new("late-secret").await;
    world.start_operator(&[]).await;
    let connection = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
        "metadata": { "name": "late", "annotations": { "argocd.argoproj.io/sync-wave": "0" } },
        "spec": { "url": world.sim.url(), "transport": "Esb", "credentialsSecretRef": { "name": "late" } },
    });
    let first = set("first", 0, &json!({ "connectionRef": { "kind": "CmdbConnection", "name": "late" } }));
    let waves = Waves::begin(argo, world, &[connection, first]).await;
    waves.until_first_waits(&["WaitingForSecret"]).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "late", "namespace": waves.world.namespace },
        "stringData": { "bk_app_code": "ptset", "bk_app_secret": "a-secret", "bk_username": "admin" },
    });
    let path = argo.folder().join("late-secret.json");
    std::fs::write(&path, secret.to_string()).unwrap();
    argo.kubectl(&["apply", "--server-side", "--filename", path.to_str().unwrap()]).await;
    waves.until_done().await;
    Told::default()
}
