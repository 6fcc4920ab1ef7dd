//! What single values make of the chart, under both Helms.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::helm::{CHART, Helm, NAMESPACE, RELEASE, Said, objects, title, values_files};

// Of the release's objects.
pub const NAME: &str = "ptset-process-template-operator";

/// The objects that the chart makes with these values.
pub async fn rendered(values: Value) -> Vec<Value> {
    let [first, second] = said(RELEASE, NAMESPACE, &values).await;
    let [first, second] = [first, second].map(|said| objects(&said.good(&values.to_string())));
    assert_eq!(first, second, "one Helm renders {values} otherwise");
    first
}

// What both Helms say of a release with these values.
async fn said(release: &str, namespace: &str, values: &Value) -> [Said; 2] {
    let file = tempfile::Builder::new().suffix(".json").tempfile().unwrap();
    std::fs::write(&file, values.to_string()).unwrap();
    let file = file.path().to_str().unwrap();
    let arguments =
        ["template", release, CHART, "--namespace", namespace, "--values", file, "--kube-version", "1.37.0"];
    let [first, second] = Helm::both().await;
    [first.run(&arguments).await, second.run(&arguments).await]
}

pub fn one<'a>(objects: &'a [Value], kind: &str, name: &str) -> &'a Value {
    let wanted = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
    objects.iter().find(wanted).unwrap_or_else(|| panic!("no {kind} {name} of {:?}", names(objects)))
}

/// Both Helms refuse these values, with these words.
pub async fn refused(values: &Value, words: &[&str]) {
    refused_for(RELEASE, values, words).await;
}

/// The same, for a release of this name.
pub async fn refused_for(release: &str, values: &Value, words: &[&str]) {
    for said in said(release, NAMESPACE, values).await {
        let is_told = words.iter().all(|word| said.errors.contains(word));
        assert!(!said.is_success && is_told, "{values} is not refused with {words:?}: {}{}", said.text, said.errors);
    }
}

fn names(objects: &[Value]) -> Vec<String> {
    objects.iter().map(title).collect()
}

// Where the operator may go with these values, and the pod of the test: rules, each with addresses and TCP ports.
async fn ways(values: Value) -> Vec<(Vec<String>, Vec<u64>)> {
    let objects = rendered(values.clone()).await;
    let of = |name: &str| {
        let rules = one(&objects, "NetworkPolicy", name)["spec"]["egress"].as_array().unwrap();
        rules.iter().map(way).collect::<Vec<_>>()
    };
    let ways = of(NAME);
    let of_test = of("ptset-process-template-operator-test");
    assert_eq!(of_test[1..], ways, "the test may go elsewhere with {values}");
    ways
}

fn way(rule: &Value) -> (Vec<String>, Vec<u64>) {
    let ports = rule["ports"].as_array().unwrap().iter().filter(|port| port["protocol"] == "TCP");
    let peers = rule["to"].as_array().into_iter().flatten();
    let address = |peer: &Value| match &peer["ipBlock"]["cidr"] {
        Value::String(cidr) => cidr.clone(),
        _ => "pods".to_owned(),
    };
    (peers.map(address).collect(), ports.map(|port| port["port"].as_u64().unwrap_or_default()).collect())
}

#[tokio::test]
async fn by_default_the_policy_knows_ports_and_no_addresses() {
    let anywhere = |ports: &[u64]| (Vec::new(), ports.to_vec());
    let ways = ways(json!({})).await;
    // An address block means neither nodes nor pods to some networks; name servers may be anywhere.
    assert_eq!(ways, [anywhere(&[53, 5353]), anywhere(&[443, 6443]), anywhere(&[443])]);
}

#[tokio::test]
async fn an_empty_list_of_the_policy_opens_nothing() {
    let all = ways(json!({})).await;
    for (values, closed) in [
        (json!({ "dns": { "ports": [] } }), 0),
        (json!({ "apiServer": { "cidrs": [] } }), 1),
        (json!({ "apiServer": { "ports": [] } }), 1),
        (json!({ "cmdb": { "cidrs": [] } }), 2),
        (json!({ "cmdb": { "ports": [] } }), 2),
    ] {
        let mut expected = all.clone();
        expected.remove(closed);
        assert_eq!(ways(json!({ "networkPolicy": values })).await, expected, "{values}");
    }
    let nothing = json!({ "networkPolicy": {
        "dns": { "ports": [] }, "apiServer": { "cidrs": [] }, "cmdb": { "cidrs": [] } } });
    assert_eq!(ways(nothing).await, []);
}

