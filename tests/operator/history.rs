//! Every status that was ever written, not only the last: none says more than is true.

use std::pin::pin;

use cmdb_sim::{Effect, Fault, ProcessTemplate};
use futures::future::{Either, select};
use futures::{StreamExt, TryStreamExt};
use kube::api::{Api, ApiResource, DynamicObject, ListParams, WatchEvent, WatchParams};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::{Value, json};
use test_support::judges::Judge;
use test_support::world::World;

const NAME: &str = "web";

/// A status as it was written, and what CMDB had just then.
struct Written {
    object: Value,
    stored: Vec<ProcessTemplate>,
}

impl Written {
    fn condition(&self, type_: &str) -> Option<&Value> {
        self.object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == type_)
    }

    fn is_current(&self) -> bool {
        self.object["status"]["observedGeneration"] == self.object["metadata"]["generation"]
    }

    fn says_ready(&self) -> bool {
        self.is_current() && self.condition("Ready").is_some_and(|ready| ready["status"] == "True")
    }

    /// Whether each process of the spec has the ID of a template that is as the spec says.
    fn is_true(&self) -> bool {
        self.object["spec"]["processes"].as_array().unwrap().iter().all(|process| {
            let said = self.object["status"]["processes"].as_array().unwrap();
            let said = said.iter().find(|said| said["name"] == process["name"]);
            let Some(id) = said.and_then(|said| said["id"].as_i64()) else { return false };
            let Some(stored) = self.stored.iter().find(|template| template.id == id) else { return false };
            let property = serde_json::to_value(&stored.property).unwrap();
            let name = process.get("processName").unwrap_or(&process["name"]);
            stored.bk_process_name == *name && property["start_cmd"]["value"] == process["startCmd"]
        })
    }
}

/// Every status that is written while a story runs.
async fn writes_during(world: &World, story: impl Future<Output = ()>) -> Vec<Written> {
    let resource = ApiResource::erase::<ProcessTemplateSet>(&());
    let objects: Api<DynamicObject> = Api::namespaced_with(world.client.clone(), &world.namespace, &resource);
    let since = objects.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap();
    let mut events = objects.watch(&WatchParams::default().timeout(290), &since).await.unwrap().boxed();

    let mut written: Vec<Written> = Vec::new();
    // The version that the watch is at.
    let mut seen = None;
    let mut record = |event: Option<WatchEvent<DynamicObject>>, seen: &mut Option<String>| match event {
        Some(WatchEvent::Added(object) | WatchEvent::Modified(object)) => {
            seen.clone_from(&object.metadata.resource_version);
            let object = serde_json::to_value(object).unwrap();
            if written.last().is_none_or(|last| last.object["status"] != object["status"]) {
                written.push(Written { object, stored: world.sim.state().process_templates });
            }
        }
        Some(WatchEvent::Deleted(_)) => *seen = None,
        Some(WatchEvent::Bookmark(_)) => {}
        Some(WatchEvent::Error(error)) => panic!("{error}"),
        None => panic!("the watch ended before the story"),
    };

    let mut story = pin!(story);
    while let Either::Left((event, _)) = select(events.try_next(), story.as_mut()).await {
        record(event.unwrap(), &mut seen);
    }
    // The story has read what it waited for. The watch may be behind it.
    let last = objects.get_opt(NAME).await.unwrap().map(|object| object.metadata.resource_version.unwrap());
    while seen != last {
        record(events.try_next().await.unwrap(), &mut seen);
    }
    written
}

fn process(name: &str, start_cmd: &str) -> Value {
    json!({ "name": name, "funcName": name, "startCmd": start_cmd })
}

fn spec(processes: &[Value]) -> Value {
    json!({ "processes": processes, "resyncIntervalSeconds": 5, "deletionPolicy": "Delete" })
}

async fn world(name: &str) -> World {
    let mut world = World::new(name).await;
    world.service_template(NAME);
    // What is said too early would be true a moment later.
    for call in ["batch_create_proc_template", "update_proc_template"] {
        world.sim.add_fault(Fault::every(call, Effect::delay(300)));
    }
    world.start_operator(&["--create-grace-seconds", "3", "--removal-delay-seconds", "0"]).await;
    world
}

async fn life(world: &World) {
    world.sim.add_fault(Fault::nth("batch_create_proc_template", 1, Effect::delay(5000)));
    world.apply(NAME, spec(&[process("a", "./run"), process("b", "./run")])).await;
    world.until(NAME, "the create has begun", |seen| !seen.status.pending.is_empty()).await;
    // While the create is on its way.
    world.apply(NAME, spec(&[process("a", "./run"), process("b", "./changed"), process("c", "./run")])).await;
    world.until_ready(NAME).await;
    let mut renamed = process("c", "./run");
    renamed["processName"] = "renamed".into();
    world.apply(NAME, spec(&[process("b", "./changed"), renamed])).await;
    world.until(NAME, "Ready without what left", |seen| seen.is_ready() && seen.status.processes.len() == 2).await;
}

