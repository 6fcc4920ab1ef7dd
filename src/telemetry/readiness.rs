//! Whether this process can do what it is there for. It says nothing about CMDB: an operator that cannot reach it has that
//! to report.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::controller::{LeadershipState, NO_ANSWER, ReadinessCheck};

/// The gates of `/readyz`.
#[derive(Debug)]
pub struct Readiness {
    gates: Mutex<BTreeMap<ReadinessCheck, State>>,
}

// What is to be said of an open gate, or why it is closed and what to do.
type State = Result<String, String>;

impl Default for Readiness {
    fn default() -> Self {
        let closed = |gate: &ReadinessCheck| (*gate, Err(NO_ANSWER.to_owned()));
        Self { gates: Mutex::new(ReadinessCheck::ALL.iter().map(closed).collect()) }
    }
}

impl Readiness {
    /// A gate is open, which says this, or closed for this reason.
    pub fn set(&self, gate: ReadinessCheck, state: Result<String, String>) {
        self.lock().insert(gate, state);
    }

    /// Whether this process leads: who does not needs only that it can look at the lease.
    pub fn report_standing(&self, standing: &LeadershipState) {
        let mut gates = self.lock();
        let (leader, others) = match standing {
            LeadershipState::Leads => (Ok("ok"), Err(NO_ANSWER)),
            LeadershipState::StandsBy => (Ok("ok: stands by"), Ok("ok: not needed while it stands by")),
            LeadershipState::Unknown(why) => (Err(why.as_str()), Ok("ok: not needed while it does not lead")),
        };
        let owned = |state: Result<&str, &str>| state.map(str::to_owned).map_err(str::to_owned);
        let was_open = gates
            .insert(ReadinessCheck::Leader, owned(leader))
            .is_some_and(|before| before.is_ok_and(|said| said == "ok"));
        // Who goes on leading has told of the others.
        if !(was_open && *standing == LeadershipState::Leads) {
            for gate in [ReadinessCheck::Crd, ReadinessCheck::Watches] {
                gates.insert(gate, owned(others));
            }
        }
    }

    /// Whether a gate is open.
    pub fn is_open(&self, gate: ReadinessCheck) -> bool {
        self.lock().get(&gate).is_some_and(Result::is_ok)
    }

    /// Whether all gates are open, with one line for each.
    pub fn report(&self) -> (bool, String) {
        let gates = self.lock();
        let mut text = String::new();
        for (gate, state) in &*gates {
            let said = state.as_ref().unwrap_or_else(|why| why);
            let _ = writeln!(text, "{}: {said}", gate.as_str());
        }
        (gates.values().all(Result::is_ok), text)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<ReadinessCheck, State>> {
        self.gates.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::{NO_ANSWER, Readiness};
    use crate::controller::{LeadershipState, ReadinessCheck};

    #[test]
    fn there_is_one_line_for_each_gate_and_all_must_be_open() {
        let readiness = Readiness::default();
        assert_eq!(
            readiness.report(),
            (false, format!("crd: {NO_ANSWER}\nwatches: {NO_ANSWER}\nleader: {NO_ANSWER}\n"))
        );
        readiness.report_standing(&LeadershipState::StandsBy);
        let standby = "crd: ok: not needed while it stands by\nwatches: ok: not needed while it stands by\n\
                       leader: ok: stands by\n";
        assert_eq!(readiness.report(), (true, standby.to_owned()));
        readiness.report_standing(&LeadershipState::Leads);
        assert_eq!(readiness.report(), (false, format!("crd: {NO_ANSWER}\nwatches: {NO_ANSWER}\nleader: ok\n")));
        readiness.set(ReadinessCheck::Crd, Ok("ok".to_owned()));
        readiness.set(ReadinessCheck::Watches, Err("forbidden".to_owned()));
        assert_eq!(readiness.report(), (false, "crd: ok\nwatches: forbidden\nleader: ok\n".to_owned()));
        readiness.set(ReadinessCheck::Watches, Ok("ok".to_owned()));
        readiness.report_standing(&LeadershipState::Leads);
        assert_eq!(readiness.report(), (true, "crd: ok\nwatches: ok\nleader: ok\n".to_owned()));
        readiness.report_standing(&LeadershipState::Unknown("the lease cannot be had".to_owned()));
        let (is_ready, text) = readiness.report();
        assert!(!is_ready && text.ends_with("leader: the lease cannot be had\n"), "{text}");
    }
}
