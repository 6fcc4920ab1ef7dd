//! A create is checked, stored and answered as the real server does.

use cmdb_sim::{Effect, Fault, Options, Schema};
use serde_json::{Value, json};

use crate::esb::{
    CREATE, Server, batch, invalid, locked, name_taken, process, process_with, refusal, service_template, undecodable,
};

fn row(ip: &str, port: &str, protocol: &str) -> Value {
    json!({"ip": locked(ip), "port": locked(port), "protocol": locked(protocol), "enable": locked(true)})
}

#[tokio::test]
async fn a_create_answers_flat_ids_in_the_order_of_the_request() {
    let server = Server::start().await;
    let reply = server.create(vec![process("b"), process("a"), process("c")]).await;
    let request_id = reply["request_id"].as_str().unwrap();
    assert_eq!(request_id.len(), 32);
    let expected = json!({"result": true, "code": 0, "message": "success", "data": [1, 2, 3], "permission": null,
        "request_id": request_id});
    assert_eq!(reply, expected);
    assert_eq!(server.names().await, ["c", "a", "b"]);
}

#[tokio::test]
async fn a_listed_template_has_every_property_of_its_schema() {
    let names = |properties: &Value| properties.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let server = Server::start().await;
    server.created(vec![process("a")]).await;
    let template = server.list().await.remove(0);
    assert_eq!(
        names(&template),
        [
            "bk_biz_id",
            "bk_process_name",
            "bk_supplier_account",
            "create_time",
            "creator",
            "id",
            "last_time",
            "modifier",
            "property",
            "service_template_id"
        ]
    );
    assert_eq!(template["creator"], "ann");
    assert_eq!(template["modifier"], "ann");
    assert_eq!(template["bk_supplier_account"], "0");
    let time = template["create_time"].as_str().unwrap();
    assert!(time.len() == 24 && time.ends_with('Z') && &time[19..20] == ".", "{time}");
    let properties = &template["property"];
    assert_eq!(
        names(properties),
        [
            "auto_start",
            "bind_info",
            "bk_func_name",
            "bk_process_name",
            "bk_start_check_secs",
            "bk_start_param_regex",
            "description",
            "face_stop_cmd",
            "pid_file",
            "priority",
            "proc_num",
            "reload_cmd",
            "restart_cmd",
            "start_cmd",
            "stop_cmd",
            "timeout",
            "user",
            "work_path"
        ]
    );
    assert_eq!(properties["user"], json!({"value": null, "as_default_value": null}));
    assert_eq!(properties["bind_info"], json!({"value": null, "as_default_value": null}));

    let server = Server::flat().await;
    server.created(vec![process("a")]).await;
    let properties = server.list().await.remove(0)["property"].clone();
    assert!(properties.get("bind_info").is_none());
    for name in ["bind_ip", "port", "protocol", "auto_time_gap", "bk_func_id", "bk_enable_port"] {
        assert_eq!(properties[name], json!({"value": null, "as_default_value": null}), "{name}");
    }
}

#[tokio::test]
async fn no_processes_at_all_are_a_success_whatever_else_is_wrong() {
    let server = Server::start().await;
    for body in [json!({}), json!({"processes": null}), json!({"bk_biz_id": 99, "processes": []})] {
        let reply = server.call(CREATE, body).await;
        assert_eq!((&reply["code"], &reply["data"]), (&json!(0), &json!([])), "{reply}");
    }
    let reply = server.call(CREATE, json!({"bk_biz_id": "2", "processes": []})).await;
    assert_eq!(refusal(&reply), undecodable());
}

