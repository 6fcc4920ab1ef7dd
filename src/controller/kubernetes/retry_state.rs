//! What the controller keeps in memory of each set or connection: hints that a restart may lose.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

use crate::api::{ProcessTemplateSetStatus, ServiceTemplateSelector};

/// First and longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

/// Hints about each set, or each connection, by namespace and name.
#[derive(Debug, Default)]
pub struct Objects {
    by_name: Mutex<HashMap<(String, String), Hints>>,
}

#[derive(Debug)]
struct Hints {
    uid: String,
    generation: i64,
    // Since when this process knows of that generation.
    generation_since: Instant,
    // The service template that it names in a business: others may wait for what it claims there.
    names: Option<(i64, ServiceTemplateSelector)>,
    // Resource version of our own last write: an older object in the cache is out of date.
    written: Option<u64>,
    // Digest of the status that stood when it was last looked at, or that we have written since.
    status: Option<u64>,
    backoff: Option<ExponentialBackoff>,
    failing: Option<&'static str>,
    // Its status does not say why it stands still.
    is_untold: bool,
    // Not before this: our own status writes wake the controller too.
    held_until: Option<Instant>,
    // Something that it depends on has changed since its reconcile began.
    is_woken: bool,
    checked_at: Instant,
    // When its last look was asked for, or since when we know of it.
    looked_at: Instant,
    // Nothing is outstanding: it relies on that look.
    is_at_rest: bool,
    // The generation in which it was Ready last.
    ready_in: Option<i64>,
}

/// What is known when a reconcile begins.
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The spec is another than the one that this process saw last.
    pub is_edited: bool,
    /// What is left of the wait that the last reconcile imposed.
    pub held_for: Option<Duration>,
}

impl Hints {
    fn new(uid: &str, generation: i64) -> Self {
        Self {
            uid: uid.to_owned(),
            generation,
            generation_since: Instant::now(),
            names: None,
            written: None,
            status: None,
            backoff: None,
            failing: None,
            is_untold: false,
            held_until: None,
            is_woken: false,
            checked_at: Instant::now(),
            looked_at: Instant::now(),
            is_at_rest: false,
            ready_in: None,
        }
    }
}

impl Objects {
    fn with<T>(&self, namespace: &str, name: &str, uid: &str, change: impl FnOnce(&mut Hints) -> T) -> T {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = by_name.entry((namespace.to_owned(), name.to_owned())).or_insert_with(|| Hints::new(uid, 0));
        if hints.uid != uid {
            *hints = Hints::new(uid, 0);
        }
        change(hints)
    }

    /// Whether this process has not begun with the object yet.
    pub fn is_new(&self, namespace: &str, name: &str, uid: &str) -> bool {
        self.with(namespace, name, uid, |hints| hints.generation == 0)
    }

    /// Notes the generation that is being worked on: an edit, and who asks, begin at once. `rest`: how long a set that was at
    /// rest when this process first sees it is left so.
    pub fn begin(
        &self,
        namespace: &str,
        name: &str,
        uid: &str,
        generation: i64,
        asked: bool,
        rest: Option<Duration>,
    ) -> Begun {
        self.with(namespace, name, uid, |hints| {
            let is_first = hints.generation == 0;
            let is_edited = hints.generation != generation && !is_first;
            if hints.generation != generation {
                hints.generation = generation;
                hints.generation_since = Instant::now();
                hints.backoff = None;
                hints.held_until = None;
            }
            if let Some(rest) = rest.filter(|_| is_first && !hints.is_woken) {
                hints.held_until = Some(Instant::now() + rest);
            }
            if asked {
                hints.held_until = None;
            }
            hints.is_woken = false;
            let left = hints.held_until.map(|until| until.saturating_duration_since(Instant::now()));
            Begun { is_edited, held_for: left.filter(|left| !left.is_zero()) }
        })
    }

    /// Notes which service template the set names.
    pub fn names(&self, namespace: &str, name: &str, uid: &str, biz_id: i64, selector: &ServiceTemplateSelector) {
        self.with(namespace, name, uid, |hints| {
            if hints.names.is_none() {
                hints.names = Some((biz_id, selector.clone()));
            }
        });
    }

    /// How long this process has known of the generation that is being worked on.
    pub fn known_for(&self, namespace: &str, name: &str, uid: &str) -> Duration {
        self.with(namespace, name, uid, |hints| hints.generation_since.elapsed())
    }

