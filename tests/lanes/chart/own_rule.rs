//! The alerts as the chart makes them: those of the file, but for the release's own, as Prometheus takes them.

use serde_json::{Value, json};
use tokio::process::Command;

use crate::choices::{NAME, one, refused, rendered};
use crate::helm::NAMESPACE;

const DOWN: &str = "PtsetOperatorDown";

/// The spec of the rule, and of the file that it comes from.
async fn specs(values: Value) -> (Value, Value) {
    let rule = one(&rendered(values).await, "PrometheusRule", NAME)["spec"].clone();
    let file = std::fs::read_to_string("charts/process-template-operator/files/alerts.yaml").unwrap();
    (rule, serde_saphyr::from_str(&file).unwrap())
}

fn rules(spec: &Value) -> &Vec<Value> {
    assert_eq!(spec["groups"].as_array().unwrap().len(), 1);
    spec["groups"][0]["rules"].as_array().unwrap()
}

fn with_rule(over: &Value) -> Value {
    let mut rule = json!({ "create": "Always" });
    rule.as_object_mut().unwrap().extend(over.as_object().unwrap().clone());
    json!({ "metrics": { "serviceMonitor": { "create": "Always" }, "prometheusRule": rule } })
}

#[tokio::test]
async fn the_rule_is_that_of_the_file_but_for_what_only_the_release_knows() {
    let base = "https://git.example.com/ptset/blob/main";
    for (values, key, begin) in [
        (with_rule(&json!({})), "runbook", ""),
        (with_rule(&json!({ "runbookBaseUrl": base })), "runbook_url", "https://git.example.com/ptset/blob/main/"),
        (
            with_rule(&json!({ "runbookBaseUrl": format!("{base}/") })),
            "runbook_url",
            "https://git.example.com/ptset/blob/main/",
        ),
    ] {
        let (made, file) = specs(values).await;
        let mut expected = rules(&file).clone();
        for rule in &mut expected {
            let annotations = rule["annotations"].as_object_mut().unwrap();
            let runbook = annotations.remove("runbook_url").unwrap();
            annotations.insert(key.to_owned(), format!("{begin}{}", runbook.as_str().unwrap()).into());
            if rule["alert"] == DOWN {
                rule["expr"] = json!(format!("absent(ptset_build_info{{namespace=\"{NAMESPACE}\",job=\"{NAME}\"}})"));
            }
        }
        assert_eq!(rules(&made), &expected);
    }
}

#[tokio::test]
async fn a_rule_without_a_scrape_is_refused_unless_its_job_is_said() {
    let alone = json!({ "metrics": { "prometheusRule": { "create": "Always" } } });
    refused(&alone, &["metrics.prometheusRule", "metrics.podMonitor"]).await;
    let monitor =
        |kind: &str| json!({ "metrics": { "prometheusRule": { "create": "Always" }, kind: { "create": "Always" } } });
    for (values, job) in [
        (monitor("serviceMonitor"), NAME.to_owned()),
        (monitor("podMonitor"), format!("{NAMESPACE}/{NAME}")),
        (json!({ "metrics": { "prometheusRule": { "create": "Always", "job": "pods" } } }), "pods".to_owned()),
    ] {
        let (rule, _) = specs(values).await;
        let down = rules(&rule).iter().find(|rule| rule["alert"] == DOWN).unwrap();
        let expected = format!("absent(ptset_build_info{{namespace=\"{NAMESPACE}\",job=\"{job}\"}})");
        assert_eq!(down["expr"], expected);
    }
}

// It fires for as long as the release is not seen, whatever else is; not while one instance is.
#[tokio::test]
async fn prometheus_tells_of_the_release_for_as_long_as_it_is_down() {
    let (rule, _) = specs(with_rule(&json!({}))).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("rule.json"), rule.to_string()).unwrap();
    let series = |namespace: &str, job: &str, pod: &str, values: &str| json!({ "series": format!("ptset_build_info{{namespace=\"{namespace}\",job=\"{job}\",pod=\"{pod}\"}}"), "values": values });
    let at = |time: &str, alerts: Value| json!({ "alertname": DOWN, "eval_time": time, "exp_alerts": alerts });
    let fires = json!([{
        "exp_labels": { "severity": "critical", "namespace": NAMESPACE, "job": NAME },
        "exp_annotations": {
            "summary": "No instance of the operator is seen.",
            "description": format!(
                "No instance of {NAMESPACE}/{NAME} answers Prometheus. Templates stay as they are; no set is looked at."
            ),
            "runbook": "docs/operations/alerts.md#ptsetoperatordown",
        },
    }]);
    let test = json!({ "rule_files": ["rule.json"], "evaluation_interval": "1m", "tests": [{
        "interval": "1m",
        "input_series": [
            series(NAMESPACE, NAME, "a", "1x9 stale _x800"),
            series(NAMESPACE, NAME, "b", "1x29 stale _x770 1x20"),
            series("other", NAME, "a", "1x830"),
            series(NAMESPACE, "other", "a", "1x830"),
        ],
        "alert_rule_test": [
            at("29m", json!([])), at("34m", json!([])), at("36m", fires.clone()), at("13h", fires), at("13h30m", json!([])),
        ],
    }]});
    let file = folder.path().join("test.json");
    std::fs::write(&file, test.to_string()).unwrap();
    let output = Command::new("promtool").args(["test", "rules"]).arg(file).output().await.unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}{}", said[0], said[1]);
}
