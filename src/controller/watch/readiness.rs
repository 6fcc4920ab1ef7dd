//! What must be so before the operator is ready: the CRDs are served, and the watches have delivered what there is.

use std::collections::BTreeMap;
use std::sync::Arc;

use kube::runtime::watcher::{self, Event};
use parking_lot::Mutex;

use super::readiness_check::{NO_ANSWER, ReadinessCheck};
use crate::controller::observer::Observer;

/// What is known of the watches, by the plural name of what each is of.
#[derive(Clone)]
pub struct Readiness {
    shared: Arc<Shared>,
}

struct Shared {
    observer: Arc<dyn Observer>,
    // None once the controller has ended: what comes later counts no more.
    watches: Mutex<Option<BTreeMap<String, Watch>>>,
}

#[derive(Default)]
struct Watch {
    // By namespace; that of all namespaces, and of what is in none, has no name.
    parts: BTreeMap<String, Part>,
    is_missing: bool,
    is_answered: bool,
    error: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Part {
    Awaited,
    Delivered,
    // What is there may not be listed.
    Refused,
}

impl Watch {
    // Who may list nothing at all has not delivered.
    fn has_delivered(&self) -> bool {
        let has = |part| self.parts.values().any(|known| *known == part);
        has(Part::Delivered) && !has(Part::Awaited)
    }

    fn refused(&self) -> Vec<&str> {
        let refused = self.parts.iter().filter(|(_, part)| **part == Part::Refused);
        refused.map(|(namespace, _)| namespace.as_str()).collect()
    }
}

impl Readiness {
    /// Nothing is known yet.
    pub fn new(observer: Arc<dyn Observer>) -> Self {
        let readiness = Self { shared: Arc::new(Shared { observer, watches: Mutex::new(Some(BTreeMap::new())) }) };
        readiness.change(|_| {});
        readiness
    }

    /// That of the watch of these in some namespaces, none: in all. It is waited for from now on.
    pub fn of(&self, plural: &str, namespaces: &[String]) -> WatchHealth {
        let names = if namespaces.is_empty() { &[String::new()] } else { namespaces };
        let parts = names.iter().map(|name| (name.clone(), Part::Awaited)).collect();
        self.change(|watches| drop(watches.insert(plural.to_owned(), Watch { parts, ..Watch::default() })));
        WatchHealth { readiness: self.clone(), plural: plural.to_owned() }
    }

    /// The controller has ended.
    pub fn close(&self) {
        *self.shared.watches.lock() = None;
    }

    // Tells what follows from a change.
    fn change(&self, change: impl FnOnce(&mut BTreeMap<String, Watch>)) {
        let mut watches = self.shared.watches.lock();
        let Some(watches) = watches.as_mut() else { return };
        change(watches);
        self.shared.observer.readiness_changed(ReadinessCheck::Crd, crds(watches));
        self.shared.observer.readiness_changed(ReadinessCheck::Watches, delivered(watches));
    }
}

fn crds(watches: &BTreeMap<String, Watch>) -> Result<String, String> {
    let missing: Vec<&str> =
        watches.iter().filter(|(_, watch)| watch.is_missing).map(|(crd, _)| crd.as_str()).collect();
    if !missing.is_empty() {
        return Err(format!("{}: {INSTALL}", missing.join(", ")));
    }
    if !watches.is_empty() && watches.values().all(|watch| watch.is_answered) {
        Ok("ok".to_owned())
    } else {
        Err(NO_ANSWER.to_owned())
    }
}

fn delivered(watches: &BTreeMap<String, Watch>) -> Result<String, String> {
    if watches.is_empty() {
        return Err(NO_ANSWER.to_owned());
    }
    if let Some((plural, watch)) = watches.iter().find(|(_, watch)| !watch.has_delivered()) {
        let why = watch.error.as_deref().unwrap_or(NO_ANSWER);
        return Err(format!("{plural} cannot be listed: {why}"));
    }
    let refused = watches.iter().map(|(plural, watch)| (plural, watch.refused()));
    let refused: Vec<String> = refused
        .filter(|(_, namespaces)| !namespaces.is_empty())
        .map(|(plural, namespaces)| format!("{plural} in {}", namespaces.join(", ")))
        .collect();
    Ok(if refused.is_empty() { "ok".to_owned() } else { format!("ok, without {}: forbidden", refused.join(" and ")) })
}

/// What to do about a CRD that is missing.
const INSTALL: &str = "not installed; it is waited for. Install it: kubectl apply --server-side -f crds/, or helm upgrade \
                       --install, whose chart has it";

/// What is known of one watch.
#[derive(Clone)]
pub struct WatchHealth {
    readiness: Readiness,
    plural: String,
}

impl WatchHealth {
    /// The watch in a namespace has given this.
    pub fn observe<K>(&self, namespace: &str, given: &watcher::Result<Event<K>>) {
        match given {
            Ok(Event::InitDone) => self.note(|watch| {
                if watch.is_missing {
                    tracing::info!(crd = self.plural, "the CRD is installed now");
                }
                watch.parts.insert(namespace.to_owned(), Part::Delivered);
                (watch.is_missing, watch.is_answered, watch.error) = (false, true, None);
            }),
            Ok(_) => {}
            Err(error) => self.note_failure(namespace, error),
        }
    }

