//! `ptset plan`: what it shows of a simulated CMDB, what it ends with, and that it never writes there.

use std::fs;

use cmdb_sim::{Options, Property, Simulator};
use process_template_operator::api::ProcessTemplateSetSpec;
use process_template_operator::plan::{Desired, ServerSchema, SetName};
use serde_json::{Value, json};
use test_support::command::{Said, ptset};
use test_support::examples::as_arguments;
use tokio::process::Command;

const READS: [&str; 3] = ["list_proc_template", "list_service_template", "list_service_category"];

/// A simulated CMDB with the service template 1, "web", and a folder for manifests.
struct Place {
    sim: Simulator,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let sim = Simulator::start(Options::default()).unwrap();
        sim.update_state(|state| {
            let template = json!({ "id": 1, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
            state.service_templates.push(serde_json::from_value(template).unwrap());
        });
        Self { sim, folder: tempfile::tempdir().unwrap() }
    }

    /// Somebody makes a process template by hand; gives its ID.
    fn add(&self, user: &str, property: Value) -> i64 {
        let property: Property = serde_json::from_value(property).unwrap();
        self.sim.add_process_template(1, user, &property).unwrap()
    }

    fn put(&self, file: &str, documents: &[Value]) {
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        fs::write(self.folder.path().join(file), text.join("\n---\n")).unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ptset(&[&["plan"], arguments].concat());
        command.current_dir(self.folder.path());
        command
    }

    async fn said(&self, command: &mut Command) -> Said {
        let said = Said::by(command, &["the-app-secret", "the-token"]).await;
        for request in self.sim.requests() {
            assert!(READS.contains(&request.call.as_str()), "{} was called", request.call);
        }
        said
    }

    /// Runs the command against the simulator, with credentials from the environment.
    async fn run(&self, arguments: &[&str]) -> Said {
        let mut command = self.command(arguments);
        command.args(["--url", &self.sim.url()]);
        self.said(command.envs(credentials())).await
    }

    /// Plans these documents.
    async fn plan(&self, documents: &[Value]) -> Said {
        self.put("sets.yaml", documents);
        self.run(&["-f", "sets.yaml"]).await
    }

    /// The same as the cluster has it: with a status that remembers these templates, by key and ID, as they were when
    /// they were last in line with the spec of `set`.
    fn with_status(&self, mut set: Value, templates: &[(&str, i64)]) -> Value {
        let spec: ProcessTemplateSetSpec = serde_json::from_value(set["spec"].clone()).unwrap();
        let desired = Desired::from_spec(SetName::default(), &spec);
        let state = self.sim.state();
        let processes = templates.iter().map(|(key, id)| {
            let template = state.process_templates.iter().find(|template| template.id == *id).unwrap();
            let item = desired.items.iter().find(|item| item.key == *key);
            let hash = item.map(|item| item.hash(&item.properties(ServerSchema::BindInfo).unwrap(), &[]));
            json!({
                "name": key, "id": id, "createdAt": template.create_time, "processName": template.bk_process_name,
                "state": "InSync", "appliedHash": hash,
            })
        });
        let processes: Vec<Value> = processes.collect();
        set["status"] = json!({ "endpoint": self.sim.url(), "serviceTemplateId": 1, "processes": processes });
        set
    }
}

fn credentials() -> [(&'static str, &'static str); 3] {
    [("PTSET_BK_APP_CODE", "ptset"), ("PTSET_BK_APP_SECRET", "the-app-secret"), ("PTSET_BK_USERNAME", "admin")]
}

fn locked(value: impl Into<Value>) -> Value {
    json!({ "value": value.into(), "as_default_value": true })
}

fn unlocked(value: impl Into<Value>) -> Value {
    json!({ "value": value.into(), "as_default_value": false })
}

/// A process template whose function has its own name, with further properties.
fn template(name: &str, more: Value) -> Value {
    let mut property = json!({ "bk_process_name": locked(name), "bk_func_name": locked(name) });
    property.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    property
}

fn process(name: &str, more: Value) -> Value {
    let mut process = json!({ "name": name, "funcName": name });
    process.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    process
}

fn set(name: &str, more: Value, processes: Vec<Value>) -> Value {
    let mut spec = json!({ "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": processes });
    spec.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": name, "namespace": "shop" }, "spec": spec,
    })
}

const HEAD: &str = "shop/web: business 2, service template 1 \"web\"";

