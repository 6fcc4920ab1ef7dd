//! Service templates that a list does not show any more. One list is no evidence that something is gone for good: a cache or a
//! replica that lags behind gives such a list too.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Least time between the first and the last of the lists that show that a service template is gone.
pub const APART: Duration = Duration::from_secs(5);

// An absence counts only with one that was seen not longer ago: sets that wait look again within five minutes.
const FORGOTTEN_AFTER: Duration = Duration::from_mins(10);

/// A service template that a set looks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sought {
    /// Normalised URL of the CMDB.
    pub endpoint: String,
    /// `service_template_id`; None: it is looked for by its name.
    pub id: Option<i64>,
}

/// Since when each set has not found its service template, by uid.
#[derive(Debug, Default)]
pub struct Absences {
    by_set: Mutex<HashMap<String, Absence>>,
}

#[derive(Debug)]
struct Absence {
    sought: Sought,
    first: Instant,
    last: Instant,
}

impl Absences {
    /// Notes that lists which were asked for at this moment do not show it. Whether an earlier one showed the same.
    pub fn note(&self, set: &str, sought: &Sought, asked_at: Instant) -> bool {
        let mut by_set = self.by_set.lock();
        let new = || Absence { sought: sought.clone(), first: asked_at, last: asked_at };
        let absence = by_set.entry(set.to_owned()).or_insert_with(new);
        if absence.sought != *sought || asked_at.saturating_duration_since(absence.last) > FORGOTTEN_AFTER {
            *absence = new();
        }
        absence.last = asked_at;
        asked_at.saturating_duration_since(absence.first) >= APART
    }

    /// Notes that a list shows the service template of this ID.
    pub fn end(&self, set: &str, id: i64) {
        let mut by_set = self.by_set.lock();
        if by_set.get(set).is_some_and(|absence| absence.sought.id.is_none_or(|sought| sought == id)) {
            by_set.remove(set);
        }
    }

    /// How many sets look for their service template.
    pub fn len(&self) -> usize {
        self.by_set.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.by_set.lock().remove(set);
    }
}
