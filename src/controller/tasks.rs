//! Long-lived tasks: each is joined, and one that panics or ends before it is stopped ends the process.
//!
//! # Flow
//! [`Tasks::run_until`] waits for the end of the main task. If another task fails before, it logs one sentence that names the
//! task, makes `/healthz` fail, and cancels the shutdown token, so that the main task finishes its writes and ends. The
//! failure then goes up to the command, which gives the lease back and exits with 1.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::liveness::Liveness;

/// Why the process cannot go on.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskFailure {
    /// A task ended before the shutdown.
    #[error("the task {0:?} ended without being stopped")]
    Ended(&'static str),
    /// A task panicked.
    #[error("the task {task:?} panicked (bug): {message}")]
    Panicked {
        /// Name of the task.
        task: &'static str,
        /// Message of the panic.
        message: String,
    },
    /// A task could not do its work.
    #[error("the task {task:?} failed: {reason}")]
    Failed {
        /// Name of the task.
        task: &'static str,
        /// What failed.
        reason: String,
    },
    /// A task blocks the runtime, and does not stop: what was found.
    #[error("{0}")]
    Stalled(String),
}

/// How a long-lived task ends: by itself at the shutdown, or by a failure of a task that it has started, which was logged.
pub type TaskResult = Result<(), TaskFailure>;

/// The long-lived tasks of one part of the process.
pub struct Tasks {
    running: JoinSet<TaskResult>,
    names: HashMap<Id, &'static str>,
    liveness: Arc<Liveness>,
}

impl Tasks {
    /// No tasks yet.
    pub fn new(liveness: Arc<Liveness>) -> Self {
        Self { running: JoinSet::new(), names: HashMap::new(), liveness }
    }

    /// Starts a task that ends only at the shutdown.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn_fallible(name, async {
            task.await;
            Ok(())
        });
    }

    /// The same for a task that may fail; it logs its failure itself.
    pub fn spawn_fallible(&mut self, name: &'static str, task: impl Future<Output = TaskResult> + Send + 'static) {
        let watched = Arc::clone(&self.liveness).watch(format!("the task {name:?}"), task);
        let id = self.running.spawn(watched).id();
        self.names.insert(id, name);
    }

    /// Waits for the end of the task `main`. A task that fails before cancels `shutdown`; tasks that end after that are no
    /// failure. Returns the first failure.
    ///
    /// # Errors
    /// When a task failed.
    pub async fn run_until(&mut self, main: &'static str, shutdown: &CancellationToken) -> TaskResult {
        let mut first = Ok(());
        while let Some((name, result)) = self.next(shutdown).await {
            if let Err(failure) = result {
                self.liveness.fail(failure.to_string());
                shutdown.cancel();
                first = first.and(Err(failure));
            }
            if name == main {
                break;
            }
        }
        first
    }

    /// Waits for the end of one task. Failures of this late are only logged.
    pub async fn until_ended(&mut self, task: &'static str, shutdown: &CancellationToken) {
        while let Some((name, _)) = self.next(shutdown).await {
            if name == task {
                break;
            }
        }
    }

    /// Waits for the end of all tasks. Failures of this late are only logged.
    pub async fn join(&mut self, shutdown: &CancellationToken) {
        while self.next(shutdown).await.is_some() {}
    }

    async fn next(&mut self, shutdown: &CancellationToken) -> Option<(&'static str, TaskResult)> {
        let (id, result) = match self.running.join_next_with_id().await? {
            Ok((id, result)) => (id, Ok(result)),
            Err(error) => (error.id(), Err(error)),
        };
        let task = self.names.remove(&id).unwrap_or("unknown");
        Some((task, outcome(task, result, shutdown)))
    }
}

/// How a task has ended, which `stop` ends. A failure of its own is logged.
///
/// # Errors
/// When it failed, panicked, or ended before it was stopped.
pub fn outcome(task: &'static str, result: Result<TaskResult, JoinError>, stop: &CancellationToken) -> TaskResult {
    let failure = match result {
        Ok(Ok(())) if stop.is_cancelled() => return Ok(()),
        Ok(Err(failure)) => return Err(failure),
        Ok(Ok(())) => TaskFailure::Ended(task),
        Err(error) => panicked(task, error),
    };
    tracing::error!("{failure}; shutting down");
    Err(failure)
}

// The failure of a task that did not return.
fn panicked(task: &'static str, error: JoinError) -> TaskFailure {
    let Ok(payload) = error.try_into_panic() else { return TaskFailure::Ended(task) };
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message").to_owned();
    TaskFailure::Panicked { task, message }
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use tokio_util::sync::CancellationToken;

    use super::{TaskFailure, Tasks};
    use crate::controller::liveness::Liveness;

    fn until(shutdown: &CancellationToken) -> impl Future<Output = ()> + use<> {
        shutdown.clone().cancelled_owned()
    }

    #[tokio::test]
    async fn a_task_that_ends_or_panics_stops_the_main_task_and_is_named() {
        let ends = TaskFailure::Ended("watch");
        let panics = TaskFailure::Panicked { task: "watch", message: "out of range: 7".to_owned() };
        for expected in [ends, panics] {
            let (liveness, shutdown) = (Arc::<Liveness>::default(), CancellationToken::new());
            let mut tasks = Tasks::new(Arc::clone(&liveness));
            tasks.spawn("main", until(&shutdown));
            tasks.spawn("other", pending());
            let does_panic = expected != TaskFailure::Ended("watch");
            tasks.spawn("watch", async move { assert!(!does_panic, "out of range: {}", 7) });
            assert_eq!(tasks.run_until("main", &shutdown).await, Err(expected.clone()));
            assert_eq!(liveness.failure(), Some(expected.to_string()));
        }
    }

    #[tokio::test]
    async fn tasks_that_end_at_the_shutdown_are_no_failure() {
        let (liveness, shutdown) = (Arc::<Liveness>::default(), CancellationToken::new());
        let mut tasks = Tasks::new(Arc::clone(&liveness));
        tasks.spawn("main", until(&shutdown));
        tasks.spawn("watch", until(&shutdown));
        shutdown.cancel();
        assert_eq!(tasks.run_until("main", &shutdown).await, Ok(()));
        tasks.join(&shutdown).await;
        assert_eq!(liveness.problem(), None);
    }
}