#[tokio::test]
async fn what_is_missing_is_created_with_all_that_the_manifest_sets() {
    let place = Place::new();
    let nginx = json!({
        "processName": "proxy", "startCmd": "./start.sh", "procNum": 2, "autoStart": false, "unlocked": ["procNum"],
        "locked": ["user"],
        "bindInfo": [
            { "ip": "0.0.0.0", "port": 80, "protocol": "TCP", "enable": true },
            { "port": "9000-9010", "protocol": "UDP6", "ip": "::", "unlocked": ["port", "ip"] },
        ],
    });
    let said = place.plan(&[set("web", json!({}), vec![process("nginx", nginx)])]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            "  + create nginx",
            "      processName: \"proxy\"",
            "      funcName: \"nginx\"",
            "      autoStart: false",
            "      bindInfo:",
            "        {ip: 0.0.0.0, port: 80, protocol: TCP, enable: true}",
            "        {ip: ::, port: 9000-9010, protocol: UDP6, unlocked: [ip, port]}",
            "      procNum: 2 (unlocked)",
            "      startCmd: \"./start.sh\"",
            "      user: empty (locked)",
            "1 set: 1 to create, 0 to update, 0 to delete, 0 with trouble",
        ]
    );
    assert_eq!((said.status, said.errors.as_str()), (2, ""));
}

