//! The simulator changes and deletes process templates as the real server does, and lets others do so behind one's back.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::needless_pass_by_value,
    reason = "helpers of tests, which clippy does not take for tests"
)]

#[path = "support/esb.rs"]
mod esb;

use std::time::{Duration, Instant};

use cmdb_sim::{Attribute, EditError, Effect, Fault, Options, ProcessTemplate, Property, Refuse};
use esb::{CREATE, LIST, Server, batch, invalid, locked, process, process_with, refusal, undecodable};
use reqwest::Method;
use serde_json::{Value, json};

const UPDATE: &str = "update_proc_template";
const DELETE: &str = "delete_proc_template";
impl Server {
    async fn updated(&self, id: i64, property: Value) -> Value {
        let reply = self.call(UPDATE, change(id, property)).await;
        assert_eq!((&reply["code"], &reply["message"]), (&json!(0), &json!("success")), "{reply}");
        reply["data"].clone()
    }

    async fn refused_update(&self, id: i64, property: Value) -> (i64, String) {
        refusal(&self.call(UPDATE, change(id, property)).await)
    }

    async fn deleted(&self, ids: &[i64]) {
        let reply = self.call(DELETE, deletion(ids)).await;
        assert_eq!((&reply["code"], &reply["data"]), (&json!(0), &Value::Null), "{reply}");
    }

    async fn refused_delete(&self, ids: &[i64]) -> (i64, String) {
        refusal(&self.call(DELETE, deletion(ids)).await)
    }

    async fn list(&self) -> Vec<Value> {
        let body = json!({"bk_biz_id": 2, "service_template_id": 1, "page": {"sort": "id"}});
        self.call(LIST, body).await["data"]["info"].as_array().unwrap().clone()
    }

    async fn names(&self) -> Vec<String> {
        self.list().await.iter().map(|template| template["bk_process_name"].as_str().unwrap().to_owned()).collect()
    }

    async fn one(&self, id: i64) -> Value {
        self.list().await.into_iter().find(|template| template["id"] == id).unwrap()
    }

    /// Changes a stored template behind the back of every rule.
    fn tamper(&self, id: i64, change: impl FnOnce(&mut ProcessTemplate)) {
        self.simulator.update_state(|state| {
            change(state.process_templates.iter_mut().find(|template| template.id == id).unwrap());
        });
    }

    /// IDs of the latest request of a call, as the simulator remembers it.
    fn recorded_ids(&self, call: &str) -> Vec<i64> {
        self.simulator.requests().iter().rfind(|request| request.call == call).unwrap().ids.clone()
    }
}

fn change(id: i64, property: Value) -> Value {
    json!({"bk_biz_id": 2, "process_template_id": id, "process_property": property})
}

fn deletion(ids: &[i64]) -> Value {
    json!({"bk_biz_id": 2, "process_templates": ids})
}

fn none() -> Value {
    json!({"value": null, "as_default_value": null})
}

fn row(row_id: i64, port: &str) -> Value {
    json!({"row_id": row_id, "ip": locked("1"), "port": locked(port), "protocol": locked("1"), "enable": locked(true)})
}

fn row_ids(template: &Value) -> Vec<i64> {
    let rows = template["property"]["bind_info"]["value"].as_array().unwrap();
    rows.iter().map(|row| row["row_id"].as_i64().unwrap()).collect()
}

fn property(value: Value) -> Property {
    serde_json::from_value(value).unwrap()
}

fn missing_input() -> (i64, String) {
    (1_199_003, "invalid input parameter".to_owned())
}

fn not_found() -> (i64, String) {
    (1_199_019, "No relevant data found".to_owned())
}

fn name_taken(name: &str) -> (i64, String) {
    (1_113_019, format!("process name [{name}] unique validation failed"))
}

fn function_taken(function: &str, regex: &str) -> (i64, String) {
    (1_113_020, format!("process name [{function}] and start parameter [{regex}] unique validation failed"))
}

fn not_deleted() -> (i64, String) {
    (1_108_014, "delete config template failed".to_owned())
}

#[tokio::test]
async fn an_update_answers_the_whole_template_as_it_is_afterwards() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let before = server.list().await;
    let reply = server.call(UPDATE, change(ids[0], json!({"user": locked("root")}))).await;
    assert_eq!((&reply["result"], &reply["permission"]), (&json!(true), &Value::Null));
    let mut expected = before[0].clone();
    expected["property"]["user"] = locked("root");
    expected["last_time"] = reply["data"]["last_time"].clone();
    assert_eq!(reply["data"], expected);
    expected["last_time"] = server.one(ids[0]).await["last_time"].clone();
    assert_eq!(server.list().await, [expected, before[1].clone()]);
}

