//! Each story of a template's life, killed or cut off at every call that it makes to CMDB and at every write to the API
//! server: nothing is lost, nothing is doubled, and nobody has to lend a hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod support;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::StreamExt;
use process_template_operator::api::RECONCILE_REQUESTED_AT;
use process_template_operator::sim::{self, Simulator};
use serde_json::{Value, json};
use support::proxy::{Point, Proxy, Side};
use support::world::{PATIENCE, World};
use tokio::time::{Instant, sleep, timeout};

const ARGUMENTS: &[&str] = &["--removal-delay-seconds", "0", "--create-grace-seconds", "2"];

// Runs at a time: most of their time is waiting.
const AT_A_TIME: usize = 6;

/// What happens to a set. None as its end: it is deleted.
#[derive(Clone)]
struct Story {
    name: &'static str,
    /// What stands in CMDB before, of somebody else.
    stored: Vec<(&'static str, &'static str)>,
    before: Option<Value>,
    after: Option<Value>,
}

// Each process: key, process name, function, command.
fn spec(policies: &Value, processes: &[(&str, &str, &str, &str)]) -> Value {
    let processes = processes.iter().map(|(key, name, function, command)| {
        json!({ "name": key, "processName": name, "funcName": function, "startCmd": command })
    });
    let mut spec = policies.clone();
    spec["processes"] = processes.collect();
    spec["serviceTemplate"] = json!({ "name": "web" });
    spec
}

fn stories() -> Vec<Story> {
    let none = json!({});
    let delete = json!({ "deletionPolicy": "Delete" });
    let story = |name, before, after| Story { name, stored: Vec::new(), before, after };
    let two = [("x", "a", "fx", "run"), ("y", "b", "fy", "run")];
    vec![
        story("create", None, Some(spec(&none, &two))),
        story("update", Some(spec(&none, &two)), Some(spec(&none, &[("x", "a", "fx", "new"), two[1]]))),
        story("rename", Some(spec(&none, &two)), Some(spec(&none, &[("x", "c", "fx", "run"), two[1]]))),
        story("cycle", Some(spec(&none, &two)), Some(spec(&none, &[("x", "b", "fx", "run"), ("y", "a", "fy", "run")]))),
        story(
            "recreate",
            Some(spec(&none, &two)),
            Some(spec(&json!({ "replacePolicy": "Recreate" }), &[("x", "a", "fz", "run"), two[1]])),
        ),
        Story {
            name: "adopt",
            stored: vec![("a", "run"), ("b", "other")],
            before: None,
            after: Some(spec(
                &json!({ "adoptionPolicy": "Always" }),
                &[("x", "a", "f", "run"), ("y", "b", "f", "run"), ("z", "c", "fz", "run")],
            )),
        },
        story("delete item", Some(spec(&delete, &two)), Some(spec(&delete, &two[..1]))),
        story("delete set", Some(spec(&delete, &two)), None),
    ]
}

/// A call at which a story is interrupted.
#[derive(Clone)]
struct Crash {
    is_cmdb: bool,
    point: Point,
}