#[tokio::test]
async fn wrong_json_types_refuse_the_whole_body() {
    let server = Server::start().await;
    let bodies = [
        json!({"bk_biz_id": "2"}),
        json!({"service_template_id": 1.0}),
        json!({"processes": {}}),
        batch(vec![json!(1)]),
        batch(vec![json!({"spec": []})]),
        batch(vec![process_with("a", "timeout", locked("60"))]),
        batch(vec![process_with("a", "timeout", locked(1.5))]),
        batch(vec![process_with("a", "timeout", locked(1.0))]),
        batch(vec![process_with("a", "timeout", json!(60))]),
        batch(vec![process_with("a", "timeout", json!({"value": 60, "as_default_value": "true"}))]),
        batch(vec![process_with("a", "user", locked(1))]),
        batch(vec![process_with("a", "auto_start", locked("true"))]),
        batch(vec![process_with("a", "bind_info", locked(json!({})))]),
        batch(vec![process_with("a", "bind_info", locked(json!([1])))]),
        batch(vec![process_with("a", "bind_info", locked(json!([{"row_id": "1"}])))]),
        batch(vec![process_with("a", "bind_info", locked(json!([{"port": locked(80)}])))]),
    ];
    for body in bodies {
        assert_eq!(refusal(&server.call(CREATE, body.clone()).await), undecodable(), "{body}");
    }
    let text = r#"{"bk_app_code":"a","bk_app_secret":"b","bk_username":"c","bk_biz_id":2,"service_template_id":1,
        "processes":[{"spec":{"bk_process_name":{"value":"a"},"bk_func_name":{"value":"a"},"proc_num":{"value":1e2}}}]}"#;
    assert_eq!(refusal(&server.raw(CREATE, text).await), undecodable());
    assert!(server.list().await.is_empty());
}

#[tokio::test]
async fn checks_come_in_the_order_of_the_server() {
    let server = Server::start().await;
    server.created(vec![process("taken")]).await;
    server.simulator.update_state(|state| {
        let mut other = state.businesses[0].clone();
        other.bk_biz_id = 3;
        state.businesses.push(other);
    });
    // Each row breaks one rule less than the row before it.
    let space = (1_199_998, "field user contains space:  root".to_owned());
    let too_many = (1_199_035, " create process template exceed the limit 100".to_owned());
    let wrong = |key: &str, value: Value| {
        let mut body = batch(vec![process("taken")]);
        body[key] = value;
        body
    };
    let mut everything = vec![process_with("a", "user", locked(" root")); 101];
    let mut with_type_error = everything.clone();
    with_type_error[100]["spec"]["timeout"] = json!("60");
    let unspaced = vec![json!({"spec": null}); 101];
    let mut nameless = process_with("", "proc_num", locked(0));
    nameless["spec"]["bk_func_name"] = Value::Null;
    let mut bad_row = nameless.clone();
    bad_row["spec"]["bind_info"] = locked(json!([row("1", "", "1")]));
    let mut functionless = process_with("a", "proc_num", locked(0));
    functionless["spec"]["bk_func_name"] = Value::Null;
    let mut late = process_with("a", "priority", locked(-101));
    for (name, value) in [("bk_start_check_secs", 0), ("timeout", 0), ("proc_num", 10_001)] {
        late["spec"][name] = locked(value);
    }
    let mut wrong_business = wrong("bk_biz_id", json!(99));
    wrong_business["service_template_id"] = json!(99);
    everything.truncate(1);
    let mut table = vec![
        (batch(with_type_error), undecodable()),
        (batch(vec![process_with("a", "user", locked(" root")); 101]), space.clone()),
        (batch(everything), space),
        (batch(unspaced), too_many),
        (batch(vec![json!({})]), invalid("property")),
        (batch(vec![json!({"spec": null})]), invalid("property")),
        (batch(vec![bad_row]), invalid("bind_info[0].port")),
        (batch(vec![nameless]), invalid("bk_process_name")),
        (batch(vec![functionless]), invalid("bk_func_name")),
    ];
    for field in ["bk_start_check_secs", "timeout", "proc_num", "priority"] {
        table.push((batch(vec![late.clone()]), invalid(field)));
        late["spec"][field] = locked(1);
    }
    table.extend([
        (wrong_business, invalid("bk_biz_id")),
        (wrong("bk_biz_id", json!(0)), invalid("bk_biz_id")),
        (wrong("service_template_id", json!(99)), invalid("service_template_id")),
        (wrong("service_template_id", Value::Null), invalid("service_template_id")),
        (wrong("bk_biz_id", json!(3)), invalid("bk_biz_id")),
        (batch(vec![process("taken")]), (1_113_019, "process name [taken] unique validation failed".to_owned())),
    ]);
    for (body, expected) in table {
        assert_eq!(refusal(&server.call(CREATE, body.clone()).await), expected, "{body}");
    }
    // A bad property wins over a bad business.
    let mut body = wrong("bk_biz_id", json!(99));
    body["processes"] = json!([process("")]);
    assert_eq!(refusal(&server.call(CREATE, body).await), invalid("bk_process_name"));
}

