//! The operator against the real API server and a simulated CMDB.

use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use test_support::closed::Closed;
use test_support::proxy::{Point, Proxy};
use test_support::world::{PATIENCE, Seen, World};
use tokio::time::{Instant, sleep};

const CREATE: &str = "batch_create_proc_template";
const LIST: &str = "list_proc_template";

fn process(number: usize) -> Value {
    json!({ "name": format!("p{number:03}"), "funcName": format!("f{number:03}"), "procNum": 1,
        "bindInfo": [{ "ip": "0.0.0.0", "port": 8000 + number, "protocol": "TCP", "enable": true }] })
}

fn processes(count: usize) -> Value {
    (1..=count).map(process).collect()
}

/// A template as somebody else made it in CMDB.
fn strangers_template(id: i64, service_template_id: i64, process: &Value, start_cmd: &str) -> sim::ProcessTemplate {
    let text = |value: &str| json!({ "value": value, "as_default_value": true });
    serde_json::from_value(json!({
        "id": id, "bk_process_name": process["name"], "bk_biz_id": 2, "service_template_id": service_template_id,
        "property": {
            "bk_process_name": text(process["name"].as_str().unwrap()),
            "bk_func_name": text(process["funcName"].as_str().unwrap()),
            "start_cmd": text(start_cmd),
        },
        "creator": "admin", "modifier": "admin",
        "create_time": "2020-01-01T00:00:00.000Z", "last_time": "2020-01-01T00:00:00.000Z",
        "bk_supplier_account": "0",
    }))
    .unwrap()
}

fn writes(world: &World) -> usize {
    world.requests(CREATE).len() + world.requests("create_service_template").len()
}

