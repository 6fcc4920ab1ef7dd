//! Latency of a new set, in an empty cluster and among sets that are at rest.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use futures::TryStreamExt;
use kube::api::{DeleteParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::json;
use test_support::control_plane::ControlPlane;
use tokio::time::timeout;

use super::measure::{self, IN_FLIGHT};
use super::{Scenario, Who};

/// Longest wait until all sets are at rest.
const PATIENCE: Duration = Duration::from_mins(30);

const IDLE: Scenario = Scenario { name: "newcomer", sets: 10_000, processes: 1, service_templates: 200 };

/// New sets whose latencies are measured, one after another. The first does not count: it pays for connections.
const NEW: usize = 41;

/// The name by which it is asked for.
pub const NAME: &str = IDLE.name;

/// Measures new sets beside nothing, and again when the idle sets are Ready; gives the line for it.
pub async fn run(plane: &ControlPlane) -> anyhow::Result<String> {
    let namespace = IDLE.name;
    let file = |name: &str| plane.folder().join(format!("{namespace}.{name}"));
    let client = measure::client_of(&plane.kubeconfig_path(), "bench").await?;
    let (simulator, url) = super::simulator(&IDLE, &file("simulator")).await?;
    let limits = json!({ "maxConcurrent": IN_FLIGHT, "requestsPerSecond": 1000 });
    super::prepare(&client, namespace, json!({ "url": url, "limits": limits })).await?;
    let operator = super::operator(plane, namespace, &file("log")).await?;
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client, namespace);

    let empty = latency_of_new_sets(&sets).await?;
    let watched = tokio::spawn(super::watch(sets.clone(), IDLE.sets, Who::Operator, Instant::now()));
    super::create(&sets, &IDLE, &json!({})).await?;
    timeout(PATIENCE, watched).await.context("not all sets are Ready in time")???;
    let among = latency_of_new_sets(&sets).await?;

    operator.stop().await;
    simulator.stop().await;
    Ok(format!(
        "newcomer: idle_sets={} empty_ms={} among_ms={} ratio={:.2}",
        IDLE.sets,
        empty.as_millis(),
        among.as_millis(),
        among.as_secs_f64() / empty.as_secs_f64()
    ))
}

// The median time from the creation of a set until it is Ready. The sets are gone afterwards.
async fn latency_of_new_sets(sets: &Api<ProcessTemplateSet>) -> anyhow::Result<Duration> {
    let mut took = Vec::new();
    for number in 0..NEW {
        let set = super::set(IDLE.sets + number, &IDLE, &json!({}))?;
        let begun = Instant::now();
        let created = sets.create(&PostParams::default(), &set).await?;
        until_ready(sets, &created).await?;
        took.push(begun.elapsed());
        sets.delete(&set.name_any(), &DeleteParams::default()).await?;
    }
    let mut counted = took.split_off(1);
    counted.sort();
    counted.get(counted.len() / 2).copied().context("no set was measured")
}

async fn until_ready(sets: &Api<ProcessTemplateSet>, created: &ProcessTemplateSet) -> anyhow::Result<()> {
    let config = watcher::Config::default().fields(&format!("metadata.name={}", created.name_any()));
    let mut changes = std::pin::pin!(watcher(sets.clone(), config).default_backoff().applied_objects());
    while let Some(set) = changes.try_next().await? {
        let conditions = set.status.iter().flat_map(|status| &status.conditions);
        if conditions.into_iter().any(|condition| condition.type_ == "Ready" && condition.status == "True") {
            return Ok(());
        }
    }
    anyhow::bail!("the watch ended")
}
