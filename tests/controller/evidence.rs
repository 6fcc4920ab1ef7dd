//! A CMDB that lies: nothing is written and nothing is released on an answer that is not whole, or not of the scope that was
//! asked for. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::GROUP;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::{Instant, sleep};

const PATIENCE: Duration = Duration::from_mins(10);

/// How long CMDB lies.
const LIE: Duration = Duration::from_mins(2);

fn spec(start_cmd: &str) -> Value {
    let process = |name: &str| json!({ "name": name, "funcName": name, "startCmd": start_cmd });
    json!({ "deletionPolicy": "Delete", "processes": [process("nginx"), process("envoy")] })
}

/// A world with a set "web" of two processes that is in sync.
async fn in_sync() -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.apply("web", "web", spec("./run"));
    world.until_all_ready(PATIENCE).await;
    // No list of the time before counts.
    sleep(Duration::from_mins(1)).await;
    world
}

/// What CMDB has, as it lists it.
fn listed(world: &Paused) -> Vec<Value> {
    let state = world.sim().state();
    state.process_templates.iter().map(|template| serde_json::to_value(template).unwrap()).collect()
}

/// From now on these calls are answered with this list.
fn answer(world: &Paused, call: &str, count: &Value, info: &[Value]) {
    let body = json!({ "result": true, "code": 0, "message": "success", "data": { "count": count, "info": info } });
    world.sim().add_fault(Fault::every(call, Effect::raw(200, "application/json", &body.to_string())));
}

fn writes(world: &Paused) -> Vec<String> {
    let requests = world.sim().requests().into_iter().map(|record| record.call);
    requests.filter(|call| !call.starts_with("list_")).collect()
}

fn names(world: &Paused) -> Vec<String> {
    world.sim().state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
}

