//! The readiness of this process, for `/readyz`: the latest result of each check. It does not depend on CMDB: an operator
//! that cannot reach CMDB must run to report that.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use parking_lot::Mutex;

use crate::controller::{LeadershipState, NO_ANSWER, ReadinessCheck};

/// The latest result of each readiness check.
#[derive(Debug)]
pub struct ReadinessReport {
    results: Mutex<BTreeMap<ReadinessCheck, CheckResult>>,
}

// The text that is shown of a check that passes; or why it fails, and what to do.
type CheckResult = Result<String, String>;

impl Default for ReadinessReport {
    fn default() -> Self {
        let unknown = |check: &ReadinessCheck| (*check, Err(NO_ANSWER.to_owned()));
        Self { results: Mutex::new(ReadinessCheck::ALL.iter().map(unknown).collect()) }
    }
}

impl ReadinessReport {
    /// Stores the result of a check.
    pub fn set(&self, check: ReadinessCheck, result: CheckResult) {
        self.results.lock().insert(check, result);
    }

    /// Stores what leadership means for the checks: an instance that does not lead needs no CRDs and no watches, only
    /// access to the lease.
    pub fn report_standing(&self, standing: &LeadershipState) {
        let (leader, others) = match standing {
            LeadershipState::Leads => (Ok("ok"), Err(NO_ANSWER)),
            LeadershipState::StandsBy => (Ok("ok: stands by"), Ok("ok: not needed while it stands by")),
            LeadershipState::Unknown(why) => (Err(why.as_str()), Ok("ok: not needed while it does not lead")),
        };
        let owned = |result: Result<&str, &str>| result.map(str::to_owned).map_err(str::to_owned);

        let mut results = self.results.lock();
        let before = results.insert(ReadinessCheck::Leader, owned(leader));
        let was_leading = before.is_some_and(|result| result.is_ok_and(|text| text == "ok"));
        // While it keeps leading, the controller reports the other checks itself.
        if !(was_leading && *standing == LeadershipState::Leads) {
            for check in [ReadinessCheck::Crd, ReadinessCheck::Watches] {
                results.insert(check, owned(others));
            }
        }
    }

    /// Whether a check passes.
    pub fn is_passing(&self, check: ReadinessCheck) -> bool {
        self.results.lock().get(&check).is_some_and(Result::is_ok)
    }

    /// Whether all checks pass, and a text with one line for each.
    pub fn render(&self) -> (bool, String) {
        let results = self.results.lock();
        let mut text = String::new();
        for (check, result) in &*results {
            let (Ok(shown) | Err(shown)) = result;
            let _ = writeln!(text, "{}: {shown}", check.as_str());
        }
        (results.values().all(Result::is_ok), text)
    }
}

#[cfg(test)]
mod tests {
    use super::{NO_ANSWER, ReadinessReport};
    use crate::controller::{LeadershipState, ReadinessCheck};

    #[test]
    fn there_is_one_line_for_each_check_and_all_must_pass() {
        let readiness = ReadinessReport::default();
        assert_eq!(
            readiness.render(),
            (false, format!("crd: {NO_ANSWER}\nwatches: {NO_ANSWER}\nleader: {NO_ANSWER}\n"))
        );
        readiness.report_standing(&LeadershipState::StandsBy);
        let standby = "crd: ok: not needed while it stands by\nwatches: ok: not needed while it stands by\n\
                       leader: ok: stands by\n";
        assert_eq!(readiness.render(), (true, standby.to_owned()));
        readiness.report_standing(&LeadershipState::Leads);
        assert_eq!(readiness.render(), (false, format!("crd: {NO_ANSWER}\nwatches: {NO_ANSWER}\nleader: ok\n")));
        readiness.set(ReadinessCheck::Crd, Ok("ok".to_owned()));
        readiness.set(ReadinessCheck::Watches, Err("forbidden".to_owned()));
        assert_eq!(readiness.render(), (false, "crd: ok\nwatches: forbidden\nleader: ok\n".to_owned()));
        readiness.set(ReadinessCheck::Watches, Ok("ok".to_owned()));
        readiness.report_standing(&LeadershipState::Leads);
        assert_eq!(readiness.render(), (true, "crd: ok\nwatches: ok\nleader: ok\n".to_owned()));
        readiness.report_standing(&LeadershipState::Unknown("the lease cannot be had".to_owned()));
        let (is_ready, text) = readiness.render();
        assert!(!is_ready && text.ends_with("leader: the lease cannot be had\n"), "{text}");
    }
}
