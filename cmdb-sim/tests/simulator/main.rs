//! The simulator behaves as the real server does, as far as anybody can see from outside.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "support/esb.rs"]
mod esb;

use std::time::{Duration, Instant};

use cmdb_sim::{Account, Effect, Fault, Options, Schema, Simulator};
use esb::{
    CREATE, LIST, Server, batch, client, invalid, locked, process, process_with, refusal, service_template, undecodable,
};
use serde_json::{Value, json};

impl Server {
    async fn raw(&self, name: &str, body: &str) -> Value {
        self.client.post(self.url(name)).body(body.to_owned()).send().await.unwrap().json().await.unwrap()
    }

    async fn create(&self, processes: Vec<Value>) -> Value {
        self.call(CREATE, batch(processes)).await
    }

    async fn refused(&self, processes: Vec<Value>) -> (i64, String) {
        refusal(&self.create(processes).await)
    }

    async fn list(&self) -> Vec<Value> {
        let reply = self.call(LIST, json!({"bk_biz_id": 2, "service_template_id": 1})).await;
        reply["data"]["info"].as_array().unwrap().clone()
    }

    async fn names(&self) -> Vec<String> {
        self.list().await.iter().map(|template| template["bk_process_name"].as_str().unwrap().to_owned()).collect()
    }
}

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
async fn rows_of_bind_info_are_judged_cell_by_cell() {
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
async fn no_bind_info_and_an_empty_one_are_told_apart() {
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
async fn the_flat_schema_judges_its_own_sockets_and_drops_bind_info() {
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
async fn a_list_joins_its_filters_with_the_business() {
    let server = Server::start().await;
    server.created(vec![process("a"), process("b"), process("c")]).await;
    server.call("create_service_template", service_template("other")).await;
    let mut body = batch(vec![process("d")]);
    body["service_template_id"] = json!(2);
    server.call(CREATE, body).await;
    let ids = async |mut body: Value| -> (i64, Vec<i64>) {
        body.as_object_mut().unwrap().entry("bk_biz_id").or_insert(json!(2));
        let reply = server.call(LIST, body).await;
        let info = reply["data"]["info"].as_array().unwrap().clone();
        (reply["data"]["count"].as_i64().unwrap(), info.iter().map(|one| one["id"].as_i64().unwrap()).collect())
    };
    let page = |page: Value| json!({"service_template_id": 1, "page": page});
    assert_eq!(ids(json!({"service_template_id": 1})).await, (3, vec![3, 2, 1]));
    assert_eq!(ids(json!({"process_template_ids": [1, 4, 9, 1]})).await, (2, vec![4, 1]));
    assert_eq!(ids(json!({"service_template_id": 1, "process_template_ids": [4, 2]})).await, (1, vec![2]));
    assert_eq!(ids(json!({"service_template_id": 1, "process_template_ids": []})).await, (3, vec![3, 2, 1]));
    assert_eq!(ids(json!({"bk_biz_id": 3, "service_template_id": 1})).await, (0, vec![]));
    assert_eq!(ids(page(json!({"sort": "id"}))).await, (3, vec![1, 2, 3]));
    assert_eq!(ids(page(json!({"start": 1, "limit": 1, "sort": "bk_process_name:1"}))).await, (3, vec![2]));
    assert_eq!(ids(page(json!({"start": 9}))).await, (3, vec![]));
}

#[tokio::test]
async fn a_list_without_a_filter_is_refused() {
    let server = Server::start().await;
    let refused = async |body: Value| refusal(&server.call(LIST, body).await);
    let many: Vec<i64> = (1..=201).collect();
    let neither = invalid("service_template_id and process_template_ids can't be empty at the same time");
    assert_eq!(refused(json!({})).await, invalid("bk_biz_id"));
    assert_eq!(refused(json!({"bk_biz_id": -1, "process_template_ids": many})).await, invalid("bk_biz_id"));
    assert_eq!(refused(json!({"bk_biz_id": 2})).await, neither);
    assert_eq!(refused(json!({"bk_biz_id": 2, "process_template_ids": []})).await, neither);
    let (code, message) = refused(json!({"bk_biz_id": 2, "process_template_ids": many})).await;
    assert!(code == 1_199_089 && message.starts_with("bk_process_ids "), "{code} {message}");
    assert_eq!(refused(json!({"bk_biz_id": 2, "process_template_ids": ["1"]})).await, undecodable());
    let reply = server.call(LIST, json!({"bk_biz_id": 2, "process_template_ids": many[1..]})).await;
    assert_eq!(reply["data"], json!({"count": 0, "info": []}));
}

#[tokio::test]
async fn templates_of_a_deleted_service_template_stay_listable() {
    let server = Server::start().await;
    server.created(vec![process("a")]).await;
    server.simulator.update_state(|state| state.service_templates.clear());
    assert_eq!(server.names().await, ["a"]);
    assert_eq!(server.refused(vec![process("b")]).await, invalid("service_template_id"));
}

#[tokio::test]
async fn service_templates_are_found_by_name_id_and_category() {
    let server = Server::start().await;
    for name in ["web-frontend", "WEBSITE", "db"] {
        assert_eq!(server.call("create_service_template", service_template(name)).await["code"], 0);
    }
    let found = async |mut body: Value| -> Vec<String> {
        let object = body.as_object_mut().unwrap();
        object.entry("bk_biz_id").or_insert(json!(2));
        object.entry("page").or_insert(json!({"limit": 1000}));
        let reply = server.call("list_service_template", body).await;
        let info = reply["data"]["info"].as_array().unwrap_or_else(|| panic!("{reply}")).clone();
        info.iter().map(|one| one["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(found(json!({})).await, ["db", "WEBSITE", "web-frontend", "web"]);
    assert_eq!(found(json!({"search": "Web"})).await, ["WEBSITE", "web-frontend", "web"]);
    assert_eq!(found(json!({"search": "web", "is_exact": true})).await, ["web"]);
    assert_eq!(found(json!({"search": "Web", "is_exact": true})).await, [""; 0]);
    assert_eq!(found(json!({"service_template_ids": [1, 4]})).await, ["db", "web"]);
    assert_eq!(found(json!({"service_category_id": 1, "search": "db"})).await, ["db"]);
    assert_eq!(found(json!({"service_category_id": 3})).await, [""; 0]);
    assert_eq!(found(json!({"bk_biz_id": 3})).await, [""; 0]);
    assert_eq!(found(json!({"page": {"limit": 999_999_999, "sort": "name"}})).await[0], "WEBSITE");
    for page in [json!({}), json!({"limit": 0}), json!({"limit": 1001}), json!({"limit": -1}), Value::Null] {
        let reply = server.call("list_service_template", json!({"bk_biz_id": 2, "page": page})).await;
        assert_eq!(refusal(&reply), (1_199_059, "page limit is exceeded".to_owned()));
    }
    let reply = server.call("list_service_template", json!({"bk_biz_id": 2, "page": {"limit": 1, "start": 1}})).await;
    assert_eq!((&reply["data"]["count"], &reply["data"]["info"][0]["id"]), (&json!(4), &json!(3)));
}

#[tokio::test]
async fn a_service_template_is_created_with_a_trimmed_unique_name_under_a_leaf() {
    let server = Server::start().await;
    let create = async |body: Value| server.call("create_service_template", body).await;
    let reply = create(service_template("  db  ")).await;
    let template = &reply["data"];
    let time = &template["create_time"];
    let expected = json!({"id": 2, "bk_biz_id": 2, "name": "db", "service_category_id": 2, "creator": "ann",
        "modifier": "ann", "create_time": time, "last_time": time, "bk_supplier_account": "0",
        "host_apply_enabled": false});
    assert_eq!(template, &expected);
    let category = |id: i64| json!({"bk_biz_id": 2, "name": "x", "service_category_id": id});
    let taken = (1_199_014, "duplicated instances exist, fields [name] duplicated".to_owned());
    let table = [
        (service_template(&"x".repeat(257)), invalid("name")),
        (service_template("  "), invalid("name")),
        (service_template("a/b"), invalid("name")),
        (json!({"bk_biz_id": 9, "name": "x", "service_category_id": 2}), invalid("bk_biz_id")),
        (category(9), invalid("service_category_id")),
        (category(1), (1_113_032, "only leaf node available".to_owned())),
        (service_template("db"), taken),
        (json!({"name": 1}), undecodable()),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(&create(body.clone()).await), expected, "{body}");
    }
    assert_eq!(create(service_template(&"中".repeat(256))).await["code"], 0);
}

#[tokio::test]
async fn the_built_in_categories_are_a_tree_of_two() {
    let server = Server::start().await;
    let category = |id: i64, parent: i64| {
        json!({"bk_biz_id": 0, "id": id, "name": "Default", "bk_root_id": 1, "bk_parent_id": parent,
            "bk_supplier_account": "0", "is_built_in": true})
    };
    let reply = server.call("list_service_category", json!({"bk_biz_id": 2})).await;
    assert_eq!(reply["data"], json!({"count": 2, "info": [category(1, 0), category(2, 1)]}));
}

#[tokio::test]
async fn credentials_are_checked_before_anything_else() {
    let server = Server::start().await;
    let call = async |body: Value| refusal(&server.call(LIST, body).await);
    assert!(call(json!({"bk_app_code": ""})).await.1.starts_with("APP Code [bk_app_code]"));
    assert!(call(json!({"bk_app_secret": ""})).await.1.starts_with("APP Secret [bk_app_secret]"));
    let (code, message) = call(json!({"bk_username": ""})).await;
    assert!(code == 1_306_000 && message.starts_with("User authentication failed"), "{code} {message}");
    for token in ["bk_token", "bk_access_token", "access_token"] {
        assert_eq!(call(json!({"bk_username": "", token: "t"})).await, invalid("bk_biz_id"));
    }
    let account = Account { app_code: "app".to_owned(), app_secret: "right".to_owned() };
    server.simulator.update_state(|state| state.accounts.push(account));
    let (code, message) = call(json!({})).await;
    assert!(code == 1_306_000 && message.starts_with("APP Secret verification failed"), "{code} {message}");
    assert!(call(json!({"bk_app_code": "other"})).await.1.starts_with("Invalid APP Code [bk_app_code=other]"));
    assert_eq!(call(json!({"bk_app_secret": "right"})).await, invalid("bk_biz_id"));
    assert_eq!(refusal(&server.raw("no_such_call", "{}").await).0, 1_306_404);
    assert_eq!(refusal(&server.raw(LIST, "{").await).0, 1_306_000);
}

#[tokio::test]
async fn messages_are_english_unless_the_caller_asks_for_another_language() {
    let server = Server::start().await;
    let body = json!({"bk_app_code": "a", "bk_app_secret": "b", "bk_username": "c"});
    for (language, expected) in [("en", invalid("bk_biz_id").1), ("zh-cn", "'bk_biz_id' 数据参数校验不通过".to_owned())]
    {
        let request = server.client.post(server.url(LIST)).header("Blueking-Language", language).json(&body);
        let reply: Value = request.send().await.unwrap().json().await.unwrap();
        assert_eq!(reply["message"], expected);
    }
}

#[tokio::test]
async fn a_dropped_connection_gives_no_reply_whether_the_batch_was_stored_or_not() {
    let server = Server::start().await;
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    server.simulator.add_fault(Fault::nth(CREATE, 2, Effect::drop_after_commit()));
    for (name, stored) in [("a", false), ("b", true)] {
        assert!(server.send(CREATE, batch(vec![process(name)])).await.is_err());
        assert_eq!(server.names().await.contains(&name.to_owned()), stored);
    }
    server.created(vec![process("a")]).await;
    let requests = server.simulator.requests();
    let creates: Vec<_> = requests.iter().filter(|request| request.call == CREATE).collect();
    assert_eq!((creates[0].http_status, creates[0].ids.len(), creates[0].fault.as_deref()), (None, 0, Some("drop")));
    assert_eq!((creates[1].outcome().as_str(), creates[1].ids.len()), ("no reply", 1));
    assert_eq!((creates[2].code, creates[2].ids.len(), &creates[2].fault), (Some(0), 1, &None));
    assert!(!creates[1].client_hung_up);
}

#[tokio::test]
async fn held_names_answer_1199066_until_their_time_is_over() {
    let server = Server::start().await;
    for (name, stored, afterwards) in [("a", false, 0), ("b", true, 1_113_019)] {
        server.simulator.clear_faults();
        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(1.5, stored)));
        assert!(server.send(CREATE, batch(vec![process(name)])).await.is_err());
        assert_eq!(server.names().await.contains(&name.to_owned()), stored);
        assert_eq!(server.refused(vec![process(name)]).await.0, 1_199_066);
        server.created(vec![process(&format!("other than {name}"))]).await;
        tokio::time::sleep(Duration::from_millis(1600)).await;
        assert_eq!(server.create(vec![process(name)]).await["code"], afterwards);
    }
}

#[tokio::test]
async fn surplus_ids_come_first_and_never_existed() {
    let server = Server::start().await;
    let (status, reply) = server
        .admin(reqwest::Method::POST, "faults", json!({"call": CREATE, "nth": 1, "do": {"surplus_ids": 3}}))
        .await;
    assert_eq!((status, reply), (201, json!({"id": 1})));
    let ids = server.created(vec![process("a"), process("b")]).await;
    assert_eq!(ids.len(), 5);
    let reply = server.call(LIST, json!({"bk_biz_id": 2, "process_template_ids": ids})).await;
    let listed: Vec<i64> =
        reply["data"]["info"].as_array().unwrap().iter().map(|one| one["id"].as_i64().unwrap()).collect();
    assert_eq!(listed, [ids[4], ids[3]]);
    server.admin(reqwest::Method::POST, "faults", json!({"call": CREATE, "do": {"short_ids": 1}})).await;
    assert_eq!(server.created(vec![process("c"), process("d")]).await, [6]);
    assert_eq!(server.names().await, ["d", "c", "b", "a"]);
}

#[tokio::test]
async fn a_fault_answers_with_any_code_status_header_and_body() {
    let server = Server::start().await;
    let add = async |effect: Value| {
        server.admin(reqwest::Method::POST, "faults", json!({"call": CREATE, "nth": 1, "do": effect})).await
    };
    add(json!({"code": 1_199_018, "after_commit": true})).await;
    assert_eq!(server.refused(vec![process("a")]).await, (1_199_018, "New data failed".to_owned()));
    assert_eq!(server.names().await, ["a"]);

    add(json!({"code": 1_642_901, "message": "slow down", "http_status": 429,
        "headers": {"X-Bkapi-RateLimit-Reset": "7"}}))
    .await;
    let response = server.send(CREATE, batch(vec![process("b")])).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["x-bkapi-ratelimit-reset"]),
        (429, &"7".parse().unwrap())
    );
    assert_eq!(refusal(&response.json().await.unwrap()), (1_642_901, "slow down".to_owned()));

    add(json!({"http_status": 504, "body": "<html>", "content_type": "text/html"})).await;
    let response = server.send(CREATE, batch(vec![process("b")])).await.unwrap();
    assert_eq!((response.status().as_u16(), &response.headers()["content-type"]), (504, &"text/html".parse().unwrap()));
    assert_eq!(response.text().await.unwrap(), "<html>");
    assert_eq!(server.names().await, ["a"]);

    let permission = json!({"system_id": "bk_cmdb", "actions": []});
    add(json!({"code": 9_900_403, "permission": permission})).await;
    assert_eq!(server.create(vec![process("b")]).await["permission"], permission);
    assert_eq!(add(json!({"code": 1, "drop": "before_commit"})).await.0, 400);
}

#[tokio::test]
async fn a_fault_chooses_its_calls_by_count_content_and_chance() {
    let server = Server::start().await;
    let code = |code: i64| json!({"code": code});
    let faults = [
        json!({"call": CREATE, "nth": 2, "do": code(1)}),
        json!({"call": LIST, "every": true, "times": 2, "match": {"service_template_id": 5}, "do": code(2)}),
    ];
    for fault in faults {
        server.admin(reqwest::Method::POST, "faults", fault).await;
    }
    let mut codes = Vec::new();
    for service_template_id in [5, 1, 5, 5] {
        codes.push(server.create(vec![process(&format!("p{}", codes.len()))]).await["code"].as_i64().unwrap());
        let body = json!({"bk_biz_id": 2, "service_template_id": service_template_id});
        codes.push(server.call(LIST, body).await["code"].as_i64().unwrap());
    }
    assert_eq!(codes, [0, 2, 1, 0, 0, 2, 0, 0]);
    let (_, listed) = server.admin(reqwest::Method::GET, "faults", json!({})).await;
    let hits: Vec<&Value> = listed["faults"].as_array().unwrap().iter().map(|fault| &fault["hits"]).collect();
    assert_eq!(hits, [1, 2]);
    assert_eq!(server.admin(reqwest::Method::DELETE, "faults/1", json!({})).await.0, 204);
    assert_eq!(server.admin(reqwest::Method::DELETE, "faults/1", json!({})).await.0, 404);
    server.admin(reqwest::Method::DELETE, "faults", json!({})).await;
    assert!(server.simulator.faults().is_empty());

    let chance = json!({"probability": 0.5, "seed": 7, "do": code(3)});
    server.admin(reqwest::Method::POST, "faults", chance).await;
    let mut refused = 0;
    for _ in 0..40 {
        refused += i32::from(server.call(LIST, json!({"bk_biz_id": 2, "service_template_id": 1})).await["code"] == 3);
    }
    assert!((8..32).contains(&refused), "{refused}");
}

#[tokio::test]
async fn a_delay_grows_with_the_batch_and_does_not_hold_up_others() {
    let server = Server::start().await;
    let delay = json!({"call": CREATE, "every": true, "do": {"delay_ms": 300, "delay_per_item_ms": 200}});
    server.admin(reqwest::Method::POST, "faults", delay).await;
    server.simulator.add_fault(Fault::every(CREATE, Effect::code(1_199_018)));
    let started = Instant::now();
    let (slow, ()) = tokio::join!(server.create(vec![process("a"), process("b")]), async {
        server.list().await;
        assert!(started.elapsed() < Duration::from_millis(600));
    });
    assert_eq!(slow["code"], 1_199_018);
    assert!(started.elapsed() >= Duration::from_millis(700));
    assert_eq!(
        server.simulator.requests().iter().find(|one| one.call == CREATE).unwrap().fault.as_deref(),
        Some("delay+code")
    );
}

#[tokio::test]
async fn a_hung_call_takes_effect_before_the_wait_or_only_if_its_caller_stays() {
    let server = Server::start().await;
    for (name, commit, stays, stored) in
        [("a", true, false, true), ("b", false, false, false), ("c", false, true, true)]
    {
        server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hang(0.8, commit)));
        let send = server.send(CREATE, batch(vec![process(name)]));
        let patience = Duration::from_millis(if stays { 10_000 } else { 300 });
        assert_eq!(tokio::time::timeout(patience, send).await.is_ok(), stays);
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(server.names().await.contains(&name.to_owned()), stored, "{name}");
        let requests = server.simulator.requests();
        let request = requests.iter().rfind(|request| request.call == CREATE).unwrap();
        assert_eq!(request.client_hung_up, !stays);
        server.simulator.clear_faults();
    }
}

