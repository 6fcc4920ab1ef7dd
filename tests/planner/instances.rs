//! What is sent so that instances follow, and what is said where they do not: values that leave a manifest, removed sockets,
//! cells that are locked without a value.

use crate::model::Server;
use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::{
    Cause, Decision, Desired, Memory, Pair, Policy, Preview, Properties, Row, ServerSchema, SetName, Stage, Step,
    Value as PlanValue, forecast,
};
use serde_json::{Value, json};

/// A set of the process "nginx", with these fields.
pub fn set(mut spec: Value, process: &Value) -> (Desired, Policy) {
    let mut wanted = json!({ "name": "nginx", "funcName": "nginx" });
    wanted.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
    spec["bizId"] = 2.into();
    spec["serviceTemplate"] = json!({ "name": "web" });
    spec["processes"] = json!([wanted]);
    let spec: ProcessTemplateSetSpec = serde_json::from_value(spec).unwrap();
    (Desired::from_spec(SetName { namespace: "shop".to_owned(), name: "web".to_owned() }, &spec), Policy::of(&spec))
}

// A server and a memory where a process has been carried out.
fn settled(schema: ServerSchema, process: &Value) -> (Server, Memory) {
    let (desired, policy) = set(json!({}), process);
    let (mut server, mut memory) = (Server::new(schema), Memory::default());
    server.run(&desired, &mut memory, &policy, usize::MAX);
    (server, memory)
}

// What a set sends in its only write, which leaves nothing to do.
fn sent(server: &mut Server, memory: &mut Memory, set: &(Desired, Policy)) -> Properties {
    let steps = server.run(&set.0, memory, &set.1, usize::MAX);
    assert!(server.plan(&set.0, memory, &set.1).is_settled());
    match steps.as_slice() {
        [Step::Update { properties, .. }] => properties.clone(),
        [Step::Create { create, .. }] => create.properties.clone(),
        steps => panic!("{steps:?}"),
    }
}

fn wire(properties: &Properties, name: &str) -> Value {
    let pair = properties.get(name).unwrap();
    json!([pair.value.to_json(), pair.locked])
}

fn text(server: &Server, memory: &Memory, set: &(Desired, Policy)) -> String {
    let observed = server.observed();
    let preview = Preview {
        set: set.0.set.clone(),
        biz_id: 2,
        service_template_id: Some(1),
        service_template: None,
        stage: Stage::Live,
        templates: server.templates.clone(),
        plan: server.plan(&set.0, memory, &set.1),
        steps: forecast(&set.0, &observed, &[], memory, &set.1),
    };
    let (text, data) = (preview.to_text(), preview.to_json().to_string());
    for line in text.lines().filter_map(|line| line.trim().strip_prefix("note: ")) {
        assert!(data.contains(line), "{line}: {data}");
    }
    text
}

fn socket() -> Value {
    json!({ "port": 80, "protocol": "TCP", "ip": "0.0.0.0", "enable": true })
}

#[test]
fn the_last_socket_is_removed_with_the_outer_flag_on() {
    let ways = [
        (json!({}), json!({})),
        (json!({ "lockPolicy": "Unlocked" }), json!({})),
        (json!({ "locked": ["startCmd"] }), json!({ "unlocked": ["port", "bindIp"] })),
        (json!({ "lockPolicy": "Unlocked" }), json!({ "bindIp": "127.0.0.1" })),
    ];
    for (spec, process) in ways {
        let (mut server, mut memory) = settled(ServerSchema::BindInfo, &json!({ "bindInfo": [socket()] }));
        let without = set(spec.clone(), &process);
        assert_eq!(
            wire(&sent(&mut server, &mut memory, &without), "bind_info"),
            json!([null, true]),
            "{spec} {process}"
        );

        // Afterwards the flag alone is no difference.
        for flag in [false, true] {
            server.templates[0].properties.insert("bind_info", Pair { value: PlanValue::Empty, locked: flag });
            let plan = server.plan(&without.0, &memory, &without.1);
            assert!(matches!(plan.items[0].decision, Decision::InSync { .. }), "{spec} {process} {flag}: {plan:?}");
            let adopted = server.plan(&without.0, &Memory::default(), &without.1);
            assert!(
                matches!(adopted.items[0].decision, Decision::InSync { .. }),
                "{spec} {process} {flag}: {adopted:?}"
            );
        }
    }
}

