//! An upgrade writes nothing: what the version before has remembered and left in CMDB means the same.

use crate::instances;
use crate::model::Server;
use process_template_operator::plan::{
    Decision, Desired, Memory, Pair, Policy, Properties, Row, ServerSchema, Value as PlanValue,
};
use serde_json::{Value, json};

fn set(spec: Value, process: Value) -> (Desired, Policy) {
    let mut started = json!({ "startCmd": "./start.sh" });
    started.as_object_mut().unwrap().extend(process.as_object().unwrap().clone());
    instances::set(spec, &started)
}

// Sets, and the hashes that the version before stored for them: on a server that keeps rows, and on an older one.
fn manifests() -> Vec<(Value, Value, Option<&'static str>, Option<&'static str>)> {
    let none = json!({});
    let row = json!({ "port": 80, "protocol": "TCP" });
    let locked_row = json!({ "port": 80, "protocol": "TCP", "locked": ["enable", "ip"] });
    let locked_ip = json!({ "port": "80,443", "protocol": "TCP", "locked": ["bindIp"] });
    let two = json!([row, { "port": 81, "protocol": "UDP", "ip": "0.0.0.0", "enable": true }]);
    let two_locked = json!([row, { "port": 81, "protocol": "UDP", "enable": false }]);
    let plain = "a1:dfd3d4f72103f0a83e40fbb550c6ddca";
    let on = "a1:95e6d967808df9b6b03a24405fd735a7";
    let address = "a1:1b0906f69811fdf299f67063a005aac3";
    let (cells, flat_cells) = ("a1:872f8a8b9f527e36c47e5af5ed4a6ce0", "a1:677a12638964867a414959194cdd8b7f");
    let unlocked = "a1:06a814dbffbe2d138d93988ea79b8ac1";
    let unmanaged = "a1:d0c3fe7915216d4f862de4e7596673d0";
    let table = [
        (&none, none.clone(), plain, plain),
        (&json!({ "lockPolicy": "Unlocked" }), none.clone(), unlocked, unlocked),
        (&none, json!({ "bindInfo": [] }), on, plain),
        (&none, json!({ "locked": ["bindInfo"] }), on, plain),
        (&json!({ "unlocked": ["bindInfo"] }), none.clone(), plain, plain),
        (&none, json!({ "locked": ["bindIp", "port", "protocol"] }), plain, plain),
        (&json!({ "locked": ["port"] }), none.clone(), plain, plain),
        (&none, json!({ "unmanaged": ["port"] }), unmanaged, unmanaged),
        (&none, json!({ "bindIp": "127.0.0.1" }), on, address),
        (&none, json!({ "bindIp": "127.0.0.1", "unlocked": ["bindInfo"] }), plain, address),
        (
            &none,
            json!({ "port": "80,443", "protocol": "TCP" }),
            "a1:21d4910af435ffb65769b33eb09d7f4a",
            "a1:d5adc3bfbd3fe85d78a3c93e49467c33",
        ),
        (&none, locked_ip, "a1:c2936812427ac34c68fef04b9188c190", "a1:fa4190bf3df43a1d36117db0af31b737"),
        (&none, json!({ "bindInfo": two }), "a1:a813f0b63d2e161eefb8239a1b5b47d9", ""),
        (&none, json!({ "locked": ["bindInfo"], "bindInfo": two_locked }), "a1:5f132483646d0319c081d5b1c3fbe708", ""),
        (&json!({ "locked": ["bindInfo"] }), json!({ "bindInfo": [row] }), cells, flat_cells),
        (&none, json!({ "bindInfo": [locked_row] }), cells, flat_cells),
    ];
    let hash = |hash: &'static str| Some(hash).filter(|hash| !hash.is_empty());
    table.into_iter().map(|(spec, process, rows, flat)| (spec.clone(), process, hash(rows), hash(flat))).collect()
}

