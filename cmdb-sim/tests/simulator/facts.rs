//! Facts that were seen on a real CMDB over its own API server, each with a test that has its number in its name.

use std::collections::BTreeSet;
use std::time::Duration;

use cmdb_sim::{Business, CreateCost, Daemon, DataStatus, Effect, Fault, Transport};
use reqwest::Method;
use serde_json::{Value, json};

use reqwest::header::HeaderMap;

use crate::client::{
    CREATE, DELETE, DELETE_SERVICE_TEMPLATE, LIST, Server, UPDATE, batch, content_type, everything, headers, locked,
    trusted,
};

/// The number of each fact, and what it says.
const FACTS: &[(u8, &str)] = &[
    (1, "an empty start parameter takes the function of an absent one, and not the other way round"),
    (2, "an update or a delete whose caller hung up blocks its template for about a minute"),
    (3, "a create of a service template whose caller was killed blocks its name for a while"),
    (4, "a create of more than 25 seconds is answered with 1199998 and rolled back"),
    (5, "a lost daemon shows in the text and the HTTP status"),
    (6, "an archived business is written to as any other"),
    (7, "outer white space is what Unicode says, and nothing else is refused"),
    (8, "flags and row IDs of bind_info are stored as sent"),
    (9, "the version is JSON"),
    (10, "there are twenty built-in service categories, and two kinds of answers are typed as text"),
    (11, "a deleted service template leaves its process templates"),
    (12, "names of service templates have no blanks and none of eleven characters"),
];

const CREATE_SERVICE_TEMPLATE: &str = "create_service_template";

/// Far longer than a test: a server that notices does not wait until it is over.
const LONG: u64 = 3_600_000;

const RETRIES_EXHAUSTED: (i64, &str) = (1_199_066, "retry transaction exceeds maximum count");

#[test]
fn each_fact_has_a_test() {
    let mut tested = BTreeSet::new();
    let mut lines = include_str!("facts.rs").lines();
    while lines.any(|line| line == "#[tokio::test]") {
        let name = lines.next().and_then(|line| line.strip_prefix("async fn fact_")).unwrap();
        tested.insert(name.split('_').next().unwrap().parse::<u8>().unwrap());
    }
    let facts: BTreeSet<u8> = FACTS.iter().map(|(number, _)| *number).collect();
    println!("facts: facts={} tested={}", facts.len(), tested.intersection(&facts).count());
    assert_eq!(tested, facts);
}

async fn call(server: &Server, call: &str, body: Value) -> Value {
    server.call(Transport::Direct, call, body).await
}

async fn code(server: &Server, name: &str, body: Value) -> i64 {
    call(server, name, body).await["bk_error_code"].as_i64().unwrap()
}

/// Code and text of a refusal.
fn refusal(reply: &Value) -> (i64, &str) {
    assert_eq!((&reply["result"], &reply["data"]), (&json!(false), &Value::Null), "{reply}");
    (reply["bk_error_code"].as_i64().unwrap(), reply["bk_error_msg"].as_str().unwrap())
}

/// HTTP status, code and text.
async fn failure(server: &Server, name: &str, body: Value) -> (u16, i64, String) {
    let response = server.request(Transport::Direct, name, body).await.unwrap();
    let (status, reply) = (response.status().as_u16(), response.json::<Value>().await.unwrap());
    let (code, text) = refusal(&reply);
    (status, code, text.to_owned())
}

async fn created(server: &Server, names: &[&str]) -> Vec<i64> {
    serde_json::from_value(call(server, CREATE, batch(names)).await["data"].clone()).unwrap()
}

fn update(id: i64, property: Value) -> Value {
    json!({"bk_biz_id": 2, "process_template_id": id, "process_property": property})
}

fn deletion(ids: &[i64]) -> Value {
    json!({"bk_biz_id": 2, "process_templates": ids})
}

fn service_template(name: &str) -> Value {
    json!({"bk_biz_id": 2, "name": name, "service_category_id": 2})
}

/// A create of one process with these properties on top.
fn with(name: &str, property: Value) -> Value {
    let mut body = batch(&[name]);
    body["processes"][0]["spec"].as_object_mut().unwrap().extend(property.as_object().unwrap().clone());
    body
}