/// Nothing is written while CMDB lies so, for an edit or a deletion, and the status says this; then all is done.
async fn nothing_is_done_by(lie: impl Fn(&Paused), reason: &str, says: &str) {
    for is_deleted in [false, true] {
        let mut world = in_sync().await;
        world.sim().clear_requests();
        lie(&world);
        if is_deleted {
            world.delete("web");
        } else {
            world.apply("web", "web", spec("./edited"));
        }
        sleep(LIE).await;
        assert_eq!(writes(&world), [""; 0], "deleted: {is_deleted}");
        let set = world.seen("web");
        let expected = if is_deleted { "DeletionBlocked" } else { reason };
        assert_eq!(set.reason("Ready"), expected, "{}", set.describe());
        let message = set.message();
        assert!(message.contains(says) && (!is_deleted || message.contains(reason)), "{message}");
        println!("evidence: lie={says:?} deleted={is_deleted} writes=0 reason={expected}");

        world.cmdb_works();
        if is_deleted {
            world.until(PATIENCE, "the set is gone", |world| !world.is_there("web")).await;
            assert_eq!(names(&world), [""; 0]);
        } else {
            world.until_all_ready(PATIENCE).await;
        }
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_of_another_scope_changes_and_releases_nothing() {
    for (field, value, says) in [("bk_biz_id", 7, "of business 7"), ("service_template_id", 9, "of service template 9")]
    {
        let lie = |world: &Paused| {
            let mut info = listed(world);
            for template in &mut info {
                template[field] = json!(value);
            }
            answer(world, "list_proc_template", &json!(info.len()), &info);
        };
        nothing_is_done_by(lie, "NotCmdb", says).await;
    }
}

#[tokio::test(start_paused = true)]
async fn service_templates_of_another_business_change_and_release_nothing() {
    let lie = |world: &Paused| {
        let info = [json!({ "id": 1, "name": "web", "bk_biz_id": 7, "service_category_id": 2 })];
        answer(world, "list_service_template", &json!(1), &info);
    };
    nothing_is_done_by(lie, "NotCmdb", "service template 1 of business 7").await;
}

#[tokio::test(start_paused = true)]
async fn a_list_that_shows_less_than_it_counts_changes_and_releases_nothing() {
    for shown in [0, 1] {
        let lie = |world: &Paused| answer(world, "list_proc_template", &json!(2), &listed(world)[..shown]);
        nothing_is_done_by(lie, "Unavailable", &format!("counts 2 and shows {shown}")).await;
    }
}

#[tokio::test(start_paused = true)]
async fn service_templates_of_a_capped_page_change_and_release_nothing() {
    let lie = |world: &Paused| {
        let template =
            |id: i64| json!({ "id": id, "name": format!("t{id}"), "bk_biz_id": 2, "service_category_id": 2 });
        let info: Vec<Value> = (100..300).map(template).collect();
        answer(world, "list_service_template", &json!(1502), &info);
    };
    nothing_is_done_by(lie, "Unavailable", "counts 1502 and shows 200").await;
}

#[tokio::test(start_paused = true)]
async fn a_template_that_is_listed_without_properties_is_not_identical() {
    for others in [0, 1] {
        let mut world = Paused::new();
        world.service_templates(["web".to_owned()].into_iter());
        let shown = |id: i64, name: &str, property: Value| {
            json!({
                "id": id, "bk_process_name": name, "bk_biz_id": 2, "service_template_id": 1, "property": property,
                "creator": "ann", "create_time": "2024-05-17T10:00:00Z",
            })
        };
        let pair = |value: Value| json!({ "value": value, "as_default_value": true });
        let full = json!({
            "bk_func_name": pair(json!("other")), "bk_process_name": pair(json!("other")), "start_cmd": pair(json!("./run")),
            "bind_info": pair(Value::Null),
        });
        let all = [shown(51, "nginx", Value::Null), shown(52, "other", full)];
        answer(&world, "list_proc_template", &json!(1 + others), &all[..=others]);
        world.start_operator();
        let process = json!({ "name": "nginx", "funcName": "nginx", "startCmd": "./run" });
        world.apply("web", "web", json!({ "processes": [process] }));
        sleep(Duration::from_mins(1)).await;
        let set = world.seen("web");
        assert_eq!(set.reason("Ready"), "Conflict", "others: {others}: {}", set.describe());
        assert_eq!(set.ids(), [0; 0], "it is not taken over");
        assert!(set.message().contains("funcName"), "{}", set.message());
        if others == 1 {
            assert!(set.message().contains("startCmd"), "{}", set.message());
        }
        assert_eq!(writes(&world), [""; 0]);
        world.stop_operator().await;
    }
}

// ---- What a deletion follows from ----

fn place(name: &str) -> Place {
    Place::new(GROUP, "processtemplatesets", "shop", name)
}

/// A backup that was restored, or somebody's edit: the status says nothing.
fn lose_status(world: &Paused, name: &str) {
    world.api.put_status(&place(name), &json!({ "observedGeneration": -1 }));
}

fn released(world: &Paused) -> Vec<String> {
    let events = world.api.list(&Place::new("events.k8s.io", "events", "", ""));
    let of_reason = events.iter().filter(|event| event["reason"] == "Released");
    of_reason.map(|event| event["note"].as_str().unwrap().to_owned()).collect()
}

async fn until_gone(world: &Paused, name: &str) {
    world.until(PATIENCE, "the set is gone", |world| !world.is_there(name)).await;
}

/// Somebody deletes the service template in CMDB; its process templates stay.
fn delete_service_template(world: &Paused) {
    world.sim().update_state(|state| state.service_templates.clear());
}

#[tokio::test(start_paused = true)]
async fn a_status_that_was_lost_while_cmdb_is_away_releases_nothing() {
    for is_first_reconciled in [false, true] {
        let mut world = in_sync().await;
        world.stop_operator().await;
        lose_status(&world, "web");
        world.cmdb_fails();
        world.start_operator();
        if is_first_reconciled {
            let is_judged = |world: &Paused| world.seen("web").reason("Ready") == "Unavailable";
            world.until(PATIENCE, "the set says that CMDB is away", is_judged).await;
        }
        world.delete("web");
        sleep(LIE).await;
        assert!(world.is_there("web"), "reconciled before: {is_first_reconciled}");
        assert_eq!(world.seen("web").reason("Ready"), "DeletionBlocked");
        world.cmdb_works();
        until_gone(&world, "web").await;
        assert_eq!(names(&world), [""; 0], "reconciled before: {is_first_reconciled}");
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_has_made_nothing_needs_no_cmdb_to_go() {
    for is_restarted in [false, true] {
        let mut world = Paused::new();
        world.service_templates(["web".to_owned()].into_iter());
        world.cmdb_fails();
        world.start_operator();
        world.apply("web", "web", spec("./run"));
        let is_judged = |world: &Paused| world.seen("web").reason("Ready") == "Unavailable";
        world.until(PATIENCE, "the set says that CMDB is away", is_judged).await;
        if is_restarted {
            world.stop_operator().await;
            world.start_operator();
            sleep(LIE).await;
        }
        world.delete("web");
        world.until(Duration::from_secs(10), "the set is gone", |world| !world.is_there("web")).await;
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_list_without_the_service_template_releases_nothing() {
    let mut world = in_sync().await;
    let body = json!({ "result": true, "code": 0, "message": "success", "data": { "count": 0, "info": [] } });
    let empty = Effect::raw(200, "application/json", &body.to_string());
    world.sim().add_fault(Fault::every("list_service_template", empty).times(2));
    world.delete("web");
    until_gone(&world, "web").await;
    assert_eq!(names(&world), [""; 0]);
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn process_templates_of_a_deleted_service_template_go_with_their_set() {
    let mut world = in_sync().await;
    let pair = |value: &str| json!({ "value": value, "as_default_value": true });
    let hers = json!({ "bk_func_name": pair("hers"), "bk_process_name": pair("hers") });
    world.sim().add_process_template(1, "ann", &serde_json::from_value(hers).unwrap()).unwrap();
    delete_service_template(&world);
    let begun = Instant::now();
    world.delete("web");
    until_gone(&world, "web").await;
    println!("evidence: former_deleted_after_ms={}", begun.elapsed().as_millis());
    assert_eq!(names(&world), ["hers"], "nothing but its own");
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn a_new_service_template_of_the_name_does_not_make_a_set_forget_the_old_one() {
    for (policy, is_deleted) in [("Delete", false), ("Delete", true), ("Orphan", false)] {
        let mut world = in_sync().await;
        let mut spec = spec("./run");
        spec["deletionPolicy"] = json!(policy);
        world.apply("web", "web", spec);
        world.until_all_ready(PATIENCE).await;
        let before: Vec<i64> = world.sim().state().process_templates.iter().map(|template| template.id).collect();
        delete_service_template(&world);
        world.sim().update_state(|state| {
            let template = json!({ "id": 9, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
            state.service_templates.push(serde_json::from_value(template).unwrap());
        });
        if is_deleted {
            world.delete("web");
            until_gone(&world, "web").await;
            assert_eq!(names(&world), [""; 0]);
        } else {
            let is_moved = |world: &Paused| world.seen("web").status.service_template_id == Some(9);
            world.until(3 * PATIENCE, "the set is in the new service template", is_moved).await;
            world.until_all_ready(PATIENCE).await;
            let state = world.sim().state();
            let kept = state.process_templates.iter().filter(|template| before.contains(&template.id)).count();
            assert_eq!(
                (kept, state.process_templates.len()),
                if policy == "Delete" { (0, 2) } else { (2, 4) },
                "{policy}"
            );
        }
        world.stop_operator().await;
    }
}

#[tokio::test(start_paused = true)]
async fn templates_in_a_service_template_that_was_renamed_stay_and_are_named() {
    let mut world = in_sync().await;
    world.sim().update_state(|state| {
        state.service_templates[0].name = "old".to_owned();
        let template = json!({ "id": 9, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
        state.service_templates.push(serde_json::from_value(template).unwrap());
    });
    world.delete("web");
    until_gone(&world, "web").await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&world).len(), 2, "a service template that is there is another scope");
    let said = released(&world);
    assert!(said.iter().any(|note| note.contains("named \"old\" now") && note.contains("\"nginx\"")), "{said:?}");
    world.stop_operator().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_deletion_cannot_find_is_said() {
    let mut world = in_sync().await;
    world.stop_operator().await;
    lose_status(&world, "web");
    delete_service_template(&world);
    world.start_operator();
    world.delete("web");
    until_gone(&world, "web").await;
    sleep(Duration::from_secs(5)).await;
    let said = released(&world);
    assert!(said.iter().any(|note| note.contains("status of the set, which would have the IDs, was lost")), "{said:?}");

    // It differs from the spec, and the status was lost: it is not known to be the set's.
    let mut world = in_sync().await;
    world.stop_operator().await;
    lose_status(&world, "web");
    let id = world.sim().state().process_templates[0].id;
    let edited =
        serde_json::from_value(json!({ "start_cmd": { "value": "./hers", "as_default_value": true } })).unwrap();
    world.sim().edit_process_template(id, "ann", &edited).unwrap();
    world.start_operator();
    world.delete("web");
    until_gone(&world, "web").await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(names(&world).len(), 1);
    let said = released(&world);
    assert!(said.iter().any(|note| note.contains("was lost") && note.contains(&id.to_string())), "{said:?}");
    world.stop_operator().await;
}