#[tokio::test]
async fn an_update_touches_only_the_properties_that_it_names() {
    let server = Server::start().await;
    let mut full = process_with("a", "user", locked("root"));
    full["spec"]["timeout"] = locked(60);
    full["spec"]["work_path"] = locked("/data");
    full["spec"]["auto_start"] = locked(true);
    full["spec"]["bind_info"] = locked(json!([row(3, "80")]));
    let id = server.created(vec![full]).await[0];
    let before = server.one(id).await["property"].clone();
    assert_eq!(server.updated(id, json!({})).await["property"], before);

    let after = server.updated(id, json!({"timeout": {"value": 90}, "work_path": {"as_default_value": false}})).await;
    let mut expected = before;
    expected["timeout"] = json!({"value": 90, "as_default_value": null});
    expected["work_path"] = json!({"value": null, "as_default_value": false});
    assert_eq!(after["property"], expected, "half a pair makes the other half null");

    let cleared = json!({"user": null, "auto_start": {}, "nice": locked(1), "bind_ip": "whatever", "id": 9,
        "service_template_id": 9, "create_time": locked("x")});
    let after = server.updated(id, cleared).await;
    expected["user"] = none();
    expected["auto_start"] = none();
    assert_eq!(after["property"], expected, "unknown keys are ignored");
    assert_eq!((&after["id"], &after["service_template_id"]), (&json!(id), &json!(1)));
    assert_eq!(server.one(id).await["property"], expected);
}

#[tokio::test]
async fn an_update_ignores_the_function_name() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process_with("b", "bk_start_param_regex", locked(""))]).await;
    for value in [locked("other"), locked(""), Value::Null, json!({"value": "bd", "as_default_value": false})] {
        let after = server.updated(ids[0], json!({"bk_func_name": value, "user": locked("root")})).await;
        assert_eq!(after["property"]["bk_func_name"], locked("ad"));
        assert_eq!(after["property"]["user"], locked("root"));
    }
    assert_eq!(server.refused_update(ids[0], json!({"bk_func_name": locked(1)})).await, undecodable());
}

#[tokio::test]
async fn a_renamed_template_gives_its_old_name_free() {
    for server in [Server::start().await, Server::flat().await] {
        let ids = server.created(vec![process("a"), process("b")]).await;
        let unlocked = json!({"bk_process_name": {"value": "c", "as_default_value": false}});
        let after = server.updated(ids[0], unlocked).await;
        assert_eq!(after["bk_process_name"], "c");
        assert_eq!(after["property"]["bk_process_name"], locked("c"), "the names stay locked");
        assert_eq!(server.names().await, ["c", "b"]);
        assert_eq!(server.refused_update(ids[1], json!({"bk_process_name": locked("c")})).await, name_taken("c"));
        server.updated(ids[0], json!({"bk_process_name": {"value": "c"}})).await;
        let mut again = process("a");
        again["spec"]["bk_func_name"] = locked("another");
        server.created(vec![again]).await;
        assert_eq!(server.refused_update(ids[0], json!({"bk_process_name": locked("a")})).await, name_taken("a"));
        for empty in [locked(""), locked(Value::Null), Value::Null, json!({})] {
            let refused = server.refused_update(ids[0], json!({"bk_process_name": empty})).await;
            assert_eq!(refused, invalid("bk_process_name"));
        }
        assert_eq!(server.names().await, ["c", "b", "a"]);
    }
}

#[tokio::test]
async fn an_old_server_ignores_the_process_name_too() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.rename = false);
    let id = server.created(vec![process("a")]).await[0];
    let after = server.updated(id, json!({"bk_process_name": locked("b"), "user": locked("root")})).await;
    assert_eq!((&after["bk_process_name"], &after["property"]["user"]), (&json!("a"), &locked("root")));
}

#[tokio::test]
async fn a_name_is_free_again_for_other_service_templates_and_never_blocked_by_itself() {
    let server = Server::start().await;
    let other = json!({"bk_biz_id": 2, "name": "other", "service_category_id": 2});
    server.call("create_service_template", other).await;
    server.created(vec![process("a")]).await;
    let mut body = batch(vec![process("b")]);
    body["service_template_id"] = json!(2);
    let id = server.call(CREATE, body).await["data"][0].as_i64().unwrap();
    assert_eq!(server.updated(id, json!({"bk_process_name": locked("a")})).await["bk_process_name"], "a");
}

#[tokio::test]
async fn a_name_that_an_abandoned_create_holds_is_no_new_name() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(60.0, false)));
    assert!(server.send(CREATE, batch(vec![process("b")])).await.is_err());
    assert_eq!(server.refused_update(id, json!({"bk_process_name": locked("b")})).await.0, 1_199_066);
    server.updated(id, json!({"bk_process_name": locked("c")})).await;
}

