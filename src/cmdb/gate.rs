//! Bounds the calls in flight; what people wait for goes before polls.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Who goes first when the bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Edits and what they need.
    Work,
    /// Looking whether all is still well.
    Poll,
}

/// Lets so many through at a time.
#[derive(Debug)]
pub struct Gate {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    free: usize,
    work: VecDeque<oneshot::Sender<Permit>>,
    poll: VecDeque<oneshot::Sender<Permit>>,
}

/// A place among the calls in flight; free again when dropped.
#[derive(Debug)]
pub struct Permit {
    gate: Option<Arc<Gate>>,
}

impl Gate {
    /// A gate for `places` calls in flight.
    pub fn new(places: usize) -> Arc<Self> {
        let state = State { free: places.max(1), work: VecDeque::new(), poll: VecDeque::new() };
        Arc::new(Self { state: Mutex::new(state) })
    }

    /// Waits for a place: first come, first served within a lane.
    pub async fn enter(self: &Arc<Self>, lane: Lane) -> Permit {
        let place = {
            let mut state = self.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit { gate: Some(Arc::clone(self)) };
            }
            let (sender, place) = oneshot::channel();
            match lane {
                Lane::Work => state.work.push_back(sender),
                Lane::Poll => state.poll.push_back(sender),
            }
            place
        };
        // The sender waits in the queue until it is served: the gate that holds it outlives this call.
        place.await.unwrap_or(Permit { gate: None })
    }

    fn leave(self: &Arc<Self>) {
        let mut state = self.lock();
        let mut permit = Permit { gate: Some(Arc::clone(self)) };
        while let Some(waiting) = state.work.pop_front().or_else(|| state.poll.pop_front()) {
            match waiting.send(permit) {
                Ok(()) => return,
                // That one gave up waiting.
                Err(back) => permit = back,
            }
        }
        permit.gate = None;
        state.free += 1;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(gate) = self.gate.take() {
            gate.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc;
    use tokio::time::timeout;

    use super::{Gate, Lane};

    #[tokio::test(start_paused = true)]
    async fn work_goes_before_polls_and_each_in_its_order() {
        let gate = Gate::new(1);
        let held = gate.enter(Lane::Work).await;
        let (sender, mut order) = mpsc::unbounded_channel();
        for (lane, name) in [(Lane::Poll, "p1"), (Lane::Work, "w1"), (Lane::Poll, "p2"), (Lane::Work, "w2")] {
            let (gate, sender) = (Arc::clone(&gate), sender.clone());
            tokio::spawn(async move {
                let _permit = gate.enter(lane).await;
                sender.send(name).unwrap();
            });
            tokio::task::yield_now().await;
        }
        drop(held);
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(order.recv().await.unwrap());
        }
        assert_eq!(seen, ["w1", "w2", "p1", "p2"]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_takes_no_place() {
        let gate = Gate::new(1);
        let held = gate.enter(Lane::Work).await;
        for _ in 0..3 {
            assert!(timeout(Duration::from_secs(1), gate.enter(Lane::Work)).await.is_err());
        }
        drop(held);
        let again = timeout(Duration::from_secs(1), gate.enter(Lane::Poll)).await;
        assert!(again.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_that_was_given_to_who_left_goes_on() {
        let gate = Gate::new(1);
        let held = gate.enter(Lane::Work).await;
        let mut waiting = Box::pin(gate.enter(Lane::Work));
        assert!(futures::poll!(&mut waiting).is_pending());
        // The place is given to the one that waits, which leaves without ever looking.
        drop(held);
        drop(waiting);
        assert!(timeout(Duration::from_secs(1), gate.enter(Lane::Poll)).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_are_let_in_than_there_are_places() {
        let gate = Gate::new(2);
        let first = gate.enter(Lane::Poll).await;
        let _second = gate.enter(Lane::Poll).await;
        assert!(timeout(Duration::from_secs(1), gate.enter(Lane::Work)).await.is_err());
        drop(first);
        let _third = gate.enter(Lane::Work).await;
        assert!(timeout(Duration::from_secs(1), gate.enter(Lane::Work)).await.is_err());
    }
}