#[tokio::test]
async fn a_caller_that_hangs_up_blocks_its_names_when_the_server_notices() {
    let server = Server::start().await;
    server.simulator.add_fault(Fault::every(CREATE, Effect::delay(800)).times(2));
    for (name, hold, stored) in [("unnoticed", 0.0, true), ("noticed", 60.0, false)] {
        server.simulator.update_state(|state| state.hold_names_on_hang_up_seconds = hold);
        let send = server.send(CREATE, batch(vec![process(name)]));
        assert!(tokio::time::timeout(Duration::from_millis(300), send).await.is_err());
        tokio::time::sleep(Duration::from_millis(900)).await;
        assert_eq!(server.names().await.contains(&name.to_owned()), stored, "{name}");
    }
    assert_eq!(server.refused(vec![process("noticed")]).await.0, 1_199_066);
    server.created(vec![process("another")]).await;
    assert_eq!(server.simulator.requests().iter().filter(|request| request.outcome() == "hung up").count(), 2);
}

#[tokio::test]
async fn requests_are_remembered_without_their_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("requests.jsonl");
    let server = Server::with(Options { request_log: Some(log.clone()), request_limit: 3, ..Options::default() }).await;
    let body = json!({"bk_app_secret": "hunter2", "bk_token": "t0ken", "access_token": "acce55", "bk_biz_id": 2,
        "service_template_id": 1, "processes": [process("a")]});
    server.call(CREATE, body).await;
    server.list().await;
    let (_, shown) = server.admin(reqwest::Method::GET, "requests", json!({})).await;
    let request = &shown["requests"][1];
    assert_eq!(request["sequence"], 2);
    assert_eq!(request["call"], CREATE);
    assert_eq!(request["method"], "POST");
    assert_eq!(request["path"], "/api/c/compapi/v2/cc/batch_create_proc_template/");
    assert_eq!(request["headers"]["content-type"], "application/json");
    assert_eq!(request["credential"], "f52fbd32");
    assert_eq!(request["body"]["bk_app_secret"], "***");
    assert_eq!(request["body"]["processes"][0], process("a"));
    assert_eq!((&request["http_status"], &request["code"], &request["ids"]), (&json!(200), &json!(0), &json!([1])));
    let logged = std::fs::read_to_string(&log).unwrap();
    assert_eq!(logged.lines().count(), 3);
    for secret in ["hunter2", "t0ken", "acce55"] {
        assert!(!logged.contains(secret) && !shown.to_string().contains(secret), "{secret}");
    }
    let (_, summary) = server.admin(reqwest::Method::GET, "requests?summary=true", json!({})).await;
    assert_eq!((&summary["total"], &summary["calls"][LIST]), (&json!(3), &json!({"count": 1, "outcomes": {"0": 1}})));
    server.list().await;
    assert_eq!(server.simulator.requests()[0].sequence, 2, "the oldest goes first");
    server.admin(reqwest::Method::DELETE, "requests", json!({})).await;
    assert!(server.simulator.requests().is_empty());
}