#[tokio::test]
async fn integers_have_their_ranges() {
    let server = Server::start().await;
    let good = [
        ("proc_num", 1, 10_000),
        ("timeout", 1, 10_000),
        ("bk_start_check_secs", 1, 10_000),
        ("priority", -100, 10_000),
    ];
    for (name, low, high) in good {
        let ends = [low, high].map(|value| process_with(&format!("{name} {value}"), name, locked(value)));
        server.created(ends.to_vec()).await;
        for value in [low - 1, high + 1] {
            assert_eq!(server.refused(vec![process_with("bad", name, locked(value))]).await, invalid(name));
        }
    }
    let server = Server::flat().await;
    assert_eq!(server.refused(vec![process_with("a", "priority", locked(0))]).await, invalid("priority"));
    assert_eq!(server.refused(vec![process_with("a", "auto_time_gap", locked(0))]).await, invalid("auto_time_gap"));
}

#[tokio::test]
async fn outer_white_space_of_any_kind_is_refused_unless_the_rule_is_off() {
    let server = Server::start().await;
    for text in ["a ", "\ta", "a\n", "\u{a0}a", "a\u{3000}", "   "] {
        let (code, message) = server.refused(vec![process("ok"), process_with("x", "start_cmd", locked(text))]).await;
        assert_eq!(code, 1_199_998);
        assert!(message.starts_with("field start_cmd contains space: "), "{message}");
    }
    let mut both = process_with("x", "user", locked(" a"));
    both["spec"]["stop_cmd"] = locked("b ");
    let (_, message) = server.refused(vec![both]).await;
    assert!(message.starts_with("field stop_cmd contains"), "the first in the server's own order: {message}");
    let cell = process_with("cell", "bind_info", locked(json!([row("1", " 80", "1")])));
    assert_eq!(server.refused(vec![cell]).await, invalid("bind_info[0].port"));
    server.created(vec![process("inner blank 中文 \" \\ $ .")]).await;
    server.simulator.update_state(|state| state.whitespace_rule = false);
    server.created(vec![process(" a ")]).await;
    assert_eq!(server.names().await[0], " a ");
}

#[tokio::test]
async fn the_two_names_are_always_locked_and_unknown_keys_vanish() {
    let server = Server::start().await;
    let spec = json!({"bk_process_name": {"value": "a", "as_default_value": false}, "bk_func_name": {"value": "b"},
        "user": {"value": "", "as_default_value": false}, "work_path": {"as_default_value": true}, "nice": locked(1),
        "create_time": locked("x"), "pid_file": null});
    server.created(vec![json!({"spec": spec, "more": 1})]).await;
    let properties = server.list().await.remove(0)["property"].clone();
    assert_eq!(properties["bk_process_name"], locked("a"));
    assert_eq!(properties["bk_func_name"], locked("b"));
    assert_eq!(properties["user"], json!({"value": "", "as_default_value": false}));
    assert_eq!(properties["work_path"], json!({"value": null, "as_default_value": true}));
    assert_eq!(properties["pid_file"], json!({"value": null, "as_default_value": null}));
    assert!(properties.get("nice").is_none() && properties.get("create_time").is_none());
}

