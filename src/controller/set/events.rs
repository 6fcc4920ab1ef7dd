//! Events: on transitions, and on every write to CMDB. Best effort; none can fail a reconcile, nor hold one up.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client, Resource};
use tokio::sync::mpsc;

use super::status;
use super::status_memory;
use crate::api::{FIELD_MANAGER, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::kubernetes::conditions::ConditionSet;
use crate::controller::kubernetes::status_writer::bounded;
use crate::controller::{Context, Error, Outcome};
use crate::engine::{Tally, Updated};
use crate::plan::{Basis, Cause, Decision, Found, Item, Plan, Recall, Removal, count};

// The API server refuses longer notes.
const NOTE_BYTES: usize = 1000;

const NORMAL: &str = "Normal";
const WARNING: &str = "Warning";

// Events that may wait; those that find no place are dropped.
const QUEUE: usize = 1000;

/// Where reconciles leave their events.
pub struct Events {
    queue: mpsc::Sender<QueuedEvent>,
}

impl Events {
    // Does not wait, whatever the API server does.
    fn leave(&self, told: QueuedEvent) {
        if let Err(error) = self.queue.try_send(told) {
            let told = error.into_inner();
            let (namespace, name) = (told.namespace(), told.about.name.as_deref());
            tracing::warn!(namespace, name, reason = told.reason, "an event is dropped: too many wait to be published");
        }
    }
}

/// An event about a set or a connection.
pub struct QueuedEvent {
    about: ObjectReference,
    type_: &'static str,
    reason: String,
    action: &'static str,
    note: String,
}

/// A queue of events, and what publishes them one by one until nobody can add any more. Each is an object of its own: a
/// series keeps only the text of its first.
pub fn queue(client: Client, instance: String) -> (Events, impl Future<Output = ()>) {
    let (queue, mut waiting) = mpsc::channel::<QueuedEvent>(QUEUE);
    let publishing = async move {
        while let Some(told) = waiting.recv().await {
            let api: Api<Event> = Api::namespaced(client.clone(), told.namespace());
            let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            if let Err(error) = bounded(api.create(&parameters, &told.event(&instance))).await {
                tracing::warn!(%error, "an event could not be published");
            }
        }
    };
    (Events { queue }, publishing)
}

impl QueuedEvent {
    // Events about objects of the cluster are kept in the namespace "default", as Kubernetes does.
    fn namespace(&self) -> &str {
        self.about.namespace.as_deref().unwrap_or("default")
    }

    fn event(self, instance: &str) -> Event {
        Event {
            metadata: ObjectMeta {
                generate_name: Some(format!("{}-", self.about.name.as_deref().unwrap_or_default())),
                namespace: Some(self.namespace().to_owned()),
                ..ObjectMeta::default()
            },
            action: Some(self.action.to_owned()),
            event_time: Some(MicroTime(Timestamp::now())),
            note: Some(self.note),
            reason: Some(self.reason),
            regarding: Some(self.about),
            reporting_controller: Some(FIELD_MANAGER.to_owned()),
            reporting_instance: Some(instance.to_owned()),
            type_: Some(self.type_.to_owned()),
            ..Event::default()
        }
    }
}

/// What was written to CMDB, and what was taken over without a write.
pub fn written(context: &Context, set: &ProcessTemplateSet, before: &ProcessTemplateSetStatus, outcome: &Outcome) {
    let id = outcome.view.listing.scope.service_template_id;
    let created = &outcome.tally.created;
    context.observer.wrote("created", created.len());
    context.observer.wrote("updated", outcome.tally.updated.len());
    if !created.is_empty() {
        let what = count(created.len(), "process template");
        let note = format!("created {what} in service template {id}: {}", list(created));
        publish(context, set, NORMAL, "Created", "Create", note);
    }
    let restored = &outcome.tally.restored;
    if !restored.is_empty() {
        for _ in restored {
            context.observer.drifted("corrected");
        }
        let note = format!("created again what somebody had deleted in CMDB: {}", restored.join(", "));
        publish(context, set, WARNING, "DriftCorrected", "Create", note);
    }
    updated(context, set, &outcome.tally.updated);
    deleted(context, set, &outcome.tally);
    let known = |id: i64| before.processes.iter().any(|process| process.id == Some(id));
    let is_new = |found: &&Found| found.basis == Basis::Adopted && !known(found.id) && !created.contains(&found.id);
    let in_sync = outcome.view.plan.items.iter().filter(|item| matches!(item.decision, Decision::InSync { .. }));
    let adopted: Vec<i64> =
        in_sync.filter_map(|item| item.found.as_ref()).filter(is_new).map(|found| found.id).collect();
    if !adopted.is_empty() {
        let note = format!("adopted without a write, being identical: {}", list(&adopted));
        publish(context, set, NORMAL, "Adopted", "Adopt", note);
    }
    released(context, set, before, &outcome.released);
    drifted(context, set, before, &outcome.view.plan);
    let news = |item: &&Item| {
        let Decision::InSync { ignored, .. } = &item.decision else { return false };
        let before = before.processes.iter().find(|process| process.name == item.key);
        !ignored.is_empty() && before.is_none_or(|before| before.ignored != *ignored)
    };
    let ignored: Vec<String> = outcome.view.plan.items.iter().filter(news).map(ignored_of).collect();
    if !ignored.is_empty() {
        let note = format!(
            "this CMDB does not have these properties: they were sent and are not compared: {}",
            ignored.join("; ")
        );
        publish(context, set, WARNING, "Ignored", "Create", note);
    }
}

// What was changed, and which of it put back what somebody else had changed.
fn updated(context: &Context, set: &ProcessTemplateSet, updated: &[Updated]) {
    for _ in updated.iter().filter(|updated| updated.cause == Cause::Drift) {
        context.observer.drifted("corrected");
    }
    for (cause, reason, what) in [
        (Cause::Spec, "Updated", "changed"),
        (Cause::Drift, "DriftCorrected", "put back what was changed in CMDB"),
        (Cause::Adoption, "TakenOver", "took over and changed"),
    ] {
        let of_cause: Vec<String> = updated
            .iter()
            .filter(|updated| updated.cause == cause)
            .map(|updated| {
                format!("{:?} ({}): {}{}", updated.key, updated.id, updated.properties.join(", "), by(updated))
            })
            .collect();
        if !of_cause.is_empty() {
            let type_ = if cause == Cause::Drift { WARNING } else { NORMAL };
            publish(context, set, type_, reason, "Update", format!("{what}: {}", of_cause.join("; ")));
        }
    }
}

fn by(updated: &Updated) -> String {
    let time = updated.changed_at.and_then(status_memory::time);
    match (updated.cause, time) {
        (Cause::Drift, Some(time)) => format!(", last changed by {:?} at {time}", updated.modifier),
        _ => String::new(),
    }
}

/// What was deleted in CMDB.
pub fn deleted(context: &Context, set: &ProcessTemplateSet, tally: &Tally) {
    context.observer.wrote("deleted", tally.deleted.len());
    if !tally.deleted.is_empty() {
        let note = format!("deleted {}: {}", count(tally.deleted.len(), "process template"), list(&tally.deleted));
        publish(context, set, NORMAL, "Deleted", "Delete", note);
    }
}

// What has left the set and stays in CMDB.
fn released(context: &Context, set: &ProcessTemplateSet, before: &ProcessTemplateSetStatus, left: &[Removal]) {
    let held = |removal: &&Removal| before.processes.iter().any(|process| process.id == Some(removal.id));
    let released: Vec<String> =
        left.iter().filter(held).map(|removal| format!("{} ({:?})", removal.id, removal.process_name)).collect();
    if !released.is_empty() {
        let note = format!("left in CMDB, no longer part of the set: {}", released.join(", "));
        publish(context, set, NORMAL, "Released", "Release", note);
    }
}

// What somebody changed in CMDB and the set only reports: once for each change.
fn drifted(context: &Context, set: &ProcessTemplateSet, before: &ProcessTemplateSetStatus, plan: &Plan) {
    for item in &plan.items {
        let Some(drift) = status::drift(item) else { continue };
        let known = before.processes.iter().find(|process| process.name == item.key);
        if known.is_some_and(|known| known.drift.as_ref() == Some(&drift)) {
            continue;
        }
        context.observer.drifted("detected");
        let what = if drift.properties.is_empty() { "deleted".to_owned() } else { drift.properties.join(", ") };
        let by = drift.modifier.map(|modifier| format!(" by {modifier:?}")).unwrap_or_default();
        let at = drift.changed_at.map(|time| format!(" at {time}")).unwrap_or_default();
        let note = format!("{:?} was changed in CMDB{by}{at}: {what}", item.key);
        publish(context, set, WARNING, "Drifted", "Check", note);
    }
}

fn ignored_of(item: &Item) -> String {
    match &item.decision {
        Decision::InSync { ignored, .. } => format!("{:?}: {}", item.key, ignored.join(", ")),
        _ => String::new(),
    }
}

/// Ready has turned, or has another reason.
pub fn turned(context: &Context, about: ObjectReference, before: &[Condition], verdict: &ConditionSet) {
    let ready = before.iter().find(|condition| condition.type_ == "Ready");
    let same = |(status, reason): (&str, &str)| {
        ready.is_some_and(|condition| condition.status == status && condition.reason == reason)
    };
    let status = if verdict.ready { "True" } else { "False" };
    // Each drift has its own event.
    if same((status, verdict.reason)) || matches!(verdict.reason, "Progressing" | "Drifted") {
        return;
    }
    let type_ = if verdict.ready && verdict.reason != "NewCredentialsRefused" { NORMAL } else { WARNING };
    tell(context, about, type_, verdict.reason, "Reconcile", verdict.message.clone());
}

/// A set that was in sync could not be checked.
pub fn failed(context: &Context, set: &ProcessTemplateSet, error: &Error) {
    publish(context, set, WARNING, error.label(), "Check", error.message());
}

/// What the status remembers was made elsewhere.
pub fn moved(context: &Context, set: &ProcessTemplateSet, recall: Recall) {
    let (reason, note) = match recall {
        Recall::Kept => return,
        Recall::OtherEndpoint => (
            "EndpointChanged",
            "the status was made in another CMDB, and none of its templates is in this one: they are created here",
        ),
        Recall::OtherServiceTemplate => (
            "ServiceTemplateReplaced",
            "the service template's name is another service template's now: templates of the old one stay untouched",
        ),
    };
    publish(context, set, WARNING, reason, "Reconcile", note.to_owned());
}

fn publish(
    context: &Context,
    set: &ProcessTemplateSet,
    type_: &'static str,
    reason: &str,
    action: &'static str,
    note: String,
) {
    tell(context, set.object_ref(&()), type_, reason, action, note);
}

fn tell(
    context: &Context,
    about: ObjectReference,
    type_: &'static str,
    reason: &str,
    action: &'static str,
    mut note: String,
) {
    note.truncate(note.floor_char_boundary(NOTE_BYTES));
    context.events.leave(QueuedEvent { about, type_, reason: reason.to_owned(), action, note });
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use axum::http::{Request, Response};
    use k8s_openapi::api::core::v1::ObjectReference;
    use kube::Client;
    use kube::client::Body;

    use super::{NORMAL, QUEUE, QueuedEvent, queue};

    #[tokio::test]
    async fn events_that_find_no_place_are_dropped_and_hold_nobody_up() {
        let published = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&published);
        let api_server = tower::service_fn(move |_: Request<Body>| {
            counted.fetch_add(1, Ordering::Relaxed);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::from(b"{}".to_vec()))))
        });
        let (events, publishing) = queue(Client::new(api_server, "default"), "test".to_owned());
        // Nobody publishes yet.
        for number in 0..QUEUE + 10 {
            let (reason, note) = ("Created".to_owned(), number.to_string());
            let about = ObjectReference { name: Some("web".to_owned()), ..ObjectReference::default() };
            events.leave(QueuedEvent { about, type_: NORMAL, reason, action: "Create", note });
        }
        drop(events);
        publishing.await;
        assert_eq!(published.load(Ordering::Relaxed), QUEUE);
    }
}