#[tokio::test]
async fn nothing_to_do_ends_with_zero() {
    let place = Place::new();
    let id = place.add("admin", template("nginx", json!({ "user": locked("root") })));
    let wanted = process("nginx", json!({ "user": "root", "funcId": "1" }));
    let said = place.plan(&[set("web", json!({}), vec![wanted])]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            &format!("  = nginx: template {id} is taken over as it is"),
            "  = nginx: this server does not have funcId",
            "  = 1 of 1 in sync",
            "1 set: 0 to create, 0 to update, 0 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 0);
}

#[tokio::test]
async fn an_update_is_shown_field_by_field_with_old_and_new() {
    let place = Place::new();
    let row = |ip: &str, port: &str| json!({ "ip": locked(ip), "port": locked(port), "protocol": locked("1"), "enable": locked(true) });
    let rows = json!([row("2", "80"), row("2", "81"), row("1", "82")]);
    let id = place.add(
        "ann",
        template(
            "nginx",
            json!({
                "start_cmd": locked("./old"), "proc_num": locked(1), "user": unlocked("ann"), "work_path": locked("/a"),
                "description": locked("x"), "bind_info": locked(rows),
            }),
        ),
    );
    let wanted = json!({
        "startCmd": "./new", "procNum": 1, "user": "bob", "pidFile": "/run/x", "description": "y",
        "unlocked": ["procNum", "description"],
        "bindInfo": [
            { "ip": "0.0.0.0", "port": 80, "protocol": "TCP", "enable": true },
            { "ip": "127.0.0.1", "port": 81, "protocol": "TCP", "enable": true, "unlocked": ["enable"] },
        ],
    });
    let more = json!({ "adoptionPolicy": "Always" });
    let said = place.plan(&[set("web", more, vec![process("nginx", wanted)])]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            &format!("  ~ update nginx: template {id} \"nginx\", which the set takes over"),
            "      bindInfo:",
            "        - {ip: 127.0.0.1, port: 82, protocol: TCP, enable: true}",
            "        ~ {ip: 0.0.0.0, port: 81, protocol: TCP, enable: true} -> {ip: 127.0.0.1, port: 81, protocol: TCP, \
             enable: true, unlocked: [enable]}",
            "      description: \"x\" -> \"y\" (locked -> unlocked)",
            "      pidFile: empty -> \"/run/x\"",
            "      procNum: 1, locked -> unlocked (lock only)",
            "      startCmd: \"./old\" -> \"./new\"",
            "      user: \"ann\" -> \"bob\" (unlocked -> locked)",
            "      workPath: \"/a\" -> empty",
            "      note: instances keep workPath; to clear it there write locked: [workPath]",
            "1 set: 0 to create, 1 to update, 0 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 2);
}

#[tokio::test]
async fn two_processes_that_swap_their_names_take_a_temporary_step() {
    let place = Place::new();
    let (a, b) = (place.add("admin", template("a", json!({}))), place.add("admin", template("b", json!({}))));
    let before = set("web", json!({}), vec![process("a", json!({})), process("b", json!({}))]);
    let live = place.with_status(before, &[("a", a), ("b", b)]);
    let after = set(
        "web",
        json!({}),
        vec![process("a", json!({ "processName": "b" })), process("b", json!({ "processName": "a" }))],
    );
    let said = place.plan(&[live, after]).await;
    let lines = said.lines();
    let temporary = lines[2].rsplit_once("-> ").unwrap().1;
    assert!(temporary.starts_with("\"ptset-"), "{lines:?}");
    assert_eq!(
        lines,
        [
            HEAD,
            &format!("  ~ update a: template {a} \"a\" (temporary: the value that it gets is still taken)"),
            &format!("      processName: \"a\" -> {temporary}"),
            &format!("  ~ update b: template {b} \"b\""),
            "      processName: \"b\" -> \"a\"",
            &format!("  ~ update a: template {a} {temporary}"),
            &format!("      processName: {temporary} -> \"b\""),
            "1 set: 0 to create, 2 to update, 0 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 2);
}

#[tokio::test]
async fn a_replacement_is_shown_to_its_end() {
    let place = Place::new();
    let id = place.add("admin", template("nginx", json!({})));
    let live = place.with_status(set("web", json!({}), vec![process("nginx", json!({}))]), &[("nginx", id)]);
    let wanted = process("nginx", json!({ "funcName": "openresty" }));
    let after = set("web", json!({ "replacePolicy": "Recreate" }), vec![wanted.clone()]);
    let said = place.plan(&[live.clone(), after]).await;
    let lines = said.lines();
    let temporary = lines[2].rsplit_once(": ").unwrap().1;
    assert_eq!(
        lines,
        [
            HEAD,
            &format!("  + create nginx (temporary: as {temporary}, until the template that it replaces is gone)"),
            &format!("      processName: {temporary}"),
            "      funcName: \"openresty\"",
            &format!("  - delete nginx: template {id} \"nginx\""),
            &format!("  ~ update nginx: the new template {temporary}"),
            &format!("      processName: {temporary} -> \"nginx\""),
            "1 set: 1 to create, 0 to update, 1 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 2);
    let said = place.plan(&[live, set("web", json!({}), vec![wanted])]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            &format!(
                "  ! nginx: needs replacement: template {id} differs in funcName; CMDB does not update funcName: set \
                 replacePolicy to Recreate, or change it back"
            ),
            "      funcName: \"nginx\" -> \"openresty\"",
            "1 set: 0 to create, 0 to update, 0 to delete, 1 with trouble",
        ]
    );
    assert_eq!(said.status, 0);
}

#[tokio::test]
async fn what_leaves_a_set_is_deleted_or_left_as_the_set_says() {
    let place = Place::new();
    let (a, b) = (place.add("admin", template("a", json!({}))), place.add("admin", template("b", json!({}))));
    let both = set("web", json!({}), vec![process("a", json!({})), process("b", json!({}))]);
    let live = place.with_status(both, &[("a", a), ("b", b)]);
    let one = |policy: &str| set("web", json!({ "deletionPolicy": policy }), vec![process("a", json!({}))]);
    let said = place.plan(&[live.clone(), one("Delete")]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            &format!("  - delete b: template {b} \"b\""),
            "  = 1 of 1 in sync",
            "1 set: 0 to create, 0 to update, 1 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 2);
    let said = place.plan(&[live.clone(), one("Orphan")]).await;
    assert_eq!(
        said.lines()[1],
        format!("  = b: template {b} \"b\" stays in CMDB: it has left the set, whose deletionPolicy is Orphan")
    );
    assert_eq!(said.status, 0);
    let other = set("other", json!({}), vec![process("b", json!({}))]);
    let said = place.plan(&[live.clone(), one("Delete"), other]).await;
    assert_eq!(
        said.lines()[1],
        format!("  = b: template {b} \"b\" stays in CMDB: it has left the set, and another set wants it")
    );
    assert_eq!(said.status, 0);
    let mut leaving = live;
    leaving["metadata"]["deletionTimestamp"] = json!("2024-05-18T12:00:00Z");
    leaving["spec"]["deletionPolicy"] = json!("Delete");
    let said = place.plan(&[leaving]).await;
    assert_eq!(said.lines()[0], format!("{HEAD}, being deleted:"));
    assert_eq!(said.lines()[3], "1 set: 0 to create, 0 to update, 2 to delete, 0 with trouble");
}

#[tokio::test]
async fn a_template_that_is_not_ours_is_trouble_and_no_change() {
    let place = Place::new();
    let id = place.add("ann", template("nginx", json!({ "user": locked("ann") })));
    let said = place.plan(&[set("web", json!({}), vec![process("nginx", json!({ "user": "bob" }))])]).await;
    assert_eq!(
        said.lines(),
        [
            HEAD,
            &format!(
                "  ! nginx: conflict: template {id} of this name was not created by this set and differs in user; make \
                 the manifest say what it has, remove it in CMDB, or set adoptionPolicy to Always"
            ),
            "      user: \"ann\" -> \"bob\"",
            "1 set: 0 to create, 0 to update, 0 to delete, 1 with trouble",
        ]
    );
    assert_eq!(said.status, 0);
}

#[tokio::test]
async fn of_two_sets_that_want_one_name_the_older_gets_it() {
    let place = Place::new();
    let named = |name: &str| set(name, json!({}), vec![process("nginx", json!({}))]);
    let trouble = |name: &str| {
        format!(
            "  ! nginx: conflict: the name is ProcessTemplateSet {name:?}'s; take the process out of one of the two sets"
        )
    };
    let said = place.plan(&[named("first"), named("second")]).await;
    assert_eq!(said.lines()[5], trouble("first"), "{said:?}");
    let mut known = named("second");
    known["metadata"]["creationTimestamp"] = json!("2024-05-18T12:00:00Z");
    known["metadata"]["uid"] = json!("5f0e");
    let said = place.plan(&[named("first"), known.clone()]).await;
    assert_eq!(said.lines()[1], trouble("second"), "{said:?}");
    let mut older = named("first");
    older["metadata"]["creationTimestamp"] = json!("2024-05-17T12:00:00Z");
    older["metadata"]["namespace"] = json!("elsewhere");
    let said = place.plan(&[known, older]).await;
    assert!(said.lines()[1].contains("conflict: the name is another set's, in another namespace"), "{said:?}");
    assert_eq!(said.status, 2);
}

#[tokio::test]
async fn drift_is_corrected_or_only_told() {
    let place = Place::new();
    let id = place.add("admin", template("nginx", json!({ "user": locked("root") })));
    let own = set("web", json!({}), vec![process("nginx", json!({ "user": "root" }))]);
    let mut live = place.with_status(own, &[("nginx", id)]);
    let edit: Property = serde_json::from_value(json!({ "user": locked("ann") })).unwrap();
    place.sim.edit_process_template(id, "ann", &edit).unwrap();
    let said = place.plan(&[live.clone()]).await;
    assert_eq!(
        said.lines()[1..3],
        [
            &format!("  ~ update nginx: template {id} \"nginx\", which somebody changed in CMDB"),
            "      user: \"ann\" -> \"root\"",
        ]
    );
    assert_eq!(said.status, 2);
    live["spec"]["driftPolicy"] = json!("Detect");
    let said = place.plan(&[live]).await;
    assert_eq!(
        said.lines()[1..3],
        [
            &format!(
                "  ! nginx: drifted: somebody changed template {id} in CMDB: user; change it back there, or set driftPolicy \
                 to Correct"
            ),
            "      user: \"ann\" -> \"root\"",
        ]
    );
    assert_eq!(said.status, 0);
}

#[tokio::test]
async fn a_suspended_set_shows_what_it_would_do_and_counts_as_no_change() {
    let place = Place::new();
    let said = place.plan(&[set("web", json!({ "suspend": true }), vec![process("nginx", json!({}))])]).await;
    assert_eq!(
        said.lines(),
        [
            &format!("{HEAD}, suspended: nothing is written as long as it is; without that:"),
            "  + create nginx",
            "      processName: \"nginx\"",
            "      funcName: \"nginx\"",
            "1 set: 0 to create, 0 to update, 0 to delete, 0 with trouble",
        ]
    );
    assert_eq!(said.status, 0);
}

#[tokio::test]
async fn a_missing_service_template_is_created_only_where_the_set_wishes_it() {
    let place = Place::new();
    let selector = json!({ "name": "new", "createIfMissing": { "category": { "id": 2 } } });
    let wishes = set("web", json!({ "serviceTemplate": selector }), vec![process("nginx", json!({}))]);
    let said = place.plan(&[wishes]).await;
    assert_eq!(
        said.lines()[..3],
        ["shop/web: business 2, no service template yet", "  + create service template \"new\"", "  + create nginx",]
    );
    assert_eq!(said.status, 2);
    let selector = json!({ "serviceTemplate": { "name": "new" } });
    let other = set("other", json!({}), vec![process("nginx", json!({}))]);
    let said = place.plan(&[set("web", selector, vec![process("nginx", json!({}))]), other]).await;
    assert_eq!(
        said.lines()[..3],
        [
            "shop/web: cannot be planned:",
            "  ! business 2 has no service template named \"new\". Create it in CMDB, or set \
             spec.serviceTemplate.createIfMissing.",
            &HEAD.replace("web:", "other:"),
        ]
    );
    let counts = "1 to create, 0 to update, 0 to delete, 0 with trouble; 1 could not be planned";
    assert_eq!(*said.lines().last().unwrap(), format!("2 sets: {counts}"));
    assert_eq!(said.status, 1);
}

#[tokio::test]
async fn every_example_is_planned_against_an_empty_cmdb() {
    let place = Place::new();
    let mut arguments = as_arguments();
    arguments.extend(["-o".to_owned(), "json".to_owned()]);
    let said = place.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()).await;
    assert_eq!(said.status, 2);
    let plan = said.json();
    assert_eq!(
        plan["summary"],
        json!({ "sets": 74, "create": 79, "update": 0, "delete": 0, "trouble": 0, "failed": 0 })
    );
    for set in plan["sets"].as_array().unwrap() {
        assert_eq!((&set["createsServiceTemplate"], &set["error"]), (&json!(true), &Value::Null), "{set}");
        assert_eq!(set["steps"].as_array().unwrap().len(), set["items"].as_array().unwrap().len(), "{set}");
    }
    assert_eq!(place.sim.requests().len(), 1, "one list of service templates serves all");
}

#[tokio::test]
async fn json_says_the_same_under_fixed_names() {
    let place = Place::new();
    let id = place.add("ann", template("nginx", json!({ "user": locked("ann"), "bind_info": locked(json!([])) })));
    let row = json!({ "ip": "FirstInnerIP", "port": 80, "protocol": "TCP", "enable": true, "unlocked": ["port"] });
    let wanted = process("nginx", json!({ "bindInfo": [row], "unmanaged": ["user"] }));
    place.put("sets.yaml", &[set("web", json!({ "adoptionPolicy": "Always" }), vec![wanted])]);
    let said = place.run(&["-f", "sets.yaml", "--output", "json"]).await;
    let row = json!({
        "ip": "FirstInnerIP", "port": "80", "protocol": "TCP", "enable": true, "locked": ["ip", "protocol", "enable"],
    });
    let change = json!({
        "property": "bindInfo", "cmdbName": "bind_info",
        "old": { "value": null, "locked": true }, "new": { "value": [row], "locked": true },
    });
    let step = json!({
        "action": "Update", "name": "nginx", "id": id, "processName": "nginx", "temporary": false, "cause": "Adoption",
        "changes": [change],
    });
    let item = json!({
        "name": "nginx", "processName": "nginx", "id": id, "state": "Differs", "message": null, "adopted": true,
        "ignored": [], "differences": [],
    });
    let set = json!({
        "namespace": "shop", "name": "web", "bizId": 2, "serviceTemplateId": 1, "serviceTemplateName": "web",
        "createsServiceTemplate": false, "stage": "Live", "steps": [step], "items": [item], "removals": [],
        "error": null,
    });
    let summary = json!({ "sets": 1, "create": 0, "update": 1, "delete": 0, "trouble": 0, "failed": 0 });
    assert_eq!(said.json(), json!({ "sets": [set], "findings": [], "summary": summary }));
    assert_eq!(said.status, 2);
}

fn connection(name: &str, url: &str) -> Value {
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
        "metadata": { "name": name, "namespace": "shop" },
        "spec": { "url": url, "credentialsSecretRef": { "name": "cmdb" } },
    })
}

fn secret() -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb", "namespace": "shop" },
        "data": { "bk_app_code": "cHRzZXQK", "bk_app_secret": "b3ZlcnJpZGRlbg==" },
        "stringData": { "bk_app_secret": "the-app-secret", "bk_token": "the-token" },
    })
}