#[tokio::test]
async fn the_policy_is_narrowed_to_addresses() {
    let values = json!({ "networkPolicy": {
        "dns": { "to": [{ "ipBlock": { "cidr": "169.254.0.0/16" } }, { "podSelector": {} }], "ports": [53] },
        "apiServer": { "cidrs": ["198.51.100.10/32", "2001:db8::10/128"], "ports": [6443] },
        "cmdb": { "cidrs": ["192.0.2.0/24", "*"] },
        "extraEgress": [{ "to": [{ "ipBlock": { "cidr": "192.0.2.20/32" } }], "ports": [{ "port": 4317, "protocol": "TCP" }] }],
    } });
    let to = |addresses: &[&str], ports: &[u64]| {
        (addresses.iter().map(|address| (*address).to_owned()).collect::<Vec<_>>(), ports.to_vec())
    };
    let expected = [
        to(&["169.254.0.0/16", "pods"], &[53]),
        to(&["198.51.100.10/32", "2001:db8::10/128"], &[6443]),
        to(&[], &[443]),
        to(&["192.0.2.20/32"], &[4317]),
    ];
    assert_eq!(ways(values).await, expected);
}

#[tokio::test]
async fn the_ports_of_connections_and_proxies_are_open() {
    for (values, ports) in [
        (json!({ "connectionUrls": ["http://cmdb.example.com:8080/", "https://bkapi.example.com"] }), vec![443, 8080]),
        (json!({ "connectionUrls": ["http://cmdb.example.com/api:9/"] }), vec![443, 80]),
        (json!({ "connectionUrls": ["https://[2001:db8::1]/", "https://[2001:db8::1]:8443"] }), vec![443, 8443]),
        (json!({ "proxy": { "https": "http://user:123@proxy.example.com:3128/" } }), vec![443, 3128]),
        (
            json!({ "proxy": { "http": "proxy.example.com:3128", "https": "HTTPS://user:123@proxy.example.com" } }),
            vec![443, 3128],
        ),
        (json!({ "proxy": { "http": "proxy.example.com" }, "networkPolicy": { "cmdb": { "ports": [] } } }), vec![80]),
    ] {
        let what = values.to_string();
        assert_eq!(ways(values).await[2], (Vec::new(), ports), "{what}");
    }
}

// To Cilium no address block means a node, such as that of the API server.
#[tokio::test]
async fn a_policy_of_ciliums_own_kind_comes_with_addresses_of_the_api_server() {
    let values = |cilium: &str, cidrs: Value| json!({ "networkPolicy": { "cilium": cilium, "apiServer": { "cidrs": cidrs, "ports": [6443] } } });
    let address = || json!(["198.51.100.10/32"]);
    for (values, is_there) in [
        (values("Always", address()), true),
        // Nothing tells Helm here that the cluster has the kind.
        (values("WhenPresent", address()), false),
        (values("Never", address()), false),
        (values("Always", json!(["*"])), false),
        (values("Always", json!([])), false),
    ] {
        let objects = rendered(values.clone()).await;
        let policies: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "CiliumNetworkPolicy").collect();
        assert_eq!(policies.len(), usize::from(is_there), "{values}");
        for policy in policies {
            let to_ports = json!([{ "ports": [{ "port": "6443", "protocol": "TCP" }] }]);
            assert_eq!(policy["spec"]["egress"], json!([{ "toEntities": ["kube-apiserver"], "toPorts": to_ports }]));
        }
    }
}

// Values that keep pods apart must leave a place for the pods of the next revision, of another release, and of the test: on as
// many nodes as there are instances, each of which has one already.
#[tokio::test]
async fn pods_that_must_not_share_a_node_can_be_upgraded_and_tested() {
    let mut seen = 0;
    for (name, file) in values_files() {
        let values: Value = serde_saphyr::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let objects = rendered(values).await;
        let deployment = objects.iter().find(|object| object["kind"] == "Deployment").unwrap();
        let pod = &deployment["spec"]["template"];
        let rules = &pod["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"];
        for rule in rules.as_array().into_iter().flatten() {
            seen += 1;
            let label = |labels: &Value, key: &str| labels[key].as_str().map(str::to_owned);
            let fixed = &rule["labelSelector"]["matchLabels"];
            let mut chosen: BTreeMap<String, String> = serde_json::from_value(fixed.clone()).unwrap();
            let labels = &pod["metadata"]["labels"];
            for (key, value) in &chosen {
                assert_eq!(
                    label(labels, key).as_ref(),
                    Some(value),
                    "{name}: the rule is not about the operator's pods"
                );
            }
            for key in rule["matchLabelKeys"].as_array().unwrap() {
                let key = key.as_str().unwrap();
                // That of a revision is given when its pods are made.
                let value = if key == "pod-template-hash" { Some("revision".to_owned()) } else { label(labels, key) };
                chosen.insert(key.to_owned(), value.unwrap());
            }
            assert!(chosen.contains_key("pod-template-hash"), "{name}: no upgrade finds a place");
            assert!(chosen.contains_key("app.kubernetes.io/instance"), "{name}: no other release finds a place");
            let test = objects.iter().find(|object| object["kind"] == "Pod").unwrap();
            let is_kept_away =
                chosen.iter().all(|(key, value)| label(&test["metadata"]["labels"], key).as_ref() == Some(value));
            assert!(!is_kept_away, "{name}: the test finds no place");
        }
    }
    assert!(seen >= 2, "no values keep pods apart");
}