async fn outage(world: &World) {
    world.apply(NAME, spec(&[process("a", "./run")])).await;
    world.until_ready(NAME).await;
    world.sim.add_fault(Fault::every("*", Effect::raw(502, "text/html", "<html>bad gateway</html>")));
    world.until_reason(NAME, "Stale").await;
    world.apply(NAME, spec(&[process("a", "./changed"), process("b", "./run")])).await;
    world.until(NAME, "told", |seen| seen.is_current() && !seen.is_ready()).await;
    world.sim.clear_faults();
    world.until_ready(NAME).await;
}

async fn conflict(world: &World) {
    let id = world.sim.state().service_templates.last().unwrap().id;
    let text = |value: &str| json!({ "value": value, "as_default_value": true });
    let theirs = json!({ "bk_process_name": text("a"), "bk_func_name": text("a"), "start_cmd": text("./theirs") });
    world.sim.add_process_template(id, "admin", &serde_json::from_value(theirs).unwrap()).unwrap();
    world.apply(NAME, spec(&[process("a", "./run"), process("b", "./run")])).await;
    world.until_reason(NAME, "Conflict").await;
    let mut taken = spec(&[process("a", "./run"), process("b", "./run")]);
    taken["adoptionPolicy"] = "Always".into();
    world.apply(NAME, taken).await;
    world.until_ready(NAME).await;
}

async fn deletion(world: &World) {
    world.apply(NAME, spec(&[process("a", "./run")])).await;
    world.until_ready(NAME).await;
    world.sim.add_fault(Fault::every("*", Effect::code(1_199_066)));
    world.delete(NAME).await;
    world.until_reason(NAME, "DeletionBlocked").await;
    world.sim.clear_faults();
    world.until_gone(NAME).await;
}

/// What is wrong with what was written, in the order in which it was.
async fn lies(judge: &Judge, story: &str, written: &[Written]) -> Vec<String> {
    let objects: Vec<Value> = written.iter().map(|written| written.object.clone()).collect();
    let judged = judge.ask(&[], &objects).await;
    let mut lies = Vec::new();
    for (number, (written, judged)) in written.iter().zip(&judged).enumerate() {
        let mut lie = |what: &str| lies.push(format!("{story}, write {number}: {what}\n{:#}", written.object));
        let is_done = judged["kstatus"]["status"] == "Current";
        if is_done && !written.says_ready() {
            lie("kstatus takes it for done, and it does not say Ready");
        }
        if (is_done || written.says_ready()) && !written.is_true() {
            lie("it says Ready, and the templates are not there or not as the spec says");
        }
        // Before the first look there is nothing that a checker of conditions could read.
        let is_looked_at = written.object["status"]["observedGeneration"] != json!(-1);
        if is_looked_at && judged["flux"]["failures"] != json!([]) {
            lie(&format!("Flux's checker: {}", judged["flux"]["failures"]));
        }
    }
    lies
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn no_status_that_was_ever_written_says_more_than_is_true() {
    let judge = Judge::named("status-judge").await;
    let mut worlds = Vec::new();
    for name in ["life", "outage", "conflict", "deletion"] {
        let world = world(&format!("history-{name}")).await;
        worlds.push(world);
    }
    let [first, second, third, fourth] = &worlds[..] else { unreachable!() };
    let (life, outage, conflict, deletion) = tokio::join!(
        writes_during(first, life(first)),
        writes_during(second, outage(second)),
        writes_during(third, conflict(third)),
        writes_during(fourth, deletion(fourth)),
    );
    let stories = [("life", life), ("outage", outage), ("conflict", conflict), ("deletion", deletion)];
    let mut found = Vec::new();
    for (story, written) in &stories {
        // The set, and at least two verdicts: on a busy machine those between may be left out.
        assert!(written.len() >= 3, "{story}: only {} writes", written.len());
        assert!(written.iter().any(Written::says_ready), "{story}: never Ready");
        found.extend(lies(&judge, story, written).await);
    }
    let writes: usize = stories.iter().map(|(_, written)| written.len()).sum();
    println!("history: stories={} writes={writes} lies={}", stories.len(), found.len());
    assert!(found.is_empty(), "{}", found.join("\n"));
    for world in worlds {
        world.end().await;
    }
}
