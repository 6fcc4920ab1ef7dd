//! What crdify finds between the CRDs and those of the last release, which stand in `tests/judges/released`.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use test_support::judges::Judge;
use tokio::process::Command;

/// A change that would break somebody, and why it is made all the same.
struct Accepted {
    file: &'static str,
    /// As crdify writes it: `^.spec.bizId`, or `crd` for what is of no property.
    property: &'static str,
    validation: &'static str,
    #[allow(dead_code, reason = "for who reads it")]
    reason: &'static str,
}

// Empty again after each release.
const ACCEPTED: &[Accepted] = &[Accepted {
    file: "processtemplatesets.yaml",
    property: "^.spec.serviceTemplate",
    validation: "unhandled",
    reason: "createIfMissing with a name that CMDB never takes is refused; such a set could never become Ready",
}];

type Findings = BTreeSet<(String, String)>;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(path: &Path) -> BTreeSet<String> {
    let names = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".yaml")).collect()
}

fn read(path: &Path) -> Value {
    serde_saphyr::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

// Property and validation of everything that breaks somebody.
async fn compare(judge: &Judge, old: &Path, new: &Path) -> Findings {
    let output = Command::new(judge.path())
        .arg("--config")
        .arg(folder("tests/judges/crdify/config.yaml"))
        .args(["--output", "json"])
        .args([old, new].map(|path| format!("file://{}", path.display())))
        .output()
        .await
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    let mut found = Findings::new();
    let mut note = |property: &str, results: &Value| {
        for result in results.as_array().unwrap() {
            if result["errors"].as_array().is_some_and(|errors| !errors.is_empty()) {
                found.insert((property.to_owned(), result["name"].as_str().unwrap().to_owned()));
            }
        }
    };
    note("crd", &said["crdValidation"]);
    for versions in [&said["sameVersionValidation"], &said["servedVersionValidation"]] {
        for (property, results) in versions
            .as_object()
            .into_iter()
            .flatten()
            .flat_map(|(_, version)| version.as_object().into_iter().flatten())
        {
            note(property, results);
        }
    }
    assert_eq!(output.status.success(), found.is_empty(), "{said:#}{errors}");
    found
}

// What of the findings nobody has accepted, and what of the accepted nothing has found.
fn weigh(file: &str, found: &Findings, accepted: &[Accepted]) -> (Findings, Findings) {
    let accepted: Findings = accepted
        .iter()
        .filter(|accepted| accepted.file == file)
        .map(|accepted| (accepted.property.to_owned(), accepted.validation.to_owned()))
        .collect();
    (found - &accepted, &accepted - found)
}

#[tokio::test]
async fn no_object_of_the_last_release_is_broken_by_the_crds() {
    let judge = Judge::named("crdify").await;
    let (released, present) = (folder("tests/judges/released"), folder("crds"));
    let version = fs::read_to_string(released.join("VERSION")).unwrap();
    let files_released = files(&released);
    assert!(!files_released.is_empty() && files_released.is_subset(&files(&present)), "a CRD is gone");
    for accepted in ACCEPTED {
        assert!(files_released.contains(accepted.file), "{} is not of the last release", accepted.file);
    }
    for file in &files_released {
        let found = compare(&judge, &released.join(file), &present.join(file)).await;
        let (breaking, unused) = weigh(file, &found, ACCEPTED);
        assert!(breaking.is_empty(), "{file} breaks what {} took: {breaking:?}", version.trim());
        assert!(unused.is_empty(), "{file}: accepted, and not found: {unused:?}");
    }
    println!(
        "crd changes: released={} crds={} breaking=0 accepted={}",
        version.trim(),
        files_released.len(),
        ACCEPTED.len()
    );
}

#[test]
fn a_change_is_accepted_only_where_it_is_listed_and_a_list_with_too_much_is_told() {
    let finding = |property: &str, validation: &str| (property.to_owned(), validation.to_owned());
    let accepted =
        |file, property| Accepted { file, property, validation: "maxLength", reason: "nobody writes so much" };
    let list = [accepted("a.yaml", "^.spec.x"), accepted("a.yaml", "^.spec.y"), accepted("b.yaml", "^.spec.z")];
    let found = Findings::from([finding("^.spec.x", "maxLength"), finding("^.spec.z", "maxLength")]);
    let (breaking, unused) = weigh("a.yaml", &found, &list);
    assert_eq!(breaking, Findings::from([finding("^.spec.z", "maxLength")]));
    assert_eq!(unused, Findings::from([finding("^.spec.y", "maxLength")]));
}

// A copy of a CRD of today's with a change in it, and what crdify says of that.
async fn changed(judge: &Judge, change: impl FnOnce(&mut Value)) -> Findings {
    let present = folder("crds/processtemplatesets.yaml");
    let mut crd = read(&present);
    let before = crd.clone();
    change(&mut crd);
    assert_ne!(crd, before);
    let copy = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    fs::write(copy.path(), crd.to_string()).unwrap();
    compare(judge, &present, copy.path()).await
}

type Breaking = (&'static str, Value, &'static [(&'static str, &'static str)]);

// A path in the schema of the whole object, what is put there (null: nothing), and what crdify then finds.
fn breaking_changes() -> Vec<Breaking> {
    vec![
        (
            "/properties/spec/properties/suspend",
            Value::Null,
            &[("^.spec.suspend", "type"), ("crd", "existingFieldRemoval")],
        ),
        (
            "/properties/spec/properties/serviceTemplate/properties/name/maxLength",
            json!(2),
            &[("^.spec.serviceTemplate.name", "maxLength")],
        ),
        ("/properties/spec/properties/bizId/minimum", json!(3), &[("^.spec.bizId", "minimum")]),
        ("/properties/spec/properties/deletionPolicy/enum", json!(["Orphan"]), &[("^.spec.deletionPolicy", "enum")]),
        ("/properties/spec/properties/suspend/type", json!("string"), &[("^.spec.suspend", "type")]),
        (
            "/properties/spec/properties/bizId/x-kubernetes-validations/0/rule",
            json!("self > 5"),
            &[("^.spec.bizId", "unhandled")],
        ),
        (
            "/properties/spec/required",
            json!(["bizId", "processes", "serviceTemplate", "suspend"]),
            &[("^.spec", "required")],
        ),
        ("/properties/status/default", json!({ "observedGeneration": 0 }), &[("^.status", "default")]),
    ]
}

#[tokio::test]
async fn crdify_refuses_what_breaks_objects() {
    let judge = Judge::named("crdify").await;
    for (path, value, expected) in breaking_changes() {
        let found = changed(&judge, |crd| {
            let (parent, name) = path.rsplit_once('/').unwrap();
            let schema = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            let parent = schema.pointer_mut(parent).unwrap_or_else(|| panic!("no {path}"));
            if value.is_null() {
                parent.as_object_mut().unwrap().remove(name);
            } else {
                parent[name] = value;
            }
        });
        let expected = expected.iter().map(|(property, name)| ((*property).to_owned(), (*name).to_owned())).collect();
        assert_eq!(found.await, expected, "{path}");
    }
    let found = changed(&judge, |crd| crd["spec"]["scope"] = json!("Cluster")).await;
    assert_eq!(found, Findings::from([("crd".to_owned(), "scope".to_owned())]));
}

#[tokio::test]
async fn crdify_takes_what_only_adds() {
    let judge = Judge::named("crdify").await;
    let found = changed(&judge, |crd| {
        let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        spec["description"] = json!("Said in other words.");
        let properties = &mut spec["properties"];
        properties["note"] = json!({ "type": "string", "maxLength": 10, "description": "New." });
        properties["deletionPolicy"]["enum"].as_array_mut().unwrap().push(json!("Archive"));
        properties["serviceTemplate"]["properties"]["name"]["maxLength"] = json!(100_000);
    });
    assert_eq!(found.await, Findings::new());
}
