//! Two replicas, of which one works.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Told;
use crate::cluster::{Pods, name};
use crate::stage::{LEASE, ONE, SHOP, Stage};

/// What of a scrape stands for a series.
fn value_of(scrape: &str, series: &str) -> f64 {
    let line = scrape.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {series}: {scrape}")).parse().unwrap()
}

fn calls(scrape: &str) -> f64 {
    let of_calls = scrape.lines().filter(|line| line.starts_with("ptset_cmdb_calls_total{"));
    of_calls.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

pub async fn standby(stage: &Stage) -> Told {
    let (leader, standby) = (stage.leader(ONE).await, stage.standby(ONE).await);
    let scrape = async |pod: &Value| stage.cluster.ask(ONE, name(pod), "/metrics").await;
    let (leader, of_standby) = (scrape(&leader).await, scrape(&standby).await);
    assert_eq!((value_of(&leader, "ptset_leader"), value_of(&of_standby, "ptset_leader")), (1.0, 0.0));
    assert!(calls(&leader) > 0.0, "{leader}");
    assert!(calls(&of_standby) < 0.5, "{of_standby}");
    stage.cluster.ask(ONE, name(&standby), "/readyz").await;
    Told::Whole
}

/// A set of so many processes whose creation has begun.
async fn begin_work(stage: &Stage, set: &str) {
    let before = stage.writes().await.len();
    let processes: Vec<_> = (0..150).map(|number| (format!("{set}-{number}"), "./run")).collect();
    stage.put_set(SHOP, set, &processes, json!({})).await;
    let begun = async || (stage.writes().await.len() > before).then_some(());
    stage.cluster.until("the first create", begun).await;
}

/// Waits until another process leads, and until work that was begun and new work are done, nothing twice.
async fn assert_taken_over(stage: &Stage, before: &str, since: Instant, set: &str) -> Duration {
    let taken = async || {
        let holder = stage.holder(ONE).await;
        (!holder.is_empty() && holder != before).then(|| since.elapsed())
    };
    let took = stage.cluster.until("another one leads", taken).await;
    stage.until_ready(SHOP, set).await;
    let after = format!("{set}-after");
    stage.put_set(SHOP, &after, &[("late".to_owned(), "./late")], json!({})).await;
    stage.until_ready(SHOP, &after).await;
    stage.assert_in_cmdb(SHOP).await;
    stage.until_pods(ONE, 2).await;
    took
}

pub async fn deleted(stage: &Stage) -> Told {
    let (leader, before) = (stage.leader(ONE).await, stage.holder(ONE).await);
    begin_work(stage, "deleted").await;
    let since = Instant::now();
    let delete = ["delete", "pod", name(&leader), "--namespace", ONE, "--force", "--grace-period=0"];
    stage.cluster.kubectl(&delete).await;
    let took = assert_taken_over(stage, &before, since, "deleted").await;
    println!("e2e deleted leader: handover_ms={}", took.as_millis());
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
    Told::Whole
}

pub async fn killed(stage: &Stage) -> Told {
    let (leader, before) = (stage.leader(ONE).await, stage.holder(ONE).await);
    if matches!(stage.cluster.pods, Pods::Current) {
        return Told::NotHere("the processes of a cluster of somebody else are not ours to kill");
    }
    begin_work(stage, "killed").await;
    let since = Instant::now();
    match &stage.cluster.pods {
        Pods::Node(node) => node.kill(&leader).await,
        Pods::None(stand_in) => stand_in.kill(ONE, name(&leader)),
        Pods::Current => {}
    }
    let took = assert_taken_over(stage, &before, since, "killed").await;
    println!("e2e killed leader: handover_ms={}", took.as_millis());
    assert!(took < LEASE + Duration::from_secs(5), "{took:?}");
    Told::Whole
}
