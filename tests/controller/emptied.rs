//! What a manifest leaves empty: what is sent for it so that instances follow, what is said where they do not, and that a status
//! of the version before leads to no write. On a clock that jumps.

use std::time::Duration;

use cmdb_sim::Schema;
use process_template_operator::api::GROUP;
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// Time for many polls of a set: it is polled each minute.
const MANY_POLLS: Duration = Duration::from_mins(8);

fn world(schema: Schema) -> Paused {
    let world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.sim().update_state(|state| state.schema = schema);
    world
}

fn spec(process: &Value) -> Value {
    let mut wanted = json!({ "name": "nginx", "funcName": "nginx" });
    wanted.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
    json!({ "resyncIntervalSeconds": 60, "processes": [wanted] })
}

// The properties of each write.
fn sent(world: &Paused) -> Vec<Value> {
    let requests = world.sim().requests().into_iter();
    let sent = requests.filter_map(|record| match record.call.as_str() {
        "batch_create_proc_template" => Some(record.body["processes"][0]["spec"].clone()),
        "update_proc_template" => Some(record.body["process_property"].clone()),
        call if call.starts_with("list_") => None,
        call => panic!("{call}"),
    });
    sent.collect()
}

// Applies a process and polls many times; the writes.
async fn applied(world: &Paused, process: &Value) -> Vec<Value> {
    world.sim().clear_requests();
    world.apply("web", "web", spec(process));
    world.until(PATIENCE, "it is Ready", |world| world.seen("web").is_current() && world.not_ready() == 0).await;
    sleep(MANY_POLLS).await;
    assert_eq!(world.not_ready(), 0);
    sent(world)
}

fn events(world: &Paused) -> String {
    let events = world.api.list(&Place::new("events.k8s.io", "events", "", ""));
    events.iter().map(|event| format!("{} {}", event["reason"], event["note"])).collect::<Vec<_>>().join("\n")
}

fn pair(value: impl Into<Value>, locked: bool) -> Value {
    json!({ "value": value.into(), "as_default_value": locked })
}

#[tokio::test(start_paused = true)]
async fn a_value_and_the_last_socket_leave_with_one_update_and_an_event_that_says_what_instances_do() {
    let mut world = world(Schema::BindInfo);
    world.start_operator();
    let row = json!({ "ip": "0.0.0.0", "port": 80, "protocol": "TCP", "enable": true });
    applied(&world, &json!({ "startCmd": "./start.sh", "bindInfo": [row] })).await;

    let removed = json!({ "start_cmd": pair(Value::Null, false), "bind_info": pair(Value::Null, true) });
    assert_eq!(applied(&world, &json!({})).await, [removed]);
    let said = events(&world);
    for part in ["instances keep startCmd", "locked: [startCmd]", "synchronisation removes their sockets"] {
        assert!(said.contains(part), "{part}: {said}");
    }

    // That is what clears it.
    let cleared = json!({ "start_cmd": pair(Value::Null, true) });
    assert_eq!(applied(&world, &json!({ "locked": ["startCmd"] })).await, [cleared]);
}

#[tokio::test(start_paused = true)]
async fn an_older_server_gets_locked_sockets_without_values_also_after_they_have_left() {
    let all = json!({ "bind_ip": pair(Value::Null, true), "port": pair(Value::Null, true), "protocol": pair(Value::Null, true) });
    let none = json!({ "bind_ip": pair(Value::Null, false), "port": pair(Value::Null, false), "protocol": pair(Value::Null, false) });
    let flat = json!({ "bindIp": "127.0.0.1", "port": 80, "protocol": "TCP" });
    let lists = json!({ "locked": ["bindIp", "port", "protocol"] });
    let mut world = world(Schema::Flat);
    world.start_operator();
    applied(&world, &flat).await;
    assert_eq!(applied(&world, &json!({})).await, [none]);
    assert_eq!(applied(&world, &lists).await, std::slice::from_ref(&all));
    assert!(!events(&world).contains("DriftCorrected"), "{}", events(&world));
    applied(&world, &flat).await;
    assert_eq!(applied(&world, &lists).await, std::slice::from_ref(&all));
    assert!(events(&world).contains("not recorded"), "{}", events(&world));
}

