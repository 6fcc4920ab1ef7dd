//! Whatever is wrong, each set says so in a clear condition, the others go on, and nobody has to lend a hand once it is
//! mended.

use cmdb_sim::{Effect, Fault};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use process_template_operator::api::CmdbConnection;
use serde_json::{Value, json};
use test_support::closed::Closed;
use test_support::world::{Seen, World};
use tokio::time::{Instant, sleep};

fn spec() -> Value {
    json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }], "resyncIntervalSeconds": 5 })
}

fn with(name: &str, value: Value) -> Value {
    let mut spec = spec();
    spec[name] = value;
    spec
}

/// A world with a set "well" that is Ready and must stay so.
async fn world_with_a_healthy_set(name: &str) -> World {
    let mut world = World::new(name).await;
    world.service_template("well");
    world.start_operator(&["--create-grace-seconds", "2"]).await;
    world.apply("well", spec()).await;
    world.until_ready("well").await;
    world
}

fn assert_waits(seen: &Seen, what_to_do: &str) {
    let conditions = (seen.condition("Ready"), seen.condition("Reconciling"), seen.condition("Stalled"));
    assert_eq!(conditions, ("False", "True", ""), "{}", seen.describe());
    assert!(seen.message().contains(what_to_do), "{}", seen.message());
}

fn assert_stalled(seen: &Seen, what_to_do: &str) {
    let conditions = (seen.condition("Ready"), seen.condition("Reconciling"), seen.condition("Stalled"));
    assert_eq!(conditions, ("False", "", "True"), "{}", seen.describe());
    assert!(seen.message().contains(what_to_do), "{}", seen.message());
}

