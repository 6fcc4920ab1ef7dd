//! Lists that many sets share: one snapshot for each key.
//!
//! *Flow.* A reader asks the [`SnapshotCache`] for the [`SnapshotCell`] of its key, and the cell for a snapshot that is not
//! older than some moment ([`SnapshotCell::get`]). A snapshot that is fresh enough is shared; else the reader calls CMDB
//! while the others that want this key wait for the cell. After a clean write of ours its effect is folded into the
//! snapshot ([`SnapshotCell::fold`]); after any other write the snapshot is dropped ([`SnapshotCell::forget`]).
//!
//! *Guarantees.*
//! * Single flight: at most one read of a key is in flight. It waits for the limiter in the lanes of all that wait for it
//!   ([`SnapshotCell::lanes`]): a namespace does not wait longer because another one asked first.
//! * A reader that waits for the read of another gives up as soon as its set has changed; one that reads itself, only
//!   before its call is sent.
//! * Freshness: a snapshot is as old as the moment before its read was sent, so it shows every write that had finished by
//!   then. Folding does not make it younger: what others have written since is still missing.
//! * A reader that waited shares the result of the read that it waited for, also its error. Not shared are
//!   [`cmdb::Error::Busy`], [`cmdb::Error::NotGranted`] and [`cmdb::Error::Ending`]: they say that one caller's call did
//!   not start, and each caller has a priority and grants of its own.
//!
//! *Assumptions.* One key is one view of CMDB: it contains the connection with its credentials, because CMDB may show each
//! user something else. Whether a caller may see it at all is checked by the caller, before and after.
//!
//! *Caveats.*
//! * A fold waits while a read is in flight, and then changes that read's snapshot. The read may show the write already,
//!   so a fold must be right when it is applied twice, or be followed by a list that is younger than the write. A set that
//!   has changed does not wait: the snapshot is dropped instead.
//! * Cells that were not asked for in an hour are dropped when a new key comes, and those of a connection that is gone
//!   ([`SnapshotCache::forget`]). One that is still in use then lives on beside its successor.
//! * All snapshots of a cache together are kept up to its bound ([`KEPT_BYTES`], or less) and a quarter. One that does not fit is shared only
//!   while a reader still holds it, and read again after that; those that were not asked for longest then make room.
//! * A snapshot has its share of the memory for lists ([`ListShare`]) until the cache and every reader have dropped it. A fold
//!   that would have to copy what a reader holds drops the snapshot instead: the copy has no share.

use std::collections::HashMap;
use std::fmt::{self, Debug, Write as _};
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cmdb::{self, Lanes, ListShare};
use crate::engine::error::Error;
use crate::engine::progress::Progress;

// Cells that were not asked for in this time are dropped.
const UNUSED_FOR: Duration = Duration::from_hours(1);

// Size of the snapshots that a cache keeps without a reader, in bytes: enough for the lists of hundreds of service templates
// with many sets each. Readers of a list that is not kept read it again, so nothing but sharing depends on it.
const KEPT_BYTES: usize = 8 << 20;

/// A list and the moment when it was asked for: it shows every write that had finished by then.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// What was read.
    pub value: Arc<T>,
    /// Its share of the memory for lists: to be kept as long as the list.
    pub share: Arc<ListShare>,
    /// When it was asked for.
    pub asked_at: Instant,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), share: Arc::clone(&self.share), asked_at: self.asked_at }
    }
}

/// The last snapshot of each key.
#[derive(Debug)]
pub struct SnapshotCache<K, T> {
    cells: parking_lot::Mutex<HashMap<K, Used<T>>>,
    total: Arc<Total>,
}

// What all cells of a cache keep.
#[derive(Debug)]
struct Total {
    bytes: AtomicUsize,
    most: usize,
    // Something was not kept, because others were.
    is_full: AtomicBool,
}

impl Default for Total {
    fn default() -> Self {
        Self { bytes: AtomicUsize::default(), most: KEPT_BYTES, is_full: AtomicBool::default() }
    }
}

// A cell, and when it was asked for last.
#[derive(Debug)]
struct Used<T> {
    cell: Arc<SnapshotCell<T>>,
    used_at: Instant,
}

