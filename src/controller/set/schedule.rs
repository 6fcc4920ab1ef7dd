//! When a set at rest is looked at: in step with the others of its service template, who share its list, and out of step
//! with those of other service templates.

use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use super::reconcile::generation;
use super::status::is_ready;
use crate::api::{ItemState, ProcessTemplateSet};

// Polls that were made together drift apart by up to this part of their interval.
const JITTER: f64 = 0.1;

/// Whether nothing is outstanding: this generation is in sync, each process with its template, and nothing was begun.
pub fn is_at_rest(set: &ProcessTemplateSet) -> bool {
    let Some(status) = set.status.as_ref() else { return false };
    let in_sync: BTreeSet<&str> = status
        .processes
        .iter()
        .filter(|process| process.state == ItemState::InSync && process.id.is_some())
        .map(|process| process.name.as_str())
        .collect();
    is_ready(status, generation(set))
        && status.pending.is_empty()
        && set.spec.processes.iter().all(|process| in_sync.contains(process.name.as_str()))
}

/// Time between two looks at a set at rest: its interval, and up to a tenth more.
pub fn period(set: &ProcessTemplateSet) -> Duration {
    set.spec.resync_interval().mul_f64(1.0 + JITTER * part(set, "period"))
}

/// Time from the operator's start to its first look at a set that was at rest: some part of the interval, so that a start
/// costs CMDB no more than any other time.
pub fn first_look(set: &ProcessTemplateSet) -> Duration {
    set.spec.resync_interval().mul_f64(part(set, "first look"))
}

// A number from 0 to 1 that all sets of a service template share.
fn part(set: &ProcessTemplateSet, of_what: &str) -> f64 {
    let mut hasher = DefaultHasher::new();
    let place = set.status.as_ref().map(|status| (&status.endpoint, status.service_template_id));
    (of_what, set.spec.biz_id, place).hash(&mut hasher);
    f64::from(u16::try_from(hasher.finish() % 10_000).unwrap_or_default()) / 10_000.0
}
