//! Every reconcile runs as a task of its own that nothing drops. A panic ends only that reconcile: the status says
//! `InternalError`, and the reconcile is retried with backoff. One that makes no progress is asked to stop between two calls.
//! It is spawned once it has a place ([`crate::controller::places`]): a set that waits for one is a name in a queue, and is
//! reconciled as it is when it gets it.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, trace_span};

use super::failure;
use super::reconcile::reconcile;
use super::stored_set::StoredSet;
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::names::ObjectName;
use crate::controller::places::LaneName;
use crate::engine::Progress;

/// Waits for a place, then runs one reconcile to its end. A set that changes while it waits is reconciled again, by the event
/// of the watch; one that is gone is not.
pub fn in_place(
    object: &StoredSet,
    context: Arc<Context>,
    deadline: Duration,
) -> impl Future<Output = Action> + Send + use<> {
    let (name, lane) = (ObjectName::of(&ObjectRef::from_obj(object)), lane_of(object));
    let (size, reconcile) = (object.size(), context.under_way.enter(object));
    async move {
        let places = async {
            let share = context.large_sets.take(&lane, size).await;
            (share, context.places.take(lane).await)
        };
        let (share, place) = tokio::select! {
            biased;
            () = context.shutdown.cancelled() => return Action::await_change(),
            () = reconcile.superseded().cancelled() => return Action::await_change(),
            places = places => places,
        };
        let Some(newest) = context.store.get(&name.reference()) else { return Action::await_change() };
        // It has grown: the event of the watch starts the next reconcile.
        if !share.covers(newest.size()) {
            return Action::await_change();
        }
        reconcile.work_on(&newest);

        context.queue.note_start(&name);
        context.forget_replaced();
        let superseded = reconcile.superseded().clone();
        // On the heap: what waits for a place has no room for it.
        let action = Box::pin(supervised(newest, Arc::clone(&context), superseded, deadline)).await;
        drop((share, place));
        context.queue.note_end(name, action.after);
        action
    }
}

// Sets that need no call to CMDB have a lane of their own: they wait for no set that does.
fn lane_of(object: &StoredSet) -> LaneName {
    let claims = object.claims().filter(|_| object.needs_cmdb());
    LaneName {
        namespace: object.meta().namespace.clone().unwrap_or_default(),
        connection: claims.map(|claims| claims.connection.clone()),
    }
}

async fn supervised(
    object: Arc<StoredSet>,
    context: Arc<Context>,
    superseded: CancellationToken,
    deadline: Duration,
) -> Action {
    let progress = Arc::new(Progress::new(context.shutdown.child_token()).superseded_with(superseded));
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.name_any());
    let span = trace_span!(target: "traces", parent: None, "reconcile", namespace, name, outcome = Empty,
                           otel.status_code = Empty);
    let mut task = context.reconciles.spawn({
        let (object, context, progress) = (Arc::clone(&object), Arc::clone(&context), Arc::clone(&progress));
        let liveness = Arc::clone(&context.liveness);
        let reconcile = async move { reconcile(object, &context, &progress).await }.instrument(span.clone());
        liveness.watch(format!("the reconcile of ProcessTemplateSet \"{namespace}/{name}\""), reconcile)
    });
    let ended = tokio::select! {
        ended = &mut task => ended,
        () = progress.expired(deadline) => {
            tracing::error!(namespace, name, deadline = ?deadline, "no progress: told to stop after the present call");
            task.await
        }
    };
    match ended {
        Ok(action) => action,
        Err(panic) => {
            tracing::error!(namespace, name, %panic, "reconcile panicked (bug)");
            span.in_scope(|| context.note_outcome(Error::Panicked.label()));
            let wait =
                context.sets.of(&ObjectName { namespace, name }, &object.uid().unwrap_or_default()).next_backoff();
            // A task of its own too: what made the reconcile panic may make this panic.
            let report = async move { failure::panicked(&object, &context, wait).await };
            if let Err(panic) = tokio::spawn(report).await {
                tracing::error!(%panic, "a panic could not be reported in the status (bug)");
            }
            Action::requeue(wait)
        }
    }
}
