//! One reading shared by all who want it: single flight, as fresh as each of them asks.

use std::sync::Arc;

use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::cmdb;

/// A reading and the moment when it was asked for: it shows everything that had ended by then.
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

/// The last reading of one thing.
#[derive(Debug)]
pub struct SnapshotCell<T> {
    state: Mutex<State<T>>,
}

#[derive(Debug)]
struct State<T> {
    last: Option<Snapshot<T>>,
    failed: Option<(Instant, Arc<cmdb::Error>)>,
}

impl<T> Default for SnapshotCell<T> {
    fn default() -> Self {
        Self { state: Mutex::new(State { last: None, failed: None }) }
    }
}

impl<T> SnapshotCell<T> {
    /// The last reading if it was asked for at `not_before` or later, else a new one. Who waits while another reads
    /// shares that one's result, also when it fails; but not that the call of that one might not begin, for each has its own.
    pub async fn get<F>(&self, not_before: Instant, read: F) -> Result<Snapshot<T>, Arc<cmdb::Error>>
    where
        F: Future<Output = Result<T, cmdb::Error>> + Send,
    {
        let arrived = Instant::now();
        let mut state = self.state.lock().await;
        if let Some(snapshot) = state.last.as_ref().filter(|snapshot| snapshot.asked_at >= not_before) {
            return Ok(snapshot.clone());
        }
        if let Some((_, error)) = state.failed.as_ref().filter(|(ended, _)| *ended >= arrived) {
            return Err(Arc::clone(error));
        }
        let asked_at = Instant::now();
        match read.await {
            Ok(value) => {
                let snapshot = Snapshot { value: Arc::new(value), asked_at };
                state.last = Some(snapshot.clone());
                Ok(snapshot)
            }
            Err(error @ (cmdb::Error::Busy { .. } | cmdb::Error::Ending { .. })) => Err(Arc::new(error)),
            Err(error) => {
                let error = Arc::new(error);
                state.failed = Some((Instant::now(), Arc::clone(&error)));
                Err(error)
            }
        }
    }

    /// Folds in what a clean write of ours is known to have done. The reading stays as old as it was.
    pub async fn fold(&self, change: impl FnOnce(&mut T))
    where
        T: Clone,
    {
        if let Some(snapshot) = &mut self.state.lock().await.last {
            change(Arc::make_mut(&mut snapshot.value));
        }
    }

    /// Forgets the reading: nobody knows what a write has done.
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
    use crate::cmdb::{Error, Operation};

    #[tokio::test]
    async fn who_waited_behind_one_whose_turn_it_was_not_reads_for_itself() {
        let (shared, refused) = (Arc::new(SnapshotCell::default()), Arc::new(Notify::new()));
        let poll = shared.get(Instant::now(), async {
            refused.notified().await;
            Err(Error::Busy { operation: Operation::ListProcessTemplates, retry_after: Duration::from_secs(1) })
        });
        let work = shared.get(Instant::now(), async { Ok(7) });
        let (poll, work, ()) = tokio::join!(poll, work, async { refused.notify_one() });
        assert!(poll.is_err());
        assert_eq!(*work.unwrap().value, 7);
    }
}
