//! The metrics of the process: counts what the observer traits of the lower floors report, and reads the controller's state
//! at each scrape.

use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::encoding::EncodeMetric;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family as Series, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::metric_table;
use super::metric_table::{Family, Kind, PREFIX};
use super::readiness::ReadinessReport;
use crate::controller::{ControllerState, LeadershipState, ReadinessCheck, StateSource};
use crate::{cmdb, controller};

type Labels = Vec<(&'static str, &'static str)>;
type Buckets = fn() -> Histogram;

/// The metrics of this process, and whether it is ready.
pub struct Metrics {
    registry: Registry,
    readiness: ReadinessReport,
    state_source: Mutex<Option<Weak<dyn StateSource>>>,
    sets: Series<Labels, Gauge>,
    pending_intents: Series<Labels, Gauge>,
    time_to_ready: Series<Labels, Histogram, Buckets>,
    snapshot_age: Series<Labels, Gauge<f64, AtomicU64>>,
    reconciles: Series<Labels, Counter>,
    queue_depth: Series<Labels, Gauge>,
    reconciles_running: Series<Labels, Gauge>,
    status_writes: Series<Labels, Counter>,
    templates_written: Series<Labels, Counter>,
    drift: Series<Labels, Counter>,
    calls: Series<Labels, Counter>,
    call_duration: Series<Labels, Histogram, Buckets>,
    limiters: Series<Labels, Gauge>,
    limiter_calls: Series<Labels, Gauge>,
    readiness_checks: Series<Labels, Gauge>,
    leader: Series<Labels, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix(PREFIX);
        let of = &mut registry;
        // In the order of the table.
        let metrics = Self {
            readiness: ReadinessReport::default(),
            state_source: Mutex::default(),
            sets: register(of, &metric_table::SETS, Series::default()),
            pending_intents: register(of, &metric_table::PENDING_INTENTS, Series::default()),
            time_to_ready: register(
                of,
                &metric_table::TIME_TO_READY,
                histograms(|| buckets(&metric_table::TIME_TO_READY)),
            ),
            snapshot_age: register(of, &metric_table::SNAPSHOT_AGE, Series::default()),
            reconciles: register(of, &metric_table::RECONCILES, Series::default()),
            queue_depth: register(of, &metric_table::QUEUE_DEPTH, Series::default()),
            reconciles_running: register(of, &metric_table::RECONCILES_RUNNING, Series::default()),
            status_writes: register(of, &metric_table::STATUS_WRITES, Series::default()),
            templates_written: register(of, &metric_table::TEMPLATES_WRITTEN, Series::default()),
            drift: register(of, &metric_table::DRIFT, Series::default()),
            calls: register(of, &metric_table::CALLS, Series::default()),
            call_duration: register(
                of,
                &metric_table::CALL_DURATION,
                histograms(|| buckets(&metric_table::CALL_DURATION)),
            ),
            limiters: register(of, &metric_table::LIMITERS, Series::default()),
            limiter_calls: register(of, &metric_table::LIMITER_CALLS, Series::default()),
            readiness_checks: register(of, &metric_table::READINESS_CHECK, Series::default()),
            leader: register(of, &metric_table::LEADER, Series::default()),
            registry: Registry::default(),
        };
        let build: Series<Labels, Gauge> = register(of, &metric_table::BUILD, Series::default());
        for labels in metric_table::BUILD.series() {
            set(&build, &labels, 1);
        }
        Self { registry, ..metrics }
    }
}

// Registers a family with every series of its closed labels.
fn register<M, C>(registry: &mut Registry, family: &Family, series: Series<Labels, M, C>) -> Series<Labels, M, C>
where
    M: EncodeMetric + TypedMetric + Clone + std::fmt::Debug + Send + Sync + 'static,
    C: MetricConstructor<M> + Clone + Send + Sync + 'static,
{
    for labels in family.series() {
        drop(series.get_or_create(&labels));
    }
    let unit = family.unit.map(|unit| Unit::Other(unit.to_owned()));
    let (name, help) = (family.name, family.help);
    // A family without labels would be written with empty braces; a single metric is not.
    match (unit, family.labels.is_empty()) {
        (None, false) => registry.register(name, help, series.clone()),
        (Some(unit), false) => registry.register_with_unit(name, help, unit, series.clone()),
        (None, true) => registry.register(name, help, series.get_or_create_owned(&Vec::new())),
        (Some(unit), true) => registry.register_with_unit(name, help, unit, series.get_or_create_owned(&Vec::new())),
    }
    series
}

