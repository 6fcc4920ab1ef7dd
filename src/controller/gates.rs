//! What must be so before the operator is ready: the CRDs are served, and the watches have delivered what there is.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use kube::runtime::watcher::{self, Event};

use super::Observer;

/// What must be so before the operator is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    /// The API server serves our kinds.
    Crd,
    /// The watches of our kinds have delivered what there is.
    Watches,
    /// It leads, or stands by for the one that does.
    Leader,
}

impl Gate {
    /// Every gate.
    pub const ALL: &[Self] = &[Self::Crd, Self::Watches, Self::Leader];

    /// Its name in probes and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Crd => "crd",
            Self::Watches => "watches",
            Self::Leader => "leader",
        }
    }
}

/// Why a watch has delivered nothing yet.
const NO_ANSWER: &str = "the API server has not answered yet; it is asked again";

/// What is known of the watches of our kinds, by the CRD of each.
#[derive(Clone)]
pub struct Gates {
    shared: Arc<Shared>,
}

struct Shared {
    observer: Arc<dyn Observer>,
    // None once the controller has ended: what comes later counts no more.
    watches: Mutex<Option<BTreeMap<String, Watch>>>,
}

#[derive(Default)]
struct Watch {
    has_delivered: bool,
    is_missing: bool,
    is_answered: bool,
    error: Option<String>,
}

impl Gates {
    /// Nothing is known yet.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let gates = Self { shared: Arc::new(Shared { observer, watches: Mutex::new(Some(BTreeMap::new())) }) };
        gates.change(|_| {});
        gates
    }

    /// That of one CRD's watch, which is waited for from now on.
    pub fn of(&self, crd: &str) -> WatchGate {
        self.change(|watches| drop(watches.insert(crd.to_owned(), Watch::default())));
        WatchGate { gates: self.clone(), crd: crd.to_owned() }
    }

    /// The controller has ended.
    pub fn close(&self) {
        *self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    // Tells what follows from a change.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Watch>)) {
        let mut watches = self.shared.watches.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(watches) = watches.as_mut() else { return };
        change(watches);
        self.shared.observer.gate(Gate::Crd, crds(watches));
        self.shared.observer.gate(Gate::Watches, delivered(watches));
    }
}

fn crds(watches: &BTreeMap<String, Watch>) -> Result<(), String> {
    let missing: Vec<&str> =
        watches.iter().filter(|(_, watch)| watch.is_missing).map(|(crd, _)| crd.as_str()).collect();
    if !missing.is_empty() {
        return Err(format!("{}: {INSTALL}", missing.join(", ")));
    }
    if !watches.is_empty() && watches.values().all(|watch| watch.is_answered) {
        Ok(())
    } else {
        Err(NO_ANSWER.to_owned())
    }
}

fn delivered(watches: &BTreeMap<String, Watch>) -> Result<(), String> {
    let Some((crd, watch)) = watches.iter().find(|(_, watch)| !watch.has_delivered) else {
        return if watches.is_empty() { Err(NO_ANSWER.to_owned()) } else { Ok(()) };
    };
    let why = watch.error.as_deref().unwrap_or(NO_ANSWER);
    Err(format!("{crd} cannot be listed: {why}"))
}

/// What to do about a CRD that is missing.
const INSTALL: &str = "not installed; it is waited for. Install it: kubectl apply --server-side -f crds/, or helm upgrade \
                       --install, whose chart has it";

/// What is known of one CRD's watch.
#[derive(Clone)]
pub struct WatchGate {
    gates: Gates,
    crd: String,
}

impl WatchGate {
    /// The watch has given this.
    pub fn hears<K>(&self, given: &watcher::Result<Event<K>>) {
        match given {
            Ok(Event::InitDone) => self.note(|watch| {
                if watch.is_missing {
                    tracing::info!(crd = self.crd, "the CRD is installed now");
                }
                *watch = Watch { has_delivered: true, is_answered: true, ..Watch::default() };
            }),
            Ok(_) => {}
            Err(error) => self.fails(error),
        }
    }

