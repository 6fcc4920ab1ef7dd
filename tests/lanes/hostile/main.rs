//! `make hostile`: a healthy and a hostile tenant share an operator. Does any behaviour of the hostile tenant and its CMDB,
//! alone or together with others, harm the healthy one?
//!
//! # Flow
//! The processes are a control plane, the operator, the simulator of the healthy tenant, and the hostile CMDB; the last two
//! are this program in another role. For each behaviour:
//! 1. The healthy tenant edits a set, again and again: the median is its usual latency.
//! 2. The hostile tenant creates its objects and keeps changing them, while the edits continue.
//! 3. Meanwhile a new tenant creates a connection and a set.
//! 4. The hostile tenant changes its sets to `Orphan` and deletes them, while its CMDB stays hostile.
//!
//! # Guarantees
//! The usual latency is measured just before and just after each behaviour, so that a busy machine does not count as harm.
//! An operator that was harmed is replaced before the next behaviour.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the lane")]

mod harm;
mod healthy;
mod operator;
mod phase;
mod stage;

use std::time::Duration;

use cmdb_sim::Simulator;
use test_support::hostile::{Behaviour, Cmdb, behaviours};

use harm::Row;
use phase::{Group, run};
use stage::Stage;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    match arguments.first().map(String::as_str) {
        Some("serve-simulator") => {
            let options = cmdb_sim::Options { request_limit: 1, ..cmdb_sim::Options::default() };
            let simulator = Simulator::start(options).unwrap();
            println!("listening {}", simulator.url());
            std::future::pending::<()>().await;
        }
        Some("serve-hostile") => {
            let cmdb = Cmdb::start().await;
            println!("listening {}", serde_json::to_string(&cmdb.ports).unwrap());
            std::future::pending::<()>().await;
        }
        _ => judge(&arguments).await,
    }
}

// Runs the groups whose names contain one of these, or all groups.
async fn judge(names: &[String]) {
    let is_wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| name.contains(wanted.as_str()));
    let alone = behaviours().map(|behaviour| Group { name: behaviour.name, members: vec![(behaviour, usize::MAX)] });
    let groups: Vec<Group> = alone.chain(together()).filter(|group| is_wanted(group.name)).collect();
    assert!(!groups.is_empty(), "no name of a behaviour contains any of {names:?}");

    let mut stage = Stage::start().await;
    println!("{}", Row::title());
    let mut rows = Vec::new();
    let mut usual = stage.usual().await;
    for group in &groups {
        let row = run(&mut stage, group, &mut usual).await;
        println!("{row}");
        rows.push(row);
    }
    stage.stop().await;

    let harmed = rows.iter().filter(|row| row.is_harmed()).count();
    let ratio = rows.iter().map(Row::ratio).fold(0.0, f64::max);
    let peak = rows.iter().map(|row| row.peak_mib).fold(0.0, f64::max);
    println!();
    println!("hostile: behaviours={} harmed={harmed} worst_ratio={ratio:.1} peak_mib={peak:.0}", rows.len());
    std::process::exit(i32::from(harmed > 0));
}

// Several behaviours at once: with two sets each, or those with many sets.
fn together() -> Vec<Group> {
    let all: Vec<&'static Behaviour> = behaviours().collect();
    let few = |members: &[&'static Behaviour]| members.iter().map(|behaviour| (*behaviour, 2)).collect::<Vec<_>>();
    let is_large = |behaviour: &&&Behaviour| behaviour.objects.sets >= 100;
    let large: Vec<(&'static Behaviour, usize)> =
        all.iter().filter(is_large).map(|behaviour| (*behaviour, usize::MAX)).collect();
    let third = all.len().div_ceil(3);
    vec![
        Group { name: "together-the-first-third", members: few(&all[..third]) },
        Group { name: "together-the-second-third", members: few(&all[third..2 * third]) },
        Group { name: "together-the-last-third", members: few(&all[2 * third..]) },
        Group { name: "together-two-sets-of-each", members: few(&all) },
        Group { name: "together-all-large-tenants", members: large },
    ]
}

/// Longest time from the deletion of the hostile sets until they are gone.
pub const RELEASE: Duration = Duration::from_secs(10);
