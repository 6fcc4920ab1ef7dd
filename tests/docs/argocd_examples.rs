//! What is given to users of Argo CD and Flux: one script in two places stays one, and what is offered exists.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use process_template_operator::api::{self, CmdbConnectionSpec, ProcessTemplateSetSpec, RECONCILE_REQUESTED_AT};
use process_template_operator::plan::check;
use serde_json::Value;
use test_support::files::files;

const GROUP: &str = "cmdb.bk.tencent.com";
const KINDS: [&str; 3] = ["ProcessTemplateSet", "CmdbConnection", "ClusterCmdbConnection"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/argocd")
}

fn upstream(kind: &str) -> PathBuf {
    folder().join("upstream/resource_customizations").join(GROUP).join(kind)
}

fn read(path: impl AsRef<Path>) -> String {
    let path = path.as_ref();
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap()
}

/// What Argo CD is configured with.
fn customizations() -> serde_json::Map<String, Value> {
    let config = yaml(&read(folder().join("argocd-cm-patch.yaml")));
    assert_eq!(config["metadata"]["name"], "argocd-cm");
    config["data"].as_object().unwrap().clone()
}

#[test]
fn the_config_map_has_the_scripts_of_the_layout_byte_for_byte_and_nothing_else() {
    let data = customizations();
    let mut expected = BTreeSet::new();
    let mut scripts = 0;
    for kind in KINDS {
        let key = |customization: &str| format!("resource.customizations.{customization}.{GROUP}_{kind}");
        expected.extend([key("health"), key("ignoreResourceUpdates")]);
        assert_eq!(data[&key("health")].as_str().unwrap(), read(upstream(kind).join("health.lua")), "{kind}");
        scripts += 1;
        let actions = upstream(kind).join("actions");
        if !actions.is_dir() {
            continue;
        }
        expected.insert(key("actions"));
        let told = yaml(data[&key("actions")].as_str().unwrap());
        assert_eq!(told["discovery.lua"].as_str().unwrap(), read(actions.join("discovery.lua")));
        scripts += 1;
        for definition in told["definitions"].as_array().unwrap() {
            let name = definition["name"].as_str().unwrap();
            assert_eq!(
                definition["action.lua"].as_str().unwrap(),
                read(actions.join(name).join("action.lua")),
                "{name}"
            );
            scripts += 1;
        }
    }
    assert_eq!(data.keys().cloned().collect::<BTreeSet<_>>(), expected);
    let in_layout =
        files(&folder().join("upstream")).into_iter().filter(|path| path.extension().is_some_and(|e| e == "lua"));
    assert_eq!(in_layout.count(), scripts, "a script of the layout is not in the ConfigMap");
    println!("argocd scripts: in_both={scripts} different=0");
}

#[test]
fn both_kinds_of_connections_are_judged_alike() {
    assert_eq!(
        read(upstream("CmdbConnection").join("health.lua")),
        read(upstream("ClusterCmdbConnection").join("health.lua"))
    );
}

// Argo CD runs scripts of its ConfigMap without the other libraries of Lua.
#[test]
fn no_script_uses_a_library_that_argo_cd_keeps_closed() {
    for path in files(&folder()).iter().filter(|path| path.extension().is_some_and(|ending| ending == "lua")) {
        let script = read(path);
        for library in ["string.", "math.", "io.", "debug.", "coroutine.", "channel.", ":match(", ":find(", ":format("]
        {
            assert!(!script.contains(library), "{}: {library}", path.display());
        }
    }
}

#[test]
fn the_reconcile_action_sets_the_annotation_that_the_operator_honours() {
    let script = read(upstream("ProcessTemplateSet").join("actions/reconcile/action.lua"));
    assert!(script.contains(&format!("annotations[\"{RECONCILE_REQUESTED_AT}\"]")), "{script}");
}

