//! The examples: valid, complete, and in step with the real input.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use process_template_operator::api::{ClusterCmdbConnectionSpec, CmdbConnectionSpec, ProcessTemplateSetSpec, Property};
use process_template_operator::plan::check;
use serde_json::{Value, json};
use test_support::examples::{NAMESPACES, all, documents, folder};

fn of_kind(documents: Vec<Value>, kind: &str) -> Vec<Value> {
    documents.into_iter().filter(|document| document["kind"] == kind).collect()
}

fn sets(documents: Vec<Value>) -> Vec<Value> {
    of_kind(documents, "ProcessTemplateSet")
}

#[test]
fn every_example_is_read_as_it_is_written_and_keeps_every_rule() {
    let sets = sets(all());
    assert_eq!(sets.len(), 74);
    for set in sets {
        let spec: ProcessTemplateSetSpec = serde_json::from_value(set["spec"].clone()).unwrap();
        assert_eq!(check(&spec), [], "{}", set["metadata"]["name"]);
        // What was not read would be missing here.
        assert_eq!(serde_json::to_value(&spec).unwrap(), set["spec"], "{}", set["metadata"]["name"]);
    }
    for connection in of_kind(all(), "CmdbConnection") {
        let spec: CmdbConnectionSpec = serde_json::from_value(connection["spec"].clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), connection["spec"]);
    }
    for connection in of_kind(all(), "ClusterCmdbConnection") {
        let spec: ClusterCmdbConnectionSpec = serde_json::from_value(connection["spec"].clone()).unwrap();
        assert_eq!(serde_json::to_value(&spec).unwrap(), connection["spec"]);
    }
}

#[test]
fn every_document_is_of_a_known_kind_and_of_one_name_in_one_namespace() {
    let mut names = BTreeSet::new();
    for document in all() {
        let (version, kind) = (document["apiVersion"].as_str().unwrap(), document["kind"].as_str().unwrap());
        let known = match kind {
            "ProcessTemplateSet" | "CmdbConnection" | "ClusterCmdbConnection" => {
                version == "cmdb.bk.tencent.com/v1alpha1"
            }
            "Secret" | "Namespace" => version == "v1",
            _ => false,
        };
        assert!(known, "{version} {kind}");
        let metadata = &document["metadata"];
        let space = if kind == "Namespace" { &metadata["name"] } else { &metadata["namespace"] };
        match kind {
            "ClusterCmdbConnection" => assert!(space.is_null(), "{metadata}"),
            _ => assert!(NAMESPACES.iter().any(|namespace| space == namespace), "{metadata}"),
        }
        assert!(names.insert(format!("{kind} {space} {}", metadata["name"])), "{kind} {metadata} stands twice");
    }
}

#[test]
fn the_platforms_sets_are_those_of_the_table() {
    let table = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/platform.tsv")).unwrap();
    let rows: Vec<Vec<&str>> =
        table.lines().filter(|line| !line.starts_with('#')).skip(1).map(|line| line.split('\t').collect()).collect();
    assert_eq!(rows.len(), 71);
    let of_platform = documents(&folder().join("platform"));
    let sets = sets(of_platform.clone());
    assert_eq!(sets.len(), of_platform.len(), "something else stands beside the sets");
    assert_eq!(sets.len(), rows.len());
    let by_template: BTreeMap<&str, &Value> =
        sets.iter().map(|set| (set["spec"]["serviceTemplate"]["name"].as_str().unwrap(), set)).collect();
    assert_eq!(by_template.len(), rows.len(), "a service template has two sets");
    for row in rows {
        let [template, function, process, regex, ip, port, protocol] = row[..] else { panic!("{row:?}") };
        let processes = by_template[template]["spec"]["processes"].as_array().unwrap();
        let [found] = &processes[..] else { panic!("{template}: {processes:?}") };
        let mut expected = json!({ "name": if process.is_empty() { function } else { process }, "funcName": function });
        if !regex.is_empty() {
            expected["startParamRegex"] = regex.into();
        }
        if !port.is_empty() {
            let mut row = json!({ "port": port.parse::<u16>().unwrap(), "protocol": protocol, "enable": true });
            if !ip.is_empty() {
                row["ip"] = ip.into();
            }
            expected["bindInfo"] = json!([row]);
        }
        assert_eq!(*found, expected, "{template}");
    }
}

#[test]
fn every_property_occurs_in_an_example() {
    let mut used = BTreeSet::new();
    for set in sets(all()) {
        for process in set["spec"]["processes"].as_array().unwrap() {
            used.extend(process.as_object().unwrap().keys().cloned());
        }
    }
    let missing: Vec<&str> =
        Property::ALL.iter().map(|property| property.name()).filter(|name| !used.contains(*name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    assert!(used.contains("processName") && used.contains("extraProperties"));
}
