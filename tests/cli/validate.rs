//! `ptset validate`: what it says of manifests, and where it points.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use test_support::examples::as_arguments;

const SET: &str = "\
apiVersion: cmdb.bk.tencent.com/v1alpha1
kind: ProcessTemplateSet
metadata: {name: web, namespace: shop}
spec:
  bizId: 2
  serviceTemplate: {name: web}
  processes:
  - name: nginx
    funcName: nginx
";

struct Folder(tempfile::TempDir);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
        command.current_dir(self.0.path()).arg("validate").args(arguments).output().unwrap()
    }
}

fn lines(output: &Output) -> Vec<&str> {
    std::str::from_utf8(&output.stdout).unwrap().lines().collect()
}

// What is said of one file, without its name and the count.
fn findings(text: &str) -> Vec<String> {
    let folder = Folder::new(&[("a.yaml", text)]);
    let output = folder.run(&["-f", "a.yaml"]);
    let mut lines = lines(&output);
    let count = lines.pop().unwrap();
    assert!(count.contains(&format!(", {} finding", lines.len())), "{count}");
    assert_eq!(output.status.code(), Some(i32::from(!lines.is_empty())));
    lines.into_iter().map(|line| line.strip_prefix("a.yaml").unwrap().to_owned()).collect()
}

fn set_with(more: &str) -> String {
    format!("{SET}{more}")
}