    /// Imposes a wait on the next reconcile, whatever wakes it.
    pub fn hold(&self, namespace: &str, name: &str, uid: &str, wait: Duration) {
        self.with(namespace, name, uid, |hints| {
            // What changed meanwhile is looked at at once.
            hints.held_until = (!hints.is_woken).then(|| Instant::now() + wait);
        });
    }

    /// Ends the wait: something that the set depends on has changed.
    pub fn release(&self, namespace: &str, name: &str) {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(hints) = by_name.get_mut(&(namespace.to_owned(), name.to_owned())) {
            hints.held_until = None;
            hints.is_woken = true;
        }
    }

    /// Notes the status that stands. One that somebody else has written is put right at once, whatever the wait.
    pub fn sees(&self, namespace: &str, name: &str, uid: &str, status: Option<&ProcessTemplateSetStatus>) {
        let seen = digest(status);
        self.with(namespace, name, uid, |hints| {
            if hints.status.replace(seen).is_some_and(|known| known != seen) {
                hints.held_until = None;
            }
        });
    }

    /// Notes the status that we have written.
    pub fn wrote_status(&self, namespace: &str, name: &str, uid: &str, status: &ProcessTemplateSetStatus) {
        let written = digest(Some(status));
        self.with(namespace, name, uid, |hints| hints.status = Some(written));
    }

    /// Notes our own write.
    pub fn wrote(&self, namespace: &str, name: &str, uid: &str, resource_version: &str) {
        let written = resource_version.parse().ok();
        self.with(namespace, name, uid, |hints| hints.written = hints.written.max(written));
    }

    /// Whether an object of this resource version is older than our own last write to it.
    pub fn is_outdated(&self, namespace: &str, name: &str, uid: &str, resource_version: &str) -> bool {
        let seen: Option<u64> = resource_version.parse().ok();
        self.with(namespace, name, uid, |hints| hints.written.is_some() && seen < hints.written)
    }

    /// The wait before the next try.
    pub fn next_try(&self, namespace: &str, name: &str, uid: &str) -> Duration {
        let (first, longest) = BACKOFF;
        self.with(namespace, name, uid, |hints| {
            let fresh = || {
                let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
                builder.with_jitter().without_max_times().build()
            };
            hints.backoff.get_or_insert_with(fresh).next().unwrap_or(longest)
        })
    }

    /// Notes that CMDB was looked at.
    pub fn checked(&self, namespace: &str, name: &str, uid: &str) {
        self.with(namespace, name, uid, |hints| {
            hints.failing = None;
            hints.checked_at = Instant::now();
        });
    }

    /// Notes that nothing is outstanding: the next wait is the first again.
    pub fn settled(&self, namespace: &str, name: &str, uid: &str) {
        self.with(namespace, name, uid, |hints| hints.backoff = None);
    }

    /// Notes that a look failed; whether for another reason than the last.
    pub fn fails_anew(&self, namespace: &str, name: &str, uid: &str, label: &'static str) -> bool {
        self.with(namespace, name, uid, |hints| hints.failing.replace(label) != Some(label))
    }

    /// Notes that the status cannot tell how things stand; whether it could before.
    pub fn untold_anew(&self, namespace: &str, name: &str, uid: &str) -> bool {
        self.with(namespace, name, uid, |hints| !std::mem::replace(&mut hints.is_untold, true))
    }

    /// Notes that the status tells how things stand.
    pub fn told(&self, namespace: &str, name: &str, uid: &str) {
        self.with(namespace, name, uid, |hints| hints.is_untold = false);
    }

    /// How long ago CMDB was looked at, or since when we try.
    pub fn unchecked_for(&self, namespace: &str, name: &str, uid: &str) -> Duration {
        self.with(namespace, name, uid, |hints| hints.checked_at.elapsed())
    }

    /// Notes when the look was asked for that a set was shown.
    pub fn looked(&self, namespace: &str, name: &str, uid: &str, asked_at: Instant) {
        self.with(namespace, name, uid, |hints| hints.looked_at = asked_at);
    }

    /// Notes whether nothing is outstanding.
    pub fn rests(&self, namespace: &str, name: &str, uid: &str, is_at_rest: bool) {
        self.with(namespace, name, uid, |hints| hints.is_at_rest = is_at_rest);
    }

    /// When the look was asked for that a set at rest relies on; None: nothing relies on one.
    pub fn look_relied_on(&self, namespace: &str, name: &str, uid: &str) -> Option<Instant> {
        let by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        let hints = by_name.get(&(namespace.to_owned(), name.to_owned()))?;
        (hints.uid == uid && hints.is_at_rest).then_some(hints.looked_at)
    }

