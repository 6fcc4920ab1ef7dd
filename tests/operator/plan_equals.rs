//! What `ptset plan` says of the examples, in ten states of CMDB, is what the controller then does, write for write.

use std::collections::BTreeMap;
use std::fs;

use cmdb_sim::Property;
use kube::api::{ListParams, Patch, PatchParams};
use process_template_operator::api::{ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use test_support::examples::all;
use test_support::world::{Seen, World};
use tokio::process::Command;

/// Writes of each set, in their order.
type Writes = BTreeMap<String, Vec<String>>;

// Values that stand in a manifest in other words than on the wire; and where a server has two forms, both are sent.
const SOCKETS: &[&str] = &["bind_info", "bind_ip", "port", "protocol"];

/// CMDB's code for a name that another process template has.
const NAME_IS_TAKEN: i64 = 1_113_019;

/// The sets of the examples that a newer server can hold, in one namespace.
async fn apply_examples(world: &World) {
    for mut set in all().into_iter().filter(|document| document["kind"] == "ProcessTemplateSet") {
        let name = set["metadata"]["name"].as_str().unwrap().to_owned();
        if set["spec"]["connectionRef"].is_null() {
            set["metadata"] = json!({ "name": name });
            set["spec"]["resyncIntervalSeconds"] = 86_400.into();
            world.sets().patch(&name, &PatchParams::apply("test").force(), &Patch::Apply(&set)).await.unwrap();
        }
    }
}

struct Stage {
    world: World,
    number: usize,
}

impl Stage {
    async fn sets(&self) -> Vec<ProcessTemplateSet> {
        self.world.sets().list(&ListParams::default()).await.unwrap().items
    }

    async fn patch(&self, name: &str, patch: Value) {
        self.world.sets().patch(name, &PatchParams::default(), &Patch::Merge(&patch)).await.unwrap();
    }

    /// What the command says would be written.
    async fn foreseen(&self) -> Writes {
        let file = self.world.plane.folder().join("plan-equals.json");
        let live = json!({ "apiVersion": "v1", "kind": "List", "items": self.sets().await.into_iter().map(|set| {
            let mut set = serde_json::to_value(set).unwrap();
            set["apiVersion"] = "cmdb.bk.tencent.com/v1alpha1".into();
            set["kind"] = "ProcessTemplateSet".into();
            set
        }).collect::<Value>() });
        fs::write(&file, live.to_string()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_ptset"))
            .args(["plan", "--url", &self.world.sim.url(), "--output", "json", "-f"])
            .arg(&file)
            .envs([("PTSET_BK_APP_CODE", "ptset"), ("PTSET_BK_APP_SECRET", "a-secret"), ("PTSET_BK_USERNAME", "admin")])
            .output()
            .await
            .unwrap();
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let sets = said["sets"].as_array().unwrap().iter();
        sets.map(|set| {
            assert!(set["error"].is_null(), "{set}");
            let steps = if set["stage"] == "Suspended" { &[][..] } else { set["steps"].as_array().unwrap().as_slice() };
            (set["name"].as_str().unwrap().to_owned(), steps.iter().map(step).collect())
        })
        .collect()
    }

    /// What the operator writes.
    async fn done(&mut self) -> Writes {
        self.number += 1;
        let asked = self.number.to_string();
        let sets = self.sets().await;
        for set in &sets {
            let name = set.metadata.name.as_deref().unwrap();
            self.patch(name, json!({ "metadata": { "annotations": { RECONCILE_REQUESTED_AT: asked } } })).await;
        }
        let mut scopes: BTreeMap<i64, i64> = BTreeMap::new();
        let mut note = |world: &World| {
            for template in world.sim.state().process_templates {
                scopes.insert(template.id, template.service_template_id);
            }
        };
        note(&self.world);
        self.world.sim.clear_requests();
        self.world.start_operator(&["--removal-delay-seconds", "0"]).await;
        let settled = |seen: &Seen| {
            seen.is_current()
                && seen.status.last_handled_reconcile_at.as_deref() == Some(&asked)
                && (seen.condition("Ready") == "True"
                    || seen.condition("Stalled") == "True"
                    || seen.reason("Ready") == "Suspended")
        };
        for set in &sets {
            self.world.until(set.metadata.name.as_deref().unwrap(), "it is settled", settled).await;
        }
        self.world.stop_operator().await;
        note(&self.world);
        let names: BTreeMap<i64, String> =
            self.world.sim.state().service_templates.into_iter().map(|template| (template.id, template.name)).collect();
        let owner = |service_template: i64| {
            let name = &names[&service_template];
            let set = sets.iter().find(|set| set.spec.service_template.name.as_ref() == Some(name));
            set.unwrap().metadata.name.clone().unwrap()
        };
        let mut writes: Writes = sets.iter().map(|set| (set.metadata.name.clone().unwrap(), Vec::new())).collect();
        for record in self.world.sim.requests() {
            let body = &record.body;
            match record.call.as_str() {
                "batch_create_proc_template" => {
                    let of_set = writes.get_mut(&owner(body["service_template_id"].as_i64().unwrap())).unwrap();
                    for process in body["processes"].as_array().unwrap() {
                        of_set.push(format!("create {}", properties(&process["spec"], true)));
                    }
                }
                // A replacement asks whether this CMDB renames templates: it refuses that, and nothing is written.
                "update_proc_template" if record.code == Some(NAME_IS_TAKEN) => {}
                "update_proc_template" => {
                    let id = body["process_template_id"].as_i64().unwrap();
                    let line = format!("update {}", properties(&body["process_property"], false));
                    writes.get_mut(&owner(scopes[&id])).unwrap().push(line);
                }
                "delete_proc_template" => {
                    for id in body["process_templates"].as_array().unwrap() {
                        let of_set = writes.get_mut(&owner(scopes[&id.as_i64().unwrap()])).unwrap();
                        of_set.push(format!("delete {id}"));
                    }
                }
                _ => {}
            }
        }
        writes
    }

    /// One state: what is foreseen is what is done. Gives the number of writes.
    async fn equal(&mut self, state: &str) -> usize {
        let foreseen = in_any_order_of_creates(self.foreseen().await);
        let done = in_any_order_of_creates(self.done().await);
        for (name, done) in &done {
            assert_eq!(foreseen.get(name), Some(done), "{state}: {name}");
        }
        assert_eq!(foreseen.len(), done.len(), "{state}");
        done.values().map(Vec::len).sum()
    }
}

// Creates beside each other come in the order in which it gets known how the server keeps sockets; another set may show that
// meanwhile.
fn in_any_order_of_creates(mut writes: Writes) -> Writes {
    let is_create = |line: &String| line.starts_with("create ");
    for lines in writes.values_mut() {
        lines.chunk_by_mut(|left, right| is_create(left) && is_create(right)).for_each(<[String]>::sort);
    }
    writes
}

fn value(name: &str, value: &Value) -> String {
    if SOCKETS.contains(&name) {
        return name.to_owned();
    }
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{name}={}", if text.starts_with("ptset-") { "temporary" } else { &text })
}

// Properties as they are sent.
fn properties(sent: &Value, without_flat: bool) -> String {
    let sent = sent.as_object().unwrap().iter();
    let shown = sent.filter(|(name, _)| !(without_flat && SOCKETS[1..].contains(&name.as_str())));
    let mut shown: Vec<String> = shown.map(|(name, pair)| value(name, &pair["value"])).collect();
    shown.sort();
    shown.join(" ")
}

// A step as the command says it, in the same form.
fn step(step: &Value) -> String {
    let changes = step["changes"].as_array().unwrap().iter();
    let mut changes: Vec<String> =
        changes.map(|change| value(change["cmdbName"].as_str().unwrap(), &change["new"]["value"])).collect();
    changes.sort();
    match step["action"].as_str().unwrap() {
        "Delete" => format!("delete {}", step["id"]),
        action => format!("{} {}", action.to_lowercase(), changes.join(" ")),
    }
}

fn by_hand(properties: Value) -> Property {
    serde_json::from_value(properties).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn what_is_planned_is_what_is_done_in_ten_states() {
    let world = World::new("plan-equals").await;
    apply_examples(&world).await;
    let mut stage = Stage { world, number: 0 };
    let mut writes = vec![stage.equal("nothing is there").await];
    writes.push(stage.equal("everything is as it should be").await);

    let every = |nth: usize, stage: &Stage| -> Vec<i64> {
        let templates = stage.world.sim.state().process_templates;
        templates.iter().step_by(nth).map(|template| template.id).collect()
    };
    stage.world.sim.update_state(|state| {
        let mut number = 0;
        state.process_templates.retain(|_| {
            number += 1;
            number % 3 != 0
        });
    });
    writes.push(stage.equal("somebody deleted a third").await);

    for id in every(2, &stage) {
        let edit = json!({
            "user": { "value": "nobody", "as_default_value": true },
            "proc_num": { "value": 7, "as_default_value": false },
        });
        stage.world.sim.edit_process_template(id, "zhang", &by_hand(edit)).unwrap();
    }
    writes.push(stage.equal("somebody edited a half").await);

    for id in every(5, &stage) {
        let edit = json!({ "bk_process_name": { "value": format!("renamed-{id}"), "as_default_value": true } });
        stage.world.sim.edit_process_template(id, "zhang", &by_hand(edit)).unwrap();
    }
    writes.push(stage.equal("somebody renamed a fifth").await);

    for set in stage.sets().await.iter().step_by(2) {
        let mut processes = serde_json::to_value(&set.spec.processes).unwrap();
        processes[0]["startCmd"] = "./new.sh".into();
        if processes[0]["port"].is_null() {
            processes[0]["bindInfo"] = json!([{ "port": 12345, "protocol": "TCP" }]);
        }
        stage.patch(set.metadata.name.as_deref().unwrap(), json!({ "spec": { "processes": processes } })).await;
    }
    writes.push(stage.equal("half of the manifests changed").await);

    let shop = stage.world.set("shop").await;
    let mut processes = serde_json::to_value(&shop.spec.processes).unwrap();
    let name = |index: usize| shop.spec.processes[index].name.clone();
    processes[0]["processName"] = name(1).into();
    processes[1]["processName"] = name(0).into();
    processes[2]["processName"] = "another-name".into();
    stage.patch("shop", json!({ "spec": { "processes": processes } })).await;
    writes.push(stage.equal("names are swapped and changed").await);

    let mut processes = serde_json::to_value(&stage.world.set("shop").await.spec.processes).unwrap();
    processes.as_array_mut().unwrap().truncate(4);
    processes[3]["funcName"] = "rewritten".into();
    let policies = json!({ "deletionPolicy": "Delete", "replacePolicy": "Recreate", "processes": processes });
    stage.patch("shop", json!({ "spec": policies })).await;
    writes.push(stage.equal("processes leave, and one is replaced").await);

    for (number, set) in stage.sets().await.iter().enumerate() {
        if number % 2 == 0 {
            stage.world.wipe_status(set.metadata.name.as_deref().unwrap()).await;
        }
    }
    writes.push(stage.equal("half of the statuses are lost").await);

    for (number, set) in stage.sets().await.iter().enumerate() {
        let name = set.metadata.name.as_deref().unwrap();
        match number % 4 {
            0 => stage.patch(name, json!({ "spec": { "driftPolicy": "Detect" } })).await,
            1 => stage.patch(name, json!({ "spec": { "suspend": true } })).await,
            2 => {
                let template = set.status.as_ref().unwrap().service_template_id.unwrap();
                let stranger = json!({
                    "bk_process_name": { "value": "stranger" }, "bk_func_name": { "value": "theirs" },
                });
                stage.world.sim.add_process_template(template, "zhang", &by_hand(stranger)).unwrap();
                let mut processes = serde_json::to_value(&set.spec.processes).unwrap();
                processes.as_array_mut().unwrap().push(json!({ "name": "stranger", "funcName": "ours" }));
                processes.as_array_mut().unwrap().push(json!({ "name": "one-more", "funcName": "ours" }));
                stage.patch(name, json!({ "spec": { "processes": processes } })).await;
            }
            _ => {}
        }
    }
    for id in every(1, &stage) {
        let edit = json!({ "description": { "value": "by hand", "as_default_value": false } });
        stage.world.sim.edit_process_template(id, "zhang", &by_hand(edit)).unwrap();
    }
    writes.push(stage.equal("edits under every policy, strangers, suspended sets").await);

    println!("plan equals: states={} writes={} different=0", writes.len(), writes.iter().sum::<usize>());
    println!("writes of each state: {writes:?}");
    stage.world.end().await;
}