#[tokio::test]
async fn the_state_can_be_put_in_part_and_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let options = Options { state_file: Some(file.clone()), ..Options::default() };
    let server = Server::with(options.clone()).await;
    server.created(vec![process("a"), process("b")]).await;
    let (_, mut state) = server.admin(reqwest::Method::GET, "state", json!({})).await;
    assert_eq!((&state["whitespaceRule"], &state["schema"]), (&json!(true), &json!("bind-info")));
    state["process_templates"][0]["property"]["user"] = locked("root");
    state["process_templates"].as_array_mut().unwrap().push(json!({"bk_biz_id": 2, "service_template_id": 1,
        "property": {"bk_process_name": locked("by hand"), "private": locked("kept")}}));
    let change = json!({"process_templates": state["process_templates"], "next_ids": {"process_template": 50}});
    assert_eq!(server.admin(reqwest::Method::PUT, "state", change).await.0, 200);
    assert_eq!(server.admin(reqwest::Method::PUT, "state", json!({"proces_templates": []})).await.0, 400);
    assert_eq!(server.admin(reqwest::Method::PUT, "state", json!({"process_templates": [{}]})).await.0, 400);
    let before = server.simulator.state();
    server.simulator.stop().await;

    let again = Simulator::start(options).unwrap();
    assert_eq!(again.state(), before);
    assert!(!file.with_extension("json.tmp").exists());
    let server = Server { simulator: again, client: client() };
    let listed = server.list().await;
    assert_eq!(listed[2]["property"]["user"], locked("root"));
    assert_eq!((&listed[0]["id"], &listed[0]["bk_process_name"]), (&json!(50), &json!("by hand")));
    assert_eq!(listed[0]["property"]["private"], locked("kept"));
    assert_eq!(server.refused(vec![process("by hand")]).await.0, 1_113_019);
    assert_eq!(server.created(vec![process("c")]).await, [51]);
}