#[tokio::test]
async fn pods_are_exchanged_as_is_wanted() {
    for (values, strategy) in [
        (json!({}), json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 } })),
        (
            json!({ "strategy": { "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "50%" } } }),
            json!({ "type": "RollingUpdate", "rollingUpdate": { "maxSurge": 0, "maxUnavailable": "50%" } }),
        ),
        (json!({ "strategy": { "type": "Recreate" } }), json!({ "type": "Recreate" })),
    ] {
        let objects = rendered(values).await;
        assert_eq!(one(&objects, "Deployment", NAME)["spec"]["strategy"], strategy);
    }
}

// Strings that look like numbers and the like must stay strings.
#[tokio::test]
async fn names_that_look_like_numbers_stay_names() {
    let values = json!({
        "fullnameOverride": "ptset", "nameOverride": "1e3", "watchNamespaces": ["2024", "true"],
        "priorityClassName": "1", "runtimeClassName": "2", "schedulerName": "3",
        "commonLabels": { "team": "4" }, "commonAnnotations": { "team": "5" }, "podLabels": { "room": "6" },
        "serviceAccount": { "create": false, "name": "7" }, "trust": { "configMap": "8", "key": "9" },
        "nodeSelector": { "pool": "10" }, "secrets": { "names": ["11"] }, "imagePullSecrets": [{ "name": "12" }],
        "metrics": { "podMonitor": { "create": "Always", "labels": { "release": "13" } },
            "prometheusRule": { "create": "Always", "job": "14" } },
    });
    let mut seen = 0;
    for said in said("123", "456", &values).await {
        for object in objects(&said.good("numbers")) {
            let what = title(&object);
            each_string(&object, &mut |key, value| {
                seen += 1;
                assert!(value.is_string(), "{what}: {key} is {value}");
            });
        }
    }
    assert!(seen > 400, "{seen}");
    let with_bundle = json!({ "trust": { "caBundle": "-----BEGIN CERTIFICATE-----", "key": "9" } });
    let objects = rendered(with_bundle).await;
    assert!(one(&objects, "ConfigMap", &format!("{NAME}-ca"))["data"]["9"].is_string());
}

// Everything of an object that must be a string: maps of them, and fields that name something.
fn each_string(value: &Value, check: &mut impl FnMut(&str, &Value)) {
    for item in value.as_array().into_iter().flatten() {
        each_string(item, check);
    }
    for (key, child) in value.as_object().into_iter().flatten() {
        match key.as_str() {
            "labels" | "annotations" | "matchLabels" | "nodeSelector" => {
                child.as_object().into_iter().flatten().for_each(|(key, value)| check(key, value));
            }
            "resourceNames" | "args" => child.as_array().into_iter().flatten().for_each(|item| check(key, item)),
            // That of a CRD's schema has forms of its own.
            "openAPIV3Schema" => {}
            "name" | "namespace" | "value" | "expr" => check(key, child),
            _ if key.ends_with("Name") => check(key, child),
            _ => each_string(child, check),
        }
    }
}

#[tokio::test]
async fn labels_of_all_objects_do_not_replace_those_by_which_they_are_chosen() {
    let ours = ["name", "instance", "component"].map(|key| format!("app.kubernetes.io/{key}"));
    let mut labels: BTreeMap<&str, &str> = ours.iter().map(|key| (key.as_str(), "other")).collect();
    labels.insert("team", "platform");
    let objects = rendered(json!({ "commonLabels": labels, "podLabels": labels, "metrics": {
        "serviceMonitor": { "create": "Always", "labels": { "release": "prometheus" } } } }))
    .await;
    let deployment = one(&objects, "Deployment", NAME);
    let chosen = &deployment["spec"]["selector"]["matchLabels"];
    assert_eq!(one(&objects, "ServiceMonitor", NAME)["spec"]["selector"]["matchLabels"], *chosen);
    assert_eq!(one(&objects, "ServiceMonitor", NAME)["metadata"]["labels"]["release"], "prometheus");
    for labels in [
        &one(&objects, "Service", NAME)["metadata"]["labels"],
        &deployment["metadata"]["labels"],
        &deployment["spec"]["template"]["metadata"]["labels"],
    ] {
        assert!(ours.iter().all(|key| labels[key] == chosen[key] && chosen[key] != "other"), "{labels} {chosen}");
        assert_eq!(labels["team"], "platform");
    }
}

#[tokio::test]
async fn who_may_write_may_read_and_the_definitions_stay() {
    let values = json!({ "rbac": { "aggregate": { "view": false } } });
    let objects = rendered(values).await;
    for role in ["edit", "admin"] {
        let role = one(&objects, "ClusterRole", &format!("{NAMESPACE}:{NAME}:{role}"));
        for verb in ["get", "list", "watch", "create", "update", "patch", "delete"] {
            assert!(role["rules"][0]["verbs"].as_array().unwrap().contains(&json!(verb)), "{role}: {verb}");
        }
    }
    let definitions: Vec<&Value> =
        objects.iter().filter(|object| object["kind"] == "CustomResourceDefinition").collect();
    assert_eq!(definitions.len(), 3);
    for definition in definitions {
        assert_eq!(definition["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
    // As long as a call of any connection may last, and 30 s more.
    assert_eq!(one(&objects, "Deployment", NAME)["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 330);
}
