//! Every reconcile runs as a task of its own that nothing drops. A panic ends only that reconcile: the status says
//! `InternalError`, and the reconcile is retried with backoff. One that makes no progress is asked to stop between two calls.
//! It is spawned once it has a place ([`crate::controller::places`]): a set that waits for one is a name in a queue, and is
//! reconciled as it is when it gets it.
//!
//! A set that is deleted without a call to CMDB does not wait for the call in flight of its last reconcile: that reconcile is
//! detached. It keeps its place, sends nothing more, and stores nothing, because the object has changed.

use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::ObjectRef;
use kube::{Resource as _, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::field::Empty;
use tracing::{Instrument as _, trace_span};

use super::failure;
use super::large_sets::Share;
use super::reconcile::reconcile;
use super::stored_set::StoredSet;
use super::under_way::Reconcile;
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::names::ObjectName;
use crate::controller::places::{LaneName, Place};
use crate::engine::Progress;

// Backoff after a panic outside of a reconcile.
const SUPERVISION_BACKOFF: Duration = Duration::from_secs(30);

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
        let action = detachable(newest, &context, &reconcile, deadline, (share, place)).await;
        context.queue.note_end(name, action.after);
        action
    }
}

// One reconcile, with what it holds until it ends; it goes on by itself when it is detached.
async fn detachable(
    object: Arc<StoredSet>,
    context: &Arc<Context>,
    reconcile: &Reconcile,
    deadline: Duration,
    held: (Share, Place),
) -> Action {
    let supervised = supervised(object, Arc::clone(context), reconcile.superseded().clone(), deadline);
    let task = context.reconciles.spawn(async move {
        let action = supervised.await;
        drop(held);
        action
    });
    tokio::select! {
        biased;
        ended = task => ended.unwrap_or_else(|panic| {
            tracing::error!(%panic, "the supervision of a reconcile panicked (bug)");
            Action::requeue(SUPERVISION_BACKOFF)
        }),
        () = reconcile.detached().cancelled() => Action::await_change(),
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
