//! The pulse of one reconcile: it is stopped between calls, never within one.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::engine::Error;

/// Tells a reconcile when to stop, and its supervisor whether it still gets on.
#[derive(Debug)]
pub struct Progress {
    stop: CancellationToken,
    last_beat: Mutex<Option<Instant>>,
}

impl Progress {
    /// A pulse that stops with `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, last_beat: Mutex::new(Some(Instant::now())) }
    }

    /// Called between calls: notes progress.
    ///
    /// # Errors
    /// [`Error::Stopped`] when no further call may begin.
    pub fn checkpoint(&self) -> Result<(), Error> {
        *self.lock() = Some(Instant::now());
        if self.stop.is_cancelled() { Err(Error::Stopped) } else { Ok(()) }
    }

    /// Does what goes on for a while when this reconcile is told to stop.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it has not ended by then.
    pub async fn run_for_grace<T>(
        &self,
        a_while: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = async {
            self.stop.cancelled().await;
            sleep(a_while).await;
        };
        tokio::select! {
            result = work => result,
            () = late => Err(Error::Stopped),
        }
    }

    /// Waits for others, whose progress this reconcile does not see, or for CMDB, in whose line others come first, and whose
    /// calls have a limit of their own: that time does not count.
    pub fn excluding_wait<T>(&self, wait: impl Future<Output = T>) -> impl Future<Output = T> {
        // On the heap, or each of a reconcile's waits would count for its size.
        let wait = Box::pin(wait);
        async move {
            *self.lock() = None;
            let _waiting = Waiting(self);
            wait.await
        }
    }

    /// Ends, and stops the reconcile, when there was no progress for `limit`.
    pub async fn expired(&self, limit: Duration) {
        loop {
            let last_beat = self.lock().unwrap_or_else(Instant::now);
            if last_beat.elapsed() >= limit {
                self.stop.cancel();
                return;
            }
            sleep_until(last_beat + limit).await;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.last_beat.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

// Also a wait that is given up has ended.
struct Waiting<'a>(&'a Progress);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.0.lock() = Some(Instant::now());
    }
}