    /// The watch has failed, and is begun again.
    fn note_failure(&self, namespace: &str, error: &watcher::Error) {
        self.note(|watch| {
            let is_missing = is_missing(error);
            if is_missing && !watch.is_missing {
                tracing::warn!(crd = self.plural, "the CRD is {INSTALL}");
            }
            watch.is_missing |= is_missing;
            watch.is_answered |= code(error).is_some();
            watch.error = Some(error.to_string());
            // What was delivered is there still.
            if is_refused(error) && watch.parts.get(namespace) != Some(&Part::Delivered) {
                watch.parts.insert(namespace.to_owned(), Part::Refused);
            }
        });
    }

    fn note(&self, change: impl FnOnce(&mut Watch)) {
        self.readiness.change(|watches| change(watches.entry(self.plural.clone()).or_default()));
    }
}

/// Whether what is watched does not exist: its CRD is missing. A list says so for certain; to begin a watch fails in the same
/// way while an API server starts.
pub fn is_missing(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_)) && code(error) == Some(404)
}

/// Whether it may not be listed: the namespace is gone, or was taken from us.
pub fn is_refused(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::InitialListFailed(_)) && code(error) == Some(403)
}

/// Whether a watch could not go on from where it was because nothing is there.
pub fn is_lost(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchStartFailed(_)) && code(error) == Some(404)
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

    use super::{Readiness, ReadinessCheck};
    use crate::controller::observer::Observer;

    #[derive(Default)]
    struct RecordedChecks(Mutex<[Option<Result<String, String>>; 2]>);

    impl Observer for RecordedChecks {
        fn readiness_changed(&self, check: ReadinessCheck, state: Result<String, String>) {
            self.0.lock().unwrap()[usize::from(check == ReadinessCheck::Watches)] = Some(state);
        }
    }

    impl RecordedChecks {
        fn is_ok(&self) -> [bool; 2] {
            self.0.lock().unwrap().clone().map(|state| state.unwrap().is_ok())
        }

        fn why(&self, check: usize) -> String {
            self.0.lock().unwrap()[check].clone().unwrap().unwrap_err()
        }
    }

    fn error(code: u16, message: &str) -> watcher::Result<Event<ConfigMap>> {
        let status = Status::failure(message, "").with_code(code);
        Err(watcher::Error::InitialListFailed(kube::Error::Api(Box::new(status))))
    }

    const DONE: watcher::Result<Event<ConfigMap>> = Ok(Event::InitDone);

    #[test]
    fn checks_pass_when_every_crd_is_served_and_every_watch_has_delivered() {
        let told = Arc::new(RecordedChecks::default());
        let readiness = Readiness::new(told.clone());
        assert_eq!(told.is_ok(), [false, false]);
        let (sets, connections) = (readiness.of("sets.example.com", &[]), readiness.of("connections.example.com", &[]));
        sets.observe("", &DONE);
        assert_eq!(told.is_ok(), [false, false], "the other is not heard yet");
        let unanswered: watcher::Result<Event<ConfigMap>> = Err(watcher::Error::NoResourceVersion);
        connections.observe("", &unanswered);
        assert_eq!(told.is_ok(), [false, false], "no answer tells nothing");
        connections.observe("", &error(403, "connections is forbidden"));
        assert_eq!(told.is_ok(), [true, false]);
        assert!(told.why(1).contains("connections is forbidden"), "{}", told.why(1));
        connections.observe("", &error(404, "not found"));
        assert!(told.why(0).contains("kubectl apply") && told.why(0).contains("connections.example.com"));
        connections.observe("", &DONE);
        assert_eq!(told.is_ok(), [true, true]);
        connections.observe("", &error(500, "for a moment"));
        assert_eq!(told.is_ok(), [true, true], "what was delivered is there still");
        sets.observe("", &error(404, "not found"));
        assert_eq!(told.is_ok(), [false, true], "a CRD that was taken away");
        readiness.close();
        sets.observe("", &DONE);
        assert_eq!(told.is_ok(), [false, true], "who has ended tells nothing more");
    }

    #[test]
    fn namespaces_that_may_not_be_listed_are_named_and_who_may_list_none_is_not_ready() {
        let told = Arc::new(RecordedChecks::default());
        let readiness = Readiness::new(told.clone());
        let sets = readiness.of("sets.example.com", &["a", "b"].map(str::to_owned));
        let forbidden = || error(403, "sets is forbidden");
        sets.observe("a", &forbidden());
        sets.observe("b", &forbidden());
        assert_eq!(told.is_ok(), [true, false], "nothing may be listed");
        assert!(told.why(1).contains("sets is forbidden"), "{}", told.why(1));
        sets.observe("a", &DONE);
        let said = told.0.lock().unwrap()[1].clone();
        assert_eq!(said, Some(Ok("ok, without sets.example.com in b: forbidden".to_owned())));
        sets.observe("b", &DONE);
        assert_eq!(told.0.lock().unwrap()[1], Some(Ok("ok".to_owned())));
        sets.observe("a", &forbidden());
        assert_eq!(told.0.lock().unwrap()[1], Some(Ok("ok".to_owned())), "what was delivered is there still");
    }

    #[test]
    fn a_watch_that_cannot_be_begun_does_not_say_that_its_crd_is_missing() {
        let told = Arc::new(RecordedChecks::default());
        let readiness = Readiness::new(told.clone());
        let sets = readiness.of("sets.example.com", &[]);
        sets.observe("", &DONE);
        let status = Status::failure("not found", "").with_code(404);
        let starting: watcher::Result<Event<ConfigMap>> =
            Err(watcher::Error::WatchStartFailed(kube::Error::Api(Box::new(status))));
        sets.observe("", &starting);
        assert_eq!(told.is_ok(), [true, true]);
    }
}
