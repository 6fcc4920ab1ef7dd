//! An update is checked, stored and answered as the real server does.

use std::time::Duration;

use cmdb_sim::{Attribute, Effect, Fault};
use serde_json::{Value, json};

use crate::esb::{
    CREATE, Server, UPDATE, batch, change, function_taken, invalid, locked, missing_input, name_taken, none, not_found,
    process, process_with, refusal, row_ids, undecodable,
};

fn row(row_id: i64, port: &str) -> Value {
    json!({"row_id": row_id, "ip": locked("1"), "port": locked(port), "protocol": locked("1"), "enable": locked(true)})
}

#[tokio::test]
async fn an_update_answers_the_whole_template_as_it_is_afterwards() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b")]).await;
    let before = server.list_by_id().await;
    let reply = server.call(UPDATE, change(ids[0], json!({"user": locked("root")}))).await;
    assert_eq!((&reply["result"], &reply["permission"]), (&json!(true), &Value::Null));
    let mut expected = before[0].clone();
    expected["property"]["user"] = locked("root");
    expected["last_time"] = reply["data"]["last_time"].clone();
    assert_eq!(reply["data"], expected);
    expected["last_time"] = server.one(ids[0]).await["last_time"].clone();
    assert_eq!(server.list_by_id().await, [expected, before[1].clone()]);
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
        assert_eq!(server.names_by_id().await, ["c", "b"]);
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
        assert_eq!(server.names_by_id().await, ["c", "b", "a"]);
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
async fn a_name_is_unique_per_service_template_and_not_blocked_by_itself() {
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
async fn a_null_start_parameter_counts_as_empty_against_stored_text_only() {
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
async fn rows_of_bind_info_are_replaced_as_a_whole_and_keep_sent_ids() {
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
async fn a_row_without_a_port_fails_every_update_until_it_is_repaired() {
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
async fn an_update_is_checked_except_for_white_space() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    for (name, value) in
        [("proc_num", 0), ("timeout", 10_001), ("priority", -101), ("bk_start_check_secs", 0), ("proc_num", 10_001)]
    {
        assert_eq!(server.refused_update(id, json!({name: locked(value)})).await, invalid(name));
    }
    assert_eq!(server.names_by_id().await, ["a"]);
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
    let before = server.list_by_id().await;
    for (body, expected) in table {
        assert_eq!(refusal(&server.call(UPDATE, body.clone()).await), expected, "{body}");
    }
    assert_eq!(server.list_by_id().await, before);
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
async fn a_name_is_stored_twice_where_the_database_allows_it() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.unique_names = false);
    let named = |name: &str, function: &str| process_with(name, "bk_func_name", locked(function));
    server.created(vec![named("a", "x"), named("a", "y")]).await;
    server.created(vec![named("b", "z")]).await;
    server.updated(3, json!({"bk_process_name": locked("a")})).await;
    assert_eq!(server.names_by_id().await, ["a", "a", "a"]);
    // A server that was upgraded does not mend them, but takes no more.
    server.simulator.update_state(|state| state.unique_names = true);
    assert_eq!(server.refused_update(1, json!({"user": locked("root")})).await, name_taken("a"));
    server.deleted(&[1, 2]).await;
    server.updated(3, json!({"user": locked("root")})).await;
}
