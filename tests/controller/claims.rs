//! Two sets that want one template while a third holds the write lock of their service template: no template is deleted that
//! another set claims, and none is Ready with a template that is not there. On a clock that jumps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use cmdb_sim::{Effect, Fault, Simulator};
use process_template_operator::api::{GROUP, ProcessTemplateSet};
use serde_json::{Value, json};
use test_support::in_process::Place;
use test_support::paused::Paused;
use test_support::paused::tenant::{Tenant, cmdb, serve_businesses, spec};
use test_support::world::Seen;
use tokio::time::sleep;

const PATIENCE: Duration = Duration::from_mins(10);

/// How long CMDB takes for each call.
const LATENCY: Duration = Duration::from_millis(20);

/// How long one create holds the write lock of the service template.
const BUSY: Duration = Duration::from_secs(36);

/// How often the world is looked at.
const LOOK: Duration = Duration::from_millis(500);

/// How the taker takes the template over.
#[derive(Clone, Copy, Debug)]
enum Takeover {
    IfIdentical,
    Always,
    Recreate,
}

/// How the giver gives it up.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Giving {
    Edit,
    Deletion,
}

/// Where the two sets are.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Where {
    OneNamespace,
    OneConnection,
    TwoConnections,
}

/// Who queues for the write lock first.
#[derive(Clone, Copy, Debug, PartialEq)]
enum First {
    Giver,
    Taker,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    takeover: Takeover,
    giving: Giving,
    place: Where,
    first: First,
}

fn process(name: &str, start_cmd: &str) -> Value {
    json!({ "name": name, "funcName": name, "startCmd": start_cmd })
}

fn given(names: &[&str]) -> Value {
    let processes: Vec<Value> = names.iter().map(|name| process(name, "./run")).collect();
    json!({
        "bizId": 2, "serviceTemplate": { "name": "web" }, "deletionPolicy": "Delete", "processes": processes,
    })
}

fn taken(takeover: Takeover) -> Value {
    let mut spec = spec(2, "b", "./run");
    match takeover {
        Takeover::IfIdentical => {}
        Takeover::Always => {
            spec["adoptionPolicy"] = json!("Always");
            spec["processes"][0]["startCmd"] = json!("./taken");
        }
        Takeover::Recreate => {
            spec["adoptionPolicy"] = json!("Always");
            spec["replacePolicy"] = json!("Recreate");
            spec["processes"][0]["funcName"] = json!("taken");
        }
    }
    spec
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for takeover in [Takeover::IfIdentical, Takeover::Always, Takeover::Recreate] {
            for giving in [Giving::Edit, Giving::Deletion] {
                for place in [Where::OneNamespace, Where::OneConnection, Where::TwoConnections] {
                    for first in [First::Giver, First::Taker] {
                        cases.push(Self { takeover, giving, place, first });
                    }
                }
            }
        }
        cases
    }

    // A set of this case over its connection.
    fn over(self, mut spec: Value) -> Value {
        if self.place == Where::OneConnection {
            spec["connectionRef"] = json!({ "kind": "ClusterCmdbConnection", "name": "shared" });
        }
        spec
    }

    fn give(self, giver: &Tenant<'_>) {
        match self.giving {
            Giving::Edit => giver.apply("giver", &self.over(given(&["a"]))),
            Giving::Deletion => giver.delete("giver"),
        }
    }
}

fn sets(world: &Paused) -> Vec<Seen> {
    let of = |namespace| world.api.list(&Place::new(GROUP, "processtemplatesets", namespace, ""));
    let sets = ["bank", "shop"].into_iter().flat_map(of);
    sets.map(|set| Seen::new(serde_json::from_value::<ProcessTemplateSet>(Value::clone(&set)).unwrap())).collect()
}

// Whether a set claims a template: it wants its name, or has it for a process that it still has.
fn claims(seen: &Seen, id: i64, name: &str) -> bool {
    let keys: BTreeSet<&str> = seen.set.spec.processes.iter().map(|process| process.name.as_str()).collect();
    let has = seen.status.processes.iter().any(|process| process.id == Some(id) && keys.contains(&*process.name));
    seen.set.metadata.deletion_timestamp.is_none() && (keys.contains(name) || has)
}

