//! Every state of a set and of a connection, made by the real operator on the real API server.

use std::time::Duration;

use cmdb_sim::{Effect, Fault};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::stage::Stage;
use test_support::world::PATIENCE;

const SET: &str = "ptset";
const CONNECTION: &str = "cmdbconn";
const CLUSTER_CONNECTION: &str = "ccmdbconn";
const CREATE: &str = "batch_create_proc_template";

/// Makes every state and keeps an object of each.
pub async fn play(stage: &mut Stage) {
    stage.put_set("untouched", json!({})).await;
    stage.capture_as_it_is("set: not looked at yet", SET, "untouched").await;
    stage.capture_as_it_is("connection: not looked at yet", CONNECTION, "default").await;
    stage.world.start_operator_of_the_cluster(&["--create-grace-seconds", "600"]).await;
    connections(stage).await;
    well(stage).await;
    in_time(stage).await;
    only_by_a_person(stage).await;
    while_cmdb_fails(stage).await;
    suspended(stage).await;
    deleted(stage).await;
    // Last: the operator is gone then.
    not_acted_on(stage).await;
}

fn uses(connection: &str) -> Value {
    json!({ "connectionRef": { "name": connection } })
}

async fn connections(stage: &mut Stage) {
    stage.capture("connection: CMDB answers and takes the credentials", CONNECTION, "default", "Reachable").await;
    stage.put_connection("late-secret", json!({ "credentialsSecretRef": { "name": "late" } })).await;
    stage.capture("connection: its Secret is not there", CONNECTION, "late-secret", "WaitingForSecret").await;
    stage.put_connection("elsewhere", json!({ "url": format!("{}/elsewhere", stage.world.sim.url()) })).await;
    stage.capture("connection: something else than CMDB answers", CONNECTION, "elsewhere", "NotCmdb").await;
    stage.put_connection("nowhere", json!({ "url": "http://127.0.0.1:9" })).await;
    stage.capture("connection: nobody answers", CONNECTION, "nowhere", "Unreachable").await;
    stage.cmdb("strict").await.update_state(|state| {
        state.accounts = serde_json::from_value(json!([{ "app_code": "ptset", "app_secret": "another" }])).unwrap();
    });
    stage.capture("connection: CMDB refuses the credentials", CONNECTION, "strict", "Unauthorized").await;
    let strict = stage.at("strict").url();
    stage.world.put_secret_named("own", "another").await;
    stage.put_connection("rotated", json!({ "url": strict, "credentialsSecretRef": { "name": "own" } })).await;
    stage.until(CONNECTION, "rotated", "Reachable").await;
    stage.world.put_secret_named("own", "mistyped").await;
    stage.capture("connection: CMDB refuses the new credentials", CONNECTION, "rotated", "NewCredentialsRefused").await;
    let shared = json!({
        "url": stage.world.sim.url(), "transport": "Esb", "grants": [{ "namespaces": { "matchNames": ["other"] }, "bizIds": [2] }],
        "credentialsSecretRef": { "namespace": stage.world.namespace, "name": "cmdb" },
    });
    stage.put(CLUSTER_CONNECTION, "shared", shared).await;
    stage.capture("shared connection: CMDB answers", CLUSTER_CONNECTION, "shared", "Reachable").await;
}

async fn well(stage: &mut Stage) {
    stage.capture("set: in sync", SET, "untouched", "InSync").await;
}

async fn in_time(stage: &mut Stage) {
    stage.put_set("no-connection", uses("absent")).await;
    stage.put_set("no-secret", uses("late-secret")).await;
    stage.put_set("no-template", json!({ "serviceTemplate": { "name": "absent" } })).await;
    stage.put_set("no-grant", json!({ "connectionRef": { "kind": "ClusterCmdbConnection", "name": "shared" } })).await;
    stage.capture("set: its connection is not there", SET, "no-connection", "WaitingForConnection").await;
    stage.capture("set: its connection's Secret is not there", SET, "no-secret", "WaitingForSecret").await;
    stage.capture("set: its service template is not there", SET, "no-template", "WaitingForServiceTemplate").await;
    stage.capture("set: no grant covers it", SET, "no-grant", "WaitingForGrant").await;

    stage.cmdb("slow").await.add_fault(Fault::every(CREATE, Effect::hang(40.0, false)));
    stage.put_set("creating", uses("slow")).await;
    until_pending(stage, "creating").await;
    stage.capture_as_it_is("set: a create is on its way", SET, "creating").await;
    stage.cmdb("cut").await.add_fault(Fault::every(CREATE, Effect::drop_before_commit()));
    stage.put_set("undecided", uses("cut")).await;
    stage.capture("set: the outcome of a create is not known yet", SET, "undecided", "WaitingForOutcome").await;
}

