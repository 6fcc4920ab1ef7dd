//! Every reconcile runs as a task of its own that nothing drops. A panic ends only that reconcile: the status says
//! `InternalError`, and the reconcile is retried with backoff. One that makes no progress is told to stop between two calls.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
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
use crate::engine::Progress;

/// Runs one reconcile to its end.
pub async fn supervised(
    object: Arc<StoredSet>,
    context: Arc<Context>,
    shutdown: CancellationToken,
    deadline: Duration,
) -> Action {
    let progress = Arc::new(Progress::new(shutdown.child_token()));
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
