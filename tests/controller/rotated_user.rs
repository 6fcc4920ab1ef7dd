//! `bk_username` is exchanged in the Secret while a create or a replacement is under way: what the user before has created is
//! still the set's, under each policy. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::{Effect, Fault, Refuse};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;

const PATIENCE: Duration = Duration::from_hours(1);

const CREATE: &str = "batch_create_proc_template";
const UPDATE: &str = "update_proc_template";
const DELETE: &str = "delete_proc_template";
const LIST: &str = "list_proc_template";

/// CMDB's code for a server behind that did not answer.
const NO_ANSWER_BEHIND: i64 = 1_199_002;

/// How long CMDB takes for the call during which the Secret changes.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// What becomes of that call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Clean,
    Lost,
}

fn spec(adoption: &str, function: &str) -> Value {
    json!({
        "adoptionPolicy": adoption, "deletionPolicy": "Delete", "replacePolicy": "Recreate",
        "processes": [{ "name": "nginx", "funcName": function }],
    })
}

fn put_user(world: &Paused, user: &str) {
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb" },
        "data": { "bk_app_code": "cHRzZXQ=", "bk_app_secret": "c2VjcmV0", "bk_username": user },
    });
    world.api.apply(&Place::new("", "secrets", "shop", "cmdb"), &secret);
}

fn count(world: &Paused, call: &str) -> usize {
    world.sim().requests().iter().filter(|record| record.call == call).count()
}

// Carries a change out. During its `nth` call of this kind the user is exchanged, and CMDB gives no lists until the
// reconcile has ended: the next one starts with its status and with the other user.
async fn interrupted(world: &Paused, (call, nth): (&str, usize), answer: Answer, change: impl Fn(&Paused)) {
    let before = count(world, call);
    let of = |effect| Fault::nth(call, u64::try_from(nth).unwrap(), effect);
    world.sim().add_fault(of(Effect::delay(u64::try_from(IN_FLIGHT.as_millis()).unwrap())));
    if answer == Answer::Lost {
        world.sim().add_fault(of(Effect::drop_after_commit()));
    }
    change(world);
    let is_sent = |world: &Paused| count(world, call) == before + nth;
    world.until(PATIENCE, "the call is in flight", is_sent).await;
    let no_answer = Refuse { code: NO_ANSWER_BEHIND, ..Refuse::default() };
    world.sim().add_fault(Fault::every(LIST, Effect::Refuse(no_answer)));
    put_user(world, "b3RoZXI=");
    let has_ended = |world: &Paused| world.seen("web").reason("Ready") == "Unavailable";
    world.until(PATIENCE, "the reconcile has ended", has_ended).await;
    let is_exchanged = |world: &Paused| {
        let requests = world.sim().requests();
        requests.iter().rfind(|record| record.call == LIST).is_some_and(|record| record.body["bk_username"] == "other")
    };
    world.until(PATIENCE, "the set uses the other user", is_exchanged).await;
    world.cmdb_works();
}

fn names(world: &Paused) -> Vec<String> {
    world.sim().state().process_templates.iter().map(|template| template.bk_process_name.clone()).collect()
}

fn functions(world: &Paused) -> Vec<Value> {
    let templates = world.sim().state().process_templates;
    let property = |template: &cmdb_sim::ProcessTemplate| serde_json::to_value(&template.property).unwrap();
    templates.iter().map(|template| property(template)["bk_func_name"]["value"].clone()).collect()
}

async fn world() -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.start_operator();
    world.until(PATIENCE, "the connection works", Paused::is_connection_ready).await;
    world
}

#[tokio::test(start_paused = true)]
async fn what_the_user_before_created_is_the_sets_under_each_policy() {
    for adoption in ["Never", "IfIdentical", "Always"] {
        for answer in [Answer::Clean, Answer::Lost] {
            let mut world = world().await;
            interrupted(&world, (CREATE, 1), answer, |world| world.apply("web", "web", spec(adoption, "old"))).await;
            world.until_all_ready(PATIENCE).await;
            assert_eq!((names(&world), count(&world, CREATE)), (vec!["nginx".to_owned()], 1), "{adoption} {answer:?}");
            world.stop_operator().await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_deletion_takes_along_what_the_user_before_created() {
    for adoption in ["Never", "IfIdentical"] {
        for answer in [Answer::Clean, Answer::Lost] {
            let mut world = world().await;
            interrupted(&world, (CREATE, 1), answer, |world| world.apply("web", "web", spec(adoption, "old"))).await;
            world.delete("web");
            world.until(PATIENCE, "the set is gone", |world| !world.is_there("web")).await;
            assert_eq!(names(&world), [""; 0], "{adoption} {answer:?}");
            world.stop_operator().await;
        }
    }
}

// The calls of a replacement: a template under a temporary name, a try to rename it, the end of the old one, the rename.
const REPLACEMENT: [(&str, usize); 4] = [(CREATE, 1), (UPDATE, 1), (DELETE, 1), (UPDATE, 2)];

#[tokio::test(start_paused = true)]
async fn a_replacement_is_finished_by_another_user_from_wherever_it_was() {
    for adoption in ["Never", "IfIdentical"] {
        for point in REPLACEMENT {
            for answer in [Answer::Clean, Answer::Lost] {
                let mut world = world().await;
                world.apply("web", "web", spec(adoption, "old"));
                world.until_all_ready(PATIENCE).await;
                interrupted(&world, point, answer, |world| world.apply("web", "web", spec(adoption, "new"))).await;
                world.until_all_ready(PATIENCE).await;
                let left = (names(&world), functions(&world));
                assert_eq!(left, (vec!["nginx".to_owned()], vec![json!("new")]), "{adoption} {point:?} {answer:?}");
                world.stop_operator().await;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_replacement_is_taken_back_or_deleted_by_another_user() {
    for is_deleted in [false, true] {
        for answer in [Answer::Clean, Answer::Lost] {
            let mut world = world().await;
            world.apply("web", "web", spec("Never", "old"));
            world.until_all_ready(PATIENCE).await;
            interrupted(&world, (CREATE, 1), answer, |world| world.apply("web", "web", spec("Never", "new"))).await;
            if is_deleted {
                world.delete("web");
                world.until(PATIENCE, "the set is gone", |world| !world.is_there("web")).await;
                assert_eq!(names(&world), [""; 0], "{answer:?}");
            } else {
                world.apply("web", "web", spec("Never", "old"));
                world.until_all_ready(PATIENCE).await;
                let is_alone = |world: &Paused| names(world) == ["nginx"];
                world.until(PATIENCE, "the temporary template is gone", is_alone).await;
                assert_eq!(functions(&world), [json!("old")], "{answer:?}");
            }
            world.stop_operator().await;
        }
    }
}
