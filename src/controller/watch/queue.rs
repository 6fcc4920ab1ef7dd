//! The sets whose reconcile is due and has not begun. kube keeps them and does not tell how many; but all that makes one due
//! passes here: what the watches deliver, what wakes a set, and the end of the wait that its last reconcile asked for.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio::time::Instant;

use crate::controller::names::ObjectName;

/// The sets whose reconcile is due, and those that are being reconciled.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    // When the next reconcile of each set is due.
    due: HashMap<ObjectName, Instant>,
    running: usize,
}

impl Queue {
    /// A reconcile of this set is due now.
    pub fn note_due(&self, set: ObjectName) {
        self.lock().due_at(set, Instant::now());
    }

    /// It begins.
    pub fn note_start(&self, set: &ObjectName) {
        let mut state = self.lock();
        state.due.remove(set);
        state.running += 1;
    }

    /// It has ended; the next is due after this long, if nothing wakes the set before.
    pub fn note_end(&self, set: ObjectName, next: Option<Duration>) {
        let mut state = self.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(at) = next.and_then(|next| Instant::now().checked_add(next)) {
            state.due_at(set, at);
        }
    }

    /// The set is gone: its reconcile will not begin.
    pub fn forget(&self, set: &ObjectName) {
        self.lock().due.remove(set);
    }

    /// Reconciles that are due and have not begun: also of sets whose last one is still running.
    pub fn waiting(&self) -> usize {
        let now = Instant::now();
        self.lock().due.values().filter(|due| **due <= now).count()
    }

    /// How many sets have a reconcile that is due now or later.
    pub fn len(&self) -> usize {
        self.lock().due.len()
    }

    /// Reconciles that are running.
    pub fn running(&self) -> usize {
        self.lock().running
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }
}

impl State {
    // The earlier counts: a set has one place.
    fn due_at(&mut self, set: ObjectName, at: Instant) {
        let due = self.due.entry(set).or_insert(at);
        *due = at.min(*due);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Queue;
    use crate::controller::names::ObjectName;

    fn set(name: &str) -> ObjectName {
        ObjectName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_set_waits_from_when_it_is_due_until_its_reconcile_begins() {
        let queue = Queue::default();
        let state = || (queue.waiting(), queue.running());
        queue.note_due(set("web"));
        queue.note_due(set("web"));
        queue.note_due(set("db"));
        assert_eq!(state(), (2, 0));
        queue.note_start(&set("web"));
        assert_eq!(state(), (1, 1));
        queue.note_due(set("web"));
        assert_eq!(state(), (2, 1), "woken while it is reconciled, it comes again");
        queue.note_end(set("web"), Some(Duration::from_mins(5)));
        queue.note_start(&set("web"));
        queue.note_end(set("web"), Some(Duration::from_mins(5)));
        assert_eq!(state(), (1, 0));
        tokio::time::advance(Duration::from_mins(5)).await;
        assert_eq!(state(), (2, 0), "its wait is over");
        queue.forget(&set("db"));
        queue.note_start(&set("web"));
        queue.note_end(set("web"), None);
        assert_eq!(state(), (0, 0));
    }
}