#[tokio::test]
async fn an_update_compares_a_null_start_parameter_as_empty_but_only_with_stored_text() {
    let process = |name: &str, regex: Option<&str>| {
        let mut process = process_with(name, "bk_func_name", locked("nginx"));
        if let Some(regex) = regex {
            process["spec"]["bk_start_param_regex"] = locked(regex);
        }
        process
    };
    let regex = |value: Value| json!({"bk_start_param_regex": value});
    let server = Server::start().await;
    let ids = server.created(vec![process("a", None), process("b", Some("")), process("c", Some("x"))]).await;
    let touch = json!({"user": locked("root")});
    assert_eq!(server.refused_update(ids[0], touch.clone()).await, function_taken("nginx", ""));
    server.updated(ids[1], touch.clone()).await;
    server.updated(ids[2], touch.clone()).await;
    for (value, text) in [(locked("x"), "x"), (locked(""), "")] {
        assert_eq!(server.refused_update(ids[0], regex(value)).await, function_taken("nginx", text));
    }
    assert_eq!(server.refused_update(ids[2], regex(locked(""))).await, function_taken("nginx", ""));
    assert_eq!(server.refused_update(ids[2], regex(Value::Null)).await, function_taken("nginx", ""));
    server.updated(ids[0], regex(locked("y"))).await;
    // From here on the rule sees no empty text any more, so nulls pass beside each other.
    server.updated(ids[1], regex(Value::Null)).await;
    server.updated(ids[2], regex(Value::Null)).await;
    server.updated(ids[0], regex(locked("x"))).await;
}

#[tokio::test]
async fn rows_of_bind_info_are_replaced_as_a_whole_and_keep_the_ids_that_were_sent() {
    let server = Server::start().await;
    let rows = json!([row(1, "80"), row(2, "81"), row(3, "82")]);
    let id = server.created(vec![process_with("a", "bind_info", locked(rows))]).await[0];
    let update = async |rows: Value| server.updated(id, json!({"bind_info": locked(rows)})).await;
    let mut new = row(0, "90");
    new.as_object_mut().unwrap().remove("row_id");
    let after = update(json!([row(3, "82"), new])).await;
    assert_eq!(row_ids(&after), [3, 4]);
    assert_eq!(after["property"]["bind_info"]["value"][0], row(3, "82"));
    for (sent, expected) in [
        (json!([row(9, "1"), row(9, "2"), row(-7, "3"), row(0, "4")]), vec![9, 9, -7, 10]),
        (json!([row(-7, "1"), new]), vec![-7, 1]),
        (json!([new, new]), vec![1, 2]),
    ] {
        assert_eq!(row_ids(&update(sent).await), expected);
        assert_eq!(row_ids(&server.one(id).await), expected);
    }
    server.updated(id, json!({"user": locked("root")})).await;
    assert_eq!(row_ids(&server.one(id).await), [1, 2]);
    let bad = json!({"bind_info": locked(json!([new, row(1, "080")]))});
    assert_eq!(server.refused_update(id, bad).await, invalid("bind_info[1].port"));
    assert_eq!(update(json!([])).await["property"]["bind_info"], locked(json!([])));
    for value in [Value::Null, json!({})] {
        assert_eq!(server.updated(id, json!({"bind_info": value})).await["property"]["bind_info"], none());
    }
    let cells = json!({"bind_info": {"value": [{"port": {"value": "80"}, "protocol": {"value": "2"}, "note": 1}]}});
    let expected = json!([{"row_id": 1, "ip": none(), "port": {"value": "80", "as_default_value": null},
        "protocol": {"value": "2", "as_default_value": null}, "enable": none()}]);
    let after = server.updated(id, cells).await;
    assert_eq!(after["property"]["bind_info"], json!({"value": expected, "as_default_value": null}));
}

#[tokio::test]
async fn a_migrated_row_without_a_port_fails_every_update_until_it_is_repaired() {
    let server = Server::start().await;
    let id = server.created(vec![process_with("a", "bind_info", locked(json!([row(1, "80")])))]).await[0];
    server.tamper(id, |template| {
        let migrated = json!([{"row_id": 1, "ip": locked("1"), "port": locked(""), "protocol": locked("1"),
            "enable": locked(true)}]);
        let attribute = Attribute { value: migrated, as_default_value: Some(true) };
        template.property.insert("bind_info".to_owned(), attribute);
    });
    let stored = server.one(id).await;
    let touch = json!({"user": locked("root")});
    assert_eq!(server.refused_update(id, touch.clone()).await, invalid("bind_info[0].port"));
    assert_eq!(server.one(id).await, stored);
    server.updated(id, json!({"bind_info": locked(json!([row(1, "80")]))})).await;
    server.updated(id, touch).await;

    server.tamper(id, |template| {
        template.property.insert("timeout".to_owned(), Attribute { value: json!(0), as_default_value: None });
    });
    assert_eq!(server.refused_update(id, json!({})).await, invalid("timeout"));
}

