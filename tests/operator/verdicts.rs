//! What kubectl, kstatus, Flux and Argo CD make of every state of our objects, with their own code: what the table in
//! `verdicts/verdicts.md` says.
//!
//! `PTSET_JUDGES=all` asks Argo CD's code too, which takes minutes to build.

mod stage;
mod states;
mod table;

use std::path::Path;

use serde_json::{Value, json};
use stage::{Golden, Stage};
use table::{Row, Table};
use test_support::judges::Judge;

const ARGO_CD_CONFIG: &str = "examples/argocd/argocd-cm-patch.yaml";

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Verdicts by judge, one for each object; None when a judge is not there.
async fn judged(goldens: &[Golden]) -> Vec<(&'static str, Vec<String>)> {
    let lives: Vec<Value> = goldens.iter().map(|golden| golden.live.clone()).collect();
    let said = Judge::named("status-judge").await.ask(&[], &lives).await;
    let kstatus = said.iter().map(|said| text(&said["kstatus"]["status"])).collect();
    let flux = |said: &Value| {
        let failures = said["flux"]["failures"].as_array().unwrap().iter().map(text).collect::<Vec<_>>();
        if failures.is_empty() { "passes".to_owned() } else { failures.join("; ") }
    };
    let waits = goldens.iter().map(|golden| if golden.wait_ends { "ends" } else { "waits" }.to_owned()).collect();
    let mut columns =
        vec![("kubectl wait", waits), ("kstatus", kstatus), ("Flux's checker", said.iter().map(flux).collect())];
    if std::env::var("PTSET_JUDGES").is_ok_and(|judges| judges == "all") {
        let pairs: Vec<Value> =
            goldens.iter().map(|golden| json!({ "live": golden.live, "desired": golden.desired })).collect();
        let config = Path::new(env!("CARGO_MANIFEST_DIR")).join(ARGO_CD_CONFIG);
        let said = Judge::named("argocd-judge").await.ask(&["--config", config.to_str().unwrap()], &pairs).await;
        columns.push(("Argo CD health", said.iter().map(|said| text(&said["health"]["status"])).collect()));
        let sync = |said: &Value| {
            let out = said["outOfSync"].as_object().unwrap();
            let names: Vec<&str> =
                out.iter().filter(|(_, out)| **out == json!(true)).map(|(name, _)| &**name).collect();
            if names.is_empty() { "Synced".to_owned() } else { format!("OutOfSync: {}", names.join(", ")) }
        };
        columns.push(("Argo CD sync", said.iter().map(sync).collect()));
    }
    columns
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn every_judge_says_of_every_state_what_the_table_says() {
    let mut stage = Stage::new("verdicts").await;
    states::play(&mut stage).await;
    let goldens = stage.end().await;
    let columns = judged(&goldens).await;
    let rows: Vec<Row> = goldens
        .iter()
        .enumerate()
        .map(|(index, golden)| {
            let verdicts = columns.iter().map(|(judge, said)| ((*judge).to_owned(), said[index].clone()));
            Row::new(golden.state, &golden.said(), verdicts)
        })
        .collect();
    let expected = Table::read();
    let surprises = expected.surprises(&rows);
    println!("{}", expected.with(&rows));
    println!("judges: objects={} judges={} surprises={}", rows.len(), columns.len(), surprises.len());
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}