async fn until_pending(stage: &Stage, name: &str) {
    let deadline = Instant::now() + PATIENCE;
    while stage.live(SET, name).await["status"]["pending"].as_array().is_none_or(Vec::is_empty) {
        assert!(Instant::now() < deadline, "{name} begins nothing\n{}", stage.world.operator_log());
        sleep(Duration::from_millis(20)).await;
    }
}

async fn only_by_a_person(stage: &mut Stage) {
    let process = |name: &str, function: &str| json!({ "name": name, "funcName": function, "startCmd": "./run" });
    let alike = json!({ "name": "b", "processName": "a", "funcName": "b" });
    stage.put_set("alike", json!({ "processes": [process("a", "a"), alike] })).await;
    stage.put_set("by-id", json!({ "serviceTemplate": { "id": 4711 } })).await;
    stage.put_set("refused", uses("strict")).await;
    stage.put_set("strange", uses("elsewhere")).await;
    stage.cmdb("denying").await.add_fault(Fault::every(CREATE, Effect::code(1_199_046)));
    stage.put_set("denied", uses("denying")).await;
    // Another set's process of that name, which differs.
    let theirs = json!({ "serviceTemplate": { "name": "untouched" }, "processes": [process("nginx", "other")] });
    stage.put_set("rival", theirs).await;
    stage.put_set("drifting", json!({ "driftPolicy": "Detect" })).await;
    stage.put_set("renamed", json!({})).await;
    stage.put_set("replaced", json!({})).await;
    for name in ["drifting", "renamed", "replaced"] {
        stage.world.until_ready(name).await;
    }
    let id = stage.world.set("drifting").await.status.unwrap().processes[0].id.unwrap();
    let by_hand: std::collections::BTreeMap<_, _> =
        serde_json::from_value(json!({ "user": { "value": "nobody", "as_default_value": true } })).unwrap();
    stage.world.sim.edit_process_template(id, "zhang", &by_hand).unwrap();
    stage.world.sim.update_state(|state| {
        let found = state.service_templates.iter_mut().find(|template| template.name == "renamed");
        "renamed-by-hand".clone_into(&mut found.unwrap().name);
    });
    stage.put_set("replaced", json!({ "processes": [process("nginx", "another")] })).await;
    let large: Vec<Value> = (0..500)
        .map(|number| {
            let name = format!("p{number:03}");
            json!({ "name": name, "funcName": name, "startCmd": "x".repeat(1300), "stopCmd": "y".repeat(1200) })
        })
        .collect();
    stage.put_set("large", json!({ "processes": large })).await;

    stage.capture("set: two of its processes exclude each other", SET, "alike", "Invalid").await;
    stage.capture("set: its service template's ID does not exist", SET, "by-id", "ServiceTemplateNotFound").await;
    stage.capture("set: CMDB refuses the credentials", SET, "refused", "Unauthorized").await;
    stage.capture("set: something else than CMDB answers", SET, "strange", "NotCmdb").await;
    stage.capture("set: CMDB does not permit the create", SET, "denied", "PermissionDenied").await;
    stage.capture("set: a template that is another's", SET, "rival", "Conflict").await;
    stage.capture("set: drift, only detected", SET, "drifting", "Drifted").await;
    stage.capture("set: its service template was renamed in CMDB", SET, "renamed", "ServiceTemplateRenamed").await;
    stage.capture("set: a change that needs a replacement", SET, "replaced", "NeedsReplacement").await;
    stage.capture("set: too large to keep its IDs", SET, "large", "TooLarge").await;

    // What time may do wins over what only a person ends.
    let both = json!({ "connectionRef": { "name": "cut" }, "serviceTemplate": { "name": "undecided" },
        "processes": [process("nginx", "other"), process("more", "more")] });
    stage.put_set("both", both).await;
    stage.capture("set: a conflict, and an outcome that is not known yet", SET, "both", "WaitingForOutcome").await;
}