#[tokio::test]
async fn an_update_judges_what_it_brings_except_for_white_space() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    for (name, value) in
        [("proc_num", 0), ("timeout", 10_001), ("priority", -101), ("bk_start_check_secs", 0), ("proc_num", 10_001)]
    {
        assert_eq!(server.refused_update(id, json!({name: locked(value)})).await, invalid(name));
    }
    assert_eq!(server.names().await, ["a"]);
    let after = server.updated(id, json!({"user": locked(" root\t"), "bk_process_name": locked(" ")})).await;
    assert_eq!((&after["property"]["user"], &after["bk_process_name"]), (&locked(" root\t"), &json!(" ")));

    let server = Server::flat().await;
    let id = server.created(vec![process_with("a", "port", locked("80"))]).await[0];
    for (name, bad) in [("bind_ip", "5"), ("port", "80,80"), ("protocol", "3")] {
        assert_eq!(server.refused_update(id, json!({name: locked(bad)})).await, invalid(name));
    }
    let after = server.updated(id, json!({"bind_ip": locked("2"), "bind_info": locked(json!([row(1, "80")]))})).await;
    assert_eq!((&after["property"]["bind_ip"], &after["property"]["port"]), (&locked("2"), &locked("80")));
    assert!(after["property"].get("bind_info").is_none());
}

#[tokio::test]
async fn an_update_with_nothing_new_still_changes_modifier_and_time() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    let before = server.one(id).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let mut body = change(id, before["property"].clone());
    body["bk_username"] = json!("bob");
    let reply = server.call(UPDATE, body).await;
    let after = server.one(id).await;
    assert_eq!((&after["creator"], &after["modifier"]), (&json!("ann"), &json!("bob")));
    assert_eq!(after["create_time"], before["create_time"]);
    assert!(after["last_time"].as_str().unwrap() > before["last_time"].as_str().unwrap(), "{after}");
    assert_eq!(after["property"], before["property"]);
    // The reply comes before the time is rounded and with the server's own offset.
    let shown = reply["data"]["last_time"].as_str().unwrap();
    let listed = after["last_time"].as_str().unwrap();
    assert!(shown.ends_with("+08:00") && listed.ends_with('Z'), "{shown} {listed}");
    let [shown, listed] = [shown, listed].map(|time| time.parse::<jiff::Timestamp>().unwrap().as_millisecond());
    assert_eq!(shown, listed);
}

#[tokio::test]
async fn an_update_acts_by_id_alone_whatever_business_is_given() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    for business in [99, 3, -1] {
        let mut body = change(id, json!({"timeout": locked(business.max(1))}));
        body["bk_biz_id"] = json!(business);
        let reply = server.call(UPDATE, body).await;
        assert_eq!((&reply["code"], &reply["data"]["bk_biz_id"]), (&json!(0), &json!(2)), "{reply}");
        assert_eq!(server.one(id).await["property"]["timeout"], locked(business.max(1)));
    }
}

#[tokio::test]
async fn the_checks_of_an_update_come_in_the_order_of_the_server() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let bad_type = json!({"timeout": locked("60")});
    let out_of_range = json!({"timeout": locked(0), "bk_process_name": locked("b")});
    let with = |key: &str, value: Value| {
        let mut body = change(ids[0], out_of_range.clone());
        body[key] = value;
        body
    };
    let without = |key: &str| {
        let mut body = change(ids[0], json!({}));
        body.as_object_mut().unwrap().remove(key);
        body
    };
    let table = [
        (json!({"bk_biz_id": "2"}), undecodable()),
        (json!({"process_template_id": 1.0}), undecodable()),
        (json!({"process_property": []}), undecodable()),
        (json!({}), missing_input()),
        (with("process_property", Value::Null), missing_input()),
        (without("process_property"), missing_input()),
        (with("process_template_id", json!(0)), missing_input()),
        (with("process_template_id", json!(-1)), missing_input()),
        (without("process_template_id"), missing_input()),
        (with("bk_biz_id", json!(0)), invalid("bk_biz_id")),
        (without("bk_biz_id"), invalid("bk_biz_id")),
        (change(99, bad_type.clone()), not_found()),
        (change(ids[0], bad_type), undecodable()),
        (change(ids[0], out_of_range.clone()), invalid("timeout")),
        (change(ids[0], json!({"bk_process_name": locked("b")})), name_taken("b")),
    ];
    let before = server.list().await;
    for (body, expected) in table {
        assert_eq!(refusal(&server.call(UPDATE, body.clone()).await), expected, "{body}");
    }
    assert_eq!(server.list().await, before);
}