#[tokio::test]
async fn rows_of_bind_info_are_checked_cell_by_cell() {
    let server = Server::start().await;
    let mut without_protocol = row("1", "80", "1");
    without_protocol["protocol"] = Value::Null;
    let table = [
        (row("9", "", ""), "bind_info[1].ip"),
        (row("1", "", ""), "bind_info[1].port"),
        (row("1", "080", "1"), "bind_info[1].port"),
        (row("1", "80,80", "1"), "bind_info[1].port"),
        (row("1", "80", ""), "bind_info[1].protocol"),
        (row("1", "80", "5"), "bind_info[1].protocol"),
        (without_protocol, "bind_info[1].protocol"),
        (row("1", "80", "3"), "bind_info[1].(ip and protocol)"),
        (row("8", "80", "2"), "bind_info[1].(ip and protocol)"),
        (json!({}), "bind_info[1].port"),
    ];
    for (bad, field) in table {
        let rows = json!([row("5", "80", "3"), bad]);
        assert_eq!(server.refused(vec![process_with("a", "bind_info", locked(rows))]).await, invalid(field));
    }
    let rows = json!([row("", "1-5,8", "4"), row("4", "80", "2"), row("6", "65535", "3")]);
    server.created(vec![process_with("a", "bind_info", locked(rows))]).await;
}

#[tokio::test]
async fn rows_without_an_id_are_numbered_after_the_highest() {
    let server = Server::start().await;
    let rows = |ids: &[Option<i64>]| -> Value {
        ids.iter()
            .map(|id| {
                let mut row = row("1", "80", "1");
                row["row_id"] = json!(id);
                row["note"] = json!("dropped");
                row
            })
            .collect()
    };
    let table: [(&[Option<i64>], &[i64]); 4] = [
        (&[None, None], &[1, 2]),
        (&[None, Some(7), Some(0), Some(3)], &[8, 7, 9, 3]),
        (&[Some(2), Some(2), None], &[2, 2, 3]),
        (&[Some(-5), None], &[-5, 1]),
    ];
    for (at, (sent, expected)) in table.into_iter().enumerate() {
        server.created(vec![process_with(&format!("p{at}"), "bind_info", locked(rows(sent)))]).await;
        let stored = server.list().await.remove(0)["property"]["bind_info"]["value"].clone();
        let ids: Vec<i64> = stored.as_array().unwrap().iter().map(|row| row["row_id"].as_i64().unwrap()).collect();
        assert_eq!(ids, expected);
        let mut row = row("1", "80", "1");
        row["row_id"] = json!(expected[0]);
        assert_eq!(stored[0], row);
    }
}

#[tokio::test]
async fn a_missing_bind_info_is_not_an_empty_one() {
    let server = Server::start().await;
    let processes = [
        process("a"),
        process_with("b", "bind_info", locked(json!([]))),
        process_with("c", "bind_info", json!({"value": null, "as_default_value": false})),
    ];
    server.created(processes.to_vec()).await;
    let stored: Vec<Value> =
        server.list().await.iter().rev().map(|template| template["property"]["bind_info"].clone()).collect();
    assert_eq!(stored[0], json!({"value": null, "as_default_value": null}));
    assert_eq!(stored[1], json!({"value": [], "as_default_value": true}));
    assert_eq!(stored[2], json!({"value": null, "as_default_value": false}));
}

