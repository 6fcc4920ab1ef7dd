//! One behaviour, or several at once, and what they do to the healthy tenant.

use std::time::Duration;

use futures::future::join_all;
use test_support::hostile::{Behaviour, Tenant};
use tokio::time::{Instant, sleep};

use super::RELEASE;
use super::harm::{LONGEST_EDIT, Row, median};
use super::stage::Stage;

/// Least number of edits that are measured.
const EDITS: usize = 30;

/// Shortest time from the creation of all objects to their deletion.
const SHORTEST: Duration = Duration::from_secs(5);

/// Longest time of a behaviour: 30 edits that take this long are harm, and fewer show it.
const LONGEST: Duration = Duration::from_mins(1);

/// Time from the creation of all objects to that of a new tenant.
const NEW_AFTER: Duration = Duration::from_secs(2);

/// Behaviours that run at once, each with its largest number of sets.
pub struct Group {
    /// Its name.
    pub name: &'static str,
    /// The behaviours.
    pub members: Vec<(&'static Behaviour, usize)>,
}

/// Runs a group. `usual` are the latencies just before; those just after replace them.
pub async fn run(stage: &mut Stage, group: &Group, usual: &mut Vec<Duration>) -> Row {
    let tenants: Vec<Tenant> = group
        .members
        .iter()
        .map(|(behaviour, sets)| Tenant::new(&stage.client, behaviour, *sets, stage.ports, &stage.healthy_url))
        .collect();
    stage.operator.forget_peak();
    let probes = stage.operator.probe();

    // The hostile tenant creates its objects and keeps changing them.
    let begun = Instant::now();
    let making = tokio::spawn(join_all(tenants.clone().into_iter().map(async |tenant| tenant.create().await)));
    let mut busy = None;
    let mut newcomer = None;
    let mut made = None;
    let mut edits = Vec::new();
    loop {
        let took = stage.healthy.edit(LONGEST_EDIT + Duration::from_secs(2)).await;
        edits.push(took);
        if made.is_none() && making.is_finished() {
            made = Some(Instant::now());
            let tenants = tenants.clone();
            busy = Some(tokio::spawn(join_all(tenants.into_iter().map(async |tenant| tenant.keep_busy().await))));
        }
        if newcomer.is_none() && made.is_some_and(|made| made.elapsed() >= NEW_AFTER) {
            newcomer = Some(tokio::spawn(stage.healthy.newcomer()));
        }
        let is_long_enough = made.is_some_and(|made| made.elapsed() >= SHORTEST) && edits.len() >= EDITS;
        let is_harmed = took > LONGEST_EDIT || begun.elapsed() > LONGEST;
        if is_long_enough || is_harmed {
            break;
        }
    }
    making.await.unwrap();
    let newcomer = newcomer.unwrap_or_else(|| tokio::spawn(stage.healthy.newcomer()));
    let started = newcomer.await.unwrap();
    if let Some(task) = busy {
        task.abort();
        let _ = task.await;
    }

    // It deletes its sets.
    let released = join_all(tenants.iter().map(|tenant| tenant.release(RELEASE))).await;
    let mut faults = Vec::new();
    let left: usize = released.iter().map(|released| released.left.len()).sum();
    if left > 0 {
        faults.push(format!("{left} sets are not gone after {} s", RELEASE.as_secs()));
    }
    faults.extend(probes.lost().into_iter().map(|probe| format!("{probe} was lost")));
    if !stage.operator.is_running() {
        faults.push("the operator's process ended".to_owned());
    }
    let mut row = Row {
        name: group.name,
        edits,
        usual: median(usual),
        started,
        released: released.iter().map(|released| released.after).max().unwrap_or_default(),
        peak_mib: stage.operator.peak_mib(),
        faults,
    };
    join_all(tenants.iter().map(Tenant::remove)).await;

    // The usual latency after it.
    if row.is_harmed() {
        stage.replace_operator(group.name).await;
        // It reconciles all sets at its start.
        sleep(Duration::from_secs(1)).await;
    }
    let after = stage.usual().await;
    row.usual = median(&[std::mem::replace(usual, after), usual.clone()].concat());
    row
}