#[tokio::test]
async fn wrong_json_types_in_a_property_refuse_the_update() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    let changes = [
        json!({"timeout": locked("60")}),
        json!({"timeout": locked(1.5)}),
        json!({"timeout": locked(1.0)}),
        json!({"timeout": 60}),
        json!({"timeout": {"value": 60, "as_default_value": "true"}}),
        json!({"user": locked(1)}),
        json!({"auto_start": locked(1)}),
        json!({"bk_process_name": "b"}),
        json!({"bind_info": [row(1, "80")]}),
        json!({"bind_info": locked(json!([{"port": "80"}]))}),
        json!({"bind_info": locked(json!([{"row_id": "1"}]))}),
    ];
    for change in changes {
        assert_eq!(server.refused_update(id, change.clone()).await, undecodable(), "{change}");
    }
    assert_eq!(server.one(id).await["property"]["timeout"], none());
}

#[tokio::test]
async fn a_delete_takes_its_templates_away_whatever_business_is_given() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    let reply = server.call(DELETE, deletion(&[ids[2], ids[0]])).await;
    let expected = json!({"result": true, "code": 0, "message": "success", "data": null, "permission": null,
        "request_id": reply["request_id"]});
    assert_eq!(reply, expected);
    assert_eq!(server.names().await, ["b"]);
    assert_eq!(server.recorded_ids(DELETE), [ids[2], ids[0]]);
    let mut foreign = deletion(&[ids[1]]);
    foreign["bk_biz_id"] = json!(99);
    assert_eq!(server.call(DELETE, foreign).await["code"], 0);
    let again = server.created(vec![process("a"), process("b"), process("c")]).await;
    assert!(again[0] > ids[2]);
}

#[tokio::test]
async fn one_unknown_or_repeated_id_fails_the_whole_delete() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let before = server.list().await;
    for refused in [vec![ids[0], 99], vec![99, ids[0]], vec![99], vec![0], vec![ids[0], ids[1], ids[0]]] {
        assert_eq!(server.refused_delete(&refused).await, not_deleted());
        assert_eq!(server.recorded_ids(DELETE), [0; 0]);
        assert_eq!(server.list().await, before);
    }
    assert_eq!(refusal(&server.call(CREATE, batch(vec![process("a")])).await), name_taken("a"));
    server.deleted(&ids).await;
    assert_eq!(server.refused_delete(&ids).await, not_deleted());
}

#[tokio::test]
async fn the_checks_of_a_delete_come_in_the_order_of_the_server() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    let unassigned = (1_199_010, "'process_templates' unassigned".to_owned());
    let too_many = (1_199_035, " delete process template exceed the limit 500".to_owned());
    let many: Vec<i64> = (1..=501).collect();
    let table = [
        (json!({"process_templates": id}), undecodable()),
        (json!({"process_templates": [id.to_string()]}), undecodable()),
        (json!({"bk_biz_id": "2", "process_templates": []}), undecodable()),
        (json!({}), unassigned.clone()),
        (json!({"process_templates": null}), unassigned.clone()),
        (json!({"bk_biz_id": 2, "process_templates": []}), unassigned),
        (json!({"process_templates": many}), too_many.clone()),
        (deletion(&many), too_many),
        (json!({"process_templates": [99]}), invalid("bk_biz_id")),
        (json!({"bk_biz_id": 0, "process_templates": [id]}), invalid("bk_biz_id")),
        (deletion(&many[..500]), not_deleted()),
    ];
    for (body, expected) in table {
        assert_eq!(refusal(&server.call(DELETE, body.clone()).await), expected, "{body}");
    }
    assert_eq!(server.names().await, ["a"]);
}

#[tokio::test]
async fn five_hundred_ids_are_the_most_of_one_delete_where_limits_are_known() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.create_limit = false);
    let processes = |count: usize| (0..count).map(|at| process(&format!("p{at}"))).collect();
    let ids = server.created(processes(501)).await;
    server.deleted(&ids).await;
    server.deleted(&[]).await;
    let ids = server.created(processes(501)).await;
    server.simulator.update_state(|state| state.create_limit = true);
    assert_eq!(server.refused_delete(&ids).await.0, 1_199_035);
    server.deleted(&ids[1..]).await;
    assert_eq!(server.names().await, ["p0"]);
}

