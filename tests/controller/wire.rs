//! What the operator sends, property by property, against the requests of CMDB's API documents, for both of its schemas; and with
//! another value for each property, so that no two can be taken for each other. On a clock that jumps.

use std::collections::BTreeSet;
use std::time::Duration;

use cmdb_sim::Schema;
use process_template_operator::api::Property;
use serde_json::{Map, Value, json};
use test_support::examples::all;
use test_support::paused::Paused;

const PATIENCE: Duration = Duration::from_mins(10);

const CREATE: &str = "batch_create_proc_template";

const UPDATE: &str = "update_proc_template";

/// A process in a manifest, what else its set says, and what is to arrive of it.
struct Request {
    name: &'static str,
    schema: Schema,
    set: Value,
    process: Value,
    wire: Value,
}

fn pair(value: impl Into<Value>, locked: bool) -> Value {
    json!({ "value": value.into(), "as_default_value": locked })
}

fn locked(value: impl Into<Value>) -> Value {
    pair(value, true)
}

// The request of the document for servers with `bind_ip`, `port` and `protocol`, and the example that stands for it. Its process
// name is empty, which every server refuses.
fn older_document() -> Request {
    let wire = json!({
        "auto_start": locked(false), "auto_time_gap": { "as_default_value": false }, "bind_ip": locked("1"),
        "bk_biz_id": locked(2), "bk_func_id": locked("1"), "bk_func_name": locked("nginx"), "bk_process_id": locked(3),
        "bk_process_name": locked("nginx"), "bk_supplier_account": locked(""),
        "create_time": locked("2019-05-06T07:12:35.082Z"), "description": locked("a simple description"),
        "face_stop_cmd": locked("./stop.sh"), "last_time": locked("2019-05-06T07:12:35.082Z"), "pid_file": locked(""),
        "port": locked("8000,8001,8003,8004"), "priority": locked(1), "proc_num": locked(1), "protocol": locked("1"),
        "reload_cmd": locked(""), "restart_cmd": locked("./restart.sh"), "start_cmd": locked("./start.sh"),
        "stop_cmd": locked("./stop.sh"), "timeout": locked(60), "user": locked(""), "work_path": locked("/data/bkee"),
        "bk_start_param_regex": locked(""),
    });
    let example = all().into_iter().find(|document| document["metadata"]["name"] == "api-document").unwrap();
    let process = example["spec"]["processes"][0].clone();
    Request { name: "older document", schema: Schema::Flat, set: json!({}), process, wire }
}

// The request of the document for servers with `bind_info`.
fn newer_document() -> Request {
    let open = |value: Value| pair(value, false);
    let wire = json!({
        "proc_num": open(Value::Null), "stop_cmd": open("".into()), "restart_cmd": open("".into()),
        "face_stop_cmd": open("".into()), "bk_func_name": locked("p1"), "work_path": open("".into()),
        "priority": open(Value::Null), "reload_cmd": open("".into()), "bk_process_name": locked("p1"),
        "pid_file": open("".into()), "auto_start": open(false.into()), "start_cmd": open("".into()),
        "bk_func_id": open(Value::Null), "user": open("".into()), "timeout": open(Value::Null),
        "description": open("".into()), "bk_start_param_regex": open("".into()),
        "bind_info": locked(json!([{
            "enable": locked(false), "ip": locked("1"), "port": locked("100"), "protocol": locked("1"), "row_id": 1,
        }])),
    });
    let process = json!({
        "name": "p1", "funcName": "p1", "stopCmd": "", "restartCmd": "", "forceStopCmd": "", "workPath": "",
        "reloadCmd": "", "pidFile": "", "autoStart": false, "startCmd": "", "user": "", "description": "",
        "startParamRegex": "", "locked": ["bindInfo"],
        "bindInfo": [{ "enable": false, "ip": "127.0.0.1", "port": 100, "protocol": "TCP" }],
    });
    let set = json!({ "lockPolicy": "Unlocked" });
    Request { name: "newer document", schema: Schema::BindInfo, set, process, wire }
}