#[tokio::test]
async fn the_connection_and_its_secret_are_found_in_the_files() {
    let place = Place::new();
    let own = set("web", json!({}), vec![process("nginx", json!({}))]);
    let list = json!({
        "apiVersion": "v1", "kind": "List", "metadata": {},
        "items": [connection("default", &place.sim.url()), secret(), own],
    });
    place.put("all.json", &[list]);
    let said = place.said(&mut place.command(&["-f", "all.json"])).await;
    assert_eq!((said.status, said.lines()[0]), (2, HEAD), "{said:?}");
    assert_eq!(place.sim.requests()[0].body["bk_app_code"], "ptset");
}

// A manifest may name any URL: whoever wrote it must not get the credentials of who looks at it.
#[tokio::test]
async fn credentials_of_the_environment_go_nowhere_that_a_file_names() {
    let place = Place::new();
    let own = set("web", json!({ "connectionRef": { "name": "cmdb" } }), vec![process("nginx", json!({}))]);
    place.put("all.yaml", &[connection("cmdb", &place.sim.url()), own]);
    let said = place.said(place.command(&["-f", "all.yaml"]).envs(credentials())).await;
    assert_eq!(
        said.lines()[1],
        "  ! Secret \"cmdb\" of namespace \"shop\" is not in the files: add it, or give --url and credentials in the \
         environment"
    );
    assert_eq!(said.status, 1);
    assert!(place.sim.requests().is_empty());
}