#[test]
fn every_example_is_clean() {
    let arguments = as_arguments();
    let output = Folder::new(&[]).run(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(lines(&output), ["76 objects, 0 findings"]);
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn every_fault_of_a_set_is_told_at_once_and_with_its_place() {
    let text = "\
# A comment counts as a line.
---
apiVersion: cmdb.bk.tencent.com/v1alpha1
kind: ProcessTemplateSet
metadata: {name: web, namespace: shop}
spec:
  bizId: 0
  serviceTemplate: {name: web, id: 3}
  deletionPolicy: Sometimes
  processes:
  - name: nginx
    funcName: nginx
    start_cmd: ./start.sh
    startParamRegex: 6390
    procNum: 99999999999
    bindInfo:
    - {ip: 0.0.0.0, port: \"080\", protocol: TCP}
    - {ip: \"::\", port: 80, protocol: TCP, enabled: true}
  - name: api
    funcName: java
    processName: nginx
    autoStart: \"true\"
    workPath: \" /data\"
  suspended: true
";
    let port = "a port is a number from 1 to 65535 without leading zeros";
    assert_eq!(
        findings(text),
        [
            ":7:10: shop/web: spec.bizId: should be greater than or equal to 1",
            ":8:20: shop/web: spec.serviceTemplate: exactly one of id and name must be set",
            ":9:19: shop/web: spec.deletionPolicy: \"Sometimes\" is none of Orphan, Delete",
            ":13:5: shop/web: spec.processes[0].start_cmd: unknown field \"start_cmd\"; did you mean startCmd?",
            ":14:22: shop/web: spec.processes[0].startParamRegex: must be a text, and is a number: put it in quotes",
            ":15:14: shop/web: spec.processes[0].procNum: should be less than or equal to 10000",
            &format!(":17:27: shop/web: spec.processes[0].bindInfo[0].port: {port}"),
            ":18:7: shop/web: spec.processes[0].bindInfo[1]: an IPv6 ip goes with TCP6 or UDP6, an IPv4 ip with TCP or UDP",
            ":18:43: shop/web: spec.processes[0].bindInfo[1].enabled: unknown field \"enabled\"",
            ":21:18: shop/web: spec.processes[1].processName: the process name \"nginx\" is that of process \"nginx\" already",
            ":22:16: shop/web: spec.processes[1].autoStart: must be true or false, and is a text",
            ":23:15: shop/web: spec.processes[1].workPath: must not begin or end with white space",
            ":24:3: shop/web: spec.suspended: unknown field \"suspended\"",
        ]
    );
}

#[test]
fn what_is_absent_is_pointed_at_where_it_belongs() {
    let text = "apiVersion: cmdb.bk.tencent.com/v1alpha1\nkind: ProcessTemplateSet\nmetadata:\n  namespace: shop\n\
                spec:\n  bizId: ~\n  processes:\n  - name: nginx\n";
    assert_eq!(
        findings(text),
        [
            ":4:3: metadata.name: is required",
            ":6:3: spec.serviceTemplate: is required",
            ":6:10: spec.bizId: is required",
            ":8:5: spec.processes[0].funcName: is required",
        ]
    );
}

#[test]
fn a_rule_about_an_absent_value_points_at_what_holds_it() {
    let text = set_with("    processName: proxy\n  - name: proxy\n    funcName: proxy\n");
    let said = "the process name \"proxy\" is that of process \"nginx\" already";
    assert_eq!(findings(&text), [format!(":11:5: shop/web: spec.processes[1].processName: {said}")]);
}

#[test]
fn an_unknown_field_is_an_error_at_every_level() {
    let text = SET.replace("namespace: shop}", "namespace: shop, label: {}}").replace("{name: web}", "{Name: web}");
    assert_eq!(
        findings(&text),
        [
            ":3:40: shop/web: metadata.label: unknown field \"label\"",
            ":6:20: shop/web: spec.serviceTemplate: exactly one of id and name must be set",
            ":6:21: shop/web: spec.serviceTemplate.Name: unknown field \"Name\"; did you mean name?",
        ]
    );
    assert_eq!(findings(&set_with("other: 1\n")), [":10:1: shop/web: other: unknown field \"other\""]);
}

#[test]
fn what_the_api_server_takes_is_no_finding() {
    let more = "    user: null\n    port: 8000\n    bindIp: 127.0.0.1\n    protocol: TCP\n    extraProperties:\n    \
                - {name: tag, value: {any: [thing]}}\nstatus: {observedGeneration: -1}\n";
    assert!(findings(&set_with(more)).is_empty());
}

#[test]
fn what_kubectl_gives_is_no_finding() {
    let text = "\
apiVersion: v1
items:
- apiVersion: cmdb.bk.tencent.com/v1alpha1
  kind: ProcessTemplateSet
  metadata:
    annotations: {kubectl.kubernetes.io/last-applied-configuration: \"{}\"}
    creationTimestamp: \"2024-05-18T12:00:00Z\"
    finalizers: [cmdb.bk.tencent.com/process-templates]
    generation: 1
    managedFields:
    - apiVersion: cmdb.bk.tencent.com/v1alpha1
      fieldsType: FieldsV1
      fieldsV1: {\"f:spec\": {.: {}, \"f:bizId\": {}}}
      manager: kubectl
      operation: Update
      time: \"2024-05-18T12:00:00Z\"
    name: web
    namespace: shop
    resourceVersion: \"10\"
    uid: 0b6a4b4e-0000-4000-8000-000000000000
  spec: {bizId: 2, serviceTemplate: {id: 1}, processes: [{name: nginx, funcName: nginx}]}
  status:
    conditions:
    - lastTransitionTime: \"2024-05-18T12:00:00Z\"
      message: 1 process template of service template 1 as the set says
      observedGeneration: 1
      reason: InSync
      status: \"True\"
      type: Ready
    observedGeneration: 1
    processes:
    - {name: nginx, id: 52, createdAt: \"2024-05-18T12:00:00.000Z\", state: InSync}
kind: List
metadata: {resourceVersion: \"\"}
";
    assert!(findings(text).is_empty());
}

#[test]
fn a_connection_is_held_to_its_bounds_and_its_url_is_not_repeated() {
    let text = "\
apiVersion: cmdb.bk.tencent.com/v1alpha1
kind: CmdbConnection
metadata: {name: Default, namespace: shop}
spec:
  url: https://admin:letmein@example.com
  transport: Proxy
  timeoutSeconds: 10
  credentialsSecretRef: {name: \"\"}
  limits: {maxConcurrent: 1000}
";
    let found = findings(text);
    assert!(!found.join("\n").contains("letmein"));
    let starts: Vec<&str> = found.iter().map(|line| line.rsplit_once(':').unwrap().0).collect();
    assert_eq!(found.len(), 7, "{found:?} {starts:?}");
    assert!(found[0].starts_with(":3:18: shop/Default: metadata.name: \"Default\" is no name"), "{found:?}");
    assert!(found[1].starts_with(":5:8: shop/Default: spec.url: should match ^https?"), "{found:?}");
    assert_eq!(found[2], ":6:14: shop/Default: spec.transport: \"Proxy\" is none of Esb, Gateway, Direct");
    assert_eq!(found[3], ":7:19: shop/Default: spec.timeoutSeconds: should be greater than or equal to 31");
    let name = ":8:32: shop/Default: spec.credentialsSecretRef.name";
    assert_eq!(found[4], format!("{name}: should be at least 1 characters long"));
    assert!(found[5].starts_with(&format!("{name}: should match")), "{found:?}");
    assert_eq!(found[6], ":9:27: shop/Default: spec.limits.maxConcurrent: should be less than or equal to 100");
}

#[test]
fn other_kinds_are_passed_over_and_those_that_only_look_like_ours_are_not() {
    let other = "apiVersion: v1\nkind: Secret\nmetadata: {name: a}\nanything: [goes]\n---\n\
                 apiVersion: apps/v1\nkind: Deployment\n";
    assert!(findings(other).is_empty());
    let found = findings(&SET.replace("v1alpha1", "v1"));
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(":1:13: shop/web: apiVersion: there is no kind \"ProcessTemplateSet\""), "{found:?}");
    let found = findings(&SET.replace("TemplateSet", "TemplateSets"));
    assert!(found[0].starts_with(":2:7: shop/web: kind: there is no kind \"ProcessTemplateSets\""), "{found:?}");
    assert_eq!(findings("just: text\n"), [":1:1: not a Kubernetes object: it needs apiVersion and kind"]);
}

#[test]
fn what_is_no_yaml_is_pointed_at_without_the_lines_around_it() {
    let secret = "apiVersion: v1\nkind: Secret\nstringData:\n  bk_app_secret: letmein\n  a: [\n";
    let found = findings(secret);
    assert_eq!(found.len(), 1);
    assert!(found[0].starts_with(":5:6: "), "{found:?}");
    assert!(!found[0].contains("letmein"));
    let found = findings(&set_with("    funcName: other\n"));
    assert!(found[0].starts_with(":10:5: ") && found[0].contains("duplicate"), "{found:?}");
}

#[test]
fn what_editors_and_shells_make_of_a_file_is_named() {
    let folder = Folder::new(&[("twice.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nkind: Secret\n")]);
    let units: Vec<u16> = "\u{feff}kind: Secret\n".encode_utf16().collect();
    let bytes = |of: fn(u16) -> [u8; 2]| units.iter().flat_map(|unit| of(*unit)).collect::<Vec<u8>>();
    fs::write(folder.0.path().join("little.yaml"), bytes(u16::to_le_bytes)).unwrap();
    fs::write(folder.0.path().join("big.yaml"), bytes(u16::to_be_bytes)).unwrap();
    fs::write(folder.0.path().join("latin.yaml"), b"a: \xfc\n").unwrap();
    assert_eq!(
        lines(&folder.run(&["-f", "."])),
        [
            "./big.yaml: cannot be read: it is in UTF-16, as PowerShell's > writes it: save it in UTF-8",
            "./latin.yaml: cannot be read: it is not in UTF-8: invalid utf-8 sequence of 1 bytes from index 3",
            "./little.yaml: cannot be read: it is in UTF-16, as PowerShell's > writes it: save it in UTF-8",
            "./twice.yaml:4:1: the key \"kind\" is duplicate",
            "0 objects, 4 findings",
        ]
    );
}

#[test]
fn each_document_may_start_with_a_byte_order_mark() {
    let text = format!("\u{feff}{SET}---\n\u{feff}{SET}--- # joined\n\u{feff}{SET}");
    let folder = Folder::new(&[("sets.yaml", &text)]);
    assert_eq!(lines(&folder.run(&["-f", "sets.yaml"])), ["3 objects, 0 findings"]);
    let inside = findings(&set_with("    startCmd: \u{feff}x\n"));
    assert!(inside.len() == 1 && inside[0].starts_with(":10:"), "{inside:?}");
}

#[test]
fn a_block_text_that_keeps_its_line_break_is_told_the_way_out() {
    let texts = "    startCmd: |\n      ./run\n    stopCmd: |-\n      ./stop\n    restartCmd: ' ./again'\n";
    let found = findings(&set_with(texts));
    let said: Vec<&str> =
        found.iter().filter_map(|line| line.split_once("processes[0].")).map(|(_, end)| end).collect();
    assert_eq!(
        said,
        [
            "startCmd: must not begin or end with white space: it ends with a line break, as \"|\" keeps it; \"|-\" does not",
            "restartCmd: must not begin or end with white space",
        ]
    );
}

#[test]
fn the_items_of_a_list_are_judged_each_for_itself() {
    let item = SET.trim_end().replace('\n', "\n  ");
    let text = format!("apiVersion: v1\nkind: List\nitems:\n- {item}\n- {}\n", item.replace("bizId: 2", "bizId: -2"));
    assert_eq!(findings(&text), [":17:12: shop/web: spec.bizId: should be greater than or equal to 1"]);
}

#[test]
fn a_folder_is_read_with_all_that_is_below_it_and_nothing_else() {
    let json = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet", "metadata": { "name": "web" },
        "spec": { "bizId": 2, "serviceTemplate": { "id": 1 }, "processes": [] },
    });
    let folder = Folder::new(&[
        ("a/b/one.yml", SET),
        ("a/two.json", &format!("{json:#}")),
        ("a/three.txt", "not: read"),
        ("a/.hidden.yaml", "not: read"),
        ("empty/README.md", "nothing"),
    ]);
    let output = folder.run(&["-f", "a"]);
    assert_eq!(
        lines(&output),
        ["a/two.json:9:18: web: spec.processes: a set has 1 to 500 processes", "2 objects, 1 finding"]
    );
    assert_eq!(output.status.code(), Some(1));
    let output = folder.run(&["-f", "empty", "-f", "absent.yaml", "-f", "a/b/one.yml"]);
    assert_eq!(
        lines(&output),
        [
            "empty: no .yaml, .yml or .json file in it",
            "absent.yaml: cannot be read: No such file or directory (os error 2)",
            "1 object, 2 findings"
        ]
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn standard_input_is_read_and_json_says_the_same() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
    command.args(["validate", "--filename", "-", "--output", "json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut process = command.spawn().unwrap();
    process.stdin.take().unwrap().write_all(set_with("    colour: red\n").as_bytes()).unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let finding = json!({
        "file": "stdin", "line": 10, "column": 5, "namespace": "shop", "name": "web",
        "path": "spec.processes[0].colour", "message": "unknown field \"colour\"",
    });
    assert_eq!(said, json!({ "objects": 1, "findings": [finding] }));
}

#[test]
fn a_command_line_that_cannot_be_read_is_no_change() {
    let output = Folder::new(&[]).run(&["--colour"]);
    assert_eq!(output.status.code(), Some(1));
    let output = Folder::new(&[]).run(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    let help = String::from_utf8(output.stdout).unwrap();
    assert!(help.contains("Example:") && help.contains("Exit status:"), "{help}");
}