#[tokio::test]
async fn new_messages_are_chinese_for_all_but_english_callers() {
    let server = Server::start().await;
    let call = async |name: &str, body: Value| -> Value {
        let mut body = body;
        for key in ["bk_app_code", "bk_app_secret", "bk_username"] {
            body[key] = json!("x");
        }
        let url = format!("{}/api/c/compapi/v2/cc/{name}/", server.simulator.url());
        let request = server.client.post(url).header("Blueking-Language", "zh-cn").json(&body);
        request.send().await.unwrap().json::<Value>().await.unwrap()["message"].clone()
    };
    assert_eq!(call(DELETE, deletion(&[1])).await, "删除配置模板失败");
    assert_eq!(call(DELETE, json!({})).await, "'process_templates' 未赋值");
    assert_eq!(call(UPDATE, json!({})).await, "输入参数无效");
    assert_eq!(call(UPDATE, change(1, json!({}))).await, "未找到相关数据");
}

#[tokio::test]
async fn without_transactions_a_create_keeps_what_came_before_the_failing_process() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.non_atomic = true);
    let reply = server.call(CREATE, batch(vec![process("a"), process("b"), process("a"), process("c")])).await;
    assert_eq!(refusal(&reply), name_taken("a"));
    assert_eq!(server.names().await, ["a", "b"]);
    assert_eq!(server.recorded_ids(CREATE), [1, 2]);
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    assert!(server.send(CREATE, batch(vec![process("c"), process("a")])).await.is_err());
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hold_names(0.0, false)));
    assert!(server.send(CREATE, batch(vec![process("c"), process("a")])).await.is_err());
    assert_eq!(server.names().await, ["a", "b"]);
    assert_eq!(server.created(vec![process("c")]).await.len(), 1);
}

#[tokio::test]
async fn without_transactions_a_delete_removes_what_comes_before_the_unknown_id() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.non_atomic = true);
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    assert_eq!(server.refused_delete(&[ids[1], 99, ids[0]]).await, not_found());
    assert_eq!(server.names().await, ["a", "c"]);
    assert_eq!(server.recorded_ids(DELETE), [ids[1]]);
    assert_eq!(server.refused_delete(&[ids[0], ids[0], ids[2]]).await, not_found());
    assert_eq!(server.names().await, ["c"]);
    let (_, state) = server.admin(Method::GET, "state", json!({})).await;
    assert_eq!(state["nonAtomic"], true);
}

#[tokio::test]
async fn a_user_of_the_web_interface_changes_templates_behind_ones_back() {
    let server = Server::start().await;
    let id = server.created(vec![process("a"), process("b")]).await[0];
    let before = server.one(id).await;
    tokio::time::sleep(Duration::from_millis(5)).await;
    let path = format!("process_templates/{id}");
    let edit = json!({"user": "bob", "property": {"bk_process_name": {"value": "c"}, "bk_func_name": locked("cd"),
        "timeout": locked(60), "bind_info": locked(json!([{"port": locked("80"), "protocol": locked("1")}]))}});
    assert_eq!(server.admin(Method::PATCH, &path, edit).await.0, 204);
    let after = server.one(id).await;
    assert_eq!((&after["creator"], &after["modifier"]), (&json!("ann"), &json!("bob")));
    assert!(after["last_time"].as_str().unwrap() > before["last_time"].as_str().unwrap());
    assert_eq!(after["bk_process_name"], "c");
    let property = &after["property"];
    assert_eq!((&property["bk_process_name"], &property["bk_func_name"]), (&locked("c"), &locked("cd")));
    assert_eq!((&property["timeout"], row_ids(&after)), (&locked(60), vec![1]));
    assert_eq!(property["bind_info"]["value"][0]["enable"], none());
    // The name that was given up is free, the new one is taken.
    server.created(vec![process("a")]).await;
    assert_eq!(refusal(&server.call(CREATE, batch(vec![process("c")])).await), name_taken("c"));
    assert_eq!(server.simulator.requests().iter().filter(|request| request.call == UPDATE).count(), 0);

    let patch = async |path: &str, property: Value| {
        server.admin(Method::PATCH, path, json!({"user": "bob", "property": property})).await.0
    };
    assert_eq!(patch("process_templates/99", json!({})).await, 404);
    for bad in [
        json!({"timeout": locked(0)}),
        json!({"timeout": locked("60")}),
        json!({"timeout": 60}),
        json!({"bk_process_name": locked("b")}),
        json!({"bk_func_name": locked("")}),
        json!({"nice": locked(1)}),
        Value::Null,
    ] {
        assert_eq!(patch(&path, bad.clone()).await, 400, "{bad}");
    }
    assert_eq!(server.admin(Method::PATCH, &path, json!({"property": {}})).await.0, 400);
    assert_eq!(server.one(id).await, after);
}

