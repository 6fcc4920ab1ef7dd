//! Sets that are known in part only: one that cannot be decoded, one that is suspended while it changes, and one whose last list
//! failed. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::GROUP;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// CMDB's code for a server behind that did not answer.
const NO_ANSWER_BEHIND: i64 = 1_199_002;

fn spec(names: &[&str], start_cmd: &str) -> Value {
    let process = |name: &&str| json!({ "name": name, "funcName": name, "startCmd": start_cmd });
    json!({ "resyncIntervalSeconds": 60, "processes": names.iter().map(process).collect::<Value>() })
}

/// What is strange, and the change that makes it so.
type Strange = (&'static str, fn(&mut Value));

fn with(mut spec: Value, property: &str, value: impl Into<Value>) -> Value {
    spec[property] = value.into();
    spec
}

async fn world(spec: Value) -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec);
    world.until_all_ready(PATIENCE).await;
    world
}

fn names(world: &Paused) -> Vec<String> {
    world.sim().state().process_templates.into_iter().map(|template| template.bk_process_name).collect()
}

async fn until_reason(world: &Paused, name: &str, reason: &str) {
    world.until(PATIENCE, reason, |world| world.seen(name).reason("Ready") == reason).await;
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_decoded_claims_what_can_be_read_of_it() {
    let strange: [Strange; 4] = [
        ("a policy of another version", |set| set["spec"]["driftPolicy"] = json!("Sometimes")),
        ("a process of another shape", |set| set["spec"]["processes"][0]["procNum"] = json!("many")),
        ("a list of another shape", |set| set["spec"]["locked"] = json!({ "all": true })),
        ("a status of another shape", |set| set["status"]["processes"][0]["ignored"] = json!({ "all": true })),
    ];
    for (what, change) in strange {
        let world = world(spec(&["nginx", "redis"], "./run")).await;
        let place = Place::new(GROUP, "processtemplatesets", "shop", "web");
        let mut set = Value::clone(&world.api.get(&place).unwrap());
        change(&mut set);
        world.api.apply(&place, &set);
        sleep(Duration::from_secs(1)).await;
        let other = with(spec(&["nginx", "redis"], "./run"), "deletionPolicy", "Delete");
        world.apply("other", "web", other.clone());
        sleep(Duration::from_secs(30)).await;
        let seen = world.api.get(&Place::new(GROUP, "processtemplatesets", "shop", "other")).unwrap();
        let conditions = seen["status"]["conditions"].to_string();
        println!("half known: {what}: {conditions}");
        assert!(conditions.contains("Conflict"), "{what}: {conditions}");
        world.api.delete(&Place::new(GROUP, "processtemplatesets", "shop", "other"));
        sleep(Duration::from_mins(3)).await;
        assert_eq!(names(&world), ["nginx", "redis"], "{what}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_cannot_be_decoded_deletes_its_templates() {
    let world = world(with(spec(&["nginx", "redis"], "./run"), "deletionPolicy", "Delete")).await;
    let place = Place::new(GROUP, "processtemplatesets", "shop", "web");
    let mut set = Value::clone(&world.api.get(&place).unwrap());
    set["status"]["processes"][0]["ignored"] = json!({ "all": true });
    set["spec"]["driftPolicy"] = json!("Sometimes");
    world.api.apply(&place, &set);
    world.api.delete(&place);
    world.until(PATIENCE, "it is gone", |world| world.api.get(&place).is_none()).await;
    assert!(names(&world).is_empty(), "{:?}", names(&world));
}

#[tokio::test(start_paused = true)]
async fn a_process_that_is_taken_out_while_the_set_is_suspended_is_not_forgotten() {
    let world = world(spec(&["nginx", "redis"], "./run")).await;
    world.apply("web", "web", with(spec(&["nginx"], "./run"), "suspend", true));
    until_reason(&world, "web", "Suspended").await;
    sleep(Duration::from_mins(5)).await;
    assert_eq!(world.seen("web").ids().len(), 2, "{}", world.seen("web").describe());

    // It is still ours: changed, where a stranger's would be a conflict.
    world.apply("web", "web", spec(&["nginx", "redis"], "./edited"));
    world.until_all_ready(PATIENCE).await;

    // It is still ours: deleted, where a stranger's would stay.
    world.apply("web", "web", with(spec(&["nginx"], "./edited"), "suspend", true));
    until_reason(&world, "web", "Suspended").await;
    sleep(Duration::from_mins(5)).await;
    world.apply("web", "web", with(spec(&["nginx"], "./edited"), "deletionPolicy", "Delete"));
    world.until(PATIENCE, "redis is deleted", |world| names(world) == ["nginx"]).await;
    world.until_all_ready(PATIENCE).await;
    assert_eq!(world.seen("web").ids().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_set_takes_nothing_over_until_it_works_again() {
    let world = world(spec(&["nginx"], "./run")).await;
    world.apply("other", "web", with(spec(&["redis"], "./run"), "suspend", true));
    until_reason(&world, "other", "Suspended").await;
    world.apply("web", "web", spec(&["nginx", "mysql"], "./run"));
    world.until(PATIENCE, "web is Ready", |world| world.seen("web").is_ready()).await;
    world.apply("other", "web", with(spec(&["postgres"], "./run"), "suspend", true));
    sleep(Duration::from_secs(10)).await;
    assert_eq!(names(&world), ["nginx", "mysql"]);
    world.apply("other", "web", spec(&["postgres"], "./run"));
    world.until_all_ready(PATIENCE).await;
}

#[tokio::test(start_paused = true)]
async fn a_set_whose_confirming_list_failed_is_not_ready() {
    let world = world(spec(&["nginx"], "./run")).await;
    world.sim().add_fault(Fault::nth("update_proc_template", 1, Effect::delay(2_000)));
    world.apply("web", "web", spec(&["nginx"], "./edited"));
    let is_sent = |world: &Paused| world.sim().requests().iter().any(|record| record.call == "update_proc_template");
    world.until(PATIENCE, "the update", is_sent).await;
    world.sim().add_fault(Fault::every("list_proc_template", Effect::code(NO_ANSWER_BEHIND)));
    for _ in 0..600 {
        let seen = world.seen("web");
        assert!(!seen.is_ready(), "no list has confirmed it: {}", seen.describe());
        sleep(Duration::from_millis(500)).await;
    }
    let seen = world.seen("web");
    println!("half known: {}", seen.message());
    assert!(seen.is_current() && seen.message().contains("1 of 1"), "{}", seen.describe());
    world.cmdb_works();
    world.until_all_ready(PATIENCE).await;
}