/// Sends a request that the server delays by this many milliseconds, and hangs up meanwhile.
async fn hang_up(server: &Server, name: &str, body: Value, delay: u64) {
    server.simulator.clear_faults();
    server.simulator.add_fault(Fault::nth(name, 1, Effect::delay(delay)));
    let seen = server.simulator.requests().len();
    let has_come = async {
        while server.simulator.requests().len() == seen {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::select! {
        _ = server.request(Transport::Direct, name, body) => panic!("answered"),
        () = has_come => {}
    }
    while !server.simulator.requests()[seen].finished {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(server.simulator.requests()[seen].outcome(), "hung up");
}

#[tokio::test]
async fn fact_1_an_empty_start_parameter_takes_the_function_of_an_absent_one() {
    let java = |regex: Option<&str>| {
        let mut property = json!({"bk_func_name": locked("java")});
        if let Some(regex) = regex {
            property["bk_start_param_regex"] = locked(regex);
        }
        property
    };
    let taken = (1_113_020, "process name [java] and start parameter [] unique validation failed");

    let server = Server::start().await;
    assert_eq!(code(&server, CREATE, with("empty", java(Some("")))).await, 0);
    assert_eq!(refusal(&call(&server, CREATE, with("absent", java(None))).await), taken);

    let server = Server::start().await;
    assert_eq!(code(&server, CREATE, with("absent", java(None))).await, 0);
    assert_eq!(code(&server, CREATE, with("empty", java(Some("")))).await, 0);
    // Now no property of the first can be changed, until the other gives the pair up.
    let touch = |id| update(id, json!({"user": locked("root")}));
    assert_eq!(refusal(&call(&server, UPDATE, touch(1)).await), taken);
    assert_eq!(code(&server, UPDATE, touch(2)).await, 0);
    assert_eq!(code(&server, UPDATE, update(2, json!({"bk_start_param_regex": locked("-jar")}))).await, 0);
    assert_eq!(code(&server, UPDATE, touch(1)).await, 0);
    // One that was touched is still absent and takes nothing.
    assert_eq!(code(&server, UPDATE, update(2, json!({"bk_start_param_regex": locked("")}))).await, 0);
}

#[tokio::test]
async fn fact_2_an_update_or_a_delete_that_was_hung_up_blocks_its_template() {
    for (name, body) in [(UPDATE, update(1, json!({"user": locked("root")}))), (DELETE, deletion(&[1]))] {
        let server = Server::start().await;
        created(&server, &["blocked", "free"]).await;
        server.simulator.update_state(|state| state.hold_templates_on_hang_up_seconds = 3_600.0);
        let before = server.simulator.state().process_templates;
        hang_up(&server, name, body.clone(), LONG).await;

        assert_eq!(server.simulator.state().process_templates, before, "lists show what was");
        for (name, body) in [(UPDATE, update(1, json!({}))), (DELETE, deletion(&[1])), (DELETE, deletion(&[2, 1]))] {
            assert_eq!(refusal(&call(&server, name, body).await), RETRIES_EXHAUSTED, "{name}");
        }
        assert_eq!(server.simulator.state().process_templates, before);
        assert_eq!(code(&server, UPDATE, update(2, json!({"user": locked("root")}))).await, 0);
        assert_eq!(code(&server, DELETE, deletion(&[2])).await, 0);

        // A server that does not notice carries on, and a block comes to its end.
        let server = Server::start().await;
        created(&server, &["a", "b"]).await;
        hang_up(&server, name, body.clone(), 2_000).await;
        assert_eq!(server.simulator.requests().last().unwrap().ids, [1]);
        server.simulator.add_fault(Fault::nth(DELETE, 1, Effect::hold_templates(0.05, false)));
        assert!(server.request(Transport::Direct, DELETE, deletion(&[2])).await.is_err());
        while code(&server, DELETE, deletion(&[2])).await != 0 {}
    }
}

#[tokio::test]
async fn fact_3_a_create_of_a_service_template_that_was_hung_up_blocks_its_name() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.hold_templates_on_hang_up_seconds = 3_600.0);
    hang_up(&server, CREATE_SERVICE_TEMPLATE, service_template("db"), LONG).await;
    for _ in 0..3 {
        assert_eq!(refusal(&call(&server, CREATE_SERVICE_TEMPLATE, service_template("db")).await), RETRIES_EXHAUSTED);
    }
    assert_eq!(code(&server, CREATE_SERVICE_TEMPLATE, service_template("other")).await, 0);
    assert_eq!(server.simulator.state().service_templates.len(), 2);

    server.simulator.add_fault(Fault::nth(CREATE_SERVICE_TEMPLATE, 2, Effect::hold_templates(0.05, false)));
    assert!(server.request(Transport::Direct, CREATE_SERVICE_TEMPLATE, service_template("cache")).await.is_ok());
    assert!(server.request(Transport::Direct, CREATE_SERVICE_TEMPLATE, service_template("queue")).await.is_err());
    while code(&server, CREATE_SERVICE_TEMPLATE, service_template("queue")).await != 0 {}
    let names = server.simulator.state().service_templates.into_iter().map(|template| template.name);
    assert_eq!(names.collect::<Vec<_>>(), ["web", "other", "cache", "queue"]);
}

#[tokio::test]
async fn fact_4_a_create_that_is_too_slow_is_rolled_back() {
    let server = Server::start().await;
    assert_eq!(CreateCost::default().timeout_seconds.to_string(), "25");
    let cost = |per_item_ms, per_present_ms| {
        let cost = CreateCost { per_item_ms, per_present_ms, timeout_seconds: 0.05 };
        server.simulator.update_state(|state| state.create_cost = Some(cost));
    };
    let text = r#"proxy request failed, Post "http://127.0.0.1:60008/process/v3/createmany/proc/proc_template": net/http: timeout awaiting response headers"#;
    let too_slow = (500, 1_199_998, text.to_owned());

    cost(20.0, 0.0);
    assert_eq!(failure(&server, CREATE, batch(&["a", "b", "c"])).await, too_slow);
    assert!(server.names().is_empty());
    assert_eq!(created(&server, &["a", "b"]).await, [4, 5], "fewer are fast enough");
    cost(0.0, 20.0);
    assert_eq!(failure(&server, CREATE, batch(&["c", "d"])).await, too_slow, "each of the two counts those present");
    assert_eq!(created(&server, &["c"]).await, [8]);
    assert_eq!(failure(&server, CREATE, batch(&["d"])).await, too_slow, "and now one is too slow");
    cost(0.0, 0.0);
    assert_eq!(created(&server, &["d"]).await, [10], "when the load falls, the same goes through");
    assert_eq!(server.simulator.requests()[0].ids, [0; 0]);
}

#[tokio::test]
async fn fact_5_a_lost_daemon_is_told_from_text_and_status() {
    let server = Server::start().await;
    created(&server, &["a"]).await;
    let before = server.simulator.state().process_templates;
    let kill = |daemon| {
        server.simulator.clear_faults();
        server.simulator.add_fault(Fault::every("*", Effect::killed(daemon)));
    };
    let ends = |failure: (u16, i64, String), status: u16, code: i64, words: [&str; 2]| {
        let (start, end) = words.into();
        assert_eq!((failure.0, failure.1), (status, code), "{failure:?}");
        assert!(failure.2.contains(start) && failure.2.ends_with(end), "{failure:?}");
    };

    kill(Daemon::Coreservice);
    let abort = "/transaction/abort\": ";
    let killed = failure(&server, CREATE_SERVICE_TEMPLATE, service_template("db")).await;
    ends(killed, 200, 1_199_998, [abort, "connection reset by peer"]);
    let down = failure(&server, CREATE, batch(&["b"])).await;
    ends(down, 200, 1_199_998, [abort, "connection refused"]);
    for (name, body) in [
        (LIST, everything()),
        ("list_service_template", json!({"bk_biz_id": 2, "page": {"limit": 10}})),
        (DELETE, deletion(&[1])),
    ] {
        assert_eq!(failure(&server, name, body).await, (200, 1_199_002, "HTTP request failed".to_owned()), "{name}");
    }

    kill(Daemon::Procserver);
    let proxy = r#"proxy request failed, Post "http://127.0.0.1:60008/process/v3/createmany/proc/proc_template": "#;
    ends(failure(&server, CREATE, batch(&["b"])).await, 500, 1_199_998, [proxy, "EOF"]);
    ends(failure(&server, CREATE, batch(&["b"])).await, 500, 1_199_998, [proxy, "connection refused"]);
    let update = failure(&server, UPDATE, update(1, json!({}))).await;
    ends(update, 500, 1_199_998, [r#"Put "http://"#, "connection refused"]);
    assert_eq!(server.simulator.state().process_templates, before, "nothing was stored");
    server.simulator.clear_faults();
    created(&server, &["b"]).await;

    // A batch in which coreservice died holds its names.
    kill(Daemon::Coreservice);
    ends(failure(&server, CREATE, batch(&["c"])).await, 200, 1_199_998, [abort, "connection reset by peer"]);
    server.simulator.clear_faults();
    assert_eq!(code(&server, CREATE, batch(&["c"])).await, 1_199_066);
    assert_eq!(server.names(), ["a", "b"]);
}

#[tokio::test]
async fn fact_6_an_archived_business_is_written_to() {
    let server = Server::start().await;
    let archived = |business: &mut Business| business.bk_data_status = DataStatus::Disabled;
    server.simulator.update_state(|state| state.businesses.iter_mut().for_each(archived));
    let (_, state) = server.admin(Method::GET, "state", json!({})).await;
    assert_eq!(state["businesses"][0]["bk_data_status"], "disabled");
    for (name, body) in [
        (CREATE_SERVICE_TEMPLATE, service_template("db")),
        (CREATE, batch(&["a", "b"])),
        (UPDATE, update(1, json!({"user": locked("root")}))),
        (DELETE, deletion(&[1])),
        (DELETE_SERVICE_TEMPLATE, json!({"bk_biz_id": 2, "service_template_id": 2})),
    ] {
        assert_eq!(code(&server, name, body).await, 0, "{name}");
    }
    assert_eq!(server.names(), ["b"]);
}

#[tokio::test]
async fn fact_7_outer_white_space_is_what_unicode_says() {
    let server = Server::start().await;
    for space in ["\u{85}", " ", "\u{a0}", "\u{3000}", "\u{2028}"] {
        let text = format!("a{space}");
        let reply = call(&server, CREATE, with("spaced", json!({"user": locked(&*text)}))).await;
        assert_eq!(refusal(&reply), (1_199_998, &*format!("field user contains space: {text}")), "{space:?}");
        assert_eq!(code(&server, CREATE, batch(&[&text])).await, 1_199_998);
    }
    for (at, other) in ["\u{feff}", "\u{200b}", "\u{180e}", "\u{1f}", "\0"].into_iter().enumerate() {
        let text = format!("{other}a{other}{at}{other}");
        assert_eq!(code(&server, CREATE, with(&text, json!({"user": locked(&*text)}))).await, 0, "{other:?}");
        let stored = server.simulator.state().process_templates.remove(at);
        assert_eq!((&stored.bk_process_name, stored.property["user"].value.as_str()), (&text, Some(&*text)));
    }
}

#[tokio::test]
async fn fact_8_flags_and_row_ids_of_bind_info_are_stored_as_sent() {
    let server = Server::start().await;
    let row = |row_id: i64| {
        let flag = json!({"value": null, "as_default_value": null});
        json!({"row_id": row_id, "ip": locked("1"), "port": locked("80"), "protocol": locked("1"), "enable": flag})
    };
    let rows = json!([row(7), row(7), row(-3)]);
    for (at, flag) in [Value::Null, json!(false), json!(true)].into_iter().enumerate() {
        let sent = json!({"value": rows, "as_default_value": flag});
        // The web page locks every property, also empty ones.
        let mut property = json!({"bind_info": sent, "user": locked(""), "auto_start": locked(false)});
        assert_eq!(code(&server, CREATE, with(&format!("p{at}"), property.clone())).await, 0);
        let id = i64::try_from(at).unwrap() + 1;
        for _ in 0..2 {
            let listed = call(&server, LIST, json!({"bk_biz_id": 2, "process_template_ids": [id]})).await;
            let listed = &listed["data"]["info"][0]["property"];
            for (name, sent) in property.as_object().unwrap() {
                assert_eq!(&listed[name], sent, "{name}");
            }
            // Once more after an update.
            property["bind_info"]["value"] = json!([row(-1), row(-1)]);
            assert_eq!(code(&server, UPDATE, update(id, json!({"bind_info": property["bind_info"]}))).await, 0);
        }
    }
}

#[tokio::test]
async fn fact_9_the_version_is_json() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.version = "release-v3.14.8-beta1".to_owned());
    let response = server.send(Method::GET, "/version", HeaderMap::new(), &Value::Null).await.unwrap();
    assert_eq!((response.status().as_u16(), content_type(&response)), (200, "application/json"));
    let text = response.text().await.unwrap();
    let start = r#"{"module":"apiserver","version":"release-v3.14.8-beta1","build_time":""#;
    assert!(text.starts_with(start) && text.contains(r#"","commit_id":""#), "{text}");
    assert_eq!(serde_json::from_str::<Value>(&text).unwrap().as_object().unwrap().len(), 4);
}

#[tokio::test]
async fn fact_10_twenty_categories_are_built_in_and_two_answers_are_typed_as_text() {
    let server = Server::start().await;
    let categories = call(&server, "list_service_category", json!({"bk_biz_id": 2})).await;
    let listed = categories["data"]["info"].as_array().unwrap();
    assert!(listed.iter().all(|category| category["is_built_in"] == true && category["bk_biz_id"] == 0));
    let roots = listed.iter().filter(|category| category["bk_parent_id"] == 0);
    assert_eq!((listed.len(), &categories["data"]["count"], roots.count()), (20, &json!(20), 5));
    let ids: BTreeSet<i64> = listed.iter().map(|category| category["id"].as_i64().unwrap()).collect();
    assert_eq!(ids, (1..=20).collect());
    // Every leaf can be used.
    for (at, leaf) in listed.iter().filter(|category| category["bk_parent_id"] != 0).enumerate() {
        let body = json!({"bk_biz_id": 2, "name": format!("t{at}"), "service_category_id": leaf["id"]});
        assert_eq!(code(&server, CREATE_SERVICE_TEMPLATE, body).await, 0, "{leaf}");
    }

    let plain = "text/plain; charset=utf-8";
    let response = server.direct(headers([("BK_User", "ann")]), everything()).await;
    assert_eq!((response.status().as_u16(), content_type(&response)), (500, plain));
    assert_eq!(response.json::<Value>().await.unwrap()["bk_error_code"], 1_199_027);
    let response = server.send(Method::POST, "/api/v3/find/proc/nothing", trusted(), &json!({})).await.unwrap();
    assert_eq!((response.status().as_u16(), content_type(&response)), (200, plain));
    assert_eq!(response.text().await.unwrap(), "404: Page Not Found");
}

#[tokio::test]
async fn fact_11_a_deleted_service_template_leaves_its_process_templates() {
    let server = Server::start().await;
    created(&server, &["a", "b"]).await;
    // The business is not checked.
    let body = json!({"bk_biz_id": 99, "service_template_id": 1});
    let reply = call(&server, DELETE_SERVICE_TEMPLATE, body.clone()).await;
    assert_eq!((&reply["bk_error_code"], &reply["data"]), (&json!(0), &Value::Null));
    assert_eq!(server.simulator.requests().last().unwrap().ids, [1]);
    assert!(server.simulator.state().service_templates.is_empty());
    assert_eq!(code(&server, DELETE_SERVICE_TEMPLATE, body).await, 1_108_030);

    for filter in [json!({"bk_biz_id": 2, "process_template_ids": [1, 2]}), everything()] {
        assert_eq!(call(&server, LIST, filter).await["data"]["count"], 2);
    }
    assert_eq!(code(&server, CREATE, batch(&["c"])).await, 1_199_006);
    let reply = call(&server, UPDATE, update(1, json!({"user": locked("root")}))).await;
    assert_eq!(reply["data"]["property"]["user"], locked("root"));
    assert_eq!(code(&server, DELETE, deletion(&[1, 2])).await, 0);
    assert!(server.names().is_empty());
    // The next one of the same name is another one.
    assert_eq!(call(&server, CREATE_SERVICE_TEMPLATE, service_template("web")).await["data"]["id"], 2);
}

#[tokio::test]
async fn fact_12_names_of_service_templates_have_no_blanks_and_no_special_characters() {
    let server = Server::start().await;
    let refused = (1_199_006, "'name' data parameter verification does not pass");
    for character in [' ', '\t', '\\', '|', '/', ':', '*', ',', '<', '>', '"', '?', '#'] {
        let name = format!("a{character}b");
        let reply = call(&server, CREATE_SERVICE_TEMPLATE, service_template(&name)).await;
        assert_eq!(refusal(&reply), refused, "{character:?}");
    }
    for name in ["  outer  ", "a.b-c_d", "名称", "a&b;c'd", "[x](y){z}"] {
        assert_eq!(code(&server, CREATE_SERVICE_TEMPLATE, service_template(name)).await, 0, "{name}");
    }
}
