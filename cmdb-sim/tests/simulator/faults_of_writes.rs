//! Faults of updates and deletes.

use std::time::{Duration, Instant};

use cmdb_sim::{Effect, Fault, Refuse};
use reqwest::Method;
use serde_json::json;

use crate::esb::{
    CREATE, DELETE, Server, UPDATE, batch, change, deletion, locked, name_taken, none, not_deleted, process, refusal,
    service_template,
};

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
        assert_eq!(server.names_by_id().await.len(), if done { 1 } else { 2 });
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
            assert_eq!(server.names_by_id().await, ["a"]);
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
async fn a_hung_write_takes_effect_at_once_or_only_if_its_caller_stays() {
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
            let listed = server.list_by_id().await.into_iter().find(|template| template["id"] == id);
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
async fn a_call_that_is_delivered_late_is_carried_out_though_its_caller_has_gone() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    // A server that would notice is behind the one that delivers late.
    server.simulator.update_state(|state| {
        state.hold_names_on_hang_up_seconds = 3_600.0;
        state.hold_templates_on_hang_up_seconds = 3_600.0;
    });
    server.simulator.add_fault(Fault::every("*", Effect::late(1.5)).times(3));
    for (call, body) in [
        (CREATE, batch(vec![process("late")])),
        (UPDATE, change(id, json!({"user": locked("root")}))),
        ("create_service_template", service_template("late")),
    ] {
        let seen = server.simulator.requests().len();
        let has_come = async {
            while server.simulator.requests().len() == seen {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            _ = server.send(call, body) => panic!("answered"),
            () = has_come => assert!(server.simulator.requests()[seen].ids.is_empty()),
        }
        while !server.simulator.requests()[seen].finished {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let request = server.simulator.requests().remove(seen);
        assert!(request.client_hung_up && request.ids.len() == 1, "{request:?}");
        assert_eq!(request.fault.as_deref(), Some("late"));
    }
    assert_eq!(server.one(id).await["property"]["user"], locked("root"));
    assert_eq!(server.names_by_id().await, ["a", "late"]);
    assert_eq!(server.simulator.state().service_templates[1].name, "late");
    // A caller that stays gets the reply.
    server.simulator.clear_faults();
    server.admin(Method::POST, "faults", json!({"do": {"late_seconds": 0.05}})).await;
    server.created(vec![process("b")]).await;
}

#[tokio::test]
async fn a_refused_write_conflict_takes_its_time() {
    let server = Server::start().await;
    let id = server.created(vec![process("a")]).await[0];
    server.simulator.add_fault(Fault::nth(UPDATE, 1, Effect::hold_templates(3_600.0, true)));
    assert!(server.send(UPDATE, change(id, json!({"user": locked("root")}))).await.is_err());
    assert_eq!(server.one(id).await["property"]["user"], locked("root"), "it was stored all the same");
    server.simulator.update_state(|state| state.write_conflict_seconds = 0.3);
    let started = Instant::now();
    assert_eq!(server.refused_delete(&[id]).await.0, 1_199_066);
    assert!(started.elapsed() >= Duration::from_millis(300));
    // What was deleted and held is still unknown afterwards.
    server.simulator.update_state(|state| state.process_templates.clear());
    assert_eq!(server.refused_update(id, json!({})).await.0, 1_199_019);
}