#[tokio::test]
async fn a_name_is_taken_once_per_service_template_even_inside_a_batch() {
    let server = Server::start().await;
    let duplicate = |name: &str| (1_113_019, format!("process name [{name}] unique validation failed"));
    assert_eq!(server.refused(vec![process("a"), process("b"), process("a")]).await, duplicate("a"));
    assert!(server.list().await.is_empty());
    server.created(vec![process("a")]).await;
    assert_eq!(server.refused(vec![process("b"), process("a")]).await, duplicate("a"));
    server.created(vec![process("A")]).await;
    server.call("create_service_template", service_template("other")).await;
    let mut body = batch(vec![process("a")]);
    body["service_template_id"] = json!(2);
    assert_eq!(server.call(CREATE, body).await["code"], 0);
}

#[tokio::test]
async fn only_a_stored_start_parameter_takes_a_function_name() {
    let process = |name: &str, regex: Option<&str>| {
        let mut process = process_with(name, "bk_func_name", locked("nginx"));
        if let Some(regex) = regex {
            process["spec"]["bk_start_param_regex"] = locked(regex);
        }
        process
    };
    let taken = |regex: &str| {
        let text = format!("process name [nginx] and start parameter [{regex}] unique validation failed");
        (1_113_020, text)
    };
    let server = Server::start().await;
    server.created(vec![process("a", None), process("b", None)]).await;
    server.created(vec![process("c", Some(""))]).await;
    assert_eq!(server.refused(vec![process("d", None)]).await, taken(""));
    assert_eq!(server.refused(vec![process("d", Some(""))]).await, taken(""));
    server.created(vec![process("d", Some("x"))]).await;
    assert_eq!(server.refused(vec![process("e", Some("x"))]).await, taken("x"));
    assert_eq!(server.refused(vec![process("e", Some("y")), process("f", Some("y"))]).await, taken("y"));
}

#[tokio::test]
async fn a_batch_with_one_bad_process_stores_nothing_and_burns_its_ids() {
    let server = Server::start().await;
    assert_eq!(server.created(vec![process("a")]).await, [1]);
    assert_eq!(server.refused(vec![process("b"), process("c"), process("")]).await, invalid("bk_process_name"));
    assert_eq!(server.names().await, ["a"]);
    assert_eq!(server.created(vec![process("b")]).await, [4]);
}

#[tokio::test]
async fn an_id_is_never_used_twice() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    server.simulator.update_state(|state| state.process_templates.clear());
    let again = server.created(vec![process("b")]).await;
    assert!(again[0] > ids[1]);
    let (status, _) =
        server.admin(reqwest::Method::DELETE, &format!("process_templates/{}", again[0]), json!({})).await;
    assert_eq!(status, 204);
    assert!(server.created(vec![process("b")]).await[0] > again[0]);
}

#[tokio::test]
async fn a_hundred_processes_are_the_most_of_one_create() {
    let server = Server::start().await;
    let processes = |count: usize| (0..count).map(|at| process(&format!("p{at}"))).collect();
    let (code, message) = server.refused(processes(101)).await;
    assert_eq!((code, message.ends_with(" exceed the limit 100")), (1_199_035, true));
    assert_eq!(server.created(processes(100)).await.len(), 100);
}

