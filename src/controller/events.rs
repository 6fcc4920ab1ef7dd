//! Events: on transitions, and on every write to CMDB. Best effort; none can fail a reconcile, nor hold one up.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::Resource;
use kube::runtime::events::{Event, EventType, Recorder};
use tokio::sync::mpsc;

use super::status::Verdict;
use super::writer::bounded;
use super::{Context, Error, Outcome};
use crate::api::{ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::plan::{Basis, Decision, Item, Recall};

// The API server refuses longer notes.
const NOTE_BYTES: usize = 1000;

// Events that may wait; only when as many do is a reconcile held up.
const QUEUE: usize = 1000;

/// Where reconciles leave their events.
pub type Events = mpsc::Sender<(ObjectReference, Event)>;

/// A queue of events, and what publishes them one by one until nobody can add any more.
pub fn queue(recorder: Recorder) -> (Events, impl Future<Output = ()>) {
    let (events, mut waiting) = mpsc::channel(QUEUE);
    let publishing = async move {
        while let Some((object, event)) = waiting.recv().await {
            if let Err(error) = bounded(recorder.publish(&event, &object)).await {
                tracing::debug!(%error, "an event could not be published");
            }
        }
    };
    (events, publishing)
}

/// What was written to CMDB, and what was taken over without a write.
pub async fn written(
    context: &Context,
    set: &ProcessTemplateSet,
    before: &ProcessTemplateSetStatus,
    outcome: &Outcome,
) {
    let id = outcome.view.sight.scope.service_template_id;
    let created = &outcome.tally.created;
    if !created.is_empty() {
        let note = format!("created {} process templates in service template {id}: {}", created.len(), list(created));
        publish(context, set, EventType::Normal, "Created", "Create", note).await;
    }
    let known = |id: i64| before.processes.iter().any(|process| process.id == Some(id));
    let adopted: Vec<i64> = outcome
        .view
        .plan
        .items
        .iter()
        .filter_map(|item| match item.decision {
            Decision::InSync { id, basis: Basis::Adopted, .. } if !known(id) && !created.contains(&id) => Some(id),
            _ => None,
        })
        .collect();
    if !adopted.is_empty() {
        let note = format!("adopted without a write, being identical: {}", list(&adopted));
        publish(context, set, EventType::Normal, "Adopted", "Adopt", note).await;
    }
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
        publish(context, set, EventType::Warning, "Ignored", "Create", note).await;
    }
}

fn ignored_of(item: &Item) -> String {
    match &item.decision {
        Decision::InSync { ignored, .. } => format!("{:?}: {}", item.key, ignored.join(", ")),
        _ => String::new(),
    }
}

/// Ready has turned, or has another reason.
pub async fn turned(context: &Context, set: &ProcessTemplateSet, before: &ProcessTemplateSetStatus, verdict: &Verdict) {
    let ready = before.conditions.iter().find(|condition| condition.type_ == "Ready");
    let same = |(status, reason): (&str, &str)| {
        ready.is_some_and(|condition| condition.status == status && condition.reason == reason)
    };
    let status = if verdict.ready { "True" } else { "False" };
    if same((status, verdict.reason)) || verdict.reason == "Progressing" {
        return;
    }
    let type_ = if verdict.ready { EventType::Normal } else { EventType::Warning };
    publish(context, set, type_, verdict.reason, "Reconcile", verdict.message.clone()).await;
}

/// A set that was in sync could not be checked.
pub async fn failed(context: &Context, set: &ProcessTemplateSet, error: &Error) {
    publish(context, set, EventType::Warning, error.label(), "Check", error.message()).await;
}

/// What the status remembers was made elsewhere.
pub async fn moved(context: &Context, set: &ProcessTemplateSet, recall: Recall) {
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
    publish(context, set, EventType::Warning, reason, "Reconcile", note.to_owned()).await;
}

async fn publish(
    context: &Context,
    set: &ProcessTemplateSet,
    type_: EventType,
    reason: &str,
    action: &str,
    mut note: String,
) {
    if note.len() > NOTE_BYTES {
        let end = (0..=NOTE_BYTES).rev().find(|&end| note.is_char_boundary(end)).unwrap_or_default();
        note.truncate(end);
    }
    let (reason, action) = (reason.to_owned(), action.to_owned());
    let event = Event { type_, reason, note: Some(note), action, secondary: None };
    if context.events.send((set.object_ref(&()), event)).await.is_err() {
        tracing::debug!("an event could not be published: nobody publishes any more");
    }
}

fn list(ids: &[i64]) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
