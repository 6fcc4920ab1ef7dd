//! What abandoned transactions hold: no other transaction may write it until the database ends them.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// Something that an open transaction has written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Held {
    /// The name of a process template that a create was to store.
    ProcessName { service_template_id: i64, name: String },
    /// A process template that an update or a delete was to change, by its ID.
    ProcessTemplate(i64),
    /// The name of a service template that a create was to store.
    ServiceTemplateName { bk_biz_id: i64, name: String },
}

/// All that is held, and until when.
#[derive(Default)]
pub(crate) struct Holds(HashMap<Held, Instant>);

impl Holds {
    pub fn add(&mut self, held: impl IntoIterator<Item = Held>, duration: Duration) {
        let now = Instant::now();
        self.0.retain(|_, until| *until > now);
        if let Some(until) = now.checked_add(duration) {
            self.0.extend(held.into_iter().map(|held| (held, until)));
        }
    }

    pub fn has(&self, held: &Held) -> bool {
        self.0.get(held).is_some_and(|until| *until > Instant::now())
    }
}
