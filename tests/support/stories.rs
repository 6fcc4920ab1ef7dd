//! Stories of a template's life, told to an operator through a proxy in front of CMDB and another in front of the API
//! server.

use std::collections::BTreeMap;
use std::time::Duration;

use cmdb_sim::{self as sim, Simulator};
use process_template_operator::api::RECONCILE_REQUESTED_AT;
use process_template_operator::cmdb::Transport;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::proxy::Proxy;
use super::world::{PATIENCE, Seen, World, usual_transport};

const ARGUMENTS: &[&str] = &["--removal-delay-seconds", "0", "--create-grace-seconds", "2"];

/// A CMDB that the stories are told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// One of today.
    Present,
    /// One of the time before `bind_info`.
    Flat,
    /// One whose database takes a process name twice (before 3.9.18). It ignores new names of templates.
    Doubles,
}

impl Server {
    pub const ALL: [Self; 3] = [Self::Present, Self::Flat, Self::Doubles];

    fn start(self) -> Simulator {
        let schema = if self == Self::Flat { sim::Schema::Flat } else { sim::Schema::default() };
        let sim = Simulator::start(sim::Options { schema, ..sim::Options::default() }).unwrap();
        if self == Self::Doubles {
            sim.update_state(|state| (state.unique_names, state.rename) = (false, false));
        }
        sim
    }

    /// The stories that end well there.
    pub fn stories(self) -> Vec<Story> {
        let is_told = |story: &Story| self != Self::Doubles || !["rename", "cycle", "recreate"].contains(&story.name);
        stories().into_iter().filter(is_told).map(|story| Story { server: self, ..story }).collect()
    }
}

/// What happens to a set. None as its end: it is deleted.
#[derive(Clone)]
pub struct Story {
    pub name: &'static str,
    /// What stands in CMDB before, of somebody else.
    pub stored: Vec<(&'static str, &'static str)>,
    pub before: Option<Value>,
    pub after: Option<Value>,
    /// How CMDB is reached.
    pub transport: Transport,
    pub server: Server,
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

/// The stories of a template's life.
pub fn stories() -> Vec<Story> {
    let none = json!({});
    let delete = json!({ "deletionPolicy": "Delete" });
    let transport = usual_transport();
    let server = Server::Present;
    let story = |name, before, after| Story { name, stored: Vec::new(), before, after, transport, server };
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
            transport,
            server,
        },
        story("delete item", Some(spec(&delete, &two)), Some(spec(&delete, &two[..1]))),
        story("delete set", Some(spec(&delete, &two)), None),
    ]
}

#[derive(Debug, Default, PartialEq, Eq)]
pub struct Damage {
    pub duplicates: usize,
    pub orphans: usize,
    pub manual: usize,
    pub lost_updates: usize,
}

/// A story under way, with a proxy in front of CMDB and another in front of the API server.
pub struct Run {
    pub world: World,
    pub cmdb: Proxy,
    pub api_server: Proxy,
    pub kubeconfig: std::path::PathBuf,
    pub story: Story,
    /// Further arguments of the operator.
    pub arguments: Vec<String>,
}

impl Run {
    /// Carries out what is before the story, and forgets its calls. The operator does not run then.
    pub async fn begin(name: &str, story: Story) -> Self {
        let sim = story.server.start();
        let cmdb = Proxy::to(&sim.url()).await;
        let world = World::through(story.transport, name, sim, &cmdb.url()).await;
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
        let mut run = Self { world, cmdb, api_server, kubeconfig, story, arguments: Vec::new() };
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
        run
    }

    pub async fn start(&mut self) {
        let arguments: Vec<&str> = ARGUMENTS.iter().copied().chain(self.arguments.iter().map(String::as_str)).collect();
        self.world.start_operator_as(&self.kubeconfig, &arguments).await;
    }

    pub async fn apply(&self, spec: Value, asked: &str) {
        self.world.apply_with("web", spec, json!({ RECONCILE_REQUESTED_AT: asked })).await;
    }

    // The change is there when the operator begins: how old its lists are does not depend on when it learns of it.
    pub async fn change(&mut self) {
        match self.story.after.clone() {
            Some(after) => self.apply(after, "2").await,
            None => self.world.delete("web").await,
        }
        self.start().await;
    }

    pub async fn is_done(&self) -> bool {
        match self.world.sets().get_opt("web").await.unwrap() {
            Some(set) => self.story.after.is_some() && Seen::new(set).is_ready(),
            None => true,
        }
    }

    pub async fn until_done(&self) -> bool {
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
    pub async fn damage(&self, done: bool) -> Damage {
        let templates = self.world.sim.state().process_templates;
        let set = self.world.sets().get_opt("web").await.unwrap();
        let ids = set.map(|set| Seen::new(set).ids()).unwrap_or_default();
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

    /// What CMDB and the status have in the end.
    pub async fn describe(&self) -> String {
        let templates = self.world.sim.state().process_templates;
        let templates: Vec<String> = templates
            .iter()
            .map(|template| format!("{} {:?} by {}", template.id, template.bk_process_name, template.creator))
            .collect();
        let set = self.world.sets().get_opt("web").await.unwrap();
        let status = set.map(|set| Seen::new(set).describe()).unwrap_or_default();
        format!("templates {templates:?}\n{status}")
    }

    pub async fn end(self) {
        self.world.end().await;
    }
}