#[tokio::test]
async fn ten_thousand_templates_are_no_burden() {
    let server = Server::start().await;
    let started = Instant::now();
    for at in 0..100 {
        let processes = (0..100).map(|process_at| process(&format!("p{at}-{process_at}"))).collect();
        assert_eq!(server.created(processes).await.len(), 100);
    }
    let page = json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"limit": 10}});
    assert_eq!(server.call(LIST, page).await["data"]["count"], 10_000);
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
}

#[tokio::test]
async fn the_program_says_where_it_listens_and_ends_on_sigterm() {
    use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
    let mut program = tokio::process::Command::new(env!("CARGO_BIN_EXE_cmdb-sim"))
        .args(["--listen", "127.0.0.1:0", "--schema", "flat"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(program.stdout.take().unwrap());
    let mut line = String::new();
    stdout.read_line(&mut line).await.unwrap();
    let url = line.trim_end().strip_prefix("cmdb-sim listening on ").unwrap().to_owned();
    let state: Value = client().get(format!("{url}/sim/state")).send().await.unwrap().json().await.unwrap();
    assert_eq!(state["schema"], "flat");
    let id = rustix::process::Pid::from_raw(i32::try_from(program.id().unwrap()).unwrap()).unwrap();
    rustix::process::kill_process(id, rustix::process::Signal::TERM).unwrap();
    assert!(program.wait().await.unwrap().success());
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "");
}