impl<K, T> Default for SnapshotCache<K, T> {
    fn default() -> Self {
        Self { cells: parking_lot::Mutex::default(), total: Arc::default() }
    }
}

impl<K: Hash + Eq, T> SnapshotCache<K, T> {
    /// A cache that keeps snapshots up to this size.
    pub fn keeping(most: usize) -> Self {
        Self { cells: parking_lot::Mutex::default(), total: Arc::new(Total { most, ..Total::default() }) }
    }

    /// The cell of a key.
    pub fn cell(&self, key: K) -> Arc<SnapshotCell<T>> {
        let mut cells = self.cells.lock();
        if !cells.contains_key(&key) {
            cells.retain(|_, used| used.used_at.elapsed() < UNUSED_FOR);
        }
        if self.total.is_full.swap(false, Ordering::Relaxed) {
            self.shrink(&cells);
        }
        let used = cells.entry(key).or_insert_with(|| {
            let kept = Kept { bytes: AtomicUsize::default(), total: Arc::clone(&self.total) };
            Used { cell: Arc::new(SnapshotCell { kept, ..SnapshotCell::default() }), used_at: Instant::now() }
        });
        used.used_at = Instant::now();
        Arc::clone(&used.cell)
    }

    /// Drops the snapshots of these keys, also those of reads that are in flight.
    pub fn forget_snapshots(&self, is_outdated: impl Fn(&K) -> bool) {
        for (_, used) in self.cells.lock().iter().filter(|(key, _)| is_outdated(key)) {
            used.cell.forget();
        }
    }

    /// Drops the cells of these keys.
    pub fn forget(&self, is_gone: impl Fn(&K) -> bool) {
        self.cells.lock().retain(|key, _| !is_gone(key));
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.cells.lock().len()
    }

    fn kept_bytes(&self) -> usize {
        self.total.bytes.load(Ordering::Relaxed)
    }

    // To three quarters, so that it is rarely needed.
    fn shrink(&self, cells: &HashMap<K, Used<T>>) {
        let mut oldest_first: Vec<&Used<T>> = cells.values().collect();
        oldest_first.sort_by_key(|used| used.used_at);
        for used in oldest_first {
            if self.kept_bytes() <= self.total.most / 4 * 3 {
                return;
            }
            used.cell.keep_while_used();
        }
    }
}

/// The last snapshot of one key.
#[derive(Debug)]
pub struct SnapshotCell<T> {
    // Locked while a read is in flight.
    state: Mutex<State<T>>,
    // Counts the writes whose effect is not known: what was asked for before the last of them may not show it.
    forgotten: AtomicU64,
    lanes: Lanes,
    kept: Kept,
}

// How much one cell keeps, as a part of what its cache keeps.
#[derive(Debug, Default)]
struct Kept {
    bytes: AtomicUsize,
    total: Arc<Total>,
}

impl Kept {
    fn set(&self, bytes: usize) {
        let before = self.bytes.swap(bytes, Ordering::Relaxed);
        self.total.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.total.bytes.fetch_sub(before, Ordering::Relaxed);
    }

    // Returns whether there is room for this instead of what was kept.
    fn replace(&self, bytes: usize) -> bool {
        self.set(bytes);
        let (total, most) = (self.total.bytes.load(Ordering::Relaxed), self.total.most);
        if total <= most {
            return true;
        }
        self.total.is_full.store(true, Ordering::Relaxed);
        // The last one is the most likely to be asked for again: the next reader makes room for it.
        let is_small = bytes <= most / 4 && total <= most + most / 4;
        if !is_small {
            self.set(0);
        }
        is_small
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[derive(Debug)]
struct State<T> {
    last: Option<Last<T>>,
    // The last read that failed, and when it did.
    failed: Option<(Instant, Arc<cmdb::Error>)>,
}

// The last snapshot.
#[derive(Debug)]
struct Last<T> {
    // Count of forgotten writes when it was asked for.
    forgotten: u64,
    asked_at: Instant,
    // None: it is there only while a reader holds it.
    kept: Option<(Arc<T>, Arc<ListShare>)>,
    value: Weak<T>,
    share: Weak<ListShare>,
}

impl<T> Last<T> {
    fn new(forgotten: u64, Snapshot { value, share, asked_at }: Snapshot<T>, is_kept: bool) -> Self {
        let (weak_value, weak_share) = (Arc::downgrade(&value), Arc::downgrade(&share));
        let kept = is_kept.then_some((value, share));
        Self { forgotten, asked_at, kept, value: weak_value, share: weak_share }
    }

    fn snapshot(&self) -> Option<Snapshot<T>> {
        Some(Snapshot { value: self.value.upgrade()?, share: self.share.upgrade()?, asked_at: self.asked_at })
    }
}

impl<T> Default for SnapshotCell<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State { last: None, failed: None }),
            forgotten: AtomicU64::default(),
            lanes: Lanes::default(),
            kept: Kept::default(),
        }
    }
}

