//! One writer at a time for each scope.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use tokio::time::timeout;

/// Locks for writers, by key.
#[derive(Debug)]
pub struct WriteLocks<K> {
    queues: Arc<Mutex<HashMap<K, Queue>>>,
}

impl<K> Default for WriteLocks<K> {
    fn default() -> Self {
        Self { queues: Arc::default() }
    }
}

#[derive(Clone, Debug, Default)]
struct Queue {
    lock: Arc<AsyncMutex<()>>,
    // Writers and those that wait for the lock.
    members: usize,
    empty: Arc<Notify>,
}

/// Permission to write; dropped, it gives the lock to the next writer.
#[derive(Debug)]
pub struct WriteGuard<K: Hash + Eq> {
    _guard: OwnedMutexGuard<()>,
    _member: Member<K>,
}

#[derive(Debug)]
struct Member<K: Hash + Eq> {
    queues: Arc<Mutex<HashMap<K, Queue>>>,
    key: K,
}

impl<K: Hash + Eq> Drop for Member<K> {
    fn drop(&mut self) {
        let mut queues = self.queues.lock();
        let Some(queue) = queues.get_mut(&self.key) else { return };
        queue.members -= 1;
        if queue.members == 0 {
            queue.empty.notify_waiters();
            queues.remove(&self.key);
        }
    }
}

impl<K: Hash + Eq + Clone> WriteLocks<K> {
    /// Waits for the lock of this key.
    pub async fn take(&self, key: &K) -> WriteGuard<K> {
        let lock = {
            let mut queues = self.queues.lock();
            let queue = queues.entry(key.clone()).or_default();
            queue.members += 1;
            Arc::clone(&queue.lock)
        };
        let member = Member { queues: Arc::clone(&self.queues), key: key.clone() };
        WriteGuard { _guard: lock.lock_owned().await, _member: member }
    }

    /// Waits until no writer has the lock or waits for it, at most for `at_most`: one list then confirms the writes of many.
    pub async fn quiet(&self, key: &K, at_most: Duration) {
        let empty = {
            let queues = self.queues.lock();
            queues.get(key).map(|queue| Arc::clone(&queue.empty).notified_owned())
        };
        if let Some(empty) = empty {
            // Others may write without a pause; our own confirmation must not wait for that.
            let _ = timeout(at_most, empty).await;
        }
    }
}