async fn while_cmdb_fails(stage: &mut Stage) {
    for (connection, code) in [("failing", 1_199_066), ("throttling", 1_306_429)] {
        stage.cmdb(connection).await;
        stage.put_set(connection, uses(connection)).await;
        stage.world.until_ready(connection).await;
        stage.at(connection).add_fault(Fault::every("*", Effect::code(code)));
    }
    let changed = |connection: &str| {
        let processes = json!([{ "name": "nginx", "funcName": "nginx", "startCmd": "./changed" }]);
        json!({ "connectionRef": { "name": connection }, "processes": processes })
    };
    stage.put_set("throttling", changed("throttling")).await;
    stage.put_set("unreachable", uses("nowhere")).await;
    let seen = stage.at("failing").requests().len();
    let deadline = Instant::now() + PATIENCE;
    while stage.at("failing").requests().len() == seen {
        assert!(Instant::now() < deadline, "no check of {:?}", "failing");
        sleep(Duration::from_millis(50)).await;
    }
    stage.capture("set: in sync, and its last check failed", SET, "failing", "InSync").await;
    stage.capture("set: CMDB throttles a change", SET, "throttling", "Throttled").await;
    stage.capture("set: nobody answers", SET, "unreachable", "Unreachable").await;
    stage.capture("set: not checked for three intervals", SET, "failing", "Stale").await;
    stage.put_set("failing", changed("failing")).await;
    stage.capture("set: CMDB answers a change with a failure", SET, "failing", "Unavailable").await;
}

async fn suspended(stage: &mut Stage) {
    stage.put_set("paused", json!({})).await;
    stage.world.until_ready("paused").await;
    stage.put_set("paused", json!({ "suspend": true })).await;
    stage.put_set("paused-early", json!({ "suspend": true })).await;
    stage.capture("set: suspended, as it should be", SET, "paused", "Suspended").await;
    stage.capture("set: suspended, with work to do", SET, "paused-early", "Suspended").await;
}

async fn deleted(stage: &mut Stage) {
    let with_delete = |connection: &str| json!({ "deletionPolicy": "Delete", "connectionRef": { "name": connection } });
    stage.cmdb("leaving").await;
    stage.put_set("blocked", with_delete("leaving")).await;
    stage.world.until_ready("blocked").await;
    stage.at("leaving").add_fault(Fault::every("*", Effect::code(1_199_066)));
    stage.delete(SET, "blocked").await;
    stage.cmdb("torn").await.add_fault(Fault::every(CREATE, Effect::drop_before_commit()));
    stage.put_set("leaving", with_delete("torn")).await;
    stage.world.until_reason("leaving", "WaitingForOutcome").await;
    stage.delete(SET, "leaving").await;
    stage.capture("set: deleted, and CMDB fails", SET, "blocked", "DeletionBlocked").await;
    stage.capture("set: deleted, and a create may still be stored", SET, "leaving", "Deleting").await;
}

async fn not_acted_on(stage: &mut Stage) {
    stage.put_set("held", json!({ "deletionPolicy": "Delete" })).await;
    stage.world.until_ready("held").await;
    stage.world.kill_operator().await;
    let processes = json!([{ "name": "nginx", "funcName": "nginx", "startCmd": "./later" }]);
    stage.put_set("untouched", json!({ "processes": processes })).await;
    stage.capture_as_it_is("set: in sync before its last change", SET, "untouched").await;
    stage.put_connection("default", json!({ "url": "http://127.0.0.1:9" })).await;
    stage.capture_as_it_is("connection: well before its last change", CONNECTION, "default").await;
    stage.delete(SET, "held").await;
    stage.capture_as_it_is("set: deleted, and not looked at since", SET, "held").await;
}