    /// Notes that the set is Ready in a generation: the time since this process has known of that, if it was not before.
    pub fn is_ready(&self, namespace: &str, name: &str, uid: &str, generation: i64) -> Option<Duration> {
        self.with(namespace, name, uid, |hints| {
            let was_ready = hints.ready_in.replace(generation) == Some(generation);
            (!was_ready && hints.generation == generation).then(|| hints.generation_since.elapsed())
        })
    }

    /// Forgets an object that is gone: its uid, and the service template that it named.
    pub fn forget(&self, namespace: &str, name: &str) -> Option<(String, Option<(i64, ServiceTemplateSelector)>)> {
        let mut by_name = self.by_name.lock().unwrap_or_else(PoisonError::into_inner);
        by_name.remove(&(namespace.to_owned(), name.to_owned())).map(|hints| (hints.uid, hints.names))
    }
}

// Of what the API server is told: times have no fractions there.
fn digest(status: Option<&ProcessTemplateSetStatus>) -> u64 {
    let mut hasher = DefaultHasher::new();
    serde_json::to_string(&status).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Objects;
    use crate::api::ProcessTemplateSetStatus;

    #[tokio::test(start_paused = true)]
    async fn a_set_at_rest_is_left_so_when_it_is_first_seen_unless_something_changes() {
        let objects = Objects::default();
        let rest = Some(Duration::from_mins(5));
        let begin = |generation, asked| objects.begin("shop", "web", "uid", generation, asked, rest).held_for;
        assert_eq!(begin(1, false), rest);
        assert_eq!(begin(1, false), rest, "it is not begun anew");
        objects.release("shop", "web");
        assert_eq!(begin(1, false), None);
        let edited = Objects::default();
        assert_eq!(edited.begin("shop", "web", "uid", 1, false, rest).held_for, rest);
        assert_eq!(edited.begin("shop", "web", "uid", 2, false, None).held_for, None);
        assert_eq!(Objects::default().begin("shop", "web", "uid", 1, true, None).held_for, None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_somebody_else_has_written_ends_the_wait_and_our_own_does_not() {
        let objects = Objects::default();
        let begin = || objects.begin("shop", "web", "uid", 1, false, None).held_for;
        let (ours, theirs) = (
            ProcessTemplateSetStatus::default(),
            ProcessTemplateSetStatus { summary: Some("9/9".to_owned()), ..ProcessTemplateSetStatus::default() },
        );
        let wait = Duration::from_mins(10);
        objects.sees("shop", "web", "uid", Some(&theirs));
        assert_eq!(begin(), None);
        objects.wrote_status("shop", "web", "uid", &ours);
        objects.hold("shop", "web", "uid", wait);
        objects.sees("shop", "web", "uid", Some(&ours));
        assert_eq!(begin(), Some(wait));
        objects.sees("shop", "web", "uid", Some(&theirs));
        assert_eq!(begin(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_generation_becomes_ready_once_and_a_set_at_rest_relies_on_its_last_look() {
        let objects = Objects::default();
        let ready = |generation| objects.is_ready("shop", "web", "uid", generation);
        assert_eq!(ready(1), None, "it was when it was first seen");
        objects.begin("shop", "web", "uid", 1, false, None);
        assert_eq!(ready(1), None);
        objects.begin("shop", "web", "uid", 2, false, None);
        let wait = Duration::from_secs(7);
        tokio::time::advance(wait).await;
        assert_eq!(ready(2), Some(wait));
        assert_eq!(ready(2), None, "drift that is corrected is no new generation");
        let relied_on = || objects.look_relied_on("shop", "web", "uid").map(|look| look.elapsed());
        assert_eq!(relied_on(), None);
        objects.rests("shop", "web", "uid", true);
        assert_eq!(relied_on(), Some(wait));
        objects.looked("shop", "web", "uid", tokio::time::Instant::now());
        assert_eq!(relied_on(), Some(Duration::ZERO));
        assert_eq!(objects.look_relied_on("shop", "web", "another"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_during_a_reconcile_ends_the_wait_that_it_imposes() {
        let objects = Objects::default();
        let begin = || objects.begin("shop", "web", "uid", 1, false, None).held_for;
        assert_eq!(begin(), None);
        objects.release("shop", "web");
        objects.hold("shop", "web", "uid", Duration::from_mins(10));
        assert_eq!(begin(), None, "it is looked at once more");
        objects.hold("shop", "web", "uid", Duration::from_mins(10));
        assert_eq!(begin(), Some(Duration::from_mins(10)));
    }
}