// Looks at each delete when it arrives, and at each status at any time; it never ends.
async fn watch(world: &Paused, sim: &Simulator, wrong: &mut Vec<String>) {
    let (mut looked_at, mut names, mut is_replacing) = (0, BTreeMap::new(), false);
    loop {
        let (requests, state) = (sim.requests(), sim.state());
        names.extend(state.process_templates.iter().map(|stored| (stored.id, stored.bk_process_name.clone())));
        for request in &requests {
            if request.sequence <= looked_at {
                continue;
            }
            looked_at = request.sequence;
            is_replacing |= request.call.starts_with("batch_create") && request.body.to_string().contains("ptset-");
            if request.call != "delete_proc_template" {
                continue;
            }
            for id in request.body["process_templates"].as_array().unwrap().iter().filter_map(Value::as_i64) {
                let claimants = sets(world).iter().filter(|seen| claims(seen, id, &names[&id])).count();
                // A set that replaces its own template deletes it.
                if claimants > usize::from(is_replacing) {
                    wrong.push(format!("template {id} {:?} was deleted, which {claimants} sets claim", names[&id]));
                }
            }
        }

        let is_there = |id: &i64| state.process_templates.iter().any(|stored| stored.id == *id);
        for seen in sets(world) {
            let is_living = seen.set.metadata.deletion_timestamp.is_none();
            if is_living && seen.is_ready() && !seen.ids().iter().all(is_there) {
                wrong.push(format!("Ready with a template that is not there: {}", seen.describe()));
                return;
            }
        }
        sleep(LOOK).await;
    }
}

async fn scenario(case: Case, world: &Paused, sim: &Simulator) {
    let giver = world.tenant("shop");
    let taker = world.tenant(if case.place == Where::OneNamespace { "shop" } else { "bank" });
    match case.place {
        Where::OneNamespace => giver.connect("default", &sim.url(), json!({})),
        Where::OneConnection => {
            let grant = json!({ "namespaces": { "matchNames": ["shop", "bank"] }, "bizIds": [2] });
            world.share("shared", &sim.url(), json!({ "grants": [grant] }));
        }
        Where::TwoConnections => {
            giver.connect("default", &sim.url(), json!({}));
            taker.connect("default", &sim.url(), json!({}));
        }
    }
    giver.edit("giver", &case.over(given(&["a", "b"])), PATIENCE).await;
    sleep(Duration::from_secs(12)).await;

    // From now on one create holds the lock.
    let delay = Effect::delay(u64::try_from(BUSY.as_millis()).unwrap());
    sim.add_fault(Fault::nth("batch_create_proc_template", 1, delay));
    if case.giving == Giving::Edit && case.first == First::Giver {
        // What has left a set is deleted after the delay of removals.
        case.give(&giver);
        sleep(Duration::from_secs(8)).await;
    }
    giver.apply("busy", &case.over(spec(2, "busy", "./run")));
    sleep(Duration::from_secs(1)).await;
    if case.first == First::Giver {
        if case.giving == Giving::Deletion {
            case.give(&giver);
        }
        sleep(Duration::from_secs(5)).await;
        taker.apply("taker", &case.over(taken(case.takeover)));
    } else {
        taker.apply("taker", &case.over(taken(case.takeover)));
        sleep(Duration::from_secs(2)).await;
        case.give(&giver);
    }
    let begun = tokio::time::Instant::now();
    while !taker.seen("taker").is_some_and(|set| set.is_ready()) {
        assert!(begun.elapsed() < PATIENCE, "{case:?}: {}", taker.seen("taker").unwrap().describe());
        sleep(LOOK).await;
    }
    // Longer than every wait of the giver, and shorter than an interval.
    sleep(Duration::from_secs(100)).await;
    let (taken, stored) = (taker.seen("taker").unwrap(), sim.state().process_templates);
    assert!(taken.is_ready(), "{case:?}: {}", taken.describe());
    let name = |id: i64| stored.iter().find(|stored| stored.id == id).map(|stored| stored.bk_process_name.as_str());
    assert_eq!(name(taken.ids()[0]), Some("b"), "{case:?}: {stored:?}");
    let names: BTreeSet<&str> = stored.iter().map(|stored| stored.bk_process_name.as_str()).collect();
    let left = if case.giving == Giving::Deletion { vec!["b", "busy"] } else { vec!["a", "b", "busy"] };
    assert_eq!(names, left.into_iter().collect(), "{case:?}");
    if case.giving == Giving::Deletion {
        assert!(giver.seen("giver").is_none(), "{case:?}");
    }
}

async fn run(case: Case) -> Vec<String> {
    let mut world = Paused::new();
    world.start_operator_with(|settings| settings.namespaces = Vec::new());
    let sim = cmdb(LATENCY);
    serve_businesses(&sim, 2..3);
    let mut wrong = Vec::new();
    tokio::select! {
        () = scenario(case, &world, &sim) => {}
        () = watch(&world, &sim, &mut wrong) => {}
    }
    wrong
}

#[tokio::test(start_paused = true)]
async fn no_template_is_deleted_that_another_set_has_claimed_in_the_meantime() {
    let mut wrong = Vec::new();
    let cases = Case::all();
    for case in &cases {
        let found = run(*case).await;
        println!("claims: {case:?}: wrong={}", found.len());
        if !found.is_empty() {
            println!("claims: {case:?}: {}", found.join("; "));
            wrong.push(format!("{case:?}: {}", found[0]));
        }
    }
    println!("claims: cases={} wrong={}", cases.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");
}