async fn patch_status(world: &World, name: &str, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    world.sets().patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_grace_for_creates_that_is_too_short_for_cmdb_is_warned_of() {
    let mut world = World::new("short-grace").await;
    for (seconds, is_warned_of) in [("121", false), ("120", true), ("0", true)] {
        world.start_operator(&["--create-grace-seconds", seconds]).await;
        world.until_logged("listen=").await;
        let warning = format!("--create-grace-seconds {seconds} is no longer than");
        assert_eq!(world.operator_log().contains(&warning), is_warned_of, "{}", world.operator_log());
        world.stop_operator().await;
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_is_missing_is_created_by_one_request_and_the_ids_are_in_the_status() {
    let mut world = World::new("create").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(6) })).await;
    let seen = world.until_ready("web").await;
    let stored: Vec<i64> = world.sim.state().process_templates.iter().map(|template| template.id).collect();
    assert_eq!(seen.ids(), stored);
    assert_eq!(world.requests(CREATE).len(), 1);
    assert_eq!(seen.status.summary.as_deref(), Some("6/6"));
    assert_eq!(seen.set.metadata.finalizers, None);
    world.stop_operator().await;

    world.sim.clear_requests();
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(7) })).await;
    assert_eq!(world.until_ready("web").await.ids()[..6], stored[..], "what is there stays");
    assert_eq!(world.requests(CREATE).len(), 1, "one create for the one process that was added");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_old_servers_flat_schema_is_detected_and_spoken() {
    let options = sim::Options { schema: sim::Schema::Flat, ..sim::Options::default() };
    let sim = Simulator::start(options).unwrap();
    let url = sim.url();
    let mut world = World::with("flat", sim, &url).await;
    world.service_template("web");
    world.start_operator(&[]).await;
    let flat = json!({ "name": "flat", "funcName": "a", "bindIp": "0.0.0.0", "port": "80,443", "protocol": "TCP",
        "autoTimeGap": 5 });
    let rows = json!({ "name": "rows", "funcName": "b", "bindInfo": [
        { "ip": "127.0.0.1", "port": 1, "protocol": "UDP", "enable": true },
        { "ip": "127.0.0.1", "port": 2, "protocol": "UDP", "enable": true }] });
    world.apply("web", json!({ "processes": [flat, rows] })).await;
    world.until_ready("web").await;
    let state = world.sim.state();
    let port = |index: usize| serde_json::to_value(&state.process_templates[index].property).unwrap()["port"].clone();
    assert_eq!(port(0), json!({ "value": "80,443", "as_default_value": true }));
    assert_eq!(port(1), json!({ "value": "1,2", "as_default_value": true }));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_identical_template_is_adopted_without_a_write_and_a_different_one_is_a_conflict() {
    let mut world = World::new("adopt").await;
    let id = world.service_template("web");
    let same = json!({ "name": "same", "funcName": "f", "startCmd": "./run" });
    let other = json!({ "name": "other", "funcName": "g", "startCmd": "./run" });
    world.sim.update_state(|state| {
        state.process_templates.push(strangers_template(11, id, &same, "./run"));
        state.process_templates.push(strangers_template(12, id, &other, "./else"));
    });
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": [same, other] })).await;
    let seen = world.until_reason("web", "Conflict").await;
    assert_eq!((seen.condition("Ready"), seen.condition("Stalled")), ("False", "True"));
    assert_eq!(seen.process("same").id, Some(11));
    let message = seen.process("other").message.clone().unwrap();
    assert!(message.contains("template 12") && message.contains("startCmd"), "{message}");
    assert_eq!(writes(&world), 0);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_that_was_wiped_comes_back_without_a_write() {
    let mut world = World::new("wiped").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(20) })).await;
    let before = world.until_ready("web").await;
    world.stop_operator().await;
    let wipe = json!([{ "op": "remove", "path": "/status" }]);
    let patch = Patch::Json::<()>(serde_json::from_value(wipe).unwrap());
    world.sets().patch_status("web", &PatchParams::default(), &patch).await.unwrap();
    assert!(Seen::new(world.set("web").await).ids().is_empty());
    world.sim.clear_requests();
    world.start_operator(&[]).await;
    let after = world.until_ready("web").await;
    assert_eq!((after.ids(), writes(&world)), (before.ids(), 0));
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_status_that_was_copied_to_another_cmdb_leads_to_no_stranger() {
    let mut world = World::new("copied").await;
    let id = world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(3), "resyncIntervalSeconds": 5 })).await;
    let before = world.until_ready("web").await;
    world.stop_operator().await;

    // Another CMDB holds strangers: the same IDs, names and user, in a service template of the same ID; and one more
    // under the name of a create that the status says was begun.
    let other = Simulator::start(sim::Options::default()).unwrap();
    let strangers: Vec<sim::ProcessTemplate> = (1..=4)
        .map(|number| {
            let known = before.ids().get(number - 1).copied();
            strangers_template(known.unwrap_or(99), id, &process(number), "./strange")
        })
        .collect();
    other.update_state(|state| {
        let service_template = json!({ "id": id, "name": "strange", "bk_biz_id": 2, "service_category_id": 2 });
        state.service_templates.push(serde_json::from_value(service_template).unwrap());
        state.process_templates.clone_from(&strangers);
    });
    let hash = "i1:00000000000000000000000000000000";
    let pending = json!([{ "name": "p004", "processName": "p004", "hash": hash, "afterId": 1 }]);
    patch_status(&world, "web", json!({ "pending": pending })).await;
    world.put_connection("default", &other.url()).await;
    let first = std::mem::replace(&mut world.sim, other);
    world.apply("web", json!({ "processes": processes(4), "resyncIntervalSeconds": 5 })).await;
    world.start_operator(&["--create-grace-seconds", "2"]).await;
    world.until_reason("web", "WaitingForServiceTemplate").await;
    assert_eq!(writes(&world), 0, "nothing is created in a stranger's service template");

    // Even under the right name, strangers are neither taken nor touched.
    world.sim.update_state(|state| state.service_templates[0].name = "web".to_owned());
    let seen = world.until_reason("web", "Conflict").await;
    assert_eq!((seen.ids(), writes(&world)), (Vec::new(), 0));
    assert_eq!(
        serde_json::to_value(world.sim.state().process_templates).unwrap(),
        serde_json::to_value(strangers).unwrap()
    );
    first.stop().await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn one_bad_process_among_fifty_holds_back_none_of_the_others() {
    let mut world = World::new("bad").await;
    let id = world.service_template("web");
    // What only the server can know: a stranger has this pair of function and start parameter.
    let taken = json!({ "name": "stranger", "funcName": "java" });
    world.sim.update_state(|state| {
        let mut stranger = strangers_template(900, id, &taken, "./run");
        let regex = json!({ "value": "shop.jar", "as_default_value": true });
        let mut property = serde_json::to_value(&stranger.property).unwrap();
        property["bk_start_param_regex"] = regex;
        stranger.property = serde_json::from_value(property).unwrap();
        state.process_templates.push(stranger);
    });
    let mut fifty = processes(50);
    fifty[30] = json!({ "name": "bad", "funcName": "java", "startParamRegex": "shop.jar" });
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": fifty })).await;
    let seen = world.until_reason("web", "Refused").await;
    assert_eq!(seen.ids().len(), 49);
    let bad = seen.process("bad");
    assert!(bad.id.is_none() && bad.message.as_ref().unwrap().contains("1113020"), "{bad:?}");
    assert_eq!((seen.condition("Ready"), seen.condition("Stalled")), ("False", "True"));
    assert!(seen.message().contains("\"bad\""), "{}", seen.message());
    let waited = world
        .plane
        .kubectl()
        .args(["-n", &world.namespace, "wait", "--for=condition=Ready", "--timeout=2s", "ptset/web"])
        .output()
        .await
        .unwrap();
    assert!(!waited.status.success());
    println!("one bad of fifty: ids={} create_posts={}", seen.ids().len(), world.requests(CREATE).len());

    // The reason gone, a changed item is sent again; the others are not.
    world.sim.clear_requests();
    world.sim.update_state(|state| state.process_templates.retain(|template| template.id != 900));
    let mut fifty = processes(50);
    fifty[30] = json!({ "name": "bad", "funcName": "java", "startParamRegex": "shop.jar", "user": "shop" });
    world.apply("web", json!({ "processes": fifty })).await;
    world.until_ready("web").await;
    let sent = world.requests(CREATE);
    assert_eq!(sent.iter().map(|record| record.body["processes"].as_array().unwrap().len()).collect::<Vec<_>>(), [1]);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn at_rest_nothing_is_written_and_each_scope_is_listed_once_an_interval() {
    const INTERVAL: Duration = Duration::from_secs(5);
    const INTERVALS: u32 = 5;
    let mut world = World::new("rest").await;
    for name in ["one", "two"] {
        world.service_template(name);
    }
    world.start_operator(&[]).await;
    let sets = [("a", "one", 0), ("b", "one", 10), ("c", "two", 0)];
    for (name, service_template, offset) in sets {
        let processes: Value = (1 + offset..=3 + offset).map(process).collect();
        let selector = json!({ "name": service_template });
        let seconds = INTERVAL.as_secs();
        let spec = json!({ "serviceTemplate": selector, "processes": processes, "resyncIntervalSeconds": seconds });
        world.apply(name, spec).await;
    }
    for (name, ..) in sets {
        world.until_ready(name).await;
    }
    let operators = |world: &World| {
        let ours = |event: &Value| {
            event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("process-template-operator"))
                && event["objectRef"]["namespace"] == json!("rest")
                && !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap_or_default())
        };
        world.plane.audit_events("\"namespace\":\"rest\"").iter().filter(|event| ours(event)).count()
    };
    // Of each service template, and of the business.
    let lists = |world: &World| {
        let of = |id: i64| {
            let requests = world.requests(LIST).into_iter();
            requests.filter(|record| record.body["service_template_id"] == json!(id)).collect::<Vec<_>>()
        };
        [of(1), of(2), world.requests("list_service_template")]
    };
    let until_listed = async |world: &World, times: usize| {
        let deadline = Instant::now() + PATIENCE;
        while lists(world).iter().any(|lists| lists.len() < times) {
            assert!(Instant::now() < deadline, "not listed {times} times\n{}", world.operator_log());
            sleep(Duration::from_millis(100)).await;
        }
    };
    // What the creates have set off comes to an end.
    world.sim.clear_requests();
    until_listed(&world, 2).await;
    let written_before = operators(&world);
    assert!(written_before > 0, "the audit log tells who writes");

    world.sim.clear_requests();
    let begun = Instant::now();
    let most = INTERVALS as usize;
    until_listed(&world, most).await;
    let intervals = usize::try_from(begun.elapsed().as_secs() / INTERVAL.as_secs()).unwrap();
    assert_eq!((writes(&world), operators(&world) - written_before), (0, 0));
    let lists = lists(&world);
    let counts = lists.each_ref().map(Vec::len);
    assert!(counts.iter().all(|&count| count <= intervals + 1), "{counts:?} lists in {intervals} intervals");
    for list in &lists {
        let times: Vec<jiff::Timestamp> = list.iter().map(|record| record.time.parse().unwrap()).collect();
        // A list more than one an interval comes soon before or soon after another.
        let is_alone = |pair: &[jiff::Timestamp]| pair[1].duration_since(pair[0]).unsigned_abs() > INTERVAL / 2;
        assert!(times.windows(2).all(is_alone), "{times:?}");
    }
    println!(
        "at rest: intervals={most} cmdb_writes=0 api_writes=0 lists_per_service_template={} lists_per_business={}",
        counts[0].max(counts[1]),
        counts[2]
    );
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_shutdown_lets_a_write_in_flight_finish_and_saves_its_ids() {
    let sim = Simulator::start(sim::Options::default()).unwrap();
    let cmdb = Proxy::to(&sim.url()).await;
    let mut world = World::with("shutdown", sim, &cmdb.url()).await;
    world.service_template("web");
    cmdb.hold(Point::reply_to(CREATE));
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(15) })).await;
    cmdb.reached().await;
    world.until("web", "intents are stored", |seen| seen.status.pending.len() == 15).await;
    world.operator.as_ref().unwrap().process.signal(rustix::process::Signal::TERM);
    world.until_logged("stops: writes under way").await;
    cmdb.let_go();
    world.stop_operator().await;
    let seen = Seen::new(world.set("web").await);
    assert_eq!((seen.ids().len(), seen.status.pending.len()), (10, 0), "{}", seen.describe());
    assert_eq!(seen.condition("Ready"), "False");
    world.start_operator(&[]).await;
    assert_eq!(world.until_ready("web").await.ids().len(), 15);
    assert_eq!(world.requests(CREATE).len(), 2);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn an_operator_that_reaches_no_api_server_ends_when_it_is_told_to() {
    let mut world = World::new("no-api-server").await;
    let nowhere = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "nowhere",
        "clusters": [{ "name": "nowhere", "cluster": { "server": "http://127.0.0.1:9" } }],
        "users": [{ "name": "nowhere", "user": {} }],
        "contexts": [{ "name": "nowhere", "context": { "cluster": "nowhere", "user": "nowhere" } }],
    });
    let kubeconfig = world.plane.folder().join("no-api-server.kubeconfig");
    std::fs::write(&kubeconfig, nowhere.to_string()).unwrap();
    world.start_operator_as(&kubeconfig, &[]).await;
    world.until_logged("a watch failed").await;
    world.stop_operator().await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_rotated_secret_is_used_at_once() {
    let mut world = World::new("rotate").await;
    world.service_template("web");
    world.sim.update_state(|state| {
        state.accounts = serde_json::from_value(json!([{ "app_code": "ptset", "app_secret": "new" }])).unwrap();
    });
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(1) })).await;
    let seen = world.until_reason("web", "Unauthorized").await;
    assert_eq!(seen.condition("Stalled"), "True");
    assert!(seen.message().contains("credentials"), "{}", seen.message());
    world.put_secret("new").await;
    world.until_ready("web").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_connection_that_was_changed_while_the_operator_was_down_is_noticed_at_its_start() {
    let mut world = World::new("changed-meanwhile").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(1), "resyncIntervalSeconds": 86400 })).await;
    world.until_ready("web").await;
    world.stop_operator().await;
    let closed = Closed::new();
    world.put_connection("default", &closed.url()).await;
    world.start_operator(&[]).await;
    world.until_reason("web", "Unreachable").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn who_asks_for_a_reconcile_gets_one_at_once_and_is_told() {
    let mut world = World::new("asked").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    world.apply("web", json!({ "processes": processes(2) })).await;
    let ids = world.until_ready("web").await.ids();
    world.sim.update_state(|state| state.process_templates.retain(|template| template.id != ids[0]));
    let annotation = json!({ "metadata": { "annotations": { "cmdb.bk.tencent.com/reconcile-requested-at": "now" } } });
    world.sets().patch("web", &PatchParams::default(), &Patch::Merge(annotation)).await.unwrap();
    let handled = |seen: &Seen| seen.status.last_handled_reconcile_at.as_deref() == Some("now");
    let seen = world.until("web", "handled", |seen| handled(seen) && seen.is_ready() && seen.ids()[0] != ids[0]).await;
    assert_eq!(seen.ids()[1], ids[1]);
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_that_is_too_large_to_keep_its_ids_is_refused_before_its_first_post() {
    let mut world = World::new("large").await;
    world.service_template("web");
    world.start_operator(&[]).await;
    let large: Value = (1..=500)
        .map(|number| {
            json!({ "name": format!("p{number:03}"), "funcName": format!("f{number:03}"),
            "startCmd": "x".repeat(1300), "stopCmd": "y".repeat(1200) })
        })
        .collect();
    world.apply("web", json!({ "processes": large })).await;
    let seen = world.until_reason("web", "TooLarge").await;
    assert_eq!(seen.condition("Stalled"), "True");
    assert!(seen.message().contains("Split"), "{}", seen.message());
    assert_eq!(world.requests(CREATE).len(), 0);
    world.end().await;
}
