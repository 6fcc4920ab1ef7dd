//! The traffic that each story of a template's life costs, call by call: what CMDB receives is the expectation, and one
//! call more fails.

use cmdb_sim::RequestRecord;
use futures::future::LocalBoxFuture;
use futures::{FutureExt, StreamExt, stream};
use process_template_operator::api::RECONCILE_REQUESTED_AT;
use serde_json::{Value, json};
use test_support::world::World;

const LOOK: [&str; 2] = ["list_service_template", "list_proc_template"];

/// A call in a line: its name and what it changes.
fn line(record: &RequestRecord) -> String {
    let body = &record.body;
    let value = |pair: &Value| pair["value"].as_str().map_or_else(|| pair["value"].to_string(), temporary);
    let detail = match record.call.as_str() {
        "batch_create_proc_template" => {
            let specs = body["processes"].as_array().unwrap();
            specs.iter().map(|process| value(&process["spec"]["bk_process_name"])).collect::<Vec<_>>().join(" ")
        }
        "update_proc_template" => {
            let properties = body["process_property"].as_object().unwrap();
            let changes = properties.iter().map(|(name, pair)| format!("{name}={}", value(pair)));
            format!("{} {}", body["process_template_id"], changes.collect::<Vec<_>>().join(" "))
        }
        "delete_proc_template" => body["process_templates"].to_string(),
        _ => return record.call.clone(),
    };
    format!("{} {detail}", record.call)
}

fn temporary(name: &str) -> String {
    if name.starts_with("ptset-") { "temporary".to_owned() } else { name.to_owned() }
}

/// A set that has been carried out, and that is asked to begin anew with every change: how old a list may be then does
/// not depend on the time that has passed.
struct Story {
    world: World,
    asked: usize,
}

impl Story {
    async fn begin(name: &str, spec: Value) -> Self {
        let mut world = World::new(name).await;
        world.service_template("web");
        world.start_operator(&["--removal-delay-seconds", "0"]).await;
        let mut story = Self { world, asked: 0 };
        story.apply("web", spec).await;
        story
    }

    async fn apply(&mut self, name: &str, mut spec: Value) {
        spec["serviceTemplate"] = json!({ "name": "web" });
        self.asked += 1;
        let asked = format!("{}", self.asked);
        self.world.apply_with(name, spec, json!({ RECONCILE_REQUESTED_AT: asked })).await;
        self.world
            .until(name, "it is done", |seen| {
                seen.is_current() && seen.status.last_handled_reconcile_at.as_deref() == Some(&asked) && seen.is_ready()
            })
            .await;
    }

    /// Forgets what was sent so far.
    fn forget(&self) {
        self.world.sim.clear_requests();
    }

    /// What was sent, once the operator has ended and nothing more can come.
    async fn sent(mut self) -> Vec<String> {
        self.world.stop_operator().await;
        // A connection that nothing was heard of is asked for its own sake: at most once in ten minutes, by nobody's story.
        let all = self.world.sim.requests();
        let (checks, sent): (Vec<_>, Vec<_>) = all.iter().partition(|record| record.call == "list_service_category");
        assert!(checks.len() <= 1, "{} checks of the connection", checks.len());
        let sent = sent.into_iter().map(line).collect();
        self.world.end().await;
        sent
    }
}

fn processes(names: &[&str]) -> Value {
    let process = |name: &&str| json!({ "name": name, "funcName": format!("f-{name}"), "startCmd": "./run" });
    json!({ "processes": names.iter().map(process).collect::<Value>() })
}

fn named(names: &[(&str, &str)]) -> Value {
    let process =
        |(key, name): &(&str, &str)| json!({ "name": key, "processName": name, "funcName": format!("f-{key}") });
    json!({ "processes": names.iter().map(process).collect::<Value>() })
}

fn with(mut spec: Value, field: &str, value: impl Into<Value>) -> Value {
    spec[field] = value.into();
    spec
}

fn expected(writes: &[&str]) -> Vec<String> {
    let confirmation = if writes.is_empty() { &[][..] } else { &["list_proc_template"] };
    LOOK.iter().chain(writes).chain(confirmation).map(ToString::to_string).collect()
}

/// Stories that were told as they should.
static TOLD: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);

