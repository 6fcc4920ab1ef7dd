//! What a person with kubectl sees and can do.

use std::path::{Path, PathBuf};

use cmdb_sim::{Effect, Fault};
use process_template_operator::api::{FIELD_MANAGER, FINALIZER, RECONCILE_REQUESTED_AT};
use serde_json::{Value, json};
use test_support::world::World;

const CREATE: &str = "batch_create_proc_template";

/// What kubectl said.
struct Said {
    ok: bool,
    out: String,
    err: String,
}

impl Said {
    /// Its output, once it has done what it was asked for and warned of nothing.
    fn quietly(self) -> String {
        assert!(self.ok && self.err.is_empty(), "{}{}", self.out, self.err);
        self.out
    }
}

async fn kubectl(world: &World, arguments: &[&str]) -> Said {
    let mut command = world.plane.kubectl();
    command.args(["--namespace", &world.namespace]).args(arguments);
    let output = command.output().await.unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
}

fn manifest(name: &str, spec: &Value) -> Value {
    let mut spec = spec.clone();
    spec["bizId"] = 2.into();
    spec["serviceTemplate"] = json!({ "name": name });
    json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": name, "labels": { "team": "web" } }, "spec": spec })
}

/// A set with most of what a manifest can say.
fn full(name: &str) -> Value {
    let sockets = json!([{ "ip": "0.0.0.0", "port": 80, "protocol": "TCP", "enable": true },
        { "ip": "127.0.0.1", "port": "8080-8089", "protocol": "UDP", "enable": false, "unlocked": ["port"] }]);
    manifest(
        name,
        &json!({ "unlocked": ["procNum"], "unmanaged": ["description"], "deletionPolicy": "Delete", "processes": [
            { "name": "nginx", "funcName": "nginx", "startParamRegex": "master", "procNum": 1, "autoStart": true,
                "bindInfo": sockets, "unlocked": ["user"], "extraProperties": [{ "name": "nosuch", "value": "x" }] },
            { "name": "api", "processName": "shop-api", "funcName": "java", "priority": 20, "user": "shop" },
        ] }),
    )
}

fn written(world: &World, name: &str, object: &Value) -> PathBuf {
    let path = world.plane.folder().join(format!("{}-{name}.json", world.namespace));
    std::fs::write(&path, object.to_string()).unwrap();
    path
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap()
}

async fn world(name: &str) -> World {
    let mut world = World::new(name).await;
    world.start_operator(&["--removal-delay-seconds", "0"]).await;
    world
}

