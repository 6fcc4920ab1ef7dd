//! The judges that other tests believe: each says so when it is shown something wrong.

use process_template_operator::api;
use serde_json::{Value, json};
use test_support::judges::Judge;

fn object(status: &Value) -> Value {
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": "web", "namespace": "blueking", "generation": 2 },
        "status": status,
    })
}

fn condition(type_: &str, status: &str) -> Value {
    json!({
        "type": type_, "status": status, "reason": "Because", "message": "so it is", "observedGeneration": 2,
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    })
}

fn with_conditions(conditions: &[Value]) -> Value {
    object(&json!({ "observedGeneration": 2, "conditions": conditions }))
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn kstatus_takes_an_object_without_a_status_for_done_and_a_new_one_of_ours_for_begun() {
    let judge = Judge::named("status-judge").await;
    let mut bare = object(&Value::Null);
    bare.as_object_mut().unwrap().remove("status");
    assert_eq!(judge.ask(&[], &[bare]).await[0]["kstatus"]["status"], "Current");
    for (file, crd) in api::crds().unwrap() {
        let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
        let new = object(&schema["properties"]["status"]["default"]);
        assert_eq!(judge.ask(&[], &[new]).await[0]["kstatus"]["status"], "InProgress", "{file}");
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn kstatus_tells_the_three_ends_of_a_look_apart() {
    let judge = Judge::named("status-judge").await;
    let judged = judge
        .ask(
            &[],
            &[
                with_conditions(&[condition("Ready", "True")]),
                with_conditions(&[condition("Ready", "False"), condition("Reconciling", "True")]),
                with_conditions(&[condition("Ready", "False"), condition("Stalled", "True")]),
            ],
        )
        .await;
    let statuses: Vec<&Value> = judged.iter().map(|judgement| &judgement["kstatus"]["status"]).collect();
    assert_eq!(statuses, ["Current", "InProgress", "Failed"]);
    assert_eq!(judged[2]["kstatus"]["message"], "so it is");
    for judgement in judged {
        assert_eq!(judgement["flux"], json!({ "rules": "end of reconcile", "failures": [], "warnings": [] }));
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn flux_finds_a_lie_in_what_is_ready_and_still_at_work() {
    let judge = Judge::named("status-judge").await;
    let lie = with_conditions(&[condition("Ready", "True"), condition("Reconciling", "True")]);
    let judged = judge.ask(&[], std::slice::from_ref(&lie)).await;
    assert_eq!(
        judged[0]["flux"]["failures"],
        json!([
            "Negative polarity condition cannot be True when Ready condition is True: [Reconciling]",
            "Ready condition must be False when Reconciling condition is True",
        ])
    );
    // In the midst of a reconcile that is allowed, and something else is not.
    let unknown = with_conditions(&[condition("Ready", "Unknown")]);
    let judged = judge.ask(&["--in-progress"], &[lie, unknown]).await;
    assert_eq!(judged[0]["flux"], json!({ "rules": "in progress", "failures": [], "warnings": [] }));
    assert_eq!(judged[1]["flux"]["failures"].as_array().unwrap().len(), 1, "{}", judged[1]);
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn flux_warns_of_a_condition_that_is_false_where_it_should_be_gone() {
    let judge = Judge::named("status-judge").await;
    let judged =
        judge.ask(&[], &[with_conditions(&[condition("Ready", "False"), condition("Stalled", "False")])]).await;
    assert_eq!(judged[0]["flux"]["warnings"], json!(["Stalled condition can be removed when its value is False"]));
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_cannot_be_judged_is_named_by_its_line() {
    let judge = Judge::named("status-judge").await;
    let unreadable = object(&json!({ "conditions": { "Ready": "True" } }));
    let error = judge.try_ask(&[], &[with_conditions(&[]), unreadable]).await.unwrap_err();
    assert_eq!(error, "status-judge: line 2: kstatus: cannot restore slice from map\n");
}