// Each property with a value of its own; every other one is unlocked. `edition` makes others of all but the names.
fn distinct(schema: Schema, edition: i64) -> Request {
    let text = |name: &str| Value::from(format!("{name} {edition}"));
    let number = |number: i64| Value::from(10 * number + edition);
    // The name on the wire, the name in a manifest, and the value, where it is written alike.
    let mut plain = vec![
        ("auto_start", "autoStart", Value::from(edition == 1)),
        ("description", "description", text("text")),
        ("face_stop_cmd", "forceStopCmd", text("force")),
        ("pid_file", "pidFile", text("pid")),
        ("priority", "priority", number(1)),
        ("proc_num", "procNum", number(2)),
        ("reload_cmd", "reloadCmd", text("reload")),
        ("restart_cmd", "restartCmd", text("restart")),
        ("start_cmd", "startCmd", text("start")),
        ("bk_start_param_regex", "startParamRegex", text("regex")),
        ("stop_cmd", "stopCmd", text("stop")),
        ("timeout", "timeoutSeconds", number(3)),
        ("user", "user", text("account")),
        ("work_path", "workPath", text("path")),
    ];
    match schema {
        Schema::Flat => plain.extend([
            ("auto_time_gap", "autoTimeGap", number(4)),
            ("bk_func_id", "funcId", text("id")),
            ("port", "port", Value::from(format!("80{edition}"))),
        ]),
        Schema::BindInfo => plain.push(("bk_start_check_secs", "startCheckSeconds", number(5))),
    }

    let mut wire = json!({ "bk_func_name": locked("function"), "bk_process_name": locked("process") });
    let mut process = json!({ "name": "key", "processName": "process", "funcName": "function" });
    let mut unlocked = Vec::new();
    for (index, (cmdb_name, name, value)) in plain.into_iter().enumerate() {
        wire[cmdb_name] = pair(value.clone(), index % 2 == 0);
        process[name] = value;
        if index % 2 != 0 {
            unlocked.push(name);
        }
    }

    // An address, a protocol and what they are in CMDB.
    let [(ip, ip_code, protocol, protocol_code), other] = match edition {
        1 => [("0.0.0.0", "2", "TCP", "1"), ("::", "6", "TCP6", "3")],
        _ => [("FirstInnerIP", "3", "UDP", "2"), ("FirstOuterIPv6", "8", "UDP6", "4")],
    };
    match schema {
        Schema::Flat => {
            (process["bindIp"], process["protocol"]) = (ip.into(), protocol.into());
            (wire["bind_ip"], wire["protocol"]) = (locked(ip_code), pair(protocol_code, false));
            unlocked.push("protocol");
        }
        Schema::BindInfo => {
            let (ip_6, ip_code_6, protocol_6, protocol_code_6) = other;
            process["bindInfo"] = json!([
                { "ip": ip, "port": 9000 + edition, "protocol": protocol, "enable": false, "unlocked": ["ip", "enable"] },
                { "ip": ip_6, "port": "9100-9109", "protocol": protocol_6, "enable": true, "unlocked": ["port", "protocol"] },
            ]);
            wire["bind_info"] = locked(json!([
                {
                    "enable": pair(false, false), "ip": pair(ip_code, false), "port": locked((9000 + edition).to_string()),
                    "protocol": locked(protocol_code),
                },
                {
                    "enable": locked(true), "ip": locked(ip_code_6), "port": pair("9100-9109", false),
                    "protocol": pair(protocol_code_6, false),
                },
            ]));
        }
    }
    process["unlocked"] = unlocked.into();
    Request { name: "distinct values", schema, set: json!({}), process, wire }
}

// Values of a request, to see that each is there once. Cells of a row are compared with those of their row alone.
fn assert_distinct(request: &Request) {
    let value = |pair: &Value| match &pair["value"] {
        Value::String(text) => text.clone(),
        value => value.to_string(),
    };
    let once = |pairs: &Map<String, Value>| {
        let values: BTreeSet<String> = pairs.values().map(value).collect();
        assert_eq!(values.len(), pairs.len(), "{pairs:?}");
    };
    once(request.wire.as_object().unwrap());
    if let Some(rows) = request.wire["bind_info"]["value"].as_array() {
        for row in rows {
            once(row.as_object().unwrap());
        }
    }

    // And all of them: but for those that only the other schema has.
    let others: &[Property] = match request.schema {
        Schema::Flat => &[Property::BindInfo, Property::StartCheckSeconds],
        Schema::BindInfo => {
            &[Property::BindIp, Property::Port, Property::Protocol, Property::AutoTimeGap, Property::FuncId]
        }
    };
    for property in Property::ALL.iter().filter(|property| !others.contains(property)) {
        assert!(request.wire.get(property.cmdb_name()).is_some(), "{property:?} is not tried");
    }
}