#[test]
fn what_argo_cd_is_told_to_pass_over_exists_in_the_status_and_says_nothing_of_health() {
    let data = customizations();
    let crds = api::crds().unwrap();
    for kind in KINDS {
        let crd = crds.iter().map(|(_, crd)| crd).find(|crd| crd["spec"]["names"]["kind"] == kind).unwrap();
        let status = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        let told =
            yaml(data[&format!("resource.customizations.ignoreResourceUpdates.{GROUP}_{kind}")].as_str().unwrap());
        for pointer in told["jsonPointers"].as_array().unwrap() {
            let field = pointer.as_str().unwrap().strip_prefix("/status/").unwrap();
            assert!(status.get(field).is_some(), "{kind} has no status.{field}");
            assert!(!["conditions", "observedGeneration"].contains(&field), "{kind}: health needs status.{field}");
        }
    }
}

#[test]
fn every_file_of_test_data_is_used_and_every_kind_has_tests() {
    for kind in KINDS {
        let tests = read(upstream(kind).join("health_test.yaml"));
        let actions = fs::read_to_string(upstream(kind).join("actions/action_test.yaml")).unwrap_or_default();
        for path in files(&upstream(kind)) {
            let name = path.file_name().unwrap().to_str().unwrap();
            let (is_data, is_for_actions) =
                (path.parent().unwrap().ends_with("testdata"), path.parent().unwrap().ends_with("actions/testdata"));
            if is_data {
                let by = if is_for_actions { &actions } else { &tests };
                assert!(by.contains(&format!("testdata/{name}")), "no test reads {}", path.display());
                assert_eq!(yaml(&read(&path))["kind"], kind, "{}", path.display());
            }
        }
        for status in ["Progressing", "Degraded", "Healthy"] {
            assert!(tests.contains(&format!("status: {status}")), "{kind}: {status}");
        }
    }
}

#[test]
fn the_manifests_keep_every_rule_and_come_in_waves() {
    let mut waves = BTreeSet::new();
    for path in files(&folder().join("manifests")) {
        let object = yaml(&read(&path));
        let wave = object["metadata"]["annotations"]["argocd.argoproj.io/sync-wave"].as_str().unwrap().to_owned();
        match object["kind"].as_str().unwrap() {
            "CmdbConnection" => {
                let spec: CmdbConnectionSpec = serde_json::from_value(object["spec"].clone()).unwrap();
                assert_eq!(serde_json::to_value(&spec).unwrap(), object["spec"]);
                assert_eq!(wave, "0", "sets wait for the connection");
            }
            "ProcessTemplateSet" => {
                let spec: ProcessTemplateSetSpec = serde_json::from_value(object["spec"].clone()).unwrap();
                assert_eq!(check(&spec), [], "{}", path.display());
                assert_eq!(serde_json::to_value(&spec).unwrap(), object["spec"], "{}", path.display());
                assert_ne!(wave, "0");
            }
            kind => panic!("{kind}"),
        }
        assert!(waves.insert(wave), "{}: a wave of its own each", path.display());
    }
    assert_eq!(waves, ["0", "1", "2"].map(str::to_owned).into());
}

#[test]
fn what_flux_is_told_fits_together() {
    let flux = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flux");
    let [repository, connection, sets] =
        ["git-repository.yaml", "connection.yaml", "sets.yaml"].map(|name| yaml(&read(flux.join(name))));
    for kustomization in [&connection, &sets] {
        assert_eq!(kustomization["spec"]["sourceRef"]["kind"], repository["kind"]);
        assert_eq!(kustomization["spec"]["sourceRef"]["name"], repository["metadata"]["name"]);
        assert_eq!(kustomization["metadata"]["namespace"], repository["metadata"]["namespace"]);
    }
    assert_eq!(sets["spec"]["dependsOn"][0]["name"], connection["metadata"]["name"]);
    let checked = &connection["spec"]["healthChecks"][0];
    let example = yaml(&read(folder().join("manifests/connection.yaml")));
    for (told, meant) in [
        ("apiVersion", &example["apiVersion"]),
        ("kind", &example["kind"]),
        ("name", &example["metadata"]["name"]),
        ("namespace", &example["metadata"]["namespace"]),
    ] {
        assert_eq!(checked[told], *meant, "{told}");
    }
    // With wait, Flux passes over healthChecks.
    assert_eq!((&sets["spec"]["wait"], &connection["spec"]["wait"]), (&Value::Bool(true), &Value::Null));
}
