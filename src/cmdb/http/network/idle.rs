//! Idle connections, for the next call to the same origin.

use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use super::connector::Connection;

/// Longest idle time of a connection. A connection that was idle for longer may be one that a proxy is just closing: a
/// write on it would be lost.
const MAX_IDLE: Duration = Duration::from_secs(15);

/// Idle connections. They end when they were idle for too long.
#[derive(Default)]
pub struct Idle {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    // The one that has been idle for longest is first.
    connections: Vec<Parked>,
    // Whether a task drops those that were idle for too long.
    is_swept: bool,
}

struct Parked {
    origin: String,
    since: Instant,
    connection: Connection,
}

impl Idle {
    /// Takes the connection to this origin that was used last.
    pub fn take(&self, origin: &str) -> Option<Connection> {
        let state = &mut *self.state.lock();
        state.drop_old();
        let index = state.connections.iter().rposition(|parked| parked.origin == origin)?;
        Some(state.connections.remove(index).connection)
    }

    /// Keeps a connection whose answer has come to its end, as soon as it is ready for the next request.
    pub fn put(self: &Arc<Self>, origin: String, mut connection: Connection) {
        let Ok(runtime) = Handle::try_current() else { return };
        if connection.sender.is_ready() {
            return self.park(origin, connection, &runtime);
        }
        let idle = Arc::downgrade(self);
        let later = runtime.clone();
        runtime.spawn(async move {
            let is_ready = tokio::time::timeout(MAX_IDLE, connection.sender.ready()).await;
            match (is_ready, idle.upgrade()) {
                (Ok(Ok(())), Some(idle)) => idle.park(origin, connection, &later),
                _ => connection.task.abort(),
            }
        });
    }

    fn park(self: &Arc<Self>, origin: String, connection: Connection, runtime: &Handle) {
        let state = &mut *self.state.lock();
        state.connections.push(Parked { origin, since: Instant::now(), connection });
        if !state.is_swept {
            state.is_swept = true;
            runtime.spawn(sweep(Arc::downgrade(self)));
        }
    }
}

impl State {
    fn drop_old(&mut self) {
        self.connections.retain(|parked| parked.since.elapsed() < MAX_IDLE && !parked.connection.sender.is_closed());
    }
}

// Drops old connections until there are none.
async fn sweep(idle: Weak<Idle>) {
    loop {
        sleep(MAX_IDLE).await;
        let Some(idle) = idle.upgrade() else { return };
        let state = &mut *idle.state.lock();
        state.drop_old();
        if state.connections.is_empty() {
            state.is_swept = false;
            return;
        }
    }
}
