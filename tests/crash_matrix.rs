//! Each story of a template's life, killed or cut off at every call that it makes to CMDB and at every write to the API
//! server: nothing is lost, nothing is doubled, and nobody has to lend a hand.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the test")]

mod support;

use std::collections::BTreeMap;
use std::fmt;

use futures::StreamExt;
use support::proxy::{Point, Side};
use support::stories::{Damage, Run, Story, stories};
use support::world::PATIENCE;
use tokio::time::timeout;

// Runs at a time: most of their time is waiting.
const AT_A_TIME: usize = 6;

/// A call at which a story is interrupted.
#[derive(Clone)]
struct Crash {
    is_cmdb: bool,
    point: Point,
}

impl Crash {
    fn kills(&self) -> bool {
        matches!(self.point.side, Side::Request | Side::Reply)
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.point.side {
            Side::Request => "killed before",
            Side::Reply => "killed after",
            Side::RequestLost => "request lost",
            Side::ReplyLost => "reply lost",
        };
        let Point { method, path_end, nth, .. } = &self.point;
        write!(formatter, "{how} {method} {path_end} #{nth}")
    }
}

/// Every call of the story to CMDB, and every write to the API server, with what may happen to it.
async fn crashes(number: usize, story: Story) -> Option<Vec<Crash>> {
    let mut run = Run::begin(&format!("matrix-{number}"), story.clone()).await?;
    run.change().await;
    assert!(run.until_done().await, "{}: {}", story.name, run.world.operator_log());
    run.world.stop_operator().await;
    assert_eq!(run.damage(true).await, Damage::default(), "{}", story.name);
    let mut crashes = Vec::new();
    for (is_cmdb, calls) in [(true, run.cmdb.take_calls()), (false, run.api_server.take_calls())] {
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (method, path_end) in calls {
            // Reads of the API server are watches, and events are best effort.
            let is_write = method == "PUT" || method == "PATCH" && path_end == "web";
            if !is_cmdb && !is_write {
                continue;
            }
            let nth = seen.entry((method.clone(), path_end.clone())).or_default();
            *nth += 1;
            for side in [Side::Request, Side::Reply, Side::RequestLost, Side::ReplyLost] {
                let point = Point { method: method.clone(), path_end: path_end.clone(), nth: *nth, side };
                crashes.push(Crash { is_cmdb, point });
            }
        }
    }
    run.end().await;
    Some(crashes)
}

async fn crashed(name: String, story: Story, crash: Crash) -> Option<Damage> {
    let mut run = Run::begin(&name, story).await?;
    let proxy = if crash.is_cmdb { &run.cmdb } else { &run.api_server };
    proxy.hold(crash.point.clone());
    run.change().await;
    let proxy = if crash.is_cmdb { &run.cmdb } else { &run.api_server };
    let reached = timeout(PATIENCE, proxy.reached()).await;
    assert!(reached.is_ok(), "{name}: {crash} was never reached\n{}", run.world.operator_log());
    if crash.kills() {
        run.world.kill_operator().await;
        proxy.let_all_pass();
        run.start().await;
    }
    let done = run.until_done().await;
    let log = run.world.operator_log();
    run.world.stop_operator().await;
    let damage = run.damage(done).await;
    assert_eq!(damage, Damage::default(), "{name}: {crash}\n{log}");
    assert_eq!(run.world.names_sent_twice_without_a_list(), 0, "{name}: {crash}");
    run.end().await;
    Some(damage)
}

#[tokio::test(flavor = "multi_thread")]
async fn no_story_is_harmed_by_a_kill_or_a_cut_at_any_of_its_calls() {
    let mut runs = Vec::new();
    let mut rows = Vec::new();
    for (number, story) in stories().into_iter().enumerate() {
        let Some(crashes) = crashes(number, story.clone()).await else { return };
        rows.push((story.name, crashes.len()));
        for (point, crash) in crashes.into_iter().enumerate() {
            runs.push(crashed(format!("matrix-{number}-{point:02}"), story.clone(), crash));
        }
    }
    let points = runs.len();
    let done: Vec<_> = futures::stream::iter(runs).buffer_unordered(AT_A_TIME).collect().await;
    let done: Vec<Damage> = done.into_iter().flatten().collect();
    for (story, points) in rows {
        println!("{story:<12} {points:>3} points");
    }
    let sum = |part: fn(&Damage) -> usize| done.iter().map(part).sum::<usize>();
    println!(
        "crash matrix: points={points} runs={} duplicates={} orphans={} manual={} lost_updates={}",
        done.len(),
        sum(|damage| damage.duplicates),
        sum(|damage| damage.orphans),
        sum(|damage| damage.manual),
        sum(|damage| damage.lost_updates)
    );
}
