//! Memory of an operator that starts beside sets as large as they may be. They are suspended: what is measured is what the
//! operator holds of them, not what they do.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context as _;
use futures::{StreamExt, TryStreamExt};
use kube::api::PostParams;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, ResourceExt};
use process_template_operator::api::ProcessTemplateSet;
use serde_json::json;
use test_support::chance::chance;
use test_support::control_plane::ControlPlane;
use tokio::time::timeout;

use super::Scenario;
use super::measure::{self, Cost, IN_FLIGHT};

/// Longest wait for all sets.
const PATIENCE: Duration = Duration::from_mins(10);

/// Sets of 500 processes with a text of 2000 bytes each.
const SETS: Scenario = Scenario { name: "large", sets: 140, processes: 500, service_templates: 140 };

const TEXT: usize = 2000;

/// The name by which it is asked for.
pub const NAME: &str = SETS.name;

/// Starts the operator beside the sets, waits until it has reported on each, and gives the line for it.
pub async fn run(plane: &ControlPlane) -> anyhow::Result<String> {
    let namespace = "large-sets";
    let file = |name: &str| plane.folder().join(format!("{namespace}.{name}"));
    let client = measure::client_of(&plane.kubeconfig_path(), "bench").await?;
    let (simulator, url) = super::simulator(&SETS, &file("simulator")).await?;
    let limits = json!({ "maxConcurrent": IN_FLIGHT, "requestsPerSecond": 1000 });
    super::prepare(&client, namespace, json!({ "url": url, "limits": limits })).await?;
    let sets: Api<ProcessTemplateSet> = Api::namespaced(client, namespace);
    futures::stream::iter(0..SETS.sets)
        .map(|number| {
            let sets = &sets;
            async move { sets.create(&PostParams::default(), &set(number)?).await.map_err(anyhow::Error::from) }
        })
        .buffer_unordered(4)
        .try_for_each(|_| futures::future::ready(Ok(())))
        .await?;

    let operator = super::operator(plane, namespace, &file("log")).await?;
    timeout(PATIENCE, all_reported(&sets)).await.context("not all sets have a status in time")??;
    let mut cost = Cost::default();
    measure::process(operator.pid(), &mut cost)?;
    operator.stop().await;
    simulator.stop().await;
    Ok(format!("large: sets={} set_mb=1 rss_mib={:.0}", SETS.sets, cost.peak_mib))
}

// A text that cannot be compressed.
fn set(number: usize) -> anyhow::Result<ProcessTemplateSet> {
    let (seed, mut nth) = (u64::try_from(number)?, 0);
    let mut set = super::set(number, &SETS, &json!({ "suspend": true }))?;
    for process in &mut set.spec.processes {
        let mut text = String::new();
        while text.len() < TEXT {
            nth += 1;
            write!(text, "{:016x}", chance(seed, nth))?;
        }
        process.start_cmd = Some(text);
    }
    Ok(set)
}

async fn all_reported(sets: &Api<ProcessTemplateSet>) -> anyhow::Result<()> {
    let config = watcher::Config::default().page_size(10);
    let mut changes = std::pin::pin!(watcher(sets.clone(), config).default_backoff().applied_objects());
    let mut reported = BTreeSet::new();
    while let Some(set) = changes.try_next().await? {
        if set.status.as_ref().is_some_and(|status| !status.conditions.is_empty()) {
            reported.insert(set.name_any());
        }
        if reported.len() == SETS.sets {
            return Ok(());
        }
    }
    anyhow::bail!("the watch ended")
}