#[test]
fn what_says_something_of_the_outer_flag_is_compared_with_it() {
    let says = [
        (json!({}), json!({ "bindInfo": [] }), true),
        (json!({ "lockPolicy": "Unlocked" }), json!({ "bindInfo": [] }), false),
        (json!({}), json!({ "locked": ["bindInfo"] }), true),
        (json!({ "locked": ["bindInfo"] }), json!({}), true),
        (json!({}), json!({ "unlocked": ["bindInfo"] }), false),
        (json!({ "unlocked": ["bindInfo"] }), json!({}), false),
    ];
    for (spec, process, flag) in says {
        let (mut server, mut memory) = settled(ServerSchema::BindInfo, &json!({ "bindInfo": [socket()] }));
        let wanted = set(spec.clone(), &process);
        assert_eq!(
            wire(&sent(&mut server, &mut memory, &wanted), "bind_info"),
            json!([null, flag]),
            "{spec} {process}"
        );
        // As an older version, or somebody, has left it.
        server.templates[0].properties.insert("bind_info", Pair { value: PlanValue::Empty, locked: !flag });
        assert_eq!(
            wire(&sent(&mut server, &mut memory, &wanted), "bind_info"),
            json!([null, flag]),
            "{spec} {process}"
        );
    }
}

#[test]
fn an_older_server_gets_locks_of_absent_sockets_as_null_and_locked() {
    let all = json!({ "locked": ["bindIp", "port", "protocol"] });
    let flat = json!({ "bindIp": "127.0.0.1", "port": 80, "protocol": "TCP" });
    for before in [None, Some(json!({})), Some(flat), Some(json!({ "bindInfo": [socket()] }))] {
        for (spec, process) in
            [(json!({}), all.clone()), (all.clone(), json!({})), (all.clone(), json!({ "bindInfo": [] }))]
        {
            let (mut server, mut memory) = match &before {
                Some(before) => settled(ServerSchema::Flat, before),
                None => (Server::new(ServerSchema::Flat), Memory::default()),
            };
            let locked = set(spec.clone(), &process);
            let said = text(&server, &memory, &locked);
            let is_said =
                said.contains("bindIp, port, protocol are sent as null and locked") && said.contains("not recorded");
            assert!(is_said, "{before:?} {spec} {process}: {said}");
            let plan = server.plan(&locked.0, &memory, &locked.1);
            if let Decision::Update(change) = &plan.items[0].decision {
                assert_eq!(change.cause, Cause::Spec, "{before:?} {spec} {process}");
            }
            let sent = sent(&mut server, &mut memory, &locked);
            for name in ["bind_ip", "port", "protocol"] {
                assert_eq!(wire(&sent, name), json!([null, true]), "{before:?} {spec} {process} {name}");
            }
        }
    }
}

#[test]
fn an_older_servers_sockets_are_left_alone_where_they_are_unmanaged() {
    let flat = json!({ "bindIp": "127.0.0.1", "port": 80, "protocol": "TCP" });
    let (server, memory) = settled(ServerSchema::Flat, &flat);
    let unmanaged = set(json!({}), &json!({ "unmanaged": ["bindIp", "port", "protocol"] }));
    let plan = server.plan(&unmanaged.0, &memory, &unmanaged.1);
    assert!(matches!(plan.items[0].decision, Decision::InSync { .. }), "{plan:?}");
}

