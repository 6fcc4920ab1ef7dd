//! The table of all metric families. Labels come from closed sets, never from names of objects, and every series exists
//! from the first scrape.

use crate::{cmdb, controller};

/// The prefix of every family's name.
pub const PREFIX: &str = "ptset";

/// A metric family.
#[derive(Debug)]
pub struct Family {
    /// The name, without prefix, unit and suffix.
    pub name: &'static str,
    /// The type of its series.
    pub kind: Kind,
    /// The unit of its numbers.
    pub unit: Option<&'static str>,
    /// What it measures: one sentence without its full stop, which the encoder adds.
    pub help: &'static str,
    /// The labels; their values make the series.
    pub labels: &'static [Label],
}

/// The type of a family's series.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// A count of events since the process started.
    Counter,
    /// A value at the time of the scrape.
    Gauge,
    /// A distribution: the upper bound of the first bucket, and the number of buckets. Each bound is twice the one before.
    Histogram(f64, u16),
}

impl Kind {
    /// The name of the type in `OpenMetrics`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(..) => "histogram",
        }
    }
}

/// A label with the closed set of its values.
#[derive(Debug)]
pub struct Label {
    /// The name of the label.
    pub name: &'static str,
    /// Every value that it can have.
    pub values: fn() -> Vec<&'static str>,
}

impl Family {
    /// The name in a query, without the suffixes of a histogram's parts.
    #[must_use]
    pub fn full_name(&self) -> String {
        let unit = self.unit.map(|unit| format!("_{unit}")).unwrap_or_default();
        let suffix = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram(..) => "",
        };
        format!("{PREFIX}_{}{unit}{suffix}", self.name)
    }

    /// Every combination of the labels' values.
    #[must_use]
    pub fn series(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let mut series = vec![Vec::new()];
        for label in self.labels {
            let values = (label.values)();
            let with = |before: &Vec<_>, value| before.iter().copied().chain([(label.name, value)]).collect();
            series = series.iter().flat_map(|before| values.iter().map(move |value| with(before, *value))).collect();
        }
        series
    }
}

/// Every family, in the order of the reference page.
pub const FAMILIES: &[&Family] = &[
    &SETS,
    &PENDING_INTENTS,
    &TIME_TO_READY,
    &SNAPSHOT_AGE,
    &RECONCILES,
    &QUEUE_DEPTH,
    &RECONCILES_RUNNING,
    &STATUS_WRITES,
    &TEMPLATES_WRITTEN,
    &DRIFT,
    &CALLS,
    &CALL_DURATION,
    &LIMITERS,
    &LIMITER_CALLS,
    &READINESS_CHECK,
    &LEADER,
    &BUILD,
];

const OPERATION: Label =
    Label { name: "operation", values: || cmdb::Operation::ALL.iter().map(|operation| operation.as_str()).collect() };

/// `ptset_sets`
pub const SETS: Family = Family {
    name: "sets",
    kind: Kind::Gauge,
    unit: None,
    help: "Sets, by the reason of their condition Ready; Unknown: they have none yet",
    labels: &[Label { name: "reason", values: controller::reasons }],
};

/// `ptset_pending_intents`
pub const PENDING_INTENTS: Family = Family {
    name: "pending_intents",
    kind: Kind::Gauge,
    unit: None,
    help: "Creates that a status announces and whose outcome is not known yet",
    labels: &[],
};

/// `ptset_time_to_ready_seconds`
pub const TIME_TO_READY: Family = Family {
    name: "time_to_ready",
    kind: Kind::Histogram(0.1, 15),
    unit: Some("seconds"),
    help: "Time from when this process first knew of a set's generation until the set was Ready in it, once for each \
           generation",
    labels: &[],
};

/// `ptset_snapshot_age_seconds`
pub const SNAPSHOT_AGE: Family = Family {
    name: "snapshot_age",
    kind: Kind::Gauge,
    unit: Some("seconds"),
    help: "Age of the oldest look at CMDB that a set at rest relies on, counted from the start where there was none since; \
           after three intervals without one a set says Stale",
    labels: &[],
};

/// `ptset_reconciles_total`
pub const RECONCILES: Family = Family {
    name: "reconciles",
    kind: Kind::Counter,
    unit: None,
    help: "Reconciles of sets, by outcome: ok, or the reason that stopped it",
    labels: &[Label { name: "outcome", values: controller::outcomes }],
};

/// `ptset_queue_depth`
pub const QUEUE_DEPTH: Family = Family {
    name: "queue_depth",
    kind: Kind::Gauge,
    unit: None,
    help: "Reconciles of sets that are due and wait for a place of their connection",
    labels: &[],
};

