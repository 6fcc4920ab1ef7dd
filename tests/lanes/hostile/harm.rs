//! What counts as harm.

use std::fmt;
use std::time::Duration;

/// A median above the usual one times this is harm, if it also exceeds it by [`SLOWER_BY`].
const SLOWER_TIMES: f64 = 2.0;

/// See [`SLOWER_TIMES`].
const SLOWER_BY: Duration = Duration::from_millis(300);

/// Longest latency of an edit.
pub const LONGEST_EDIT: Duration = Duration::from_secs(10);

/// Longest time until the set of a new tenant is Ready.
pub const LONGEST_START: Duration = Duration::from_secs(10);

/// Largest resident memory of the operator, in MiB. The chart's limit is 256.
const MOST_MIB: f64 = 200.0;

/// The measurements of one behaviour.
pub struct Row {
    /// The behaviour.
    pub name: &'static str,
    /// Latencies of the healthy tenant's edits during the behaviour.
    pub edits: Vec<Duration>,
    /// Median latency just before and just after it.
    pub usual: Duration,
    /// Time until the set of a new tenant was Ready.
    pub started: Duration,
    /// Time until the hostile sets were gone.
    pub released: Duration,
    /// Largest resident memory of the operator, in MiB.
    pub peak_mib: f64,
    /// Other harm.
    pub faults: Vec<String>,
}

impl Row {
    /// The title of the columns.
    pub fn title() -> String {
        format!(
            "{:<46} {:>5} {:>8} {:>8} {:>8} {:>6} {:>7} {:>7} {:>6}",
            "behaviour", "edits", "usual ms", "median", "worst", "ratio", "new s", "gone s", "MiB"
        )
    }

    /// Median latency of the edits, divided by the usual one.
    pub fn ratio(&self) -> f64 {
        median(&self.edits).as_secs_f64() / self.usual.as_secs_f64().max(0.001)
    }

    /// Whether anything was harmed.
    pub fn is_harmed(&self) -> bool {
        !self.harm().is_empty()
    }

    /// All harm.
    pub fn harm(&self) -> Vec<String> {
        let (median, worst) = (median(&self.edits), self.worst());
        let mut harm = Vec::new();
        if self.ratio() > SLOWER_TIMES && median > self.usual + SLOWER_BY {
            harm.push(format!("edits take {:.1} s, usually {:.1} s", median.as_secs_f64(), self.usual.as_secs_f64()));
        }
        if worst > LONGEST_EDIT {
            harm.push(format!("an edit took {:.1} s", worst.as_secs_f64()));
        }
        if self.started > LONGEST_START {
            harm.push("a new connection and its set were not Ready in time".to_owned());
        }
        if self.peak_mib > MOST_MIB {
            harm.push(format!("{:.0} MiB of memory", self.peak_mib));
        }
        harm.extend(self.faults.iter().cloned());
        harm
    }

    fn worst(&self) -> Duration {
        self.edits.iter().max().copied().unwrap_or_default()
    }
}

impl fmt::Display for Row {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_millis();
        write!(
            formatter,
            "{:<46} {:>5} {:>8} {:>8} {:>8} {:>6.1} {:>7.1} {:>7.1} {:>6.0}",
            self.name,
            self.edits.len(),
            ms(self.usual),
            ms(median(&self.edits)),
            ms(self.worst()),
            self.ratio(),
            self.started.as_secs_f64(),
            self.released.as_secs_f64(),
            self.peak_mib
        )?;
        for harm in self.harm() {
            write!(formatter, "\n    HARMED {harm}")?;
        }
        Ok(())
    }
}

/// The median.
pub fn median(all: &[Duration]) -> Duration {
    let mut all = all.to_vec();
    all.sort();
    all.get(all.len() / 2).copied().unwrap_or_default()
}
