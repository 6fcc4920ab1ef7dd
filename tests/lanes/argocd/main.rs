//! The real Argo CD, its application controller and repo server, against the real API server, this operator and a
//! simulated CMDB. `make test-argocd` runs it.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step fails the story")]
#![allow(clippy::future_not_send, reason = "all stories run on the test's own thread")]

mod application;
mod processes;
mod repository;
mod stories;

use std::panic::AssertUnwindSafe;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::LocalBoxFuture;
use futures::stream::{self, StreamExt as _};
use processes::ArgoCd;

/// Stories that are told at a time.
const AT_A_TIME: usize = 3;

/// A story with an application and a namespace of its own. It panics where it does not go as it should.
pub struct Story {
    name: &'static str,
    told: LocalBoxFuture<'static, Told>,
}

/// What a story has counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    /// How often something was out of sync although nobody had changed it.
    pub spurious_out_of_sync: usize,
}

impl Story {
    fn new(name: &'static str, told: impl Future<Output = Told> + 'static) -> Self {
        Self { name, told: told.boxed_local() }
    }
}

async fn tell(story: Story) -> Option<Told> {
    let begun = Instant::now();
    let told = AssertUnwindSafe(story.told).catch_unwind().await.ok();
    let end = if told.is_some() { "told" } else { "FAILED" };
    println!("story: {}: {end} in {:.0} s", story.name, begun.elapsed().as_secs_f64());
    told
}

#[tokio::test]
async fn argo_cd_follows_git_waits_for_ids_and_lets_go() {
    let argo: &'static ArgoCd = Box::leak(Box::new(ArgoCd::start().await));
    // One operator for all namespaces, when those for one have ended.
    let acts = [stories::beside_others(argo), stories::in_all_namespaces(argo)];
    let mut ends = Vec::new();
    for act in acts {
        ends.extend(stream::iter(act).map(tell).buffer_unordered(AT_A_TIME).collect::<Vec<_>>().await);
    }
    let failed = ends.iter().filter(|told| told.is_none()).count();
    let spurious: usize = ends.iter().flatten().map(|told| told.spurious_out_of_sync).sum();
    println!("argocd: stories={} failed={failed} spurious_out_of_sync={spurious}", ends.len());
    assert_eq!((failed, spurious), (0, 0), "{}", argo.logs());
}
