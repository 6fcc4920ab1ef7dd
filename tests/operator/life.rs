//! The life of a template on the real API server: edits by hand, replacement, suspension, and strangers.

use cmdb_sim::{self as sim, Effect, Fault, Property, Simulator};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::world::{Seen, World};

const WRITES: [&str; 3] = ["batch_create_proc_template", "update_proc_template", "delete_proc_template"];

fn writes(world: &World) -> usize {
    WRITES.iter().map(|call| world.requests(call).len()).sum()
}

fn property(properties: Value) -> Property {
    serde_json::from_value(properties).unwrap()
}

fn one(start_cmd: &str) -> Value {
    json!({ "resyncIntervalSeconds": 5, "unmanaged": ["description"], "processes": [
        { "name": "nginx", "funcName": "nginx", "startCmd": start_cmd, "user": "root" },
    ] })
}

fn stored(world: &World, id: i64) -> Property {
    let templates = world.sim.state().process_templates;
    templates.into_iter().find(|template| template.id == id).unwrap().property
}

async fn ready_world(name: &str, spec: Value) -> (World, Seen) {
    let mut world = World::new(name).await;
    world.service_template("web");
    world.start_operator(&["--removal-delay-seconds", "0"]).await;
    world.apply("web", spec).await;
    let seen = world.until_ready("web").await;
    world.sim.clear_requests();
    (world, seen)
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_a_person_changes_is_put_back_and_what_is_unmanaged_is_left() {
    let (world, seen) = ready_world("drift-correct", one("./run")).await;
    let id = seen.process("nginx").id.unwrap();
    let by_hand = json!({
        "user": { "value": "nobody", "as_default_value": false },
        "description": { "value": "by hand", "as_default_value": false },
    });
    world.sim.edit_process_template(id, "zhang", &property(by_hand)).unwrap();
    world.until_event("DriftCorrected", "nginx").await;
    assert_eq!(stored(&world, id)["user"].value, "root");
    assert_eq!(stored(&world, id)["description"].value, "by hand");
    let told = world.events("DriftCorrected").await;
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(told[0].contains("user") && told[0].contains("\"zhang\""), "{told:?}");
    assert_eq!(world.requests("update_proc_template").len(), 1, "what we wrote ourselves is no drift");
    world.until_ready("web").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_a_person_changes_is_only_shown_under_detect_with_who_and_when() {
    let mut spec = one("./run");
    spec["driftPolicy"] = "Detect".into();
    let (world, seen) = ready_world("drift-detect", spec.clone()).await;
    let id = seen.process("nginx").id.unwrap();
    let by_hand = |user: &str| property(json!({ "user": { "value": user, "as_default_value": true } }));
    world.sim.edit_process_template(id, "zhang", &by_hand("nobody")).unwrap();
    let seen = world.until_reason("web", "Drifted").await;
    assert_eq!((seen.condition("Ready"), seen.condition("Stalled")), ("False", "True"));
    let drift = seen.process("nginx").drift.clone().unwrap();
    assert_eq!((drift.properties, drift.modifier.as_deref()), (vec!["user".to_owned()], Some("zhang")));
    assert!(drift.changed_at.is_some());
    assert_eq!(seen.process("nginx").id, Some(id));
    let described =
        world.plane.kubectl().args(["describe", "ptset", "web", "-n", &world.namespace]).output().await.unwrap();
    let described = String::from_utf8(described.stdout).unwrap();
    println!("{described}");
    assert!(described.contains("zhang") && described.contains("Drifted"), "{described}");

    // A change of the spec is carried out under both policies.
    spec["processes"][0]["startCmd"] = "./new".into();
    world.apply("web", spec).await;
    world.until_ready("web").await;
    assert_eq!(stored(&world, id)["start_cmd"].value, "./new");
    assert_eq!(stored(&world, id)["user"].value, "root");
    // Events come in their order.
    world.until_event("Updated", "nginx").await;
    assert_eq!(world.events("Drifted").await.len(), 1, "one event for one change");

    world.sim.update_state(|state| state.process_templates.clear());
    let seen = world.until_reason("web", "Drifted").await;
    assert!(seen.process("nginx").message.as_ref().unwrap().contains("deleted"), "{}", seen.describe());
    assert_eq!(world.requests("batch_create_proc_template").len(), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_template_that_somebody_deleted_is_created_again() {
    let (world, seen) = ready_world("drift-deleted", one("./run")).await;
    let id = seen.process("nginx").id.unwrap();
    world.sim.update_state(|state| state.process_templates.clear());
    let seen = world.until("web", "another ID", |seen| seen.is_ready() && seen.process("nginx").id != Some(id)).await;
    assert_eq!(seen.ids().len(), 1);
    world.until_event("DriftCorrected", "nginx").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_changed_function_waits_for_leave_to_replace() {
    let (world, seen) = ready_world("replace", one("./run")).await;
    let id = seen.process("nginx").id.unwrap();
    let mut spec = one("./run");
    spec["processes"][0]["funcName"] = "openresty".into();
    world.apply("web", spec.clone()).await;
    let seen = world.until_reason("web", "NeedsReplacement").await;
    assert_eq!((seen.condition("Stalled"), writes(&world)), ("True", 0));
    spec["replacePolicy"] = "Recreate".into();
    world.apply("web", spec).await;
    let seen = world.until_ready("web").await;
    let new = seen.process("nginx").id.unwrap();
    assert_ne!(new, id);
    assert_eq!(world.sim.state().process_templates.len(), 1);
    assert_eq!(stored(&world, new)["bk_process_name"].value, "nginx");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_suspended_set_says_what_would_be_done_and_does_nothing() {
    let mut spec = one("./run");
    spec["suspend"] = true.into();
    let mut world = World::new("suspend").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", spec.clone()).await;
    let seen = world.until_reason("web", "Suspended").await;
    assert_eq!((seen.condition("Ready"), seen.condition("Stalled"), seen.condition("Reconciling")), ("False", "", ""));
    assert!(seen.message().contains("create 1"), "{}", seen.message());
    assert_eq!(writes(&world), 0);
    spec["suspend"] = false.into();
    world.apply("web", spec.clone()).await;
    world.until_ready("web").await;
    spec["suspend"] = true.into();
    world.apply("web", spec).await;
    let seen = world.until_reason("web", "Suspended").await;
    assert_eq!(seen.condition("Ready"), "True");
    world.end().await;
}

// A status from a backup, from another CMDB, or made up: whatever it says, nothing of a stranger's is written.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_with_foreign_ids_never_leads_to_a_write_on_a_foreign_template() {
    let mut world = World::new("foreign").await;
    let (ours, theirs) = (world.service_template("web"), world.service_template("other"));
    let template = |name: &str| {
        property(json!({
            "bk_process_name": { "value": name }, "bk_func_name": { "value": name },
            "start_cmd": { "value": "./theirs", "as_default_value": true },
        }))
    };
    // In another service template, in another business, and in ours under another name.
    let other = world.sim.add_process_template(theirs, "admin", &template("nginx")).unwrap();
    let beside = world.sim.add_process_template(ours, "admin", &template("beside")).unwrap();
    let elsewhere = world.sim.update_state(|state| {
        let id = 1 + state.process_templates.iter().map(|template| template.id).max().unwrap();
        let mut far = state.process_templates[0].clone();
        (far.id, far.bk_biz_id, far.service_template_id) = (id, 3, 77);
        state.process_templates.push(far);
        id
    });
    let foreign = world.sim.state().process_templates;
    for (policy, deletion) in [("Correct", "Delete"), ("Detect", "Orphan")] {
        let name = format!("web-{}", policy.to_lowercase());
        for (number, id) in [other, beside, elsewhere].into_iter().enumerate() {
            let key = format!("p{number}-{}", policy.to_lowercase());
            let created_at = foreign.iter().find(|template| template.id == id).map(|template| &template.create_time);
            for with_time in [true, false] {
                let mut process =
                    json!({ "name": key, "id": id, "processName": key, "state": "InSync", "appliedHash": "a1:0" });
                if with_time && id != beside {
                    process["createdAt"] = json!(created_at);
                }
                let mut gone = process.clone();
                gone["name"] = "gone".into();
                world
                    .apply(
                        &name,
                        json!({
                            "serviceTemplate": { "name": "web" }, "deletionPolicy": deletion, "driftPolicy": policy,
                            "adoptionPolicy": "Always", "replacePolicy": "Recreate",
                            "processes": [{ "name": key, "funcName": key, "startParamRegex": key }],
                        }),
                    )
                    .await;
                let status = json!({ "status": { "processes": [process, gone], "endpoint": world.sim.url(),
                    "serviceTemplateId": ours } });
                let patch = Patch::Merge(&status);
                world.sets().patch_status(&name, &PatchParams::default(), &patch).await.unwrap();
                world.start_operator(&["--removal-delay-seconds", "0"]).await;
                world.until_ready(&name).await;
                world.delete(&name).await;
                world.until_gone(&name).await;
                world.kill_operator().await;
                let now = world.sim.state().process_templates;
                for template in &foreign {
                    assert!(now.contains(template), "{policy} {id} {with_time}: {template:?}");
                }
            }
        }
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_server_that_ignores_a_new_name_is_not_asked_again_and_again() {
    let (world, _) = ready_world("no-rename", one("./run")).await;
    world.sim.update_state(|state| state.rename = false);
    let mut spec = one("./run");
    spec["processes"][0]["processName"] = "other".into();
    world.apply("web", spec).await;
    let seen = world.until_reason("web", "Refused").await;
    assert!(seen.message().contains("does not rename"), "{}", seen.message());
    let sent = writes(&world);
    let lists = world.requests("list_proc_template").len();
    world.until_requests("list_proc_template", lists + 2).await;
    assert_eq!((writes(&world), sent), (1, 1));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_service_template_that_is_made_anew_is_a_new_scope_and_the_old_one_is_left_alone() {
    let (world, seen) = ready_world("scope-anew", one("./run")).await;
    let old = seen.process("nginx").id.unwrap();
    world.sim.update_state(|state| state.service_templates.clear());
    world.until_reason("web", "WaitingForServiceTemplate").await;
    let anew = world.sim.update_state(|state| {
        state.service_templates.push(
            serde_json::from_value(json!({ "id": 9, "name": "web", "bk_biz_id": 2, "service_category_id": 2 }))
                .unwrap(),
        );
        9
    });
    let seen = world
        .until("web", "the new scope", |seen| seen.is_ready() && seen.status.service_template_id == Some(anew))
        .await;
    assert_ne!(seen.process("nginx").id, Some(old));
    assert_eq!(stored(&world, old)["start_cmd"].value, "./run");
    assert_eq!(world.requests("delete_proc_template").len(), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_old_servers_sockets_are_changed_in_its_own_form() {
    let sim = Simulator::start(sim::Options { schema: sim::Schema::Flat, ..sim::Options::default() }).unwrap();
    let url = sim.url();
    let mut world = World::with("flat-update", sim, &url).await;
    world.service_template("web");
    world.start_operator(&[]).await;
    let spec = |ports: [u16; 2]| {
        let row = |port: &u16| json!({ "ip": "0.0.0.0", "port": port, "protocol": "TCP", "enable": true });
        json!({ "processes": [{ "name": "a", "funcName": "a", "bindInfo": ports.iter().map(row).collect::<Value>() }] })
    };
    world.apply("web", spec([80, 443])).await;
    let id = world.until_ready("web").await.ids()[0];
    world.apply("web", spec([80, 8443])).await;
    world.until_ready("web").await;
    assert_eq!(stored(&world, id)["port"].value, "80,8443");
    let sent = &world.requests("update_proc_template")[0].body["process_property"];
    assert_eq!(sent.as_object().unwrap().keys().collect::<Vec<_>>(), ["port"]);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_migrated_row_that_blocks_any_update_is_repaired_by_the_way() {
    let unmanaged = |start_cmd: &str| {
        let mut spec = one(start_cmd);
        spec["unmanaged"] = json!(["bindInfo", "description"]);
        spec
    };
    let (world, seen) = ready_world("migrated", unmanaged("./run")).await;
    let id = seen.process("nginx").id.unwrap();
    world.sim.update_state(|state| {
        let row = json!([{ "row_id": 1, "ip": { "value": "1", "as_default_value": true }, "port": { "value": "" },
            "protocol": { "value": "1" }, "enable": { "value": true } }]);
        let rows = json!({ "value": row, "as_default_value": true });
        state.process_templates[0].property.insert("bind_info".to_owned(), serde_json::from_value(rows).unwrap());
    });
    world.apply("web", unmanaged("./new")).await;
    let seen = world.until_reason("web", "Invalid").await;
    assert!(seen.message().contains("row 1 of its bindInfo"), "{}", seen.message());
    assert_eq!(stored(&world, id)["start_cmd"].value, "./run");
    world.apply("web", one("./new")).await;
    world.until_ready("web").await;
    assert_eq!(stored(&world, id)["start_cmd"].value, "./new");
    world.end().await;
}

// A process moves, and changes on the way: whichever set is applied first, its template is neither made anew nor lost.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_process_that_moves_and_changes_keeps_its_template() {
    for first in ["giver", "taker"] {
        let mut world = World::new(&format!("moved-{first}-first")).await;
        world.service_template("web");
        let spec = |processes: &[(&str, &str)]| {
            let processes = processes
                .iter()
                .map(|(name, command)| json!({ "name": name, "funcName": format!("f-{name}"), "startCmd": command }));
            json!({ "serviceTemplate": { "name": "web" }, "deletionPolicy": "Delete",
                "processes": processes.collect::<Value>() })
        };
        world.start_operator(&["--removal-delay-seconds", "1"]).await;
        world.apply("giver", spec(&[("a", "./run"), ("b", "./run")])).await;
        let id = world.until_ready("giver").await.process("b").id.unwrap();
        world.apply("taker", spec(&[("c", "./run")])).await;
        world.until_ready("taker").await;
        world.sim.clear_requests();
        let (given, taken) = (spec(&[("a", "./run")]), spec(&[("c", "./run"), ("b", "./new")]));
        let (before, after) = if first == "giver" { (given, taken) } else { (taken, given) };
        let second = if first == "giver" { "taker" } else { "giver" };
        world.apply(first, before).await;
        world.apply(second, after).await;
        let taken = |seen: &Seen| seen.is_ready() && seen.status.processes.iter().any(|process| process.id == Some(id));
        world.until("taker", "it has the template", taken).await;
        let seen = world.until("giver", "it has let go", |seen| seen.is_ready() && seen.ids().len() == 1).await;
        assert_eq!(seen.status.processes.len(), 1, "{}", seen.describe());
        assert_eq!(stored(&world, id)["start_cmd"].value, "./new");
        assert_eq!(world.sim.state().process_templates.len(), 3);
        let calls = WRITES.map(|call| world.requests(call).len());
        assert_eq!(calls, [0, 1, 0], "one update, no create, no delete");
        world.end().await;
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_is_not_ready_while_a_create_of_a_process_that_has_left_it_may_still_be_stored() {
    let mut spec = one("./run");
    spec["deletionPolicy"] = "Delete".into();
    let mut world = World::new("left-undecided").await;
    world.service_template("web");
    world.start_operator(&["--removal-delay-seconds", "0", "--create-grace-seconds", "12"]).await;
    world.apply("web", spec.clone()).await;
    world.until_ready("web").await;
    world.sim.add_fault(Fault::nth("batch_create_proc_template", 1, Effect::drop_before_commit()));
    let mut more = spec.clone();
    more["processes"].as_array_mut().unwrap().push(json!({ "name": "more", "funcName": "more" }));
    world.apply("web", more).await;
    world.until("web", "a create was begun", |seen| seen.status.pending.len() == 1).await;
    world.apply("web", spec).await;
    let judged = |seen: &Seen| seen.is_current() && seen.status.process_count == Some(1);
    let seen = world.until("web", "the smaller set was judged", judged).await;
    assert_eq!((seen.condition("Ready"), seen.reason("Ready")), ("False", "WaitingForOutcome"), "{}", seen.describe());
    let seen = world.until_ready("web").await;
    assert!(seen.status.pending.is_empty(), "{}", seen.describe());
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn every_write_has_its_own_event_and_what_leaves_is_named_also_beside_a_write() {
    let with = |processes: &[(&str, &str)]| {
        let processes =
            processes.iter().map(|(name, command)| json!({ "name": name, "funcName": name, "startCmd": command }));
        json!({ "processes": processes.collect::<Value>() })
    };
    let (world, seen) = ready_world("events", with(&[("a", "1"), ("b", "1")])).await;
    let left = seen.process("b").id.unwrap();
    world.apply("web", with(&[("a", "2")])).await;
    world.until_event("Released", &format!("{left} (\"b\")")).await;
    world.until_event("Updated", "\"a\"").await;
    world.until_ready("web").await;
    world.apply("web", with(&[("a", "3"), ("c", "1")])).await;
    world.until_event("Created", "created 1 process template").await;
    world.until_ready("web").await;
    world.until_events("Updated", 2).await;
    assert_eq!(world.events("Created").await.len(), 2);
    world.end().await;
}

// One CMDB under two URLs: neither set takes, nor deletes, what the other holds.
#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_a_set_holds_is_safe_from_a_set_that_reaches_the_same_cmdb_under_another_url() {
    let (world, seen) = ready_world("two-urls", one("./run")).await;
    let id = seen.process("nginx").id.unwrap();
    world.put_connection("alias", &world.sim.url().replace("127.0.0.1", "localhost")).await;
    let mut rival = one("./other");
    rival["connectionRef"] = json!({ "name": "alias" });
    rival["serviceTemplate"] = json!({ "name": "web" });
    rival["adoptionPolicy"] = "Always".into();
    rival["deletionPolicy"] = "Delete".into();
    world.apply("rival", rival).await;
    world.until_reason("rival", "Conflict").await;
    world.delete("rival").await;
    world.until_gone("rival").await;
    assert_eq!((stored(&world, id)["start_cmd"].value.as_str(), writes(&world)), (Some("./run"), 0));
    world.end().await;
}
