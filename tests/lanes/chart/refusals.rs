//! Values that contradict each other: what would be lost in silence, or end in a pod that does not start, is refused.

use serde_json::{Value, json};

use crate::choices::{NAME, one, refused, refused_for, rendered};

fn with(first: Value, second: &Value) -> Value {
    let mut values = first;
    values.as_object_mut().unwrap().extend(second.as_object().unwrap().clone());
    values
}

#[tokio::test]
async fn values_that_contradict_each_other_are_refused_by_name() {
    for argument in [
        "--lease=other",
        "--lease-namespace=other",
        "--lease-duration-seconds=9",
        "--watch-namespaces=team-a",
        "--secrets=read",
        "--connection-urls=https://bkapi.example.com",
        "--log",
        "--log-format=text",
    ] {
        let option = argument.split('=').next().unwrap();
        refused(&json!({ "extraArgs": ["--concurrency=9", argument, "debug"] }), &["extraArgs", option]).await;
        let variable = format!("PTSET_{}", option.trim_start_matches('-').replace('-', "_").to_uppercase());
        let values = json!({ "extraEnv": [{ "name": variable, "value": "x" }] });
        refused(&values, &["extraEnv", &variable]).await;
    }
    let urls = json!({ "connectionUrls": ["https://bkapi.example.com"] });
    let proxy = json!({ "proxy": { "https": "http://proxy.example.com:3128" } });
    let trust = json!({ "trust": { "configMap": "authorities" } });
    let variable = |name: &str| json!([{ "name": name, "value": "x" }]);
    let both = json!({ "create": "Always" });
    for (values, words) in [
        (with(json!({ "extraArgs": ["--connections-anywhere"] }), &urls), ["--connections-anywhere", "connectionUrls"]),
        (
            with(json!({ "extraEnv": variable("PTSET_CONNECTIONS_ANYWHERE") }), &urls),
            ["PTSET_CONNECTIONS_ANYWHERE", "connectionUrls"],
        ),
        (with(json!({ "extraEnv": variable("HTTPS_PROXY") }), &proxy), ["extraEnv: HTTPS_PROXY", "proxy"]),
        (
            with(json!({ "test": { "doctorEnv": variable("HTTPS_PROXY") } }), &proxy),
            ["test.doctorEnv: HTTPS_PROXY", "proxy"],
        ),
        (with(json!({ "extraEnv": variable("SSL_CERT_FILE") }), &trust), ["extraEnv: SSL_CERT_FILE", "trust"]),
        (json!({ "extraEnv": variable("POD_NAMESPACE") }), ["extraEnv", "POD_NAMESPACE"]),
        (
            json!({ "trust": { "configMap": "authorities", "caBundle": "-----BEGIN CERTIFICATE-----" } }),
            ["trust.caBundle", "trust.configMap"],
        ),
        (
            json!({ "metrics": { "serviceMonitor": both, "podMonitor": both } }),
            ["metrics.serviceMonitor", "metrics.podMonitor"],
        ),
        (json!({ "serviceAccount": { "create": false } }), ["serviceAccount.name", "serviceAccount.create"]),
        (json!({ "dnsPolicy": "ClusterFirstWithHostNet" }), ["dnsPolicy", "ClusterFirst"]),
        (json!({ "fullnameOverride": "7eleven" }), ["fullnameOverride", "pattern"]),
    ] {
        refused(&values, &words).await;
    }
}

#[tokio::test]
async fn what_only_looks_like_a_contradiction_is_taken() {
    let values = json!({
        "extraArgs": ["--concurrency=9", "--listen", "0.0.0.0:8080", "--connections-anywhere"],
        "extraEnv": [{ "name": "PTSET_DEADLINE_SECONDS", "value": "300" }, { "name": "HTTPS_PROXY", "value": "http://p:1" },
            { "name": "LEASE", "value": "x" }],
        "test": { "doctorArgs": ["--help"], "doctorEnv": [{ "name": "POD_NAME", "value": "x" }] },
        "serviceAccount": { "create": false, "name": "default" },
    });
    let objects = rendered(values).await;
    let pod = &one(&objects, "Deployment", NAME)["spec"]["template"]["spec"];
    assert_eq!(pod["containers"][0]["env"].as_array().unwrap().len(), 5);
    assert_eq!(pod["serviceAccountName"], "default");
}

// Names that Helm takes for a release, and Kubernetes does not for a Service.
#[tokio::test]
async fn a_release_whose_objects_could_not_have_their_name_is_refused() {
    for release in ["123", "shop.example"] {
        refused_for(release, &json!({}), &["fullnameOverride", &format!("{release}-process-template-operator")]).await;
    }
}
