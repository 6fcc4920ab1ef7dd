//! A write that is refused because its credentials were replaced while it was in flight: the refusal says nothing of those in
//! use, so no status says it, and the set goes on at once, with a list before it sends anything again. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Refuse};
use process_template_operator::api::{GROUP, VERSION};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

/// How long CMDB takes for the write.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// Longest time until the set has gone on.
const SOON: Duration = Duration::from_secs(5);

/// How often the statuses are looked at.
const LOOK: Duration = Duration::from_millis(20);

fn spec(start_cmd: &str) -> Value {
    json!({
        "deletionPolicy": "Delete",
        "processes": [{ "name": "nginx", "funcName": "nginx", "startCmd": start_cmd }],
    })
}

// The next such call takes long, and its credentials are refused.
fn refuse_late(world: &Paused, call: &str) {
    let message = "APP Secret verification failed, pelase confirm if the APP Secret is right".to_owned();
    let refuse = Refuse { code: 1_306_000, message: Some(message), ..Refuse::default() };
    let delay = Effect::delay(u64::try_from(IN_FLIGHT.as_millis()).unwrap());
    world.sim().add_fault(Fault::nth(call, 1, delay));
    world.sim().add_fault(Fault::nth(call, 1, Effect::Refuse(refuse)));
}

fn calls(world: &Paused) -> Vec<String> {
    world.sim().requests().into_iter().map(|record| record.call).collect()
}

fn count(world: &Paused, call: &str) -> usize {
    calls(world).iter().filter(|made| *made == call).count()
}

fn reasons(world: &Paused) -> Vec<String> {
    let kinds = ["processtemplatesets", "cmdbconnections"];
    let objects = kinds.iter().flat_map(|kind| world.api.list(&Place::new(GROUP, kind, "shop", "")));
    let of = |object: &Value| -> Vec<String> {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        conditions.map(|condition| condition["reason"].as_str().unwrap().to_owned()).collect()
    };
    objects.flat_map(|object| of(&object)).collect()
}

// Replaces the credentials while the call is in flight, and waits until the set has sent it again or longer than it may take.
async fn replaced_during(world: &Paused, call: &str, is_done: impl Fn(&Paused) -> bool) {
    let begun = Instant::now();
    while count(world, call) == 0 {
        assert!(begun.elapsed() < Duration::from_mins(1), "{call} never comes: {:?}", calls(world));
        sleep(LOOK).await;
    }
    world.put_secret("bmV3");
    let sent = Instant::now();
    while !is_done(world) {
        let reasons = reasons(world);
        assert!(!reasons.iter().any(|reason| reason == "Unauthorized"), "{call}: {reasons:?}");
        assert!(sent.elapsed() < IN_FLIGHT + SOON, "{call}: {reasons:?}: {:?}", calls(world));
        sleep(LOOK).await;
    }
    println!("replaced credentials: {call}: done_after_ms={}", sent.elapsed().saturating_sub(IN_FLIGHT).as_millis());

    // It was sent twice, and a list came in between.
    let calls = calls(world);
    let sent: Vec<usize> = (0..calls.len()).filter(|number| calls[*number] == call).collect();
    assert_eq!(sent.len(), 2, "{calls:?}");
    let between = &calls[sent[0]..sent[1]];
    assert!(between.iter().any(|made| made.starts_with("list_")), "{between:?}");
}

async fn started(has_service_template: bool) -> Paused {
    let mut world = Paused::new();
    if has_service_template {
        world.service_templates(["web".to_owned()].into_iter());
    }
    world.start_operator();
    world.until(SOON * 2, "the connection is Ready", Paused::is_connection_ready).await;
    world
}

fn is_ready(world: &Paused) -> bool {
    world.seen("web").is_ready()
}

#[tokio::test(start_paused = true)]
async fn a_create_refused_with_replaced_credentials_is_sent_after_a_list() {
    let world = started(true).await;
    refuse_late(&world, "batch_create_proc_template");
    world.apply("web", "web", spec("./run"));
    replaced_during(&world, "batch_create_proc_template", is_ready).await;
    assert_eq!(world.sim().state().process_templates.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_update_and_a_delete_refused_with_replaced_credentials_are_sent_after_a_list() {
    let world = started(true).await;
    world.apply("web", "web", spec("./run"));
    world.until_all_ready(Duration::from_mins(1)).await;
    refuse_late(&world, "update_proc_template");
    world.apply("web", "web", spec("./edited"));
    replaced_during(&world, "update_proc_template", is_ready).await;

    let set = Place::new(GROUP, "processtemplatesets", "shop", "web");
    world.put_secret("b2xk");
    sleep(SOON).await;
    refuse_late(&world, "delete_proc_template");
    world.api.delete(&set);
    replaced_during(&world, "delete_proc_template", |world| world.api.get(&set).is_none()).await;
    assert!(world.sim().state().process_templates.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_new_service_template_refused_with_replaced_credentials_is_sent_after_a_list() {
    let world = started(false).await;
    refuse_late(&world, "create_service_template");
    let mut set = json!({ "apiVersion": format!("{GROUP}/{VERSION}"), "kind": "ProcessTemplateSet", "metadata": { "name": "web" } });
    set["spec"] = spec("./run");
    set["spec"]["bizId"] = json!(2);
    set["spec"]["serviceTemplate"] = json!({ "name": "new", "createIfMissing": { "category": { "id": 2 } } });
    world.api.apply(&Place::new(GROUP, "processtemplatesets", "shop", "web"), &set);
    replaced_during(&world, "create_service_template", is_ready).await;
}
