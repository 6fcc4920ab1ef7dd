//! What the controller keeps in memory of each set or connection: backoff, and hints that a restart may lose.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::api::{ProcessTemplateSetStatus, ServiceTemplateSelector};
use crate::controller::names::ObjectName;
use crate::outside;

/// First and longest wait between two tries.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(5));

// First and longest wait after a conflict, where the watch has delivered what the write conflicted with: others write too.
const CACHE_CAUGHT_UP: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));

// The same where it has not: it will wake the reconcile, and if it is broken, the object is read past the cache after this.
const CACHE_BEHIND: (Duration, Duration) = (Duration::from_secs(15), Duration::from_mins(5));

/// The state of every object of one kind, by name.
#[derive(Debug, Default)]
pub struct RetryState {
    by_name: Mutex<HashMap<ObjectName, ObjectState>>,
    // uids of objects in whose place another of the same name was seen.
    replaced: Mutex<Vec<String>>,
}

/// The state of one object. Another object of the same name, by its uid, starts with a state of its own.
#[derive(Clone, Debug)]
pub struct StateHandle<'a> {
    states: &'a RetryState,
    name: ObjectName,
    uid: String,
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
struct ObjectState {
    uid: String,
    generation: i64,
    // Since when this process knows of that generation.
    generation_since: Instant,
    // What it reaches: others may wait for what it claims there.
    reach: Option<Reach>,
    // The generation of an edit that the sets which may have waited for it are not awake for yet.
    unannounced: Option<i64>,
    // Resource version of our own last write: an older object in the cache is out of date.
    written: Option<u64>,
    // A write found another version than the one that it was computed from.
    conflict: Option<Conflict>,
    // Digest of the status that stood when it was last looked at, or that we have written since.
    status: Option<u64>,
    backoff: Option<ExponentialBackoff>,
    failing: Option<&'static str>,
    failing_since: Option<Instant>,
    // The last reconcile failed and its status could not be updated.
    is_unreported: bool,
    // No reconcile before this: our own status writes wake the controller too.
    backoff_until: Option<Instant>,
    // Something that it depends on has changed since its reconcile began.
    is_woken: bool,
    checked_at: Instant,
    // When its last look was asked for, or since when we know of it.
    looked_at: Instant,
    // It got our finalizer from this process before it had a status, and has none since that says what it has made.
    has_made_nothing: bool,
    // Nothing is outstanding: it relies on that look.
    is_idle: bool,
    // The generation in which it was Ready last.
    ready_in: Option<i64>,
}

// Conflicts without a successful report in between.
#[derive(Clone, Copy, Debug)]
struct Conflict {
    count: u32,
    // The version that the cache must have reached.
    needs: Option<u64>,
    at: Instant,
}

impl Conflict {
    // What is left of the wait before a reconcile of this version.
    fn left(self, seen: Option<u64>) -> Duration {
        let (shortest, longest) = if seen < self.needs { CACHE_BEHIND } else { CACHE_CAUGHT_UP };
        let wait = shortest.saturating_mul(2_u32.saturating_pow(self.count.saturating_sub(1))).min(longest);
        wait.saturating_sub(self.at.elapsed())
    }
}

/// Where a set was shown, or may ask for, what CMDB has: known from a reconcile within its grants.
#[derive(Clone, Debug)]
pub struct Reach {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// The service template.
    pub service_template: ServiceTemplateSelector,
    /// Normalised URLs of the CMDB: the last, and the one before it.
    pub urls: Vec<String>,
}

impl ObjectState {
    fn new(uid: &str, generation: i64) -> Self {
        Self {
            uid: uid.to_owned(),
            generation,
            generation_since: Instant::now(),
            reach: None,
            unannounced: None,
            written: None,
            conflict: None,
            status: None,
            backoff: None,
            failing: None,
            failing_since: None,
            is_unreported: false,
            backoff_until: None,
            is_woken: false,
            checked_at: Instant::now(),
            looked_at: Instant::now(),
            has_made_nothing: false,
            is_idle: false,
            ready_in: None,
        }
    }
}

