//! What is sent so that instances follow, and what is said where they do not: values that leave a manifest, removed sockets,
//! cells that are locked without a value.

use crate::model::Server;
use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::{
    Cause, Decision, Desired, Memory, Pair, Policy, Preview, Properties, ServerSchema, SetName, Stage, Step,
    Value as PlanValue, forecast,
};
use serde_json::{Value, json};

fn set(mut spec: Value, process: &Value) -> (Desired, Policy) {
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