#[tokio::test]
async fn what_cannot_be_planned_is_told_and_the_others_are_shown() {
    let place = Place::new();
    let broken = set("broken", json!({ "colour": "red" }), vec![process("nginx", json!({}))]);
    let twice = set("twice", json!({ "locked": ["user"], "unlocked": ["user"] }), vec![process("a", json!({}))]);
    let elsewhere = set("elsewhere", json!({ "connectionRef": { "name": "b" } }), vec![process("b", json!({}))]);
    let nowhere = set("nowhere", json!({ "connectionRef": { "name": "c" } }), vec![process("b", json!({}))]);
    let clash = vec![process("c", json!({})), process("d", json!({ "processName": "c" }))];
    let documents = [
        broken,
        twice,
        elsewhere,
        nowhere,
        set("web", json!({}), clash),
        connection("default", &place.sim.url()),
        connection("b", "http://127.0.0.1:1"),
        secret(),
    ];
    place.put("sets.yaml", &documents);
    let said = place.said(&mut place.command(&["-f", "sets.yaml", "-f", "absent.yaml"])).await;
    let lines = said.lines();
    assert_eq!(lines[0], "absent.yaml: cannot be read: No such file or directory (os error 2)");
    assert_eq!(lines[1], "shop/broken: cannot be planned:");
    assert!(lines[2].ends_with("shop/broken: spec.colour: unknown field \"colour\""), "{said:?}");
    assert_eq!(lines[3], "shop/twice: cannot be planned:");
    assert!(lines[4].contains("a property may stand in one of locked, unlocked and unmanaged only"), "{said:?}");
    assert_eq!(lines[5], "shop/elsewhere: cannot be planned:");
    assert!(lines[6].starts_with("  ! CMDB cannot be reached"), "{said:?}");
    assert_eq!(lines[7], "shop/nowhere: cannot be planned:");
    assert!(lines[8].contains("CmdbConnection \"c\" of namespace \"shop\" is not in the files"), "{said:?}");
    assert_eq!(lines[9..11], [HEAD, "  + create c"]);
    assert!(lines[13].starts_with("  ! d: invalid: spec.processes[1].processName: the process name"), "{said:?}");
    let counts = "1 to create, 0 to update, 0 to delete, 1 with trouble; 4 could not be planned";
    assert_eq!(lines[14], format!("5 sets: {counts}"));
    assert_eq!(said.status, 1);
}

#[tokio::test]
async fn what_names_no_namespace_is_in_the_one_that_is_given() {
    let place = Place::new();
    let mut own = set("web", json!({}), vec![process("nginx", json!({}))]);
    own["metadata"].as_object_mut().unwrap().remove("namespace");
    place.put("sets.yaml", &[own]);
    assert!(place.run(&["-f", "sets.yaml"]).await.text.starts_with("default/web: "));
    assert!(place.run(&["-f", "sets.yaml", "-n", "shop"]).await.text.starts_with(HEAD));
}

#[tokio::test]
async fn secrets_are_no_options_and_the_help_has_an_example() {
    let place = Place::new();
    let said = place.said(&mut place.command(&["-f", "x", "--bk-app-secret", "x"])).await;
    assert_eq!(said.status, 1);
    let help = place.said(&mut place.command(&["--help"])).await;
    assert!(help.text.contains("Example:") && help.text.contains("PTSET_BK_APP_SECRET"), "{help:?}");
    assert_eq!(help.status, 0);
}
