//! Lists that many sets share: one snapshot for each key.
//!
//! *Flow.* A reader asks the [`SnapshotCache`] for the [`SnapshotCell`] of its key, and the cell for a snapshot that is not
//! older than some moment ([`SnapshotCell::get`]). A snapshot that is fresh enough is shared; else the reader calls CMDB
//! while the others that want this key wait for the cell. After a clean write of ours its effect is folded into the
//! snapshot ([`SnapshotCell::fold`]); after any other write the snapshot is dropped ([`SnapshotCell::forget`]).
//!
//! *Guarantees.*
//! * Single flight: at most one read of a key is in flight.
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
//!   so a fold must be right when it is applied twice, or be followed by a list that is younger than the write.
//! * Cells that were not asked for in an hour are dropped when a new key comes. One that is still in use then lives on
//!   beside its successor.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cmdb;

// Cells that were not asked for in this time are dropped.
const UNUSED_FOR: Duration = Duration::from_hours(1);

/// A list and the moment when it was asked for: it shows every write that had finished by then.
#[derive(Debug)]
pub struct Snapshot<T> {
    /// What was read.
    pub value: Arc<T>,
    /// When it was asked for.
    pub asked_at: Instant,
}

impl<T> Clone for Snapshot<T> {
    fn clone(&self) -> Self {
        Self { value: Arc::clone(&self.value), asked_at: self.asked_at }
    }
}

/// The last snapshot of each key.
#[derive(Debug)]
pub struct SnapshotCache<K, T> {
    cells: parking_lot::Mutex<HashMap<K, Used<T>>>,
}

// A cell, and when it was asked for last.
#[derive(Debug)]
struct Used<T> {
    cell: Arc<SnapshotCell<T>>,
    used_at: Instant,
}

impl<K, T> Default for SnapshotCache<K, T> {
    fn default() -> Self {
        Self { cells: parking_lot::Mutex::default() }
    }
}

impl<K: Hash + Eq, T> SnapshotCache<K, T> {
    /// The cell of a key.
    pub fn cell(&self, key: K) -> Arc<SnapshotCell<T>> {
        let mut cells = self.cells.lock();
        if !cells.contains_key(&key) {
            cells.retain(|_, used| used.used_at.elapsed() < UNUSED_FOR);
        }
        let used = cells.entry(key).or_insert_with(|| Used { cell: Arc::default(), used_at: Instant::now() });
        used.used_at = Instant::now();
        Arc::clone(&used.cell)
    }
}

/// The last snapshot of one key.
#[derive(Debug)]
pub struct SnapshotCell<T> {
    // Locked while a read is in flight.
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    last: Option<Snapshot<T>>,
    // The last read that failed, and when it did.
    failed: Option<(Instant, Arc<cmdb::Error>)>,
}

impl<T> Default for SnapshotCell<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { last: None, failed: None }) }
    }
}

impl<T> SnapshotCell<T> {
    /// The last snapshot if it was asked for at `not_before` or later, else a new one, which `read` gets.
    ///
    /// # Errors
    /// Those of the read, or of the read that this call waited for.
    pub async fn get<F>(&self, not_before: Instant, read: F) -> Result<Snapshot<T>, Arc<cmdb::Error>>
    where
        F: Future<Output = Result<T, cmdb::Error>> + Send,
    {
        // Wait for the read that is in flight, and share its result.
        let arrived = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(snapshot) = state.last.as_ref().filter(|snapshot| snapshot.asked_at >= not_before) {
            return Ok(snapshot.clone());
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(failed_at, _)| *failed_at >= arrived) {
            return Err(Arc::clone(error));
        }

        // Read.
        let asked_at = Instant::now();
        match read.await {
            Ok(value) => {
                let snapshot = Snapshot { value: Arc::new(value), asked_at };
                state.last = Some(snapshot.clone());
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
        }
    }

    /// Folds in the known effect of a clean write of ours. The snapshot stays as old as it was.
    pub async fn fold(&self, change: impl FnOnce(&mut T))
    where
        T: Clone,
    {
        if let Some(snapshot) = &mut self.state.lock().await.last {
            change(Arc::make_mut(&mut snapshot.value));
        }
    }

    /// Drops the snapshot: the effect of a write is not known.
    pub async fn forget(&self) {
        self.state.lock().await.last = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Notify;
    use tokio::time::Instant;

    use super::SnapshotCell;
    use crate::cmdb::{Error, Operation, Refusal};

    #[tokio::test]
    async fn a_reader_that_waited_behind_a_call_that_was_not_sent_reads_for_itself() {
        let operation = Operation::ListProcessTemplates;
        for not_sent in [
            Error::Busy { operation, retry_after: Duration::from_secs(1) },
            Error::NotGranted { operation, refusal: Refusal::NotGranted },
            Error::Ending { operation },
        ] {
            let (shared, refused) = (Arc::new(SnapshotCell::default()), Arc::new(Notify::new()));
            let poll = shared.get(Instant::now(), async {
                refused.notified().await;
                Err(not_sent.clone())
            });
            let work = shared.get(Instant::now(), async { Ok(7) });
            let (poll, work, ()) = tokio::join!(poll, work, async { refused.notify_one() });
            assert!(poll.is_err());
            assert_eq!(*work.unwrap().value, 7, "{not_sent}");
        }
    }
}
