//! Progress of one reconcile, and its end: it is stopped between calls to CMDB, never within one.
//!
//! A reconcile whose set has changed meanwhile is *superseded*: its waits end at once, and the next reconcile works with what
//! the set is now. What is in flight is waited for, and what it gave is stored.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::error::Error;

/// Tells a reconcile when to stop, and its supervisor whether it makes progress.
#[derive(Debug)]
pub struct Progress {
    stop: CancellationToken,
    superseded: CancellationToken,
    // When it last made progress. None: it waits for something that has a limit of its own.
    moved_at: Mutex<Option<Instant>>,
}

impl Progress {
    /// Progress of a reconcile that is stopped with `stop`.
    #[must_use]
    pub fn new(stop: CancellationToken) -> Self {
        Self { stop, superseded: CancellationToken::new(), moved_at: Mutex::new(Some(Instant::now())) }
    }

    /// The same, whose waits end with `superseded`: its set has changed.
    #[must_use]
    pub fn superseded_with(self, superseded: CancellationToken) -> Self {
        Self { superseded, ..self }
    }

    /// Cancelled when the set has changed.
    #[must_use]
    pub fn superseded(&self) -> &CancellationToken {
        &self.superseded
    }

    /// Called between calls: notes progress.
    ///
    /// # Errors
    /// [`Error::Stopped`] when no further call may start, [`Error::Outdated`] when the set has changed.
    pub fn checkpoint(&self) -> Result<(), Error> {
        self.note();
        if self.stop.is_cancelled() {
            return Err(Error::Stopped);
        }
        if self.superseded.is_cancelled() { Err(Error::Outdated) } else { Ok(()) }
    }

    /// What stopped the reconcile: a call that was not sent, because the set has changed, is [`Error::Outdated`].
    #[must_use]
    pub fn cause_of(&self, error: Error) -> Error {
        let is_superseded = self.superseded.is_cancelled() && !self.stop.is_cancelled();
        if is_superseded && matches!(error, Error::Stopped) { Error::Outdated } else { error }
    }

    /// Does work that is not stopped at once: it has `grace` after the reconcile was stopped.
    ///
    /// # Errors
    /// [`Error::Stopped`] when it has not finished by then.
    pub async fn run_for_grace<T>(
        &self,
        grace: Duration,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let late = async {
            self.stop.cancelled().await;
            sleep(grace).await;
        };
        tokio::select! {
            result = work => result,
            () = late => Err(Error::Stopped),
        }
    }

    /// Waits for another reconcile, whose progress this one does not see, or for CMDB, where calls queue behind others and
    /// have a limit of their own: that time does not count as time without progress.
    pub fn excluding_wait<T>(&self, wait: impl Future<Output = T>) -> impl Future<Output = T> {
        // On the heap: else the future of a reconcile would be as large as all its waits together.
        let wait = Box::pin(wait);
        async move {
            *self.moved_at.lock() = None;
            let _waiting = Waiting(self);
            wait.await
        }
    }

    /// Waits for something that can be given up at any moment: neither a call nor what is stored after one. That time does not
    /// count as time without progress either.
    ///
    /// # Errors
    /// [`Error::Outdated`] when the set has changed.
    pub async fn wait_for<T>(&self, wait: impl Future<Output = T>) -> Result<T, Error> {
        let wait = self.excluding_wait(wait);
        tokio::select! {
            biased;
            () = self.superseded.cancelled() => Err(Error::Outdated),
            waited = wait => Ok(waited),
        }
    }

    /// Finishes, and stops the reconcile, when there was no progress for `limit`.
    pub async fn expired(&self, limit: Duration) {
        loop {
            let last_progress = self.moved_at.lock().unwrap_or_else(Instant::now);
            if last_progress.elapsed() >= limit {
                self.stop.cancel();
                return;
            }
            sleep_until(last_progress + limit).await;
        }
    }

    fn note(&self) {
        *self.moved_at.lock() = Some(Instant::now());
    }
}

// Dropped with a wait, also with one that is given up.
struct Waiting<'a>(&'a Progress);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.note();
    }
}