fn told(sent: &[String], expected: &[String]) {
    assert_eq!(sent, expected);
    TOLD.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}

async fn change(name: &str, before: Value, after: Value, writes: &[&str]) {
    let mut story = Story::begin(name, before).await;
    story.forget();
    story.apply("web", after).await;
    told(&story.sent().await, &expected(writes));
}

async fn create() {
    let story = Story::begin("golden-create", processes(&["a", "b"])).await;
    told(&story.sent().await, &expected(&["batch_create_proc_template a b"]));
}

async fn move_to_another_set() {
    let mut story = Story::begin("golden-move", with(processes(&["a", "b"]), "deletionPolicy", "Delete")).await;
    story.forget();
    let world = &story.world;
    let mut taker = processes(&["b"]);
    taker["serviceTemplate"] = json!({ "name": "web" });
    world.apply("taker", taker).await;
    let seen = world.until_reason("taker", "Conflict").await;
    assert!(seen.process("b").message.as_ref().unwrap().contains("\"web\""), "{}", seen.describe());
    story.apply("web", with(processes(&["a"]), "deletionPolicy", "Delete")).await;
    story.world.until_ready("taker").await;
    let sent = story.sent().await;
    let writes: Vec<String> = sent.into_iter().filter(|line| !line.starts_with("list_")).collect();
    told(&writes, &[]);
}

async fn delete_the_set() {
    let story = Story::begin("golden-delete", with(processes(&["a", "b"]), "deletionPolicy", "Delete")).await;
    story.forget();
    story.world.delete("web").await;
    story.world.until_gone("web").await;
    told(&story.sent().await, &expected(&["delete_proc_template [1,2]"]));
}

async fn take_over(name: &str, policy: &str, stored: &str, writes: &[&str]) {
    let mut world = World::new(name).await;
    let id = world.service_template("web");
    let property = json!({
        "bk_process_name": { "value": "a" }, "bk_func_name": { "value": "f-a" },
        "start_cmd": { "value": stored, "as_default_value": true },
    });
    world.sim.add_process_template(id, "somebody", &serde_json::from_value(property).unwrap()).unwrap();
    world.start_operator(&[]).await;
    let mut story = Story { world, asked: 0 };
    story.apply("web", with(processes(&["a"]), "adoptionPolicy", policy)).await;
    told(&story.sent().await, &expected(writes));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn every_story_costs_exactly_its_calls() {
    let two = || named(&[("x", "a"), ("y", "b")]);
    let changed = {
        let mut spec = processes(&["a", "b"]);
        spec["processes"][1]["startCmd"] = "./new".into();
        spec
    };
    let swap = [
        "update_proc_template 1 bk_process_name=temporary",
        "update_proc_template 2 bk_process_name=a",
        "update_proc_template 1 bk_process_name=b",
    ];
    let stories: Vec<LocalBoxFuture<()>> = vec![
        create().boxed_local(),
        change("golden-nothing", processes(&["a", "b"]), processes(&["a", "b"]), &[]).boxed_local(),
        change("golden-update", processes(&["a", "b"]), changed, &["update_proc_template 2 start_cmd=./new"])
            .boxed_local(),
        change("golden-rename", two(), named(&[("x", "c"), ("y", "b")]), &["update_proc_template 1 bk_process_name=c"])
            .boxed_local(),
        change("golden-swap", two(), named(&[("x", "b"), ("y", "a")]), &swap).boxed_local(),
        change(
            "golden-remove",
            with(two(), "deletionPolicy", "Delete"),
            with(named(&[("x", "a")]), "deletionPolicy", "Delete"),
            &["delete_proc_template [2]"],
        )
        .boxed_local(),
        move_to_another_set().boxed_local(),
        delete_the_set().boxed_local(),
        take_over("golden-adopt", "IfIdentical", "./run", &[]).boxed_local(),
        take_over("golden-take-over", "Always", "./other", &["update_proc_template 1 start_cmd=./run"]).boxed_local(),
    ];
    let run = stories.len();
    stream::iter(stories).buffer_unordered(4).collect::<()>().await;
    assert_eq!(TOLD.load(std::sync::atomic::Ordering::Relaxed), run);
    println!("golden: stories={run} extra_calls=0");
}
