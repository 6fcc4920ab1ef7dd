//! Events: on transitions, and on every write to CMDB. Best effort: none can fail a reconcile or delay it.

use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::Event;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, MicroTime};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::sync::mpsc;

use super::api_call::bounded;
use super::conditions::ConditionSet;
use crate::api::FIELD_MANAGER;
use crate::controller::reason::Reason;

// The API server refuses longer notes.
const NOTE_BYTES: usize = 1000;

/// Type of an event that needs no attention.
pub const NORMAL: &str = "Normal";

/// Type of an event that somebody should look at.
pub const WARNING: &str = "Warning";

// Events that may wait; those that find no place are dropped.
const QUEUE: usize = 1000;

/// The queue of events that wait to be published.
pub struct Events {
    queue: mpsc::Sender<QueuedEvent>,
}

impl Events {
    /// Queues an event about an object. Does not wait, whatever the API server does.
    pub fn publish(
        &self,
        about: ObjectReference,
        type_: &'static str,
        reason: &str,
        action: &'static str,
        mut note: String,
    ) {
        note.truncate(note.floor_char_boundary(NOTE_BYTES));
        self.enqueue(QueuedEvent { about, type_, reason: reason.to_owned(), action, note });
    }

    fn enqueue(&self, event: QueuedEvent) {
        if let Err(error) = self.queue.try_send(event) {
            let event = error.into_inner();
            let (namespace, name) = (event.namespace(), event.about.name.as_deref());
            tracing::warn!(
                namespace,
                name,
                reason = event.reason,
                "an event is dropped: too many wait to be published"
            );
        }
    }

    /// Publishes that Ready has turned or has another reason; `before` are the conditions until now.
    pub fn turned(&self, about: ObjectReference, before: &[Condition], now: &ConditionSet) {
        let ready = before.iter().find(|condition| condition.type_ == "Ready");
        let status = if now.ready { "True" } else { "False" };
        let is_same =
            ready.is_some_and(|condition| condition.status == status && condition.reason == now.reason.as_str());

        // Each drift has its own event.
        if is_same || matches!(now.reason, Reason::Progressing | Reason::Drifted) {
            return;
        }
        let type_ = if now.ready && now.reason != Reason::NewCredentialsRefused { NORMAL } else { WARNING };
        self.publish(about, type_, now.reason.as_str(), "Reconcile", now.message.clone());
    }
}

// An event about a set or a connection.
struct QueuedEvent {
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
        while let Some(event) = waiting.recv().await {
            let api: Api<Event> = Api::namespaced(client.clone(), event.namespace());
            let parameters = PostParams { field_manager: Some(FIELD_MANAGER.to_owned()), ..PostParams::default() };
            if let Err(error) = bounded(api.create(&parameters, &event.event(&instance))).await {
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
            events.enqueue(QueuedEvent { about, type_: NORMAL, reason, action: "Create", note });
        }
        drop(events);
        publishing.await;
        assert_eq!(published.load(Ordering::Relaxed), QUEUE);
    }
}