#[tokio::test]
async fn a_user_of_the_web_interface_adds_templates_behind_ones_back() {
    let server = Server::start().await;
    server.created(vec![process("a")]).await;
    let add = async |service_template_id: i64, property: Value| {
        let body = json!({"user": "bob", "service_template_id": service_template_id, "property": property});
        server.admin(Method::POST, "process_templates", body).await
    };
    assert_eq!(add(1, process("b")["spec"].clone()).await, (201, json!({"id": 2})));
    let added = server.one(2).await;
    assert_eq!((&added["creator"], &added["modifier"], &added["bk_biz_id"]), (&json!("bob"), &json!("bob"), &json!(2)));
    assert_eq!(added["property"]["bk_func_name"], locked("bd"));
    for (service_template_id, property) in [
        (9, process("c")["spec"].clone()),
        (1, process("a")["spec"].clone()),
        (1, json!({})),
        (1, json!({"nice": locked(1)})),
        (1, json!(1)),
    ] {
        let (status, reply) = add(service_template_id, property).await;
        assert!(status == 400 && reply["error"].is_string(), "{status} {reply}");
    }
    assert_eq!(server.created(vec![process("c")]).await, [3]);
}

#[tokio::test]
async fn edits_are_methods_of_the_simulator_too() {
    let server = Server::start().await;
    let simulator = &server.simulator;
    let id = simulator.add_process_template(1, "bob", &property(process("a")["spec"].clone())).unwrap();
    let edit = |id: i64, change: Value| simulator.edit_process_template(id, "eve", &property(change));
    edit(id, json!({"user": locked("root")})).unwrap();
    let template = server.one(id).await;
    assert_eq!((&template["creator"], &template["modifier"]), (&json!("bob"), &json!("eve")));
    assert_eq!(template["property"]["user"], locked("root"));
    assert_eq!(edit(99, json!({})), Err(EditError::NotFound(99)));
    assert_eq!(edit(id, json!({"nice": locked(1)})), Err(EditError::UnknownProperty("nice".to_owned())));
    let error = edit(id, json!({"timeout": locked(0)})).unwrap_err();
    assert_eq!(error.to_string(), "1199006: 'timeout' data parameter verification does not pass");
    let again = simulator.add_process_template(1, "bob", &property(process("a")["spec"].clone()));
    assert!(matches!(again, Err(EditError::Refused { code: 1_113_019, .. })));
}

#[tokio::test]
async fn a_dropped_connection_leaves_an_update_and_a_delete_done_or_undone() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    for (effect, done) in [(Effect::drop_before_commit(), false), (Effect::drop_after_commit(), true)] {
        for call in [UPDATE, DELETE] {
            server.simulator.add_fault(Fault::nth(call, 1, effect.clone()));
        }
        assert!(server.send(UPDATE, change(ids[0], json!({"user": locked("root")}))).await.is_err());
        assert_eq!(server.one(ids[0]).await["property"]["user"] == locked("root"), done);
        assert_eq!(server.recorded_ids(UPDATE), if done { vec![ids[0]] } else { vec![] });
        assert!(server.send(DELETE, deletion(&ids[1..])).await.is_err());
        assert_eq!(server.names().await.len(), if done { 1 } else { 2 });
        assert_eq!(server.recorded_ids(DELETE), if done { vec![ids[1]] } else { vec![] });
    }
    let requests = server.simulator.requests();
    assert!(requests.iter().filter(|request| request.call == DELETE).all(|one| one.outcome() == "no reply"));
}

#[tokio::test]
async fn a_rolled_back_update_or_delete_changes_nothing() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let before = server.simulator.state();
    for call in [UPDATE, DELETE] {
        server.simulator.add_fault(Fault::every(call, Effect::hold_names(60.0, false)));
    }
    assert!(server.send(UPDATE, change(ids[0], json!({"bk_process_name": locked("c")}))).await.is_err());
    assert!(server.send(DELETE, deletion(&ids)).await.is_err());
    assert_eq!(server.simulator.state(), before);
    assert_eq!((server.recorded_ids(UPDATE), server.recorded_ids(DELETE)), (vec![], vec![]));
    server.simulator.clear_faults();
    server.created(vec![process("c")]).await;
    assert_eq!(refusal(&server.call(CREATE, batch(vec![process("a")])).await), name_taken("a"));
    server.deleted(&ids).await;
}

