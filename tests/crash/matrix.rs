//! Each story of a template's life, killed or cut off at every call that it makes to CMDB and at every write to the API
//! server: nothing is lost, nothing is doubled, and no manual work is needed. All of it over one transport and to a CMDB of
//! today. Over the other transports each reply of CMDB is lost once. To the other servers `make endure` tells all of it, and a
//! plain run a sample.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use futures::future::join_all;
use process_template_operator::cmdb::Transport;
use rustix::process::Signal;
use test_support::chance::chance;
use test_support::endurance;
use test_support::proxy::{Point, Proxy, Side};
use test_support::stories::{Damage, Run, Server, Story, stories};
use test_support::world::{PATIENCE, usual_transport};
use tokio::time::{Instant, sleep, timeout};

use crate::AT_A_TIME;

// A sample has one of this many points.
const SAMPLE: u64 = 8;
const SEED: u64 = 1;

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

    fn proxy<'a>(&self, run: &'a Run) -> &'a Proxy {
        if self.is_cmdb { &run.cmdb } else { &run.api_server }
    }

    /// The story is told until its call is held.
    async fn is_reached(&self, name: &str, run: &mut Run) {
        self.proxy(run).hold(self.point.clone());
        run.change().await;
        let reached = timeout(PATIENCE, self.proxy(run).reached()).await;
        assert!(reached.is_ok(), "{name}: {self} was never reached\n{}", run.world.operator_log());
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
async fn crashes(name: &str, story: Story) -> Vec<Crash> {
    let _permit = AT_A_TIME.acquire().await.unwrap();
    let mut run = Run::begin(name, story.clone()).await;
    run.change().await;
    assert!(run.until_done().await, "{}: {}", story.name, run.world.operator_log());
    run.world.stop_operator().await;
    assert_eq!(run.damage(true).await, Damage::default(), "{}", story.name);
    let mut crashes = Vec::new();
    for (is_cmdb, calls) in [(true, run.cmdb.take_calls()), (false, run.api_server.take_calls())] {
        let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
        for (method, path) in calls {
            // Over some transports two of CMDB's calls end alike; the paths of the API server name the run.
            let path_end = if is_cmdb { path } else { path_of_set(&path) };
            // Reads of the API server are watches, and events are best effort; so is what a connection asks and tells
            // for its own sake.
            let is_write = ["PUT", "PATCH"].contains(&method.as_str()) && !path_end.is_empty();
            let is_asked_for_a_set = !path_end.contains("service_category");
            if !(if is_cmdb { is_asked_for_a_set } else { is_write }) {
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
    crashes
}

// What follows the namespace, where a set is written to; else nothing.
fn path_of_set(path: &str) -> String {
    path.find("/processtemplatesets/").map(|at| path[at..].to_owned()).unwrap_or_default()
}

async fn crashed(name: String, story: Story, crash: Crash) -> Damage {
    let _permit = AT_A_TIME.acquire().await.unwrap();
    let mut run = Run::begin(&name, story).await;
    crash.is_reached(&name, &mut run).await;
    if crash.kills() {
        run.world.kill_operator().await;
        crash.proxy(&run).let_all_pass();
        run.start().await;
    }
    let done = run.until_done().await;
    let log = run.world.operator_log();
    run.world.stop_operator().await;
    let damage = run.damage(done).await;
    assert_eq!(damage, Damage::default(), "{name}: {crash}\n{log}\n{}", run.describe().await);
    assert_eq!(run.world.names_sent_twice_without_a_list(), 0, "{name}: {crash}");
    run.end().await;
    damage
}

/// Tells each story once for each crash that counts, and gives the figures of it. The names of its runs begin with `name`.
async fn told(name: &str, stories: Vec<Story>, counts: impl Fn(&Story, usize, &Crash) -> bool) -> String {
    let mut runs = Vec::new();
    for (number, story) in stories.into_iter().enumerate() {
        let crashes = crashes(&format!("{name}-{number}"), story.clone()).await;
        let crashes = crashes.into_iter().enumerate();
        let crashes = crashes.filter(|(point, crash)| counts(&story, *point, crash)).map(|(_, crash)| crash);
        let crashes: Vec<Crash> = crashes.collect();
        let Story { name: of, transport, server, .. } = &story;
        println!("{:<7} {:<8} {of:<12} {:>3} points", transport.as_str(), format!("{server:?}"), crashes.len());
        for (point, crash) in crashes.into_iter().enumerate() {
            runs.push(crashed(format!("{name}-{number}-{point:02}"), story.clone(), crash));
        }
    }
    let points = runs.len();
    let done: Vec<Damage> = join_all(runs).await;
    let sum = |part: fn(&Damage) -> usize| done.iter().map(part).sum::<usize>();
    format!(
        "points={points} runs={} duplicates={} orphans={} manual={} lost_updates={}",
        done.len(),
        sum(|damage| damage.duplicates),
        sum(|damage| damage.orphans),
        sum(|damage| damage.manual),
        sum(|damage| damage.lost_updates)
    )
}

/// Calls to CMDB that only read.
const READS: [&str; 3] = ["list_", "findmany", "find"];

/// The leader is paused at a call until another has ended the story, and then goes on: it begins no write any more. Gives
/// the writes that it began.
async fn paused(name: String, story: Story, crash: Crash) -> usize {
    let _permit = AT_A_TIME.acquire().await.unwrap();
    let mut run = Run::begin(&name, story).await;
    run.arguments = vec!["--lease".to_owned(), name.clone()];
    run.arguments.extend(["--lease-namespace", "default", "--lease-duration-seconds", "3"].map(str::to_owned));
    crash.is_reached(&name, &mut run).await;
    let former = run.world.operator.take().unwrap();
    former.process.pause().await;
    // What is on its way arrives.
    crash.proxy(&run).let_all_pass();
    crash.proxy(&run).let_go();
    run.start().await;
    run.world.until_logged(" leads ").await;
    let done = run.until_done().await;
    assert!(done, "{name}: {crash}: not taken over\n{}", run.world.operator_log());
    // What the next one still writes is not the former's.
    run.world.stop_operator().await;
    run.cmdb.take_calls();
    run.api_server.take_calls();
    former.process.signal(Signal::CONT);
    let deadline = Instant::now() + PATIENCE;
    let log = || std::fs::read_to_string(&former.log).unwrap();
    while !log().contains("the lease is lost") {
        assert!(Instant::now() < deadline, "{name}: {crash}: still leads\n{}", log());
        sleep(Duration::from_millis(20)).await;
    }
    former.process.signal(Signal::TERM);
    assert!(former.process.ended(PATIENCE).await, "{name}: {crash}: does not end\n{}", log());
    // Events are told beside all else: one may be on its way when the leader is paused.
    let is_write = |(method, path): &(String, String)| {
        method != "GET" && !path.ends_with(&format!("/leases/{name}")) && !path.ends_with("/events")
    };
    let is_list = |(_, path): &(String, String)| READS.iter().any(|read| path.contains(read));
    let mut written: Vec<(String, String)> = run.cmdb.take_calls().into_iter().filter(|call| !is_list(call)).collect();
    written.extend(run.api_server.take_calls().into_iter().filter(is_write));
    assert!(written.is_empty(), "{name}: {crash}: {written:?}\n{}", log());
    let damage = run.damage(done).await;
    assert_eq!(damage, Damage::default(), "{name}: {crash}\n{}\n{}", log(), run.describe().await);
    assert_eq!(run.world.names_sent_twice_without_a_list(), 0, "{name}: {crash}");
    run.end().await;
    written.len()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn a_leader_that_was_paused_beyond_its_lease_begins_no_write() {
    let mut runs = Vec::new();
    for (number, story) in stories().into_iter().enumerate() {
        let crashes = crashes(&format!("pause-{number}"), story.clone()).await;
        for (point, crash) in crashes.into_iter().filter(Crash::kills).enumerate() {
            runs.push(paused(format!("pause-{number}-{point:02}"), story.clone(), crash));
        }
    }
    let points = runs.len();
    let writes: usize = join_all(runs).await.into_iter().sum();
    println!("paused leader: points={points} writes_after_the_lease={writes}");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn no_story_is_harmed_by_a_kill_or_a_cut_at_any_of_its_calls() {
    let counts = |story: &Story, point: usize, _: &Crash| {
        story.server == Server::Present || endurance::is_whole() || chance(SEED, point as u64).is_multiple_of(SAMPLE)
    };
    let figures = told("matrix", Server::ALL.into_iter().flat_map(Server::stories).collect(), counts).await;
    println!("crash matrix: schemas=2 servers={} {figures}", Server::ALL.len());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn no_story_is_harmed_over_another_transport_by_a_reply_of_cmdb_that_is_lost() {
    let others = || Transport::ALL.iter().copied().filter(|transport| *transport != usual_transport());
    let over = |transport| stories().into_iter().map(move |story| Story { transport, ..story });
    let counts = |_: &Story, _: usize, crash: &Crash| crash.is_cmdb && crash.point.side == Side::ReplyLost;
    let figures = told("lost", others().flat_map(over).collect(), counts).await;
    println!("crash matrix, reply lost: transports={} {figures}", others().count());
}