#[test]
fn what_instances_keep_is_said_with_how_to_clear_it() {
    let before = json!({
        "startCmd": "./start.sh", "user": "root", "workPath": "", "procNum": 2, "bindInfo": [socket()],
        "extraProperties": [{ "name": "start_cmd_2", "value": "x" }],
    });
    let (mut server, memory) = settled(ServerSchema::BindInfo, &before);
    let shown = |server: &Server, process: Value| text(server, &memory, &set(json!({}), &process));
    let without = shown(&server, json!({}));
    assert!(
        without.contains(
            "instances keep procNum, startCmd, user; to clear it there write locked: [procNum, startCmd, user]"
        ),
        "{without}"
    );
    assert!(
        without.contains("instances show a difference, and the next synchronisation removes their sockets"),
        "{without}"
    );

    let blind = shown(&server, json!({ "unlocked": ["bindInfo"] }));
    assert!(blind.contains("show no difference") && blind.contains("write locked: [bindInfo]"), "{blind}");

    let cells = shown(&server, json!({ "bindInfo": [{ "port": 80, "protocol": "TCP" }] }));
    for part in [
        "keep enable of port 80; to clear it there write enable: false",
        "keep ip of port 80; to clear it there write locked: [ip]",
    ] {
        assert!(cells.contains(part), "{part}: {cells}");
    }

    // Nothing is to be said of what instances follow.
    let followed = json!({
        "locked": ["startCmd", "user", "procNum"], "workPath": "",
        "bindInfo": [{ "port": 80, "protocol": "TCP", "locked": ["ip"], "enable": false }],
    });
    let followed = shown(&server, followed);
    assert!(!followed.contains("instances") && followed.contains("startCmd"), "{followed}");

    // And nothing of an empty text.
    server.templates[0].properties.insert("start_cmd", Pair::new("", true));
    let said = shown(&server, json!({}));
    assert!(said.contains("instances keep procNum, user;"), "{said}");

    let (server, memory) = settled(ServerSchema::Flat, &json!({ "port": 80, "protocol": "TCP" }));
    let flat = text(&server, &memory, &set(json!({}), &json!({})));
    assert!(flat.contains("instances keep port, protocol;") && flat.contains("not recorded"), "{flat}");
}

// Each way to lock a cell that has no value.
fn locked_without_a_value() -> Vec<(Value, Value, Value, Value)> {
    let row = json!({ "port": 80, "protocol": "TCP" });
    let (off, none) = (json!([false, true]), json!(["", true]));
    let cells = |cells: Value| json!({ "bindInfo": [{ "port": 80, "protocol": "TCP", "locked": cells }] });
    vec![
        (json!({}), json!({ "locked": ["bindInfo"], "bindInfo": [row] }), off.clone(), none.clone()),
        (json!({ "locked": ["bindInfo"] }), json!({ "bindInfo": [row] }), off.clone(), none.clone()),
        (json!({}), cells(json!(["enable", "ip"])), off.clone(), none.clone()),
        (json!({}), cells(json!(["enable"])), off, json!([null, false])),
        (json!({}), cells(json!(["ip"])), json!([null, false]), none.clone()),
        (json!({}), json!({ "port": 80, "protocol": "TCP", "locked": ["bindIp"] }), json!([true, true]), none),
        (json!({}), json!({ "bindInfo": [row] }), json!([null, false]), json!([null, false])),
    ]
}

fn cell(row: &Value, name: &str) -> Value {
    json!([row[name]["value"], row[name]["as_default_value"]])
}

#[test]
fn a_locked_cell_without_a_value_is_sent_as_what_instances_have_then() {
    for (spec, process, enable, ip) in locked_without_a_value() {
        for before in [None, Some(json!({ "bindInfo": [{ "port": 81, "protocol": "UDP" }] }))] {
            let (mut server, mut memory) = match &before {
                Some(before) => settled(ServerSchema::BindInfo, before),
                None => (Server::new(ServerSchema::BindInfo), Memory::default()),
            };
            let sent = sent(&mut server, &mut memory, &set(spec.clone(), &process));
            let row = &sent.get("bind_info").unwrap().value.to_json()[0];
            assert_eq!((cell(row, "enable"), cell(row, "ip")), (enable.clone(), ip.clone()), "{spec} {process}");
        }
    }
}