fn histograms(buckets: Buckets) -> Series<Labels, Histogram, Buckets> {
    Series::new_with_constructor(buckets)
}

fn buckets(family: &Family) -> Histogram {
    match family.kind {
        Kind::Histogram(first, count) => Histogram::new(exponential_buckets(first, 2.0, count)),
        Kind::Counter | Kind::Gauge => Histogram::new([]),
    }
}

impl Metrics {
    /// All metrics in the `OpenMetrics` text format.
    #[must_use]
    pub fn render(&self) -> String {
        let source = self.state_source.lock().as_ref().and_then(Weak::upgrade);
        // Every gauge is 0 while no controller runs.
        self.set_gauges(&source.map(|source| source.read()).unwrap_or_default());

        let mut text = String::new();
        // Writing to a String does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    /// The readiness of the process, for `/readyz`.
    #[must_use]
    pub fn readiness(&self) -> &ReadinessReport {
        &self.readiness
    }

    fn set_gauges(&self, state: &ControllerState) {
        for labels in metric_table::SETS.series() {
            let count = labels.first().and_then(|(_, reason)| state.sets.get(reason)).copied().unwrap_or_default();
            set(&self.sets, &labels, count);
        }

        set(&self.pending_intents, &[], state.pending_intents);
        set(&self.queue_depth, &[], state.waiting);
        set(&self.reconciles_running, &[], state.running);
        let age = state.oldest_look.unwrap_or_default();
        self.snapshot_age.get_or_create(&Vec::new()).set(age.as_secs_f64());

        let limiters = &state.limiters;
        for (state, count) in [("full", limiters.full), ("slowed", limiters.slowed), ("down", limiters.down)] {
            set(&self.limiters, &[("state", state)], count);
        }
        let waiting = [("edits_waiting", limiters.edits_waiting), ("polls_waiting", limiters.polls_waiting)];
        for (state, count) in waiting.into_iter().chain([("in_flight", limiters.in_flight)]) {
            set(&self.limiter_calls, &[("state", state)], count);
        }

        for check in ReadinessCheck::ALL {
            set(&self.readiness_checks, &[("gate", check.as_str())], usize::from(self.readiness.is_passing(*check)));
        }
    }
}

fn set(series: &Series<Labels, Gauge>, labels: &[(&'static str, &'static str)], count: usize) {
    series.get_or_create(&labels.to_vec()).set(i64::try_from(count).unwrap_or(i64::MAX));
}

impl controller::Observer for Metrics {
    fn reconciled(&self, outcome: &'static str) {
        self.reconciles.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    fn drifted(&self, outcome: &'static str) {
        self.drift.get_or_create(&vec![("outcome", outcome)]).inc();
    }

    fn wrote(&self, action: &'static str, count: usize) {
        self.templates_written.get_or_create(&vec![("action", action)]).inc_by(count as u64);
    }

    fn status_written(&self, kind: &'static str) {
        self.status_writes.get_or_create(&vec![("kind", kind)]).inc();
    }

    fn set_became_ready(&self, after: Duration) {
        self.time_to_ready.get_or_create(&Vec::new()).observe(after.as_secs_f64());
    }

    fn readiness_changed(&self, check: ReadinessCheck, state: Result<String, String>) {
        self.readiness.set(check, state);
    }

    fn report_standing(&self, standing: &LeadershipState) {
        self.readiness.report_standing(standing);
        set(&self.leader, &[], usize::from(*standing == LeadershipState::Leads));
    }

    fn controller_started(&self, source: Weak<dyn StateSource>) {
        *self.state_source.lock() = Some(source);
    }
}

impl cmdb::Observer for Metrics {
    fn call_finished(&self, operation: cmdb::Operation, outcome: &'static str, elapsed: Duration) {
        let operation = ("operation", operation.as_str());
        self.calls.get_or_create(&vec![operation, ("outcome", outcome)]).inc();
        self.call_duration.get_or_create(&vec![operation]).observe(elapsed.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::Metrics;
    use crate::cmdb::{LimiterReadings, Observer as _, Operation};
    use crate::controller::{ControllerState, LeadershipState, Observer as _, StateSource};
    use crate::telemetry::metric_table::FAMILIES;

    fn shown(metrics: &Metrics, line: &str) -> bool {
        metrics.render().lines().any(|shown| shown == line)
    }

    #[test]
    fn the_scrape_has_exactly_the_families_of_the_table_with_help_type_and_unit() {
        let text = Metrics::default().render();
        let lines = |prefix: &str| {
            let mut lines: Vec<String> =
                text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect();
            lines.sort();
            lines
        };
        let expected = |line: fn(&str, &super::Family) -> Option<String>| {
            let name = |family: &super::Family| {
                let name = family.full_name();
                name.trim_end_matches("_total").to_owned()
            };
            let mut lines: Vec<String> = FAMILIES.iter().filter_map(|family| line(&name(family), family)).collect();
            lines.sort();
            lines
        };
        let help = |name: &str, family: &super::Family| Some(format!("# HELP {name} {}.", family.help));
        let kind = |name: &str, family: &super::Family| Some(format!("# TYPE {name} {}", family.kind.as_str()));
        let unit = |name: &str, family: &super::Family| family.unit.map(|unit| format!("# UNIT {name} {unit}"));
        assert_eq!(lines("# HELP"), expected(help));
        assert_eq!(lines("# TYPE"), expected(kind));
        assert_eq!(lines("# UNIT"), expected(unit));
        assert!(!text.contains("{}"), "{text}");
    }

    #[test]
    fn reported_events_are_counted() {
        let metrics = Metrics::default();
        assert!(shown(&metrics, "ptset_cmdb_calls_total{operation=\"update_proc_template\",outcome=\"throttled\"} 0"));
        metrics.call_finished(Operation::UpdateProcessTemplate, "throttled", Duration::from_secs(1));
        metrics.reconciled("Busy");
        metrics.wrote("created", 3);
        metrics.status_written("CmdbConnection");
        metrics.set_became_ready(Duration::from_secs(2));
        for line in [
            "ptset_cmdb_calls_total{operation=\"update_proc_template\",outcome=\"throttled\"} 1",
            "ptset_cmdb_call_duration_seconds_count{operation=\"update_proc_template\"} 1",
            "ptset_reconciles_total{outcome=\"Busy\"} 1",
            "ptset_process_templates_written_total{action=\"created\"} 3",
            "ptset_status_writes_total{kind=\"CmdbConnection\"} 1",
            "ptset_time_to_ready_seconds_count 1",
        ] {
            assert!(shown(&metrics, line), "{line}\n{}", metrics.render());
        }
    }

    struct Controller;

    impl StateSource for Controller {
        fn read(&self) -> ControllerState {
            ControllerState {
                sets: [("InSync", 2), ("Conflict", 1)].into(),
                pending_intents: 4,
                waiting: 5,
                running: 6,
                oldest_look: Some(Duration::from_millis(1500)),
                limiters: LimiterReadings { slowed: 1, edits_waiting: 7, ..LimiterReadings::default() },
                ..ControllerState::default()
            }
        }
    }

    #[test]
    fn gauges_are_read_at_each_scrape_and_are_0_once_the_controller_has_stopped() {
        let metrics = Metrics::default();
        let controller: Arc<dyn StateSource> = Arc::new(Controller);
        metrics.report_standing(&LeadershipState::Leads);
        metrics.controller_started(Arc::downgrade(&controller));
        let mut lines = [
            ("ptset_sets{reason=\"InSync\"} ", "2"),
            ("ptset_sets{reason=\"Conflict\"} ", "1"),
            ("ptset_pending_intents ", "4"),
            ("ptset_queue_depth ", "5"),
            ("ptset_reconciles_running ", "6"),
            ("ptset_snapshot_age_seconds ", "1.5"),
            ("ptset_limiters{state=\"slowed\"} ", "1"),
            ("ptset_limiter_calls{state=\"edits_waiting\"} ", "7"),
            ("ptset_leader ", "1"),
        ];
        for (series, value) in lines {
            assert!(shown(&metrics, &format!("{series}{value}")), "{series}{value}\n{}", metrics.render());
        }
        drop(controller);
        metrics.report_standing(&LeadershipState::StandsBy);
        for (series, value) in &mut lines {
            *value = if series.contains("age") { "0.0" } else { "0" };
            assert!(shown(&metrics, &format!("{series}{value}")), "{series}{value}\n{}", metrics.render());
        }
    }
}
