//! Faults of every kind, over the ESB.

use std::time::{Duration, Instant};

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};

use crate::esb::{CREATE, LIST, Server, batch, process, refusal};

#[tokio::test]
async fn a_dropped_connection_gives_no_reply_and_stores_the_batch_or_not() {
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
async fn a_hung_call_takes_effect_at_once_or_only_if_its_caller_stays() {
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