fn null_cells(server: &mut Server) {
    let row = |id, port: &str| Row {
        id: Some(id),
        ip: Pair { value: PlanValue::Empty, locked: true },
        port: Pair::new(port, true),
        protocol: Pair::new("1", true),
        enable: Pair { value: PlanValue::Empty, locked: true },
        others: None,
    };
    let rows = Pair::new(PlanValue::Rows([row(7, "81"), row(4, "80")].into()), true);
    server.templates[0].properties.insert("bind_info", rows);
}

fn two(first: &Value) -> Value {
    json!({ "locked": ["bindInfo"], "bindInfo": [first, { "port": 81, "protocol": "TCP" }] })
}

#[test]
fn cells_that_instances_never_match_are_named_until_something_mends_them() {
    let absent = set(json!({}), &two(&json!({ "port": 80, "protocol": "TCP" })));
    let (mut server, mut memory) = settled(ServerSchema::BindInfo, &two(&json!({ "port": 80, "protocol": "TCP" })));
    assert!(!text(&server, &memory, &absent).contains("never in sync"));
    null_cells(&mut server);
    let said = text(&server, &memory, &absent);
    for part in [
        "enable of the bindInfo row of port 80 is null",
        "ip of the bindInfo row of port 80 is null",
        "enable: false",
        "unlocked: [ip]",
        "1 of 1 in sync",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let unmanaged = set(json!({}), &json!({ "unmanaged": ["bindInfo"] }));
    assert!(!text(&server, &memory, &unmanaged).contains("never in sync"));

    // What the manifest writes differs from null; all of the rows are sent then, with their ids.
    let written = set(json!({}), &two(&json!({ "port": 80, "protocol": "TCP", "enable": false })));
    assert!(!text(&server, &memory, &written).contains("never in sync"));
    let sent = sent(&mut server, &mut memory, &written);
    let rows = sent.get("bind_info").unwrap().value.to_json();
    for (row, id) in rows.as_array().unwrap().iter().zip([4, 7]) {
        assert_eq!(
            (cell(row, "enable"), cell(row, "ip"), &row["row_id"]),
            (json!([false, true]), json!(["", true]), &json!(id))
        );
    }
}

#[test]
fn rows_that_differ_in_protocol_alone_keep_their_ids_when_null_is_mended() {
    let both = |more: Value| {
        let mut process = json!({ "locked": ["bindInfo"], "bindInfo": [{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }] });
        process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        process
    };
    let (mut server, mut memory) = settled(ServerSchema::BindInfo, &both(json!({})));
    let PlanValue::Rows(mut rows) = server.templates[0].properties.get("bind_info").unwrap().value.clone() else {
        panic!()
    };
    for row in &mut rows {
        row.enable.value = PlanValue::Empty;
    }
    let ids = |rows: &[Row]| -> Vec<(Option<i64>, PlanValue)> {
        let mut ids: Vec<_> = rows.iter().map(|row| (row.id, row.protocol.value.clone())).collect();
        ids.sort_by_key(|(id, _)| *id);
        ids
    };
    let before = ids(&rows);
    server.templates[0].properties.insert("bind_info", Pair::new(PlanValue::Rows(rows), true));
    let third = json!({ "bindInfo": [{ "port": 53, "protocol": "TCP" }, { "port": 53, "protocol": "UDP" }, { "port": 54, "protocol": "TCP" }] });
    let sent = sent(&mut server, &mut memory, &set(json!({}), &both(third)));
    let PlanValue::Rows(rows) = &sent.get("bind_info").unwrap().value else { panic!() };
    assert_eq!(ids(&rows[..2]), before);
}