impl Crash {
    fn kills(&self) -> bool {
        matches!(self.point.side, Side::Request | Side::Reply)
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.point.side {
            Side::Request => "killed before",
            Side::Reply => "killed after",
            Side::RequestLost => "request lost",
            Side::ReplyLost => "reply lost",
        };
        let Point { method, path_end, nth, .. } = &self.point;
        write!(formatter, "{how} {method} {path_end} #{nth}")
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Damage {
    duplicates: usize,
    orphans: usize,
    manual: usize,
    lost_updates: usize,
}

/// A story under way, with a proxy in front of CMDB and another in front of the API server.
struct Run {
    world: World,
    cmdb: Proxy,
    api_server: Proxy,
    kubeconfig: std::path::PathBuf,
    story: Story,
}

impl Run {
    async fn begin(name: &str, story: Story) -> Option<Self> {
        let sim = Simulator::start(sim::Options::default()).unwrap();
        let cmdb = Proxy::to(&sim.url()).await;
        let world = World::with(name, sim, &cmdb.url()).await?;
        let api_server = Proxy::to_api_server(&world.plane.kubeconfig_path()).await;
        let kubeconfig = api_server.kubeconfig(world.plane.folder());
        let id = world.service_template("web");
        for (name, command) in &story.stored {
            let property = json!({
                "bk_process_name": { "value": name }, "bk_func_name": { "value": "f" },
                "start_cmd": { "value": command, "as_default_value": true },
            });
            world.sim.add_process_template(id, "somebody", &serde_json::from_value(property).unwrap()).unwrap();
        }
        let mut run = Self { world, cmdb, api_server, kubeconfig, story };
        if let Some(before) = run.story.before.clone() {
            run.start().await;
            run.apply(before, "1").await;
            run.world.until_ready("web").await;
            // What it still writes belongs to the time before.
            run.world.stop_operator().await;
        }
        run.cmdb.take_calls();
        run.api_server.take_calls();
        run.world.sim.clear_requests();
        Some(run)
    }

    async fn start(&mut self) {
        self.world.start_operator_as(&self.kubeconfig, ARGUMENTS).await;
    }

    async fn apply(&self, spec: Value, asked: &str) {
        self.world.apply_with("web", spec, json!({ RECONCILE_REQUESTED_AT: asked })).await;
    }

    // The change is there when the operator begins: how old its lists are does not depend on when it learns of it.
    async fn change(&mut self) {
        match self.story.after.clone() {
            Some(after) => self.apply(after, "2").await,
            None => self.world.delete("web").await,
        }
        self.start().await;
    }

    async fn is_done(&self) -> bool {
        match self.world.sets().get_opt("web").await.unwrap() {
            Some(set) => self.story.after.is_some() && support::world::Seen::new(set).is_ready(),
            None => true,
        }
    }

    async fn until_done(&self) -> bool {
        let deadline = Instant::now() + PATIENCE;
        while !self.is_done().await {
            if Instant::now() > deadline {
                return false;
            }
            sleep(Duration::from_millis(50)).await;
        }
        true
    }

    /// What is wrong in the end.
    async fn damage(&self, done: bool) -> Damage {
        let templates = self.world.sim.state().process_templates;
        let set = self.world.sets().get_opt("web").await.unwrap();
        let ids = set.map(|set| support::world::Seen::new(set).ids()).unwrap_or_default();
        let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
        for template in &templates {
            *by_name.entry(&template.bk_process_name).or_default() += 1;
        }
        let wanted = self.story.after.as_ref().map_or(&Value::Null, |after| &after["processes"]);
        let is_stored = |process: &&Value| {
            templates.iter().any(|template| {
                let is = |name: &str, field: &str| template.property[name].value == process[field];
                is("bk_process_name", "processName") && is("bk_func_name", "funcName") && is("start_cmd", "startCmd")
            })
        };
        let wanted: Vec<&Value> = wanted.as_array().into_iter().flatten().collect();
        Damage {
            duplicates: by_name.values().filter(|count| **count > 1).count(),
            orphans: templates.iter().filter(|template| !ids.contains(&template.id)).count(),
            manual: usize::from(!done),
            lost_updates: wanted.iter().filter(|process| !is_stored(process)).count()
                + ids.len().abs_diff(wanted.len()),
        }
    }

    async fn end(self) {
        self.world.end().await;
    }
}

/// Every call of the story to CMDB, and every write to the API server, with what may happen to it.
async fn crashes(number: usize, story: Story) -> Option<Vec<Crash>> {
    let mut run = Run::begin(&format!("matrix-{number}"), story.clone()).await?;
    run.change().await;
    assert!(run.until_done().await, "{}: {}", story.name, run.world.operator_log());
    run.world.stop_operator().await;
    assert_eq!(run.damage(true).await, Damage::default(), "{}", story.name);
    let mut crashes = Vec::new();
    for (is_cmdb, calls) in [(true, run.cmdb.take_calls()), (false, run.api_server.take_calls())] {
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (method, path_end) in calls {
            // Reads of the API server are watches, and events are best effort.
            let is_write = method == "PUT" || method == "PATCH" && path_end == "web";
            if !is_cmdb && !is_write {
                continue;
            }
            let nth = seen.entry((method.clone(), path_end.clone())).or_default();
            *nth += 1;
            for side in [Side::Request, Side::Reply, Side::RequestLost, Side::ReplyLost] {
                let point = Point { method: method.clone(), path_end: path_end.clone(), nth: *nth, side };
                crashes.push(Crash { is_cmdb, point });
            }
        }
    }
    run.end().await;
    Some(crashes)
}

async fn crashed(name: String, story: Story, crash: Crash) -> Option<Damage> {
    let mut run = Run::begin(&name, story).await?;
    let proxy = if crash.is_cmdb { &run.cmdb } else { &run.api_server };
    proxy.hold(crash.point.clone());
    run.change().await;
    let proxy = if crash.is_cmdb { &run.cmdb } else { &run.api_server };
    let reached = timeout(PATIENCE, proxy.reached()).await;
    assert!(reached.is_ok(), "{name}: {crash} was never reached\n{}", run.world.operator_log());
    if crash.kills() {
        run.world.kill_operator().await;
        proxy.let_all_pass();
        run.start().await;
    }
    let done = run.until_done().await;
    let log = run.world.operator_log();
    run.world.stop_operator().await;
    let damage = run.damage(done).await;
    assert_eq!(damage, Damage::default(), "{name}: {crash}\n{log}");
    run.end().await;
    Some(damage)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_story_is_harmed_by_a_kill_or_a_cut_at_any_of_its_calls() {
    let mut runs = Vec::new();
    let mut rows = Vec::new();
    for (number, story) in stories().into_iter().enumerate() {
        let Some(crashes) = crashes(number, story.clone()).await else { return };
        rows.push((story.name, crashes.len()));
        for (point, crash) in crashes.into_iter().enumerate() {
            runs.push(crashed(format!("matrix-{number}-{point:02}"), story.clone(), crash));
        }
    }
    let points = runs.len();
    let done: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_A_TIME).collect().await;
    let done: Vec<Damage> = done.into_iter().flatten().collect();
    for (story, points) in rows {
        println!("{story:<12} {points:>3} points");
    }
    let sum = |part: fn(&Damage) -> usize| done.iter().map(part).sum::<usize>();
    println!(
        "crash matrix: points={points} runs={} duplicates={} orphans={} manual={} lost_updates={}",
        done.len(),
        sum(|damage| damage.duplicates),
        sum(|damage| damage.orphans),
        sum(|damage| damage.manual),
        sum(|damage| damage.lost_updates)
    );
}
