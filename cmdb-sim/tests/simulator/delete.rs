//! A delete is checked, carried out and answered as the real server does.

use reqwest::Method;
use serde_json::json;

use crate::esb::{
    CREATE, DELETE, Server, batch, deletion, invalid, name_taken, not_deleted, not_found, process, refusal, undecodable,
};

#[tokio::test]
async fn a_delete_takes_its_templates_away_whatever_business_is_given() {
    let server = Server::start().await;
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    let reply = server.call(DELETE, deletion(&[ids[2], ids[0]])).await;
    let expected = json!({"result": true, "code": 0, "message": "success", "data": null, "permission": null,
        "request_id": reply["request_id"]});
    assert_eq!(reply, expected);
    assert_eq!(server.names_by_id().await, ["b"]);
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
    let before = server.list_by_id().await;
    for refused in [vec![ids[0], 99], vec![99, ids[0]], vec![99], vec![0], vec![ids[0], ids[1], ids[0]]] {
        assert_eq!(server.refused_delete(&refused).await, not_deleted());
        assert_eq!(server.recorded_ids(DELETE), [0; 0]);
        assert_eq!(server.list_by_id().await, before);
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
    assert_eq!(server.names_by_id().await, ["a"]);
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
    assert_eq!(server.names_by_id().await, ["p0"]);
}

#[tokio::test]
async fn without_transactions_a_delete_removes_what_precedes_the_failure() {
    let server = Server::start().await;
    server.simulator.update_state(|state| state.non_atomic = true);
    let ids = server.created(vec![process("a"), process("b"), process("c")]).await;
    assert_eq!(server.refused_delete(&[ids[1], 99, ids[0]]).await, not_found());
    assert_eq!(server.names_by_id().await, ["a", "c"]);
    assert_eq!(server.recorded_ids(DELETE), [ids[1]]);
    assert_eq!(server.refused_delete(&[ids[0], ids[0], ids[2]]).await, not_found());
    assert_eq!(server.names_by_id().await, ["c"]);
    let (_, state) = server.admin(Method::GET, "state", json!({})).await;
    assert_eq!(state["nonAtomic"], true);
}