async fn assert_well(world: World) {
    assert!(Seen::new(world.set("well").await).is_ready());
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_unknown_connection_is_waited_for() {
    let world = world_with_a_healthy_set("no-connection").await;
    world.service_template("web");
    world.apply("web", with("connectionRef", json!({ "name": "other" }))).await;
    let seen = world.until_reason("web", "WaitingForConnection").await;
    assert_waits(&seen, "Create it, or name another in spec.connectionRef");
    assert!(seen.message().contains("\"other\""));
    world.put_connection("other", &world.sim.url()).await;
    world.until_ready("web").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_missing_secret_is_waited_for_and_an_incomplete_one_is_told() {
    let world = world_with_a_healthy_set("no-secret").await;
    world.service_template("web");
    let connections: Api<CmdbConnection> = Api::namespaced(world.client.clone(), &world.namespace);
    let mut other = connections.get("default").await.unwrap();
    other.metadata = kube::api::ObjectMeta { name: Some("other".to_owned()), ..Default::default() };
    other.spec.credentials_secret_ref.name = "late".to_owned();
    connections.create(&PostParams::default(), &other).await.unwrap();
    world.apply("web", with("connectionRef", json!({ "name": "other" }))).await;
    assert_waits(&world.until_reason("web", "WaitingForSecret").await, "Create it");

    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), &world.namespace);
    let put = async |data: Value| {
        let secret =
            json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "late" }, "stringData": data });
        secrets.patch("late", &PatchParams::apply("test").force(), &Patch::Apply(&secret)).await.unwrap();
    };
    put(json!({ "bk_app_code": "ptset" })).await;
    let seen = world.until_reason("web", "CredentialsIncomplete").await;
    assert_stalled(&seen, "bk_app_secret");
    put(json!({ "bk_app_code": "ptset", "bk_app_secret": "s", "bk_username": "admin" })).await;
    world.until_ready("web").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn wrong_credentials_are_told_and_right_ones_used_at_once() {
    let world = world_with_a_healthy_set("unauthorized").await;
    world.service_template("web");
    world.sim.update_state(|state| {
        let accounts = json!([{ "app_code": "ptset", "app_secret": "b-secret" }]);
        state.accounts = serde_json::from_value(accounts).unwrap();
    });
    // CMDB takes another secret than ours from now on.
    world.apply("web", spec()).await;
    let seen = world.until_reason("web", "Unauthorized").await;
    assert_stalled(&seen, "Check bk_app_code and bk_app_secret");
    assert!(!seen.message().contains("b-secret"), "{}", seen.message());
    world.put_secret("b-secret").await;
    world.until_ready("web").await;
    world.until_ready("well").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn while_cmdb_is_down_new_work_is_retried_and_old_work_stays_ready_for_three_intervals() {
    let world = world_with_a_healthy_set("down").await;
    world.service_template("web");
    let down_since = Instant::now();
    world.sim.add_fault(Fault::every("*", Effect::drop_before_commit()));
    world.apply("web", spec()).await;
    assert_waits(&world.until_reason("web", "Unreachable").await, "no answer lately");
    assert!(Seen::new(world.set("well").await).is_ready(), "a check that fails changes nothing at first");
    let stale = world.until_reason("well", "Stale").await;
    assert!(down_since.elapsed().as_secs() >= 10, "{:?}", down_since.elapsed());
    assert_waits(&stale, "not checked for three intervals");
    assert_eq!(stale.status.summary.as_deref(), Some("1/1"), "what is known stays");
    world.sim.clear_faults();
    world.until_ready("web").await;
    world.until_ready("well").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_cmdb_that_cannot_be_reached_is_told_from_one_that_gives_no_clear_answer() {
    let world = world_with_a_healthy_set("unreachable").await;
    world.service_template("web");
    let closed = Closed::new();
    world.put_connection("other", &closed.url()).await;
    world.apply("web", with("connectionRef", json!({ "name": "other" }))).await;
    assert_waits(&world.until_reason("web", "Unreachable").await, "cannot be reached");
    world.put_connection("other", &world.sim.url()).await;
    world.until_ready("web").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_does_not_speak_cmdbs_language_is_told() {
    let world = world_with_a_healthy_set("not-cmdb").await;
    world.put_connection("other", &format!("{}/elsewhere", world.sim.url())).await;
    world.apply("web", with("connectionRef", json!({ "name": "other" }))).await;
    assert_stalled(&world.until_reason("web", "NotCmdb").await, "Check spec.url");
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_unknown_business_is_told() {
    let world = world_with_a_healthy_set("no-business").await;
    let mut elsewhere = with("bizId", json!(77));
    world.apply("web", elsewhere.clone()).await;
    assert_waits(&world.until_reason("web", "WaitingForServiceTemplate").await, "check spec.bizId");
    elsewhere["serviceTemplate"] = json!({ "name": "made", "createIfMissing": { "category": { "id": 2 } } });
    world.apply("made", elsewhere).await;
    assert_stalled(&world.until_reason("made", "Invalid").await, "Check spec.bizId");
    world.sim.update_state(|state| {
        let business = json!({ "bk_biz_id": 77, "bk_biz_name": "late" });
        state.businesses.push(serde_json::from_value(business).unwrap());
    });
    world.until_ready("made").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_unknown_service_template_is_waited_for_by_name_and_told_by_id() {
    let world = world_with_a_healthy_set("no-template").await;
    world.apply("web", spec()).await;
    let seen = world.until_reason("web", "WaitingForServiceTemplate").await;
    assert_waits(&seen, "Create it in CMDB, or set spec.serviceTemplate.createIfMissing");
    world.apply("by-id", with("serviceTemplate", json!({ "id": 4711 }))).await;
    assert_stalled(&world.until_reason("by-id", "ServiceTemplateNotFound").await, "make a new set");
    world.service_template("web");
    world.until_ready("web").await;
    assert_well(world).await;
}

// One list serves all sets for a second; a finding would stand for an interval.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_service_template_that_was_made_just_before_its_set_is_found() {
    let world = world_with_a_healthy_set("just-made").await;
    for number in 0..5 {
        // Somebody else has the list read.
        let reader = format!("reader-{number}");
        world.service_template(&reader);
        world.apply(&reader, spec()).await;
        world.until_requests("list_service_template", world.requests("list_service_template").len() + 1).await;
        let id = world.service_template(&format!("made-{number}"));
        let mut by_id = with("serviceTemplate", json!({ "id": id }));
        by_id["resyncIntervalSeconds"] = 600.into();
        world.apply(&format!("by-id-{number}"), by_id).await;
    }
    for number in 0..5 {
        world.until_ready(&format!("by-id-{number}")).await;
    }
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_service_template_that_is_renamed_or_deleted_in_cmdb_is_told_and_nothing_is_created_elsewhere() {
    let world = world_with_a_healthy_set("renamed").await;
    let id = world.service_template("web");
    world.apply("web", spec()).await;
    let ids = world.until_ready("web").await.ids();
    let rename = |name: &str| {
        world.sim.update_state(|state| {
            let found = state.service_templates.iter_mut().find(|template| template.id == id);
            found.unwrap().name = name.to_owned();
        });
    };
    rename("web-two");
    let seen = world.until_reason("web", "ServiceTemplateRenamed").await;
    assert_stalled(&seen, "Rename it back");
    assert_eq!(seen.ids(), ids, "what is remembered stays");
    rename("web");
    assert_eq!(world.until_ready("web").await.ids(), ids);

    world.sim.update_state(|state| state.service_templates.retain(|template| template.id != id));
    assert_waits(&world.until_reason("web", "WaitingForServiceTemplate").await, "Create it in CMDB");
    // Made anew under the same name it is another scope: what is left of the old one is not touched.
    let templates = world.sim.state().process_templates.len();
    world.sim.update_state(|state| {
        let again = json!({ "id": id + 10, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
        state.service_templates.push(serde_json::from_value(again).unwrap());
    });
    let seen = world.until("web", "created anew", |seen| seen.is_ready() && seen.ids() != ids).await;
    assert_eq!(seen.status.service_template_id, Some(id + 10));
    assert_eq!(world.sim.state().process_templates.len(), templates + 1);
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_throttled_call_is_repeated_later() {
    let world = world_with_a_healthy_set("throttled").await;
    world.service_template("web");
    world.sim.add_fault(Fault::every("batch_create_proc_template", Effect::code(1_306_429)));
    world.apply("web", spec()).await;
    assert_waits(&world.until_reason("web", "Throttled").await, "throttles");
    world.sim.clear_faults();
    world.until_ready("web").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_denied_create_is_told_and_goes_on_once_it_is_permitted() {
    let world = world_with_a_healthy_set("denied").await;
    world.service_template("web");
    world.sim.add_fault(Fault::every("batch_create_proc_template", Effect::code(1_199_046)));
    world.apply("web", spec()).await;
    assert_stalled(&world.until_reason("web", "PermissionDenied").await, "edit service template");
    world.sim.clear_faults();
    world.until_ready("web").await;
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_create_that_is_refused_as_a_whole_is_not_sent_in_a_loop() {
    let world = world_with_a_healthy_set("refused-whole").await;
    for code in [9_900_403, 1_199_014, 1_306_406, 1_199_018] {
        world.sim.clear_faults();
        world.sim.clear_requests();
        world.sim.add_fault(Fault::every("batch_create_proc_template", Effect::code(code)));
        let name = format!("set-{code}");
        let begun = Instant::now();
        world.service_template(&name);
        world.apply(&name, json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })).await;
        let seen = world.until(&name, "told", |seen| seen.is_current() && seen.reason("Ready") != "Progressing").await;
        // Long enough for hundreds of calls, if nothing held them back: the waits begin at a second and grow.
        sleep(std::time::Duration::from_secs(2)).await;
        let creates = world.requests("batch_create_proc_template").len() as u64;
        let most = 1 + begun.elapsed().as_secs();
        assert!(creates <= most, "{creates} creates after code {code}, at most {most}\n{}", seen.describe());
    }
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_secret_that_the_other_side_repeats_is_in_no_text_of_ours() {
    let world = world_with_a_healthy_set("repeats").await;
    world.service_template("web");
    let repeats = json!({ "call": "batch_create_proc_template", "every": true,
        "do": { "code": 1_199_006, "message": "bad request: bk_app_secret is a-secret" } });
    world.sim.add_fault(serde_json::from_value(repeats).unwrap());
    world.apply("web", spec()).await;
    let seen = world.until_reason("web", "Invalid").await;
    // Events come beside the status, and later.
    world.until_event("Invalid", "bad request").await;
    let events: Api<k8s_openapi::api::events::v1::Event> = Api::namespaced(world.client.clone(), &world.namespace);
    let events = events.list(&kube::api::ListParams::default()).await.unwrap();
    let texts = [seen.describe(), serde_json::to_string(&events.items).unwrap(), world.operator_log()];
    assert!(texts.iter().all(|text| text.contains("bad request") && !text.contains("a-secret")), "{texts:#?}");
    assert_well(world).await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn properties_that_the_server_does_not_have_are_named_on_the_item_and_in_one_event() {
    let world = world_with_a_healthy_set("ignored").await;
    world.service_template("web");
    let process =
        json!({ "name": "nginx", "funcName": "nginx", "extraProperties": [{ "name": "nosuch", "value": "x" }] });
    world.apply("web", json!({ "processes": [process] })).await;
    let seen = world.until_ready("web").await;
    assert_eq!(seen.process("nginx").ignored, ["nosuch"]);
    world.until_event("Ignored", "nosuch").await;
    assert_eq!(world.events("Ignored").await.len(), 1);
    assert_well(world).await;
}