/// Who owns what of a set, by manager.
async fn owned(world: &World, name: &str) -> Vec<(String, Value)> {
    let fields = world.set(name).await.metadata.managed_fields.unwrap();
    let owned =
        fields.into_iter().map(|entry| (entry.manager.unwrap(), serde_json::to_value(entry.fields_v1).unwrap()));
    owned.collect()
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn what_was_applied_is_unchanged_and_shows_no_difference_in_either_way_of_applying() {
    let world = world("kubectl-apply").await;
    for (name, mode) in [("client-side", None), ("server-side", Some("--server-side"))] {
        world.service_template(name);
        let file = written(&world, name, &full(name));
        let apply: Vec<&str> = ["apply", "--validate=strict", "-f", path(&file)].into_iter().chain(mode).collect();
        kubectl(&world, &apply).await.quietly();
        let before = world.until_ready(name).await.set.metadata.resource_version;
        let again = kubectl(&world, &apply).await.quietly();
        if mode.is_none() {
            assert_eq!(again.trim(), format!("processtemplateset.cmdb.bk.tencent.com/{name} unchanged"));
        }
        assert_eq!(world.set(name).await.metadata.resource_version, before, "{name}");
        let diff: Vec<&str> = ["diff", "-f", path(&file)].into_iter().chain(mode).collect();
        assert_eq!(kubectl(&world, &diff).await.quietly(), "", "{name}");
    }
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn the_operator_owns_status_and_finalizer_alone_and_another_manager_has_no_conflict() {
    let world = world("kubectl-owners").await;
    world.service_template("web");
    let file = written(&world, "web", &full("web"));
    kubectl(&world, &["apply", "--server-side", "--field-manager=first", "-f", path(&file)]).await.quietly();
    world.until_ready("web").await;
    let ours: Vec<Value> = owned(&world, "web")
        .await
        .into_iter()
        .filter(|(manager, _)| manager == FIELD_MANAGER)
        .map(|(_, it)| it)
        .collect();
    assert_eq!(ours.len(), 2, "{ours:#?}");
    for fields in ours {
        let names: Vec<&String> = fields.as_object().unwrap().keys().collect();
        let finalizers = json!({ "f:finalizers": { ".": {}, format!("v:\"{FINALIZER}\""): {} } });
        assert!(names == ["f:status"] || fields == json!({ "f:metadata": finalizers }), "{fields:#}");
    }
    let mut more = manifest("web", &json!({ "resyncIntervalSeconds": 60 }));
    more["metadata"]["labels"] = json!({ "more": "yes" });
    let file = written(&world, "more", &more);
    kubectl(&world, &["apply", "--server-side", "--field-manager=second", "-f", path(&file)]).await.quietly();
    let seen = world.until_ready("web").await;
    assert_eq!(seen.set.spec.processes.len(), 2, "what the first has applied stays");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_table_says_how_things_stand_and_where_to_look() {
    let world = world("kubectl-get").await;
    world.service_template("web");
    let file = written(&world, "web", &full("web"));
    kubectl(&world, &["apply", "-f", path(&file)]).await.quietly();
    kubectl(&world, &["wait", "--for=condition=Ready", "--timeout=120s", "ptset/web"]).await.quietly();
    let generation = "--for=jsonpath={.status.observedGeneration}=1";
    kubectl(&world, &["wait", generation, "--timeout=120s", "ptset/web"]).await.quietly();
    kubectl(&world, &["wait", "--for=condition=Ready", "--timeout=120s", "cmdbconn/default"]).await.quietly();

    let table = async |arguments: &[&str]| {
        let text = kubectl(&world, arguments).await.quietly();
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    let seen = table(&["get", "ptset"]).await;
    assert_eq!(seen[0], "NAME READY REASON TEMPLATES AGE");
    assert!(seen[1].starts_with("web True InSync 2/2 "), "{seen:?}");
    let seen = table(&["get", "ptset", "-o", "wide"]).await;
    assert_eq!(seen[0], "NAME READY REASON TEMPLATES AGE BUSINESS SERVICE TEMPLATE MESSAGE");
    let says = " 2 1 2 process templates of service template 1 as the set says. Delete this set before its namespace: ";
    assert!(seen[1].contains(says), "{seen:?}");
    let seen = table(&["get", "cmdbconn"]).await;
    assert_eq!(seen[0], "NAME READY REASON SETS AGE");
    assert!(seen[1].starts_with("default True Reachable "), "{seen:?}");
    let names = async |arguments: &[&str]| table(&[arguments, &["-o", "name"]].concat()).await;
    let mut all = names(&["get", "bkcmdb"]).await;
    // Other tests may have connections of the cluster.
    all.retain(|name| !name.starts_with("clustercmdbconnection."));
    let group = "cmdb.bk.tencent.com";
    assert_eq!(all, [format!("cmdbconnection.{group}/default"), format!("processtemplateset.{group}/web")]);
    assert_eq!(names(&["get", "ptset", "--field-selector", "spec.bizId=2"]).await.len(), 1);
    assert_eq!(names(&["get", "ptset", "--field-selector", "spec.bizId=3"]).await.len(), 0);
    assert_eq!(names(&["get", "ptset", "-l", "team=web"]).await.len(), 1);

    let described = kubectl(&world, &["describe", "ptset/web"]).await.quietly();
    for text in ["2 process templates of service template 1 as the set says", "Created", "Ignored"] {
        assert!(described.contains(text), "{text}\n{described}");
    }
    assert!(!described.contains("a-secret"));
    let events = table(&["events", "--for", "ptset/web"]).await;
    assert!(events.iter().any(|line| line.contains(" Normal Created ")), "{events:?}");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn every_field_is_explained_beginning_with_its_name_in_cmdb() {
    let world = world("kubectl-explain").await;
    let explained = async |what: &str| kubectl(&world, &["explain", what]).await.quietly();
    for (field, text) in [
        ("ptset.spec.bizId", "bk_biz_id: the business"),
        ("ptset.spec.processes.procNum", "proc_num"),
        ("ptset.spec.processes.funcName", "bk_func_name"),
        ("ptset.status.processes.id", "ID of its process template in CMDB"),
        ("cmdbconn.spec.transport", "API server"),
        ("ccmdbconn.spec.grants", "namespace"),
    ] {
        let said = explained(field).await;
        assert!(said.contains(text), "{field}: {text}\n{said}");
    }
    let tree = kubectl(&world, &["explain", "ptset.spec", "--recursive"]).await.quietly();
    assert!(tree.contains("extraProperties") && !tree.contains("<no description>"), "{tree}");
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_set_is_looked_at_when_asked_and_stops_and_goes_on_when_told() {
    let world = world("kubectl-ask").await;
    world.service_template("web");
    let file = written(&world, "web", &manifest("web", &json!({ "processes": [{ "name": "a", "funcName": "a" }] })));
    kubectl(&world, &["apply", "-f", path(&file)]).await.quietly();
    let id = world.until_ready("web").await.ids()[0];
    // Nobody would look for ten minutes.
    world.sim.update_state(|state| state.process_templates.clear());
    let ask = format!("{RECONCILE_REQUESTED_AT}=now");
    kubectl(&world, &["annotate", "ptset/web", &ask]).await.quietly();
    let handled = "--for=jsonpath={.status.lastHandledReconcileAt}=now";
    kubectl(&world, &["wait", handled, "--timeout=120s", "ptset/web"]).await.quietly();
    world.until("web", "created again", |seen| seen.is_ready() && seen.ids() != [id]).await;

    let patch = |value: bool| json!({ "spec": { "suspend": value } }).to_string();
    kubectl(&world, &["patch", "ptset/web", "--type=merge", "-p", &patch(true)]).await.quietly();
    world.until_reason("web", "Suspended").await;
    kubectl(&world, &["patch", "ptset/web", "--type=merge", "-p", &patch(false)]).await.quietly();
    world.until_reason("web", "InSync").await;
    world.end().await;
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn a_deletion_that_is_blocked_says_why_and_ends_the_way_it_says() {
    let world = world("kubectl-delete").await;
    world.service_template("web");
    let file = written(&world, "web", &full("web"));
    kubectl(&world, &["apply", "-f", path(&file)]).await.quietly();
    world.until_ready("web").await;
    world.sim.add_fault(Fault::every("*", Effect::code(1_199_066)));
    kubectl(&world, &["delete", "ptset/web", "--wait=false"]).await.quietly();
    let seen = world.until_reason("web", "DeletionBlocked").await;
    // The command in the message, word by word.
    let command = seen.message().split_once("kubectl ").unwrap().1;
    let (arguments, patch) = command.split_once(" -p ").unwrap();
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    arguments.extend(["-p", patch.trim_matches('\'')]);
    kubectl(&world, &arguments).await.quietly();
    kubectl(&world, &["wait", "--for=delete", "--timeout=120s", "ptset/web"]).await.quietly();
    assert_eq!(world.sim.state().process_templates.len(), 2);
    world.end().await;
}

/// A process whose compact JSON has so many bytes.
fn process_of(bytes: usize, number: usize) -> Value {
    let name = format!("p{number:03}");
    let mut process = json!({ "name": name, "funcName": name, "startCmd": "", "stopCmd": "" });
    let missing = bytes - process.to_string().len();
    // A command has 2000 characters at most.
    process["startCmd"] = "x".repeat(missing / 2).into();
    process["stopCmd"] = "y".repeat(missing - missing / 2).into();
    assert_eq!(process.to_string().len(), bytes);
    process
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn five_hundred_processes_fit_in_one_set_the_small_ones_in_an_annotation_too() {
    let world = world("kubectl-sizes").await;
    for (name, bytes, mode) in [("small", 450, None), ("large", 1800, Some("--server-side"))] {
        world.service_template(name);
        let processes: Vec<Value> = (0..500).map(|number| process_of(bytes, number)).collect();
        let object = manifest(name, &json!({ "processes": processes }));
        let file = written(&world, name, &object);
        let apply: Vec<&str> = ["apply", "-f", path(&file)].into_iter().chain(mode).collect();
        kubectl(&world, &apply).await.quietly();
        let seen = world.until_ready(name).await;
        assert_eq!(seen.ids().len(), 500);
        let bytes_at_rest = serde_json::to_vec(&seen.set).unwrap().len();
        println!("sizes, {name}: processes=500 process_bytes={bytes} object_bytes={bytes_at_rest}");
    }
    let sent = world.requests(CREATE).len();
    world.service_template("beyond");
    let processes: Vec<Value> = (0..500).map(|number| process_of(2500, number)).collect();
    let file = written(&world, "beyond", &manifest("beyond", &json!({ "processes": processes })));
    kubectl(&world, &["apply", "--server-side", "-f", path(&file)]).await.quietly();
    world.until_reason("beyond", "TooLarge").await;
    assert_eq!(world.requests(CREATE).len(), sent, "nothing is sent");
    world.end().await;
}