// A server that the version before has written: what is absent is null, also where it is locked, and on an older server it is not
// locked without any socket.
fn written_before(desired: &Desired, schema: ServerSchema) -> Server {
    let wanted = desired.items[0].properties(schema).unwrap();
    let is_flat = |name: &str| ["bind_ip", "port", "protocol"].contains(&name);
    let has_socket = wanted.iter().any(|(name, pair)| is_flat(name) && pair.value != PlanValue::Empty);
    let sent = wanted.iter().map(|(name, pair)| {
        let pair = if is_flat(name) && !has_socket { Pair::EMPTY } else { pair.clone() };
        (name.to_owned().into(), pair)
    });
    let mut server = Server::new(schema);
    server.store(&sent.collect::<Properties>(), "ours");
    server
}

#[test]
fn a_status_of_the_version_before_means_the_same_to_each_kind_of_set() {
    for (mut spec, process, rows, flat) in manifests() {
        for (schema, hash) in [(ServerSchema::BindInfo, rows), (ServerSchema::Flat, flat)] {
            let Some(hash) = hash else { continue };
            spec["driftPolicy"] = "Detect".into();
            let (desired, policy) = set(spec.clone(), process.clone());
            let case = format!("{spec} {process} {schema:?}");
            let mut server = written_before(&desired, schema);

            let plan = server.plan(&desired, &server.remembered(Some(hash)), &policy);
            let Decision::InSync { applied_hash, .. } = &plan.items[0].decision else { panic!("{case}: {plan:?}") };
            assert_eq!(applied_hash, hash, "{case}");

            // Somebody changed another property while the old version ran.
            server.templates[0].properties.insert("start_cmd", Pair::new("./theirs.sh", true));
            let plan = server.plan(&desired, &server.remembered(Some(hash)), &policy);
            let Decision::Drifted(differences) = &plan.items[0].decision else { panic!("{case}: {plan:?}") };
            let differences: Vec<&str> = differences.iter().map(|difference| difference.property.as_str()).collect();
            assert_eq!((differences, plan.steps.as_slice()), (vec!["startCmd"], &[][..]), "{case}");
        }
    }
}

#[test]
fn what_the_version_before_left_is_adopted_without_a_write() {
    for (spec, process, rows, _) in manifests() {
        if rows.is_some() {
            let (desired, policy) = set(spec.clone(), process.clone());
            let mut server = written_before(&desired, ServerSchema::BindInfo);
            "somebody".clone_into(&mut server.templates[0].creator);
            let plan = server.plan(&desired, &Memory::default(), &policy);
            let is_in_sync = matches!(plan.items[0].decision, Decision::InSync { .. });
            assert!(is_in_sync && plan.steps.is_empty(), "{spec} {process}: {plan:?}");
        }
    }
}

// What a template may show of a socket of port 80 that was once without `enable` and `ip`.
fn listed(enable: PlanValue, ip: PlanValue) -> Pair {
    let row = Row {
        id: Some(3),
        ip: Pair::new(ip, true),
        port: Pair::new("80", true),
        protocol: Pair::new("1", true),
        enable: Pair::new(enable, true),
        others: None,
    };
    Pair::new(PlanValue::Rows([row].into()), true)
}

#[test]
fn each_form_of_an_empty_locked_cell_is_in_sync_with_an_absent_one() {
    let (desired, policy) =
        set(json!({}), json!({ "locked": ["bindInfo"], "bindInfo": [{ "port": 80, "protocol": "TCP" }] }));
    for enable in [PlanValue::Empty, false.into()] {
        for ip in [PlanValue::Empty, "".into()] {
            let mut server = written_before(&desired, ServerSchema::BindInfo);
            server.templates[0].properties.insert("bind_info", listed(enable.clone(), ip.clone()));
            let plan = server.plan(&desired, &Memory::default(), &policy);
            assert!(matches!(plan.items[0].decision, Decision::InSync { .. }), "{enable:?} {ip:?}: {plan:?}");
        }
    }
    let mut server = written_before(&desired, ServerSchema::BindInfo);
    server.templates[0].properties.insert("bind_info", listed(true.into(), PlanValue::Empty));
    let plan = server.plan(&desired, &Memory::default(), &policy);
    assert!(!matches!(plan.items[0].decision, Decision::InSync { .. }), "{plan:?}");
}
