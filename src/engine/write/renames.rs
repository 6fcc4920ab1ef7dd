//! Which servers rename process templates: CMDB up to 3.9.26 answers with a success and leaves the name as it was.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

// After this time a server is tried again: it may be another version now.
const KNOWN_FOR: Duration = Duration::from_hours(1);

/// What servers have shown when they were asked to rename a template, by URL.
#[derive(Debug, Default)]
pub struct Renames {
    by_endpoint: Mutex<HashMap<String, Shown>>,
}

#[derive(Clone, Copy, Debug)]
struct Shown {
    works: bool,
    at: Instant,
}

impl Renames {
    /// Whether the server at this URL renames templates; None: it has not shown it in the last hour.
    pub fn works(&self, endpoint: &str) -> Option<bool> {
        let by_endpoint = self.by_endpoint.lock();
        by_endpoint.get(endpoint).filter(|shown| shown.at.elapsed() < KNOWN_FOR).map(|shown| shown.works)
    }

    /// The server at this URL has shown whether it renames templates.
    pub fn note(&self, endpoint: &str, works: bool) {
        let mut by_endpoint = self.by_endpoint.lock();
        by_endpoint.retain(|_, shown| shown.at.elapsed() < KNOWN_FOR);
        by_endpoint.insert(endpoint.to_owned(), Shown { works, at: Instant::now() });
    }

    /// How many servers are remembered.
    pub fn len(&self) -> usize {
        self.by_endpoint.lock().len()
    }
}
