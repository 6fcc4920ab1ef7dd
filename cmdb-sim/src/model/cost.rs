//! What a create costs: each process counts the templates of its service template.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The time that a create takes, and how long the apiserver waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "camelCase")]
pub struct CreateCost {
    /// Milliseconds for each process.
    pub per_item_ms: f64,
    /// Milliseconds for each process and each template that its service template has by then, on top.
    pub per_present_ms: f64,
    /// Seconds after which the apiserver gives up; the create is rolled back then.
    pub timeout_seconds: f64,
}

impl Default for CreateCost {
    fn default() -> Self {
        Self { per_item_ms: 0.0, per_present_ms: 0.0, timeout_seconds: 25.0 }
    }
}

impl CreateCost {
    /// The time of a create of this many items in a service template that has this many templates.
    pub(crate) fn duration(self, items: usize, present: usize) -> Duration {
        let counted = items.saturating_mul(present).saturating_add(items.saturating_mul(items.saturating_sub(1)) / 2);
        let milliseconds = self.per_item_ms * number(items) + self.per_present_ms * number(counted);
        Duration::try_from_secs_f64(milliseconds / 1000.0).unwrap_or_default()
    }

    pub(crate) fn timeout(self) -> Duration {
        Duration::try_from_secs_f64(self.timeout_seconds).unwrap_or(Duration::MAX)
    }
}

fn number(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_counts_what_is_present_and_the_items_before_it() {
        let cost = CreateCost { per_item_ms: 10.0, per_present_ms: 1.0, ..CreateCost::default() };
        let milliseconds = |items, present| cost.duration(items, present).as_millis();
        assert_eq!((milliseconds(0, 9), milliseconds(1, 0), milliseconds(1, 9)), (0, 10, 19));
        assert_eq!(milliseconds(3, 100), 30 + 100 + 101 + 102);
    }
}
