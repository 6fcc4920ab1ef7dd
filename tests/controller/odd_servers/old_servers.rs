//! CMDB up to 3.9.26, which answers a new name with a success and ignores it. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::RequestRecord;
use process_template_operator::api::{GROUP, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

fn spec(functions: &[(&str, &str)]) -> Value {
    let processes = functions.iter().map(|(name, function)| json!({ "name": name, "funcName": function }));
    json!({ "replacePolicy": "Recreate", "resyncIntervalSeconds": 60, "processes": processes.collect::<Value>() })
}

async fn ready(renames: bool) -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.sim().update_state(|state| state.rename = renames);
    world.start_operator();
    world.apply("web", "web", spec(&[("nginx", "old"), ("redis", "old2")]));
    world.until_all_ready(PATIENCE).await;
    world.sim().clear_requests();
    world
}

fn stored(world: &Paused) -> Vec<(i64, String, String)> {
    let of = |template: cmdb_sim::ProcessTemplate| {
        let function = template.property["bk_func_name"].value.as_str().unwrap().to_owned();
        (template.id, template.bk_process_name, function)
    };
    world.sim().state().process_templates.into_iter().map(of).collect()
}

fn requests(world: &Paused, call: &str) -> Vec<RequestRecord> {
    world.sim().requests().into_iter().filter(|record| record.call == call).collect()
}

fn writes(world: &Paused) -> usize {
    world.sim().requests().iter().filter(|record| !record.call.starts_with("list_")).count()
}

#[tokio::test(start_paused = true)]
async fn a_template_is_not_deleted_where_its_replacement_could_not_get_its_name() {
    let world = ready(false).await;
    let before = stored(&world);
    world.apply("web", "web", spec(&[("nginx", "new"), ("redis", "new2")]));
    let is_refused = |world: &Paused| {
        let seen = world.seen("web");
        seen.is_current() && seen.reason("Stalled") == "Refused"
    };
    world.until(PATIENCE, "it is refused", is_refused).await;
    let seen = world.seen("web");
    println!("old servers: {}; writes={}", seen.message(), writes(&world));
    for part in ["template 1", "does not rename", "3.9.27", "delete the template by hand", "funcName back"] {
        assert!(seen.message().contains(part), "{part}: {}", seen.message());
    }
    assert_eq!(stored(&world), before, "neither a template is lost nor a temporary one left");
    let ours: Vec<i64> = before.iter().map(|(id, ..)| *id).collect();
    for delete in requests(&world, "delete_proc_template") {
        assert!(delete.ids.iter().all(|id| !ours.contains(id)), "{delete:?}");
    }

    // Once an hour it is tried again: the server may be another version.
    let sent = writes(&world);
    sleep(Duration::from_mins(50)).await;
    assert_eq!(writes(&world), sent);
    sleep(Duration::from_mins(80)).await;
    println!("old servers: writes_in_2_hours={}", writes(&world) - sent);
    assert!(writes(&world) - sent <= 8, "{}", writes(&world) - sent);
    assert_eq!(stored(&world), before);

    // The way out.
    world.sim().update_state(|state| state.process_templates.remove(0));
    let place = Place::new(GROUP, "processtemplatesets", "shop", "web");
    let mut set = Value::clone(&world.api.get(&place).unwrap());
    set["metadata"]["annotations"] = json!({ RECONCILE_REQUESTED_AT: "now" });
    world.api.apply(&place, &set);
    let is_there = |world: &Paused| stored(world).iter().any(|(_, _, function)| function == "new");
    world.until(PATIENCE, "it is created as the set says", is_there).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_older_version_left_under_a_temporary_name_is_created_under_its_own() {
    let world = ready(true).await;
    // The old template is gone, and its replacement waits for its name.
    let delay = cmdb_sim::Fault::every("update_proc_template", cmdb_sim::Effect::code(1_199_017));
    world.sim().add_fault(delay);
    world.apply("web", "web", spec(&[("nginx", "new"), ("redis", "old2")]));
    let is_left = |world: &Paused| stored(world).iter().any(|(_, name, _)| name.starts_with("ptset-"));
    world.until(PATIENCE, "a temporary name", is_left).await;
    world.sim().update_state(|state| {
        state.rename = false;
        state.process_templates.retain(|template| template.bk_process_name != "nginx");
    });
    world.cmdb_works();
    world.until_all_ready(PATIENCE).await;
    let mut left: Vec<(String, String)> = stored(&world).into_iter().map(|(_, name, of)| (name, of)).collect();
    left.sort_unstable();
    assert_eq!(left, [("nginx".to_owned(), "new".to_owned()), ("redis".to_owned(), "old2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_renames_is_asked_once_for_all_replacements_of_an_hour() {
    let world = ready(true).await;
    world.apply("web", "web", spec(&[("nginx", "new"), ("redis", "new2")]));
    world.until_all_ready(PATIENCE).await;
    world.apply("web", "web", spec(&[("nginx", "newer"), ("redis", "newer2")]));
    world.until_all_ready(PATIENCE).await;
    let updates = requests(&world, "update_proc_template");
    let refused = updates.iter().filter(|update| update.code != Some(0)).count();
    println!("old servers: renames={} refused={refused}", updates.len());
    assert_eq!((updates.len(), refused), (5, 1), "{updates:#?}");
    assert_eq!(stored(&world).len(), 2);
}
