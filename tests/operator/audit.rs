//! The audit log: each write to CMDB has one line, and each line is a write.

use std::collections::BTreeMap;

use cmdb_sim::{Effect, Fault, Options, RequestRecord, Simulator};
use process_template_operator::cmdb::Transport;
use serde_json::{Value, json};
use test_support::hunt::Hunt;
use test_support::world::{PATIENCE, World};
use tokio::time::{Duration, Instant, sleep};

const SECRET: &str = "Pl4ntedAuditSecret+one/two";
const WRITES: &[&str] =
    &["batch_create_proc_template", "update_proc_template", "delete_proc_template", "create_service_template"];

fn log(world: &World) -> String {
    std::fs::read_to_string(&world.operator.as_ref().unwrap().log).unwrap()
}

/// The audit lines of an operator, by their correlation IDs.
fn audited(world: &World) -> BTreeMap<String, Value> {
    let mut lines = BTreeMap::new();
    for line in log(world).lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        if line["target"] == "audit" {
            assert_eq!(line["level"], "INFO");
            let fields = line["fields"].clone();
            let id = fields["correlation_id"].as_str().unwrap().to_owned();
            assert!(lines.insert(id, fields).is_none(), "two lines of one write: {line}");
        }
    }
    lines
}

fn writes(world: &World) -> Vec<RequestRecord> {
    world.sim.requests().into_iter().filter(|record| WRITES.contains(&record.call.as_str())).collect()
}

fn list(fields: &Value, name: &str) -> Value {
    fields[name].as_str().map_or(Value::Null, |text| serde_json::from_str(text).unwrap())
}

fn spec(start_cmd: &str) -> Value {
    let name = |name: &str| json!({ "name": name, "funcName": name, "startCmd": start_cmd });
    json!({
        "deletionPolicy": "Delete", "processes": [name("nginx"), name("sidecar")],
        "serviceTemplate": { "name": "web", "createIfMissing": { "category": { "id": 2 } } },
    })
}

/// Lives through every write, through one that is refused, and through one that nobody knows the outcome of.
async fn story(world: &World) -> String {
    world.sim.add_fault(Fault::nth("batch_create_proc_template", 1, Effect::code(1_113_019)));
    world.sim.add_fault(Fault::nth("batch_create_proc_template", 3, Effect::drop_after_commit()));
    world.apply("web", spec("./run")).await;
    let uid = world.until_ready("web").await.set.metadata.uid.unwrap();
    world.apply("web", spec("./changed")).await;
    world.until_ready("web").await;
    world.delete("web").await;
    world.until_gone("web").await;
    uid
}

// One line says what one request did.
fn compare(world: &World, record: &RequestRecord, fields: &Value, uid: &str) {
    assert_eq!(fields["operation"], record.call, "{fields}");
    let is_ok = record.code == Some(0) && record.http_status.is_some();
    assert_eq!(fields["outcome"] == "ok", is_ok, "{fields} {record:?}");
    let url = world.sim.url();
    assert!(fields["endpoint"].as_str().unwrap().starts_with(&url), "{fields}");
    assert_eq!(fields["transport"], world.transport.as_str());
    assert_eq!(fields["actor"], "admin");
    let is_direct = world.transport == Transport::Direct;
    assert_eq!(fields["bk_app_code"], if is_direct { Value::Null } else { json!("ptset") });
    assert_eq!(fields["biz_id"], record.body["bk_biz_id"], "{fields}");
    let set = ["namespace", "name", "uid"].map(|field| fields[field].as_str().unwrap());
    assert_eq!(set, [&world.namespace, "web", uid]);
    if is_ok {
        assert_eq!(list(fields, "ids"), json!(record.ids), "{fields}");
        assert!(fields["request_id"].is_string() && fields["error"].is_null(), "{fields}");
    }
    match record.call.as_str() {
        "batch_create_proc_template" => {
            let name = |process: &Value| process["spec"]["bk_process_name"]["value"].clone();
            let names: Vec<Value> = record.body["processes"].as_array().unwrap().iter().map(name).collect();
            assert_eq!(list(fields, "process_names"), json!(names));
        }
        "update_proc_template" => {
            let sent: Vec<&String> = record.body["process_property"].as_object().unwrap().keys().collect();
            assert_eq!(list(fields, "properties"), json!(sent));
            assert_eq!(list(fields, "process_names").as_array().unwrap().len(), 1);
        }
        "delete_proc_template" => assert_eq!(list(fields, "process_names"), json!(["nginx", "sidecar"])),
        _ => assert_eq!(fields["service_template"], "web"),
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn every_write_has_one_line_over_each_transport_and_no_line_has_a_secret() {
    let (mut sent, mut lines) = (0, 0);
    let mut hunt = Hunt::new(&[SECRET]);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for &transport in Transport::ALL {
        let sim = Simulator::start(Options::default()).unwrap();
        let url = sim.url();
        let name = format!("audit-{}", transport.as_str().to_lowercase());
        let mut world = World::through(transport, &name, sim, &url).await;
        world.put_secret(SECRET).await;
        world.start_operator(&["--log-format", "json", "--removal-delay-seconds", "0"]).await;
        let uid = story(&world).await;
        let written = writes(&world);
        let deadline = Instant::now() + PATIENCE;
        while audited(&world).len() < written.len() {
            assert!(Instant::now() < deadline, "{}", world.operator_log());
            sleep(Duration::from_millis(50)).await;
        }
        let audited = audited(&world);
        for record in &written {
            let id = &record.headers["x-request-id"];
            assert_eq!(id, &record.headers["x-bkapi-request-id"]);
            let fields = audited.get(id).unwrap_or_else(|| panic!("no line for {record:?}"));
            compare(&world, record, fields, &uid);
            *outcomes.entry(fields["outcome"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        sent += written.len();
        lines += audited.len();
        hunt.search(&name, &log(&world), "audit");
        world.end().await;
    }
    println!("audit: writes={sent} lines={lines} secrets={}", hunt.found.len());
    assert_eq!((sent, hunt.found), (lines, Vec::new()));
    assert!(outcomes["conflict"] >= 3 && outcomes["outcome_unknown"] >= 3, "{outcomes:?}");
}