impl RetryState {
    /// The state of an object.
    pub fn of(&self, name: &ObjectName, uid: &str) -> StateHandle<'_> {
        StateHandle { states: self, name: name.clone(), uid: uid.to_owned() }
    }

    /// Ends the backoff of an object: something that it depends on has changed.
    pub fn wake(&self, name: &ObjectName) {
        if let Some(object) = self.by_name.lock().get_mut(name) {
            object.backoff_until = None;
            object.is_woken = true;
        }
    }

    /// Whether the last reconcile of an object failed for this reason.
    pub fn is_failing(&self, name: &ObjectName, label: &'static str) -> bool {
        self.by_name.lock().get(name).is_some_and(|object| object.failing == Some(label))
    }

    /// The uids of objects that were replaced by others of the same name since the last call.
    pub fn take_replaced(&self) -> Vec<String> {
        std::mem::take(&mut *self.replaced.lock())
    }

    /// How many objects are known.
    pub fn len(&self) -> usize {
        self.by_name.lock().len() + self.replaced.lock().len()
    }

    /// Forgets an object that is gone: its uid, and what it reached.
    pub fn forget(&self, name: &ObjectName) -> Option<(String, Option<Reach>)> {
        self.by_name.lock().remove(name).map(|object| (object.uid, object.reach))
    }
}