fn apply(world: &Paused, request: &Request) {
    let mut spec = request.set.clone();
    spec["processes"] = json!([request.process]);
    world.apply("web", "web", spec);
}

fn world(request: &Request) -> Paused {
    let mut world = Paused::new();
    world.service_templates(["web".to_owned()].into_iter());
    world.sim().update_state(|state| state.schema = request.schema);
    // By a template of somebody else the operator knows which form of sockets this server has.
    let foreign = json!({ "bk_process_name": locked("theirs"), "bk_func_name": locked("theirs") });
    world.sim().add_process_template(1, "somebody", &serde_json::from_value(foreign).unwrap()).unwrap();
    world.start_operator();
    apply(&world, request);
    world
}

// The first request of a call.
async fn first(world: &Paused, call: &str) -> Value {
    let find = |world: &Paused| world.sim().requests().into_iter().find(|record| record.call == call);
    world.until(PATIENCE, call, |world| find(world).is_some()).await;
    find(world).unwrap().body
}

// A property or a cell: a missing one, and a missing value, is null and unlocked.
fn plain(pair: &Value) -> (Value, bool) {
    (pair["value"].clone(), pair["as_default_value"].as_bool().unwrap_or_default())
}

// Each property and each cell, by name.
fn properties(spec: &Map<String, Value>) -> Vec<(String, (Value, bool))> {
    let mut found = Vec::new();
    for (name, sent) in spec {
        let Some(rows) = sent["value"].as_array() else {
            found.push((name.clone(), plain(sent)));
            continue;
        };
        found.push((name.clone(), (rows.len().into(), plain(sent).1)));
        for (index, row) in rows.iter().enumerate() {
            for (cell, sent) in row.as_object().unwrap().iter().filter(|(cell, _)| *cell != "row_id") {
                found.push((format!("{name}[{index}].{cell}"), plain(sent)));
            }
        }
    }
    found
}

/// How many properties were compared, and those that are not as they should be.
#[derive(Default)]
struct Compared {
    properties: usize,
    wrong: Vec<String>,
}

impl Compared {
    fn add(&mut self, name: &str, sent: &Value, expected: &Value) {
        let (sent, expected) = (properties(sent.as_object().unwrap()), properties(expected.as_object().unwrap()));
        let of = |pairs: &[(String, (Value, bool))], name: &str| {
            let found = pairs.iter().find(|(known, _)| known == name);
            found.map_or((Value::Null, false), |(_, pair)| pair.clone())
        };
        let names: BTreeSet<&String> = sent.iter().chain(&expected).map(|(name, _)| name).collect();
        self.properties += names.len();
        for property in names {
            let (sent, expected) = (of(&sent, property), of(&expected, property));
            if sent != expected {
                self.wrong.push(format!("{name}: {property} was sent as {sent:?} instead of {expected:?}"));
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn each_property_is_sent_under_its_name_with_its_value_and_its_lock() {
    let mut compared = Compared::default();
    let mut worlds = Vec::new();
    for request in [older_document(), newer_document()] {
        let world = world(&request);
        compared.add(request.name, &first(&world, CREATE).await["processes"][0]["spec"], &request.wire);
        worlds.push(world);
    }

    for schema in [Schema::Flat, Schema::BindInfo] {
        let (created, edited) = (distinct(schema, 1), distinct(schema, 2));
        assert_distinct(&created);
        assert_distinct(&edited);
        let world = world(&created);
        compared.add("create", &first(&world, CREATE).await["processes"][0]["spec"], &created.wire);

        // What was created otherwise may be refused, and then there is no update.
        if !compared.wrong.is_empty() {
            continue;
        }
        apply(&world, &edited);
        let mut changed = edited.wire;
        for name in ["bk_func_name", "bk_process_name"] {
            changed.as_object_mut().unwrap().remove(name);
        }
        compared.add("update", &first(&world, UPDATE).await["process_property"], &changed);
        worlds.push(world);
    }

    let wrong = &compared.wrong;
    if wrong.is_empty() {
        // What the lists show is read as it was sent.
        for world in &worlds {
            world.until_all_ready(PATIENCE).await;
        }
    }
    for wrong in wrong {
        println!("{wrong}");
    }
    println!("wire: properties={} wrong={}", compared.properties, wrong.len());
    assert!(wrong.is_empty(), "{wrong:?}");
}