#[tokio::test(start_paused = true)]
async fn locked_cells_without_values_are_sent_as_instances_can_match_them() {
    let mut world = world(Schema::BindInfo);
    world.start_operator();
    let row = json!({ "port": 80, "protocol": "TCP" });
    let [created] = &applied(&world, &json!({ "locked": ["bindInfo"], "bindInfo": [row] })).await[..] else { panic!() };
    let cells = &created["bind_info"]["value"][0];
    assert_eq!((&cells["enable"], &cells["ip"]), (&pair(false, true), &pair("", true)));

    let none: [Value; 0] = [];
    let written = json!({ "port": 80, "protocol": "TCP", "enable": false });
    assert_eq!(applied(&world, &json!({ "locked": ["bindInfo"], "bindInfo": [written] })).await, none);
    let row = json!({ "port": 80, "protocol": "TCP", "enable": false });
    let [unlocked] = &applied(&world, &json!({ "bindInfo": [row] })).await[..] else { panic!() };
    assert_eq!(unlocked["bind_info"]["value"][0]["ip"], pair(Value::Null, false));
}

/// A process, its sockets as the version before has left them, and the hash that it stored.
struct Left {
    schema: Schema,
    process: Value,
    sockets: Value,
    hash: &'static str,
}

fn left() -> Vec<Left> {
    let row = json!({
        "row_id": 1, "ip": pair(Value::Null, true), "port": pair("80", true), "protocol": pair("1", true),
        "enable": pair(Value::Null, true),
    });
    let plain = "a1:dfd3d4f72103f0a83e40fbb550c6ddca";
    vec![
        Left { schema: Schema::BindInfo, process: json!({}), sockets: json!({}), hash: plain },
        Left {
            schema: Schema::BindInfo,
            process: json!({ "locked": ["bindInfo"], "bindInfo": [{ "port": 80, "protocol": "TCP" }] }),
            sockets: json!({ "bind_info": pair(json!([row]), true) }),
            hash: "a1:872f8a8b9f527e36c47e5af5ed4a6ce0",
        },
        Left {
            schema: Schema::Flat,
            process: json!({ "locked": ["bindIp", "port", "protocol"] }),
            sockets: json!({}),
            hash: plain,
        },
    ]
}

#[tokio::test(start_paused = true)]
async fn a_set_that_only_detects_writes_nothing_after_the_upgrade_while_something_has_drifted() {
    for Left { schema, process, sockets, hash } in left() {
        let mut world = world(schema);
        let mut stored = json!({
            "bk_process_name": pair("nginx", true), "bk_func_name": pair("nginx", true), "start_cmd": pair("./theirs.sh", true),
        });
        stored.as_object_mut().unwrap().extend(sockets.as_object().unwrap().clone());
        let id = world.sim().add_process_template(1, "admin", &serde_json::from_value(stored).unwrap()).unwrap();
        let created_at = world.sim().state().process_templates[0].create_time.clone();

        let mut wanted = process.clone();
        wanted["startCmd"] = "./start.sh".into();
        let mut set = spec(&wanted);
        set["driftPolicy"] = "Detect".into();
        world.apply("web", "web", set);
        let remembered = json!({
            "name": "nginx", "id": id, "createdAt": created_at, "processName": "nginx", "state": "InSync", "appliedHash": hash,
        });
        let status = json!({
            "observedGeneration": 1, "endpoint": world.sim().url(), "serviceTemplateId": 1, "processes": [remembered],
        });
        world.api.put_status(&Place::new(GROUP, "processtemplatesets", "shop", "web"), &status);

        world.start_operator();
        world.until(PATIENCE, "drift is seen", |world| world.seen("web").reason("Stalled") == "Drifted").await;
        sleep(MANY_POLLS).await;
        assert_eq!(sent(&world), Vec::<Value>::new(), "{process}");
        let message = world.seen("web").message().to_owned();
        assert!(message.contains("startCmd") && !message.contains("bind") && !message.contains("port"), "{message}");
    }
}
