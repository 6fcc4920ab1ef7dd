//! Every metric family. Labels come from closed sets; names of objects are never among them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::{cmdb, controller};

/// The metrics of this process, and whether it is ready.
pub struct Metrics {
    registry: Registry,
    reconciles: Family<Outcome, Counter>,
    calls: Family<Call, Counter>,
    call_seconds: Family<Operation, Histogram>,
    drift: Family<Outcome, Counter>,
    synced: Gauge,
    is_synced: AtomicBool,
    leader: Gauge,
    is_leader: AtomicBool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    operation: &'static str,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Operation {
    operation: &'static str,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("ptset");
        let reconciles = Family::<Outcome, Counter>::default();
        registry.register("reconciles", "Reconciles by outcome: ok, or the reason that stopped it", reconciles.clone());
        let calls = Family::<Call, Counter>::default();
        registry.register("cmdb_calls", "Calls to CMDB by operation and outcome", calls.clone());
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.005, 2.0, 14));
        let call_seconds = Family::<Operation, Histogram>::new_with_constructor(histogram);
        let help = "Duration of calls to CMDB by operation";
        registry.register_with_unit("cmdb_call_duration", help, Unit::Seconds, call_seconds.clone());
        let drift = Family::<Outcome, Counter>::default();
        registry.register(
            "drift",
            "Templates that somebody else changed, by what was done: corrected or detected",
            drift.clone(),
        );
        for outcome in ["corrected", "detected"] {
            drop(drift.get_or_create(&Outcome { outcome }));
        }
        let synced = Gauge::default();
        registry.register("synced", "Whether the watches have delivered what there is", synced.clone());
        let leader = Gauge::default();
        registry.register("leader", "Whether this process leads: the others stand by", leader.clone());
        registry.register("build", "Version of the operator", Info::new([("version", env!("CARGO_PKG_VERSION"))]));
        drop(reconciles.get_or_create(&Outcome { outcome: "ok" }));
        let (is_synced, is_leader) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { registry, reconciles, calls, call_seconds, drift, synced, is_synced, leader, is_leader }
    }
}

impl Metrics {
    /// All metrics in the OpenMetrics text format.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// Whether it can do what it is there for: to lead, with all that its watches deliver, or to stand by.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.is_leader.load(Ordering::Relaxed) || self.is_synced.load(Ordering::Relaxed)
    }
}

impl controller::Observer for Metrics {
    fn reconciled(&self, outcome: &'static str) {
        self.reconciles.get_or_create(&Outcome { outcome }).inc();
    }

    fn drifted(&self, outcome: &'static str) {
        self.drift.get_or_create(&Outcome { outcome }).inc();
    }

    fn synced(&self, synced: bool) {
        self.synced.set(synced.into());
        self.is_synced.store(synced, Ordering::Relaxed);
    }

    fn leads(&self, leads: bool) {
        if !leads {
            self.synced(false);
        }
        self.leader.set(leads.into());
        self.is_leader.store(leads, Ordering::Relaxed);
    }
}

impl cmdb::Observer for Metrics {
    fn call_finished(&self, operation: cmdb::Operation, outcome: &'static str, elapsed: Duration) {
        let operation = operation.as_str();
        self.calls.get_or_create(&Call { operation, outcome }).inc();
        self.call_seconds.get_or_create(&Operation { operation }).observe(elapsed.as_secs_f64());
    }
}