#[tokio::test]
async fn a_fault_answers_an_update_or_a_delete_with_any_code_or_body() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let touch = json!({"user": locked("root")});
    server.simulator.add_fault(Fault::nth(UPDATE, 1, Effect::code(1_199_020)));
    server.simulator.add_fault(Fault::nth(DELETE, 1, Effect::code(1_108_014)));
    assert_eq!(server.refused_update(ids[0], touch.clone()).await, (1_199_020, "Failed to update data".to_owned()));
    assert_eq!(server.refused_delete(&ids).await, not_deleted());
    assert_eq!(server.one(ids[0]).await["property"]["user"], none());

    let lost = Effect::Refuse(Refuse { code: 1_199_998, after_commit: true, ..Refuse::default() });
    for call in [UPDATE, DELETE] {
        server.simulator.clear_faults();
        server.simulator.add_fault(Fault::every(call, lost.clone()));
        if call == UPDATE {
            assert_eq!(server.refused_update(ids[0], touch.clone()).await.0, 1_199_998);
            assert_eq!(server.one(ids[0]).await["property"]["user"], locked("root"));
        } else {
            assert_eq!(server.refused_delete(&ids[1..]).await.0, 1_199_998);
            assert_eq!(server.names().await, ["a"]);
        }
    }
    server.simulator.clear_faults();
    server.simulator.add_fault(Fault::every("*", Effect::raw(504, "text/html", "<html>")).times(2));
    for (call, body) in [(UPDATE, change(ids[0], json!({"user": null}))), (DELETE, deletion(&ids[..1]))] {
        let response = server.send(call, body).await.unwrap();
        assert_eq!((response.status().as_u16(), response.text().await.unwrap().as_str()), (504, "<html>"));
    }
    assert_eq!(server.one(ids[0]).await["property"]["user"], locked("root"));
}

#[tokio::test]
async fn a_fault_may_concern_one_template_only() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let fault = Fault::every(UPDATE, Effect::code(1_199_020)).when("process_template_id", ids[1]);
    server.simulator.add_fault(fault);
    server.updated(ids[0], json!({})).await;
    assert_eq!(server.refused_update(ids[1], json!({})).await.0, 1_199_020);
}

#[tokio::test]
async fn a_delay_grows_with_the_ids_of_a_delete() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    let delay = json!({"call": DELETE, "every": true, "do": {"delay_ms": 100, "delay_per_item_ms": 200}});
    server.admin(Method::POST, "faults", delay).await;
    let started = Instant::now();
    server.deleted(&ids).await;
    assert!(started.elapsed() >= Duration::from_millis(700), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_hung_update_or_delete_takes_effect_before_the_wait_or_only_if_its_caller_stays() {
    let server = Server::start().await;
    let names = ["a", "b", "c"];
    let ids = server.created(names.map(process).to_vec()).await;
    for ((id, commit), (stays, done)) in
        ids.into_iter().zip([true, false, false]).zip([(false, true), (false, false), (true, true)])
    {
        for (call, body) in [(UPDATE, change(id, json!({"user": locked("root")}))), (DELETE, deletion(&[id]))] {
            server.simulator.add_fault(Fault::nth(call, 1, Effect::hang(0.8, commit)));
            let patience = Duration::from_millis(if stays { 10_000 } else { 300 });
            assert_eq!(tokio::time::timeout(patience, server.send(call, body)).await.is_ok(), stays);
            tokio::time::sleep(Duration::from_millis(900)).await;
            assert_eq!(server.recorded_ids(call), if done { vec![id] } else { vec![] });
            let listed = server.list().await.into_iter().find(|template| template["id"] == id);
            let is_done = match listed {
                Some(template) if call == UPDATE => template["property"]["user"] == locked("root"),
                listed => call == DELETE && listed.is_none(),
            };
            assert_eq!(is_done, done, "{call} {id}");
            server.simulator.clear_faults();
        }
    }
}

#[tokio::test]
async fn the_state_is_saved_after_every_change_of_any_kind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("state.json");
    let options = Options { state_file: Some(file.clone()), ..Options::default() };
    let server = Server::with(options).await;
    let saved = || -> Value { serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap() };
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    server.updated(ids[0], json!({"user": locked("root")})).await;
    assert_eq!(saved()["process_templates"][0]["property"]["user"], locked("root"));
    server.deleted(&ids[1..2]).await;
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 2);
    let edit = property(json!({"user": locked("www")}));
    server.simulator.edit_process_template(ids[0], "bob", &edit).unwrap();
    assert_eq!(saved()["process_templates"][0]["property"]["user"], locked("www"));
    server.simulator.add_process_template(1, "bob", &property(process("d")["spec"].clone())).unwrap();
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 3);
    server.simulator.update_state(|state| state.non_atomic = true);
    server.refused_delete(&[ids[2], 99]).await;
    assert_eq!(saved()["process_templates"].as_array().unwrap().len(), 2);
    assert_eq!(server.simulator.state().process_templates.len(), 2);
}