/// `ptset_reconciles_running`
pub const RECONCILES_RUNNING: Family = Family {
    name: "reconciles_running",
    kind: Kind::Gauge,
    unit: None,
    help: "Reconciles of sets that are running; each connection has places for them",
    labels: &[],
};

/// `ptset_status_writes_total`
pub const STATUS_WRITES: Family = Family {
    name: "status_writes",
    kind: Kind::Counter,
    unit: None,
    help: "Statuses that were written to the API server, by the kind of the object",
    labels: &[Label { name: "kind", values: || controller::KINDS.to_vec() }],
};

/// `ptset_process_templates_written_total`
pub const TEMPLATES_WRITTEN: Family = Family {
    name: "process_templates_written",
    kind: Kind::Counter,
    unit: None,
    help: "Process templates that were created, updated or deleted in CMDB",
    labels: &[Label { name: "action", values: || controller::ACTIONS.to_vec() }],
};

/// `ptset_drift_total`
pub const DRIFT: Family = Family {
    name: "drift",
    kind: Kind::Counter,
    unit: None,
    help: "Process templates that somebody else changed or deleted, by what was done: corrected, or only detected",
    labels: &[Label { name: "outcome", values: || controller::DRIFT_OUTCOMES.to_vec() }],
};

/// `ptset_cmdb_calls_total`
pub const CALLS: Family = Family {
    name: "cmdb_calls",
    kind: Kind::Counter,
    unit: None,
    help: "Calls to CMDB, each try of a read for itself, by CMDB's name of the operation and by outcome: ok, or the class of \
           the error",
    labels: &[
        OPERATION,
        Label {
            name: "outcome",
            values: || std::iter::once("ok").chain(cmdb::ErrorClass::counted().map(cmdb::ErrorClass::label)).collect(),
        },
    ],
};

/// `ptset_cmdb_call_duration_seconds`
pub const CALL_DURATION: Family = Family {
    name: "cmdb_call_duration",
    kind: Kind::Histogram(0.005, 14),
    unit: Some("seconds"),
    help: "Duration of calls to CMDB, without the wait for their turn",
    labels: &[OPERATION],
};

/// `ptset_limiters`
pub const LIMITERS: Family = Family {
    name: "limiters",
    kind: Kind::Gauge,
    unit: None,
    help: "Limiters, one for each URL and caller, by state: full, at the configured rate; slowed, below it because CMDB or \
           its gateway throttles; down, CMDB does not answer and one call tries it now and then",
    labels: &[Label { name: "state", values: || vec!["full", "slowed", "down"] }],
};

/// `ptset_limiter_calls`
pub const LIMITER_CALLS: Family = Family {
    name: "limiter_calls",
    kind: Kind::Gauge,
    unit: None,
    help: "Calls to CMDB at the limiters, by state: in_flight; edits_waiting, of edits and deletions that stand in line; \
           polls_waiting, checks of sets at rest that were told to come again",
    labels: &[Label { name: "state", values: || vec!["in_flight", "edits_waiting", "polls_waiting"] }],
};

/// `ptset_gate`
pub const READINESS_CHECK: Family = Family {
    name: "gate",
    kind: Kind::Gauge,
    unit: None,
    help: "Whether a gate of /readyz is open: crd, the API server serves our kinds; watches, they have delivered what there \
           is; leader, it leads or stands by",
    labels: &[Label {
        name: "gate",
        values: || controller::ReadinessCheck::ALL.iter().map(|check| check.as_str()).collect(),
    }],
};

/// `ptset_leader`
pub const LEADER: Family = Family {
    name: "leader",
    kind: Kind::Gauge,
    unit: None,
    help: "Whether this process leads: the others stand by, and what is true of a controller is 0 there",
    labels: &[],
};

/// `ptset_build_info`
pub const BUILD: Family = Family {
    name: "build_info",
    kind: Kind::Gauge,
    unit: None,
    help: "Version of the operator; always 1",
    labels: &[Label { name: "version", values: || vec![env!("CARGO_PKG_VERSION")] }],
};

#[cfg(test)]
mod tests {
    use super::{CALLS, FAMILIES};

    #[test]
    fn every_combination_of_labels_is_a_series() {
        assert_eq!(CALLS.series().len(), 7 * 11);
        assert!(FAMILIES.iter().all(|family| !family.series().is_empty()));
    }

    #[test]
    fn names_are_unique_and_helps_are_sentences_that_the_encoder_ends() {
        let mut names: Vec<String> = FAMILIES.iter().map(|family| family.full_name()).collect();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
        assert!(FAMILIES.iter().all(|family| !family.help.ends_with('.') && !family.help.contains('\n')));
    }
}