    /// A part of the watch, that of one namespace, has given this.
    pub fn hears_part<K>(&self, given: &watcher::Result<Event<K>>) {
        match given {
            Ok(Event::InitDone) => self.note(|watch| (watch.is_missing, watch.error) = (false, None)),
            Ok(_) => {}
            Err(error) => self.fails(error),
        }
    }

    /// The watch has failed, and is begun again.
    fn fails(&self, error: &watcher::Error) {
        self.note(|watch| {
            let is_missing = is_missing(error);
            if is_missing && !watch.is_missing {
                tracing::warn!(crd = self.crd, "the CRD is {INSTALL}");
            }
            watch.is_missing |= is_missing;
            watch.is_answered |= code(error).is_some();
            watch.error = Some(error.to_string());
        });
    }

    fn note(&self, change: impl FnOnce(&mut Watch)) {
        self.gates.change(|watches| change(watches.entry(self.crd.clone()).or_default()));
    }
}

/// Whether what is watched does not exist: its CRD is missing.
pub fn is_missing(error: &watcher::Error) -> bool {
    code(error) == Some(404)
}

// What the API server answered; None: it did not.
fn code(error: &watcher::Error) -> Option<u16> {
    match error {
        watcher::Error::InitialListFailed(kube::Error::Api(status))
        | watcher::Error::WatchStartFailed(kube::Error::Api(status))
        | watcher::Error::WatchFailed(kube::Error::Api(status))
        | watcher::Error::WatchError(status) => Some(status.code),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::core::Status;
    use kube::runtime::watcher::{self, Event};

    use super::{Gate, Gates};
    use crate::controller::Observer;

    #[derive(Default)]
    struct Told(Mutex<[Option<Result<(), String>>; 2]>);

    impl Observer for Told {
        fn gate(&self, gate: Gate, state: Result<(), String>) {
            self.0.lock().unwrap()[usize::from(gate == Gate::Watches)] = Some(state);
        }
    }

    impl Told {
        fn is_ok(&self) -> [bool; 2] {
            self.0.lock().unwrap().clone().map(|state| state.unwrap().is_ok())
        }

        fn why(&self, gate: usize) -> String {
            self.0.lock().unwrap()[gate].clone().unwrap().unwrap_err()
        }
    }

    fn error(code: u16, message: &str) -> watcher::Result<Event<ConfigMap>> {
        let status = Status::failure(message, "").with_code(code);
        Err(watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
    }

    const DONE: watcher::Result<Event<ConfigMap>> = Ok(Event::InitDone);

    #[test]
    fn the_gates_open_when_every_crd_is_served_and_every_watch_has_delivered() {
        let told = Arc::new(Told::default());
        let gates = Gates::new(told.clone());
        assert_eq!(told.is_ok(), [false, false]);
        let (sets, connections) = (gates.of("sets.example.com"), gates.of("connections.example.com"));
        sets.hears(&DONE);
        assert_eq!(told.is_ok(), [false, false], "the other is not heard yet");
        let unanswered: watcher::Result<Event<ConfigMap>> = Err(watcher::Error::NoResourceVersion);
        connections.hears(&unanswered);
        assert_eq!(told.is_ok(), [false, false], "no answer tells nothing");
        connections.hears(&error(403, "connections is forbidden"));
        assert_eq!(told.is_ok(), [true, false]);
        assert!(told.why(1).contains("connections is forbidden"), "{}", told.why(1));
        connections.hears(&error(404, "not found"));
        assert!(told.why(0).contains("kubectl apply") && told.why(0).contains("connections.example.com"));
        connections.hears(&DONE);
        assert_eq!(told.is_ok(), [true, true]);
        connections.hears(&error(500, "for a moment"));
        assert_eq!(told.is_ok(), [true, true], "what was delivered is there still");
        sets.hears(&error(404, "not found"));
        assert_eq!(told.is_ok(), [false, true], "a CRD that was taken away");
        gates.close();
        sets.hears(&DONE);
        assert_eq!(told.is_ok(), [false, true], "who has ended tells nothing more");
    }
}
