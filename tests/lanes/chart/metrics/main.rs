//! What the alerts, the dashboard and the documentation say of metrics, held against a running operator and by Prometheus
//! itself. `make chart` runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod alerts;
mod dashboard;
mod names;
mod prometheus;
mod story;

use std::path::{Path, PathBuf};

use alerts::Alerts;
use dashboard::Dashboard;
use names::Used;
use test_support::scrape::Scrape;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn chart_file(name: &str) -> PathBuf {
    root().join("charts/process-template-operator/files").join(name)
}

#[tokio::test]
async fn what_is_asked_of_metrics_is_there_and_what_is_there_is_documented() {
    let alerts = Alerts::read();
    prometheus::tool(&["check", "rules", chart_file("alerts.yaml").to_str().unwrap()]).await;
    prometheus::tool(&["test", "rules", root().join("tests/lanes/chart/alerts_test.yaml").to_str().unwrap()]).await;
    let untested = alerts.untested();
    assert!(untested.is_empty(), "without a case in which it fires, or one in which it does not: {untested:?}");
    assert_eq!(alerts.without_runbook(), Vec::<String>::new());
    let dashboard = Dashboard::read();

    let recorded = story::record().await;
    let scrape = Scrape::read(&recorded.scrape).unwrap();
    let mut used = Used::default();
    used.expressions("an alert", alerts.expressions());
    used.expressions("the dashboard", dashboard.expressions());
    used.documents();
    let dead = used.dead(&scrape);
    let undocumented = names::undocumented(&scrape);
    let (families, all) = (scrape.families.len(), alerts.names().len());
    println!(
        "metrics: families={families} undocumented={} dead={} alerts={all} tested={}",
        undocumented.len(),
        dead.len(),
        all - untested.len()
    );
    assert!(dead.is_empty() && undocumented.is_empty(), "{dead:?} {undocumented:?}");
    // What is neither well nor in an alert would never be told to anybody.
    let mut told = alerts.reasons();
    told.extend(["InSync", "Suspended"].map(str::to_owned));
    assert_eq!(told, names::values(&scrape, "ptset_sets", "reason"));

    let (mut empty, mut flat) = (Vec::new(), Vec::new());
    for target in dashboard.targets() {
        let values = recorded.prometheus.values(&target, recorded.begun).await;
        if values.is_empty() {
            empty.push(target.panel.clone());
        } else if values.iter().all(|value| *value == 0.0) {
            flat.push(target.panel.clone());
        }
    }
    println!("dashboard: panels={} empty={} flat={}", dashboard.panels(), empty.len(), flat.len());
    assert!(empty.is_empty() && flat.is_empty(), "empty: {empty:?}, never anything but 0: {flat:?}");
    recorded.end().await;
}