impl StateHandle<'_> {
    fn with<T>(&self, change: impl FnOnce(&mut ObjectState) -> T) -> T {
        let mut by_name = self.states.by_name.lock();
        let object = by_name.entry(self.name.clone()).or_insert_with(|| ObjectState::new(&self.uid, 0));
        if object.uid != self.uid {
            let before = std::mem::replace(object, ObjectState::new(&self.uid, 0));
            self.states.replaced.lock().push(before.uid);
        }
        change(object)
    }

    /// Whether this process has not begun with the object yet.
    pub fn is_new(&self) -> bool {
        self.with(|object| object.generation == 0)
    }

    /// Notes the generation that is being worked on: an edit, and who asks, begin at once. `rest`: how long a set that was at
    /// rest when this process first sees it is left so. Returns what is left of the backoff.
    pub fn begin_reconcile(&self, generation: i64, asked: bool, rest: Option<Duration>) -> Option<Duration> {
        self.with(|object| {
            let is_first = object.generation == 0;
            if object.generation != generation && !is_first {
                object.unannounced = Some(generation);
            }
            if object.generation != generation {
                object.generation = generation;
                object.generation_since = Instant::now();
                object.backoff = None;
                object.backoff_until = None;
            }
            if let Some(rest) = rest.filter(|_| is_first && !object.is_woken) {
                object.backoff_until = Some(Instant::now() + rest);
            }
            if asked {
                object.backoff_until = None;
            }
            object.is_woken = false;
            let left = object.backoff_until.map(|until| until.saturating_duration_since(Instant::now()));
            left.filter(|left| !left.is_zero())
        })
    }

    /// Notes that the set reaches its service template in the CMDB of this URL.
    pub fn note_reach(&self, biz_id: i64, service_template: &ServiceTemplateSelector, url: &str) {
        self.with(|object| {
            let none = || Reach { biz_id, service_template: service_template.clone(), urls: Vec::new() };
            let reach = object.reach.get_or_insert_with(none);
            reach.urls.retain(|known| known != url);
            reach.urls.push(url.to_owned());
            let surplus = reach.urls.len().saturating_sub(2);
            drop(reach.urls.drain(..surplus));
        });
    }

    /// What the set reaches, if it was edited since this was last asked; None too while it is not known to reach anything:
    /// then the edit stays noted.
    pub fn take_edit(&self) -> Option<Reach> {
        self.with(|object| {
            let reach = object.reach.clone()?;
            object.unannounced.take().map(|_| reach)
        })
    }

    /// How long this process has known of the generation that is being worked on.
    pub fn known_for(&self) -> Duration {
        self.with(|object| object.generation_since.elapsed())
    }

    /// Imposes a wait on the next reconcile, whatever wakes it.
    pub fn back_off(&self, wait: Duration) {
        self.with(|object| {
            // What changed meanwhile is looked at at once.
            object.backoff_until = (!object.is_woken).then(|| Instant::now() + wait);
        });
    }

    /// Notes the status that stands. One that somebody else has written is put right at once, whatever the wait.
    pub fn observe_status(&self, status: Option<&ProcessTemplateSetStatus>) {
        let seen = digest(status);
        self.with(|object| {
            if object.status.replace(seen).is_some_and(|known| known != seen) {
                object.backoff_until = None;
            }
        });
    }

    /// Notes the status that we have written.
    pub fn wrote_status(&self, status: &ProcessTemplateSetStatus) {
        let written = digest(Some(status));
        self.with(|object| {
            object.status = Some(written);
            object.has_made_nothing &= status.endpoint.is_none();
        });
    }

    /// Notes that a set without a status gets our finalizer, without which nothing is made that is to be deleted with it.
    pub fn note_made_nothing(&self) {
        self.with(|object| object.has_made_nothing = true);
    }

    /// Whether this process knows that the set has made nothing yet.
    pub fn has_made_nothing(&self) -> bool {
        self.with(|object| object.has_made_nothing)
    }

    /// Notes our own write.
    pub fn wrote(&self, resource_version: &str) {
        let written = outside::resource_version(resource_version);
        self.with(|object| object.written = object.written.max(written));
    }

    /// Notes that a write conflicted: the object has this version now, or a newer one. The next reconcile waits until the watch
    /// has delivered that.
    pub fn note_conflict(&self, version: Option<u64>) {
        self.with(|object| {
            // What the cache shows is read past it if it is still older then.
            object.written = object.written.max(version);
            let count = object.conflict.map_or(0, |conflict| conflict.count).saturating_add(1);
            object.conflict = Some(Conflict { count, needs: object.written, at: Instant::now() });
        });
    }

    /// What is left of the wait after a conflict for a reconcile of this version.
    pub fn conflict_left(&self, resource_version: &str) -> Option<Duration> {
        let seen = outside::resource_version(resource_version);
        self.with(|object| object.conflict.map(|conflict| conflict.left(seen))).filter(|left| !left.is_zero())
    }

    /// Notes that our finalizer was removed from an object that is being deleted: it is gone or about to be, and every copy
    /// in the cache is out of date.
    pub fn note_released(&self) {
        self.with(|object| object.written = Some(u64::MAX));
    }

    /// Whether an object of this resource version is older than our own last write to it.
    pub fn is_outdated(&self, resource_version: &str) -> bool {
        let seen = outside::resource_version(resource_version);
        self.with(|object| object.written.is_some() && seen < object.written)
    }

    /// The wait before the next try.
    pub fn next_backoff(&self) -> Duration {
        let (first, longest) = BACKOFF;
        self.with(|object| {
            let fresh = || {
                let builder = ExponentialBuilder::default().with_min_delay(first).with_max_delay(longest);
                builder.with_jitter().without_max_times().build()
            };
            object.backoff.get_or_insert_with(fresh).next().unwrap_or(longest)
        })
    }

    /// Notes that CMDB was looked at.
    pub fn checked(&self) {
        self.with(|object| {
            object.failing = None;
            object.checked_at = Instant::now();
        });
    }

    /// Notes that nothing is outstanding: the next wait is the first again.
    pub fn reset_backoff(&self) {
        self.with(|object| (object.backoff, object.failing_since) = (None, None));
    }

    /// Notes a failure; for how long it has failed without a success in between.
    pub fn failing_for(&self) -> Duration {
        self.with(|object| object.failing_since.get_or_insert_with(Instant::now).elapsed())
    }

    /// Notes that a look failed; whether for another reason than the last.
    pub fn note_failure(&self, label: &'static str) -> bool {
        self.with(|object| object.failing.replace(label) != Some(label))
    }

    /// Notes that the status cannot tell how things stand; whether it could before.
    pub fn note_unreported(&self) -> bool {
        self.with(|object| !std::mem::replace(&mut object.is_unreported, true))
    }

    /// Whether the status cannot tell how things stand.
    pub fn is_unreported(&self) -> bool {
        self.with(|object| object.is_unreported)
    }

    /// Notes that the status tells how things stand.
    pub fn status_reported(&self) {
        self.with(|object| (object.is_unreported, object.conflict) = (false, None));
    }

    /// How long ago CMDB was looked at, or since when we try.
    pub fn unchecked_for(&self) -> Duration {
        self.with(|object| object.checked_at.elapsed())
    }

    /// Notes when the look was asked for that a set was shown.
    pub fn note_listing(&self, asked_at: Instant) {
        self.with(|object| object.looked_at = asked_at);
    }

    /// Notes whether nothing is outstanding.
    pub fn set_idle(&self, is_idle: bool) {
        self.with(|object| object.is_idle = is_idle);
    }

    /// When the list was requested that an idle set relies on; None: nothing relies on one.
    pub fn listing_relied_on(&self) -> Option<Instant> {
        let by_name = self.states.by_name.lock();
        let object = by_name.get(&self.name)?;
        (object.uid == self.uid && object.is_idle).then_some(object.looked_at)
    }

    /// Notes that the set is Ready in a generation: the time since this process has known of that, if it was not before.
    pub fn note_ready(&self, generation: i64) -> Option<Duration> {
        self.with(|object| {
            let was_ready = object.ready_in.replace(generation) == Some(generation);
            (!was_ready && object.generation == generation).then(|| object.generation_since.elapsed())
        })
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

    use super::RetryState;
    use crate::api::ProcessTemplateSetStatus;
    use crate::controller::names::ObjectName;

    fn name() -> ObjectName {
        ObjectName { namespace: "shop".to_owned(), name: "web".to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_at_rest_is_left_so_when_it_is_first_seen_unless_something_changes() {
        let objects = RetryState::default();
        let rest = Some(Duration::from_mins(5));
        let begin_reconcile = |generation, asked| objects.of(&name(), "uid").begin_reconcile(generation, asked, rest);
        assert_eq!(begin_reconcile(1, false), rest);
        assert_eq!(begin_reconcile(1, false), rest, "it is not begun anew");
        objects.wake(&name());
        assert_eq!(begin_reconcile(1, false), None);
        let edited = RetryState::default();
        assert_eq!(edited.of(&name(), "uid").begin_reconcile(1, false, rest), rest);
        assert_eq!(edited.of(&name(), "uid").begin_reconcile(2, false, None), None);
        assert_eq!(RetryState::default().of(&name(), "uid").begin_reconcile(1, true, None), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_status_that_somebody_else_has_written_ends_the_wait_and_our_own_does_not() {
        let objects = RetryState::default();
        let begin_reconcile = || objects.of(&name(), "uid").begin_reconcile(1, false, None);
        let (ours, theirs) = (
            ProcessTemplateSetStatus::default(),
            ProcessTemplateSetStatus { summary: Some("9/9".to_owned()), ..ProcessTemplateSetStatus::default() },
        );
        let wait = Duration::from_mins(10);
        objects.of(&name(), "uid").observe_status(Some(&theirs));
        assert_eq!(begin_reconcile(), None);
        objects.of(&name(), "uid").wrote_status(&ours);
        objects.of(&name(), "uid").back_off(wait);
        objects.of(&name(), "uid").observe_status(Some(&ours));
        assert_eq!(begin_reconcile(), Some(wait));
        objects.of(&name(), "uid").observe_status(Some(&theirs));
        assert_eq!(begin_reconcile(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_generation_becomes_ready_once_and_a_set_at_rest_relies_on_its_last_look() {
        let objects = RetryState::default();
        let ready = |generation| objects.of(&name(), "uid").note_ready(generation);
        assert_eq!(ready(1), None, "it was when it was first seen");
        objects.of(&name(), "uid").begin_reconcile(1, false, None);
        assert_eq!(ready(1), None);
        objects.of(&name(), "uid").begin_reconcile(2, false, None);
        let wait = Duration::from_secs(7);
        tokio::time::advance(wait).await;
        assert_eq!(ready(2), Some(wait));
        assert_eq!(ready(2), None, "drift that is corrected is no new generation");
        let relied_on = || objects.of(&name(), "uid").listing_relied_on().map(|look| look.elapsed());
        assert_eq!(relied_on(), None);
        objects.of(&name(), "uid").set_idle(true);
        assert_eq!(relied_on(), Some(wait));
        objects.of(&name(), "uid").note_listing(tokio::time::Instant::now());
        assert_eq!(relied_on(), Some(Duration::ZERO));
        assert_eq!(objects.of(&name(), "another").listing_relied_on(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_changes_during_a_reconcile_ends_the_wait_that_it_imposes() {
        let objects = RetryState::default();
        let begin_reconcile = || objects.of(&name(), "uid").begin_reconcile(1, false, None);
        assert_eq!(begin_reconcile(), None);
        objects.wake(&name());
        objects.of(&name(), "uid").back_off(Duration::from_mins(10));
        assert_eq!(begin_reconcile(), None, "it is looked at once more");
        objects.of(&name(), "uid").back_off(Duration::from_mins(10));
        assert_eq!(begin_reconcile(), Some(Duration::from_mins(10)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_conflict_waits_for_the_watch_and_backs_off_where_that_delivers_nothing() {
        let objects = RetryState::default();
        let state = objects.of(&name(), "uid");
        let first = Duration::from_secs(15);
        assert_eq!((state.conflict_left("7"), state.is_outdated("7")), (None, false));
        state.note_conflict(Some(8));
        assert_eq!(state.conflict_left("7"), Some(first));
        assert_eq!(state.conflict_left("8"), Some(Duration::from_millis(50)), "the watch has delivered it");
        tokio::time::advance(first).await;
        assert_eq!((state.conflict_left("7"), state.is_outdated("7")), (None, true), "it is read past the cache");
        state.note_conflict(Some(9));
        assert_eq!(state.conflict_left("8"), Some(first * 2));
        assert_eq!(state.conflict_left("9"), Some(Duration::from_millis(100)));
        state.status_reported();
        assert_eq!(state.conflict_left("8"), None);
        state.note_conflict(Some(10));
        assert_eq!(state.conflict_left("9"), Some(first));
    }
}