impl<T> SnapshotCell<T> {
    /// The namespaces of all that wait for this cell: a read of it queues in their lanes.
    pub fn lanes(&self) -> Lanes {
        self.lanes.clone()
    }

    /// The last snapshot if it was asked for at `not_before` or later, else a new one, which `read` gets. In the name of a set
    /// of this namespace.
    ///
    /// # Errors
    /// [`Error::Outdated`] when the set has changed; within, those of the read, or of the read that this call waited for.
    pub async fn get<F>(
        &self,
        not_before: Instant,
        namespace: &str,
        progress: &Progress,
        read: F,
    ) -> Result<Result<Snapshot<T>, Arc<cmdb::Error>>, Error>
    where
        F: Future<Output = Result<(T, ListShare), cmdb::Error>> + Send,
        T: Debug,
    {
        // Wait for the read that is in flight, and share its result.
        let arrived = Instant::now();
        let _member = self.lanes.join(namespace);
        let mut state = progress.wait_for(self.state.lock()).await?;
        let forgotten = self.forgotten.load(Ordering::Relaxed);
        if let Some(last) = &state.last
            && last.forgotten == forgotten
            && last.asked_at >= not_before
            && let Some(snapshot) = last.snapshot()
        {
            return Ok(Ok(snapshot));
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(failed_at, _)| *failed_at >= arrived) {
            return Ok(Err(Arc::clone(error)));
        }

        // Read.
        let asked_at = Instant::now();
        Ok(match progress.excluding_wait(read).await {
            Ok((value, share)) => {
                let snapshot = Snapshot { value: Arc::new(value), share: Arc::new(share), asked_at };
                let is_kept = self.kept.replace(size(&*snapshot.value));
                state.last = Some(Last::new(forgotten, snapshot.clone(), is_kept));
                Ok(snapshot)
            }
            Err(error @ (cmdb::Error::Busy { .. } | cmdb::Error::NotGranted { .. } | cmdb::Error::Ending { .. })) => {
                Err(Arc::new(error))
            }
            Err(error) => {
                let error = Arc::new(error);
                state.failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        })
    }

    /// Folds in the known effect of a clean write of ours. The snapshot stays as old as it was.
    pub async fn fold(&self, progress: &Progress, change: impl FnOnce(&mut T))
    where
        T: Debug,
    {
        match progress.wait_for(self.state.lock()).await {
            Ok(mut state) => {
                let Some(last) = state.last.take() else { return };
                // Where no reader holds it, the next one reads it.
                let Some(mut snapshot) = last.snapshot() else { return };
                let forgotten = last.forgotten;
                drop(last);
                self.kept.set(0);
                let Some(value) = Arc::get_mut(&mut snapshot.value) else { return };
                change(value);
                let is_kept = self.kept.replace(size(&*snapshot.value));
                state.last = Some(Last::new(forgotten, snapshot, is_kept));
            }
            Err(_) => self.forget(),
        }
    }

    /// Drops the snapshot, and that of the read that is in flight: the effect of a write is not known.
    pub fn forget(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    // From now on the snapshot is there only while a reader holds it. One that is being read stays.
    fn keep_while_used(&self) {
        let Ok(mut state) = self.state.try_lock() else { return };
        if let Some(last) = &mut state.last {
            last.kept = None;
        }
        self.kept.set(0);
    }
}

// About how much memory a value takes: what it looks like as text.
fn size(value: &impl Debug) -> usize {
    struct Counter(usize);

    impl fmt::Write for Counter {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            self.0 += text.len();
            Ok(())
        }
    }

    let mut counter = Counter(0);
    // It never fails.
    let _ = write!(counter, "{value:?}");
    counter.0
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::{Instant, sleep};
    use tokio_util::sync::CancellationToken;

    use super::{KEPT_BYTES, SnapshotCache, SnapshotCell};
    use crate::cmdb::{Error, ListShare, Operation, Refusal};
    use crate::engine::progress::Progress;

    fn listed<T>(value: T) -> (T, ListShare) {
        (value, ListShare::default())
    }

    #[tokio::test]
    async fn a_reader_that_waited_behind_a_call_that_was_not_sent_reads_for_itself() {
        let operation = Operation::ListProcessTemplates;
        for not_sent in [
            Error::Busy { operation, retry_after: Duration::from_secs(1) },
            Error::NotGranted { operation, refusal: Refusal::NotGranted },
            Error::Ending { operation },
        ] {
            let (shared, refused) = (Arc::new(SnapshotCell::default()), Arc::new(Notify::new()));
            let progress = Progress::new(CancellationToken::new());
            let poll = shared.get(Instant::now(), "shop", &progress, async {
                refused.notified().await;
                Err(not_sent.clone())
            });
            let work = shared.get(Instant::now(), "shop", &progress, async { Ok(listed(7)) });
            let (poll, work, ()) = tokio::join!(poll, work, async { refused.notify_one() });
            assert!(poll.unwrap().is_err());
            assert_eq!(*work.unwrap().unwrap().value, 7, "{not_sent}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn large_lists_that_no_reader_holds_are_kept_up_to_a_bound() {
        const MIB: usize = 1 << 20;
        let (cache, progress) = (SnapshotCache::<usize, String>::default(), Progress::new(CancellationToken::new()));
        let started = Instant::now();
        let get = async |key: usize, letter: &str| {
            tokio::time::advance(Duration::from_millis(1)).await;
            let text = async { Ok(listed(letter.repeat(MIB))) };
            cache.cell(key).get(started, "shop", &progress, text).await.unwrap().unwrap()
        };
        let held = get(0, "a").await;
        for key in 1..140 {
            get(key, "a").await;
        }
        println!("lists: lists={} list_bytes={MIB} kept_bytes={}", cache.len(), cache.kept_bytes());
        assert!(cache.kept_bytes() <= KEPT_BYTES + 2 * MIB, "{}", cache.kept_bytes());
        assert!(get(0, "b").await.value.starts_with('a'), "a reader holds it");
        assert!(get(139, "b").await.value.starts_with('a'), "it was asked for last");
        assert!(get(1, "b").await.value.starts_with('b'), "it was read again");

        drop(held);
        for key in 2..140 {
            cache.cell(key).fold(&progress, |value| value.push('c')).await;
        }
        assert!(get(139, "b").await.value.ends_with('c'));
        cache.forget(|_| true);
        assert_eq!((cache.len(), cache.kept_bytes()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_that_has_changed_does_not_wait_for_the_read_of_another() {
        let (cell, superseded) = (SnapshotCell::<u8>::default(), CancellationToken::new());
        let progress = Progress::new(CancellationToken::new()).superseded_with(superseded.clone());
        let other = Progress::new(CancellationToken::new());
        let reads = cell.get(Instant::now(), "bank", &other, async {
            sleep(Duration::from_secs(20)).await;
            Ok(listed(7))
        });
        let waits = async {
            let waits = cell.get(Instant::now(), "shop", &progress, async { Ok(listed(8)) });
            let folds = cell.fold(&progress, |value| *value = 9);
            let (waited, (), ()) = tokio::join!(waits, folds, async { superseded.cancel() });
            (waited, Instant::now())
        };
        let started = Instant::now();
        let (read, (waited, at)) = tokio::join!(reads, waits);
        assert!(matches!(waited, Err(super::Error::Outdated)) && at == started);
        assert_eq!(*read.unwrap().unwrap().value, 7);
        let again = cell.get(started, "shop", &other, async { Ok(listed(9)) }).await.unwrap().unwrap();
        assert_eq!(*again.value, 9, "the read does not show what was to be folded in");
    }
}
