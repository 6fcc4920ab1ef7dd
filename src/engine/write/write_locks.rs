//! One writer at a time for each scope.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Notify, OwnedMutexGuard};
use tokio::time::timeout;

/// Turns to write, by key.
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
    // Those who write and those who wait to.
    members: usize,
    empty: Arc<Notify>,
}

/// A turn to write; the next one begins when it is dropped.
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
        let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(queue) = queues.get_mut(&self.key) else { return };
        queue.members -= 1;
        if queue.members == 0 {
            queue.empty.notify_waiters();
            queues.remove(&self.key);
        }
    }
}

impl<K: Hash + Eq + Clone> WriteLocks<K> {
    /// Waits for the turn.
    pub async fn take(&self, key: &K) -> WriteGuard<K> {
        let lock = {
            let mut queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let queue = queues.entry(key.clone()).or_default();
            queue.members += 1;
            Arc::clone(&queue.lock)
        };
        let member = Member { queues: Arc::clone(&self.queues), key: key.clone() };
        WriteGuard { _guard: lock.lock_owned().await, _member: member }
    }

    /// Waits until nobody writes or wants to, at most so long: what many wrote is then confirmed by one list.
    pub async fn quiet(&self, key: &K, at_most: Duration) {
        let empty = {
            let queues = self.queues.lock().unwrap_or_else(PoisonError::into_inner);
            queues.get(key).map(|queue| Arc::clone(&queue.empty).notified_owned())
        };
        if let Some(empty) = empty {
            // Somebody else's writes may go on for ever; our own confirmation may not wait for that.
            let _ = timeout(at_most, empty).await;
        }
    }
}
