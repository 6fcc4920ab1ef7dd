//! Whether this process makes progress, for `/healthz`: measured from outside of the runtime that it is about.
//!
//! # Flow
//! A thread outside of the runtime counts ticks ([`Liveness::tick`]). With each it gives the runtime a task that notes the
//! present tick ([`Liveness::beat`]), and each watched task notes the tick at which a poll of it started
//! ([`Liveness::watch`]). The process is stalled when no beat came for [`STALLED_AFTER`] ticks, or when one poll takes as
//! long: a task blocks its thread, and only a restart ends that.
//!
//! # Guarantees
//! A machine that is slow or paused stalls nothing: ticks are counted, not seconds, and the thread that counts them is as
//! slow. Before the first tick nothing is stalled.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// Time between two ticks.
pub const TICK: Duration = Duration::from_millis(500);

/// Ticks without progress after which the process counts as stalled: ten seconds.
pub const STALLED_AFTER: u64 = 20;

/// The progress of this process.
#[derive(Debug, Default)]
pub struct Liveness {
    ticks: AtomicU64,
    last_beat: AtomicU64,
    polls: Mutex<Polls>,
    failure: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Polls {
    next: u64,
    // The polls in progress: the task, and the tick at which each started.
    running: HashMap<u64, (Arc<str>, u64)>,
}

// A poll in progress.
struct Poll<'a> {
    liveness: &'a Liveness,
    id: u64,
}

impl Drop for Poll<'_> {
    fn drop(&mut self) {
        self.liveness.polls.lock().running.remove(&self.id);
    }
}

impl Liveness {
    /// Counts a tick.
    pub fn tick(&self) {
        self.ticks.fetch_add(1, Ordering::Relaxed);
    }

    /// Notes that the runtime makes progress.
    pub fn beat(&self) {
        self.last_beat.store(self.now(), Ordering::Relaxed);
    }

    /// Notes that a long-lived task has failed: the process shuts down. The first failure stays.
    pub fn fail(&self, why: String) {
        self.failure.lock().get_or_insert(why);
    }

    /// The failure that this process shuts down for.
    pub fn failure(&self) -> Option<String> {
        self.failure.lock().clone()
    }

    /// A future whose polls are watched; `name` is how a stall names it.
    pub async fn watch<F: Future>(self: Arc<Self>, name: impl Into<Arc<str>>, future: F) -> F::Output {
        let name = name.into();
        let mut future = std::pin::pin!(future);
        std::future::poll_fn(|context| {
            let _poll = self.poll_started(&name);
            future.as_mut().poll(context)
        })
        .await
    }

    fn poll_started(&self, name: &Arc<str>) -> Poll<'_> {
        let now = self.now();
        let mut polls = self.polls.lock();
        let id = polls.next;
        polls.next = id.wrapping_add(1);
        polls.running.insert(id, (Arc::clone(name), now));
        Poll { liveness: self, id }
    }

    /// For how many ticks there has been no progress, and of what; None: the process is not stalled.
    pub fn stall(&self) -> Option<(u64, String)> {
        let since = |tick: u64| self.now().saturating_sub(tick);
        let beat = since(self.last_beat.load(Ordering::Relaxed));
        let longest = {
            let polls = self.polls.lock();
            polls
                .running
                .values()
                .map(|(name, tick)| (since(*tick), name))
                .max()
                .map(|(for_, name)| (for_, name.clone()))
        };
        let stalled = |ticks: u64| ticks >= STALLED_AFTER;
        let blocks = longest.filter(|(ticks, _)| stalled(*ticks));
        let blocks = blocks
            .map(|(ticks, name)| (ticks, format!("{name} blocks a thread of the runtime for {} s", seconds(ticks))));
        match blocks {
            Some((ticks, why)) if stalled(beat) => Some((ticks, format!("{why}, and nothing makes progress"))),
            None if stalled(beat) => Some((beat, format!("the runtime makes no progress for {} s", seconds(beat)))),
            blocks => blocks,
        }
    }

    /// Why the process is not healthy; None: it is.
    pub fn problem(&self) -> Option<String> {
        let stall = self.stall().map(|(_, why)| why);
        stall.or_else(|| self.failure().map(|failure| format!("shutting down: {failure}")))
    }

    fn now(&self) -> u64 {
        self.ticks.load(Ordering::Relaxed)
    }
}

fn seconds(ticks: u64) -> u64 {
    ticks * u64::try_from(TICK.as_millis()).unwrap_or_default() / 1000
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc;

    use super::{Liveness, STALLED_AFTER};

    fn tick(liveness: &Liveness, times: u64) {
        for _ in 0..times {
            liveness.tick();
        }
    }

    #[test]
    fn a_runtime_without_beats_is_stalled_until_the_next() {
        let liveness = Liveness::default();
        tick(&liveness, STALLED_AFTER - 1);
        assert_eq!(liveness.problem(), None);
        tick(&liveness, 1);
        assert_eq!(liveness.problem().unwrap(), "the runtime makes no progress for 10 s");
        liveness.beat();
        assert_eq!(liveness.problem(), None);
    }

    #[test]
    fn a_poll_that_does_not_return_is_named_while_others_go_on() {
        let liveness = Arc::<Liveness>::default();
        let (blocks, goes_on) = mpsc::channel::<()>();
        let (polled, is_polled) = mpsc::channel();
        let watched = Arc::clone(&liveness).watch("the reconcile of set \"shop/web\"", async move {
            polled.send(()).unwrap();
            let _ = goes_on.recv();
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let thread = std::thread::spawn(move || runtime.block_on(watched));
        is_polled.recv().unwrap();
        tick(&liveness, STALLED_AFTER);
        liveness.beat();
        let problem = "the reconcile of set \"shop/web\" blocks a thread of the runtime for 10 s";
        assert_eq!(liveness.problem().unwrap(), problem);
        drop(blocks);
        thread.join().unwrap();
        assert_eq!(liveness.problem(), None);
    }

    #[test]
    fn the_first_failed_task_is_why_the_process_shuts_down() {
        let liveness = Liveness::default();
        liveness.fail("the first task failed".to_owned());
        liveness.fail("the second task failed".to_owned());
        assert_eq!(liveness.problem().unwrap(), "shutting down: the first task failed");
    }
}