#[tokio::test]
async fn the_requests_of_the_api_document_are_answered_as_real_servers_do() {
    let text = |value: &str| json!({"as_default_value": true, "value": value});
    let mut spec = json!({
        "auto_start": {"as_default_value": true, "value": false},
        "auto_time_gap": {"as_default_value": false},
        "bind_ip": text("1"),
        "bk_biz_id": {"as_default_value": true, "value": 2},
        "bk_func_id": text("1"),
        "bk_func_name": text("nginx"),
        "bk_process_id": {"as_default_value": true, "value": 3},
        "bk_process_name": text(""),
        "bk_supplier_account": text(""),
        "create_time": text("2019-05-06T07:12:35.082Z"),
        "description": text("a simple description"),
        "face_stop_cmd": text("./stop.sh"),
        "last_time": text("2019-05-06T07:12:35.082Z"),
        "pid_file": text(""),
        "port": text("8000,8001,8003,8004"),
        "priority": {"as_default_value": true, "value": 1},
        "proc_num": {"as_default_value": true, "value": 1},
        "protocol": text("1"),
        "reload_cmd": text(""),
        "restart_cmd": text("./restart.sh"),
        "start_cmd": text("./start.sh"),
        "stop_cmd": text("./stop.sh"),
        "timeout": {"as_default_value": true, "value": 60},
        "user": text(""),
        "work_path": text("/data/bkee"),
        "bk_start_param_regex": text(""),
    });
    let shared = [
        "auto_start",
        "bk_func_name",
        "description",
        "face_stop_cmd",
        "pid_file",
        "priority",
        "proc_num",
        "reload_cmd",
        "restart_cmd",
        "start_cmd",
        "stop_cmd",
        "timeout",
        "user",
        "work_path",
        "bk_start_param_regex",
    ];
    let unassigned = ["bk_biz_id", "bk_process_id", "bk_supplier_account", "create_time", "last_time"];
    let flat = ["bind_ip", "port", "protocol", "bk_func_id"];
    for schema in [Schema::BindInfo, Schema::Flat] {
        let server = Server::with(Options { schema, ..Options::default() }).await;
        spec["bk_process_name"] = text("");
        assert_eq!(server.refused(vec![json!({"spec": spec})]).await, invalid("bk_process_name"));
        spec["bk_process_name"] = text("nginx");
        assert_eq!(server.created(vec![json!({"spec": spec})]).await.len(), 1);
        let template = server.list().await.remove(0);
        assert_eq!(template["bk_process_name"], "nginx");
        let stored = template["property"].as_object().unwrap();
        for name in shared {
            assert_eq!(stored[name], spec[name], "{name}");
        }
        for name in unassigned {
            assert!(!stored.contains_key(name), "{name}");
        }
        for name in flat {
            assert_eq!(stored.get(name), (schema == Schema::Flat).then_some(&spec[name]), "{name}");
        }
        let gap = json!({"value": null, "as_default_value": false});
        assert_eq!(stored.get("auto_time_gap"), (schema == Schema::Flat).then_some(&gap));
        let none = json!({"value": null, "as_default_value": null});
        assert_eq!(stored.get("bind_info"), (schema == Schema::BindInfo).then_some(&none));
    }
    let server = Server::start().await;
    server.simulator.update_state(|state| state.nested_ids = true);
    assert_eq!(server.create(vec![json!({"spec": spec})]).await["data"], json!([[1]]));
}

#[tokio::test]
async fn the_flat_schema_checks_its_own_sockets_and_drops_bind_info() {
    let server = Server::flat().await;
    for (name, bad) in [("bind_ip", "5"), ("port", "80,80"), ("protocol", "3"), ("bk_gateway_protocol", "x")] {
        assert_eq!(server.refused(vec![process_with("a", name, locked(bad))]).await, invalid(name));
    }
    let mut process = process_with("a", "port", locked(""));
    process["spec"]["bind_info"] = json!("whatever");
    server.created(vec![process]).await;
    assert!(server.list().await[0]["property"].get("bind_info").is_none());
}

#[tokio::test]
async fn without_transactions_a_create_keeps_what_precedes_the_failure() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.non_atomic = true);
    let reply = server.call(CREATE, batch(vec![process("a"), process("b"), process("a"), process("c")])).await;
    assert_eq!(refusal(&reply), name_taken("a"));
    assert_eq!(server.names_by_id().await, ["a", "b"]);
    assert_eq!(server.recorded_ids(CREATE), [1, 2]);
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    assert!(server.send(CREATE, batch(vec![process("c"), process("a")])).await.is_err());
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(0.0, false)));
    assert!(server.send(CREATE, batch(vec![process("c"), process("a")])).await.is_err());
    assert_eq!(server.names_by_id().await, ["a", "b"]);
    assert_eq!(server.created(vec![process("c")]).await.len(), 1);
}
