//! A set that goes: its templates are deleted or left, as it says, and then it is let go.

use kube::api::Api;
use kube::{CustomResourceExt, ResourceExt};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;

use super::journal::{StatusJournal, remembered};
use super::reconcile::{connection_name, generation, held, job, namespace, set_name, subject, target, uid};
use super::{events, finalizer, report, status};
use crate::api::{DeletionPolicy, ItemState, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::action::Action;
use crate::controller::kubernetes::status_writer::{WriteError, bounded};
use crate::controller::{Context, Error};
use crate::engine;
use crate::engine::{Disposition, Freshness, Job, PlannedView, Progress, ReadRequest, Tally};
use crate::plan::{Desired, Memory, Policy, Recall};

// How far a deletion has come.
enum DeletionState {
    /// Nothing of the set is left in CMDB.
    Done(Tally),
    /// Something is left: what, and what stopped it.
    Left(Box<PlannedView>, Tally, Option<Error>),
}

/// Lets a set go.
pub async fn delete(set: &ProcessTemplateSet, context: &Context, progress: &Progress) -> Action {
    if !finalizer::holds(set) {
        return Action::await_change();
    }
    let (namespace, name, uid) = (namespace(set), set.name_any(), uid(set));
    let mut journal = StatusJournal::new(context, subject(set), target(set));
    let is_orphaned = is_orphaned(set, context).await;
    context.objects.set_idle(&namespace, &name, &uid, false);
    if matches!(is_orphaned, Ok(true)) || has_made_nothing(set.status.as_ref()) {
        return let_go(set, context, &mut journal, Tally::default()).await;
    }
    let begun = context.objects.begin_reconcile(&namespace, &name, &uid, generation(set), false, None);
    if begun.is_edited {
        // What it gives, another may have waited for.
        context.wake_neighbours(&uid, set.spec.biz_id, &set.spec.service_template);
    }
    if let Some(left) = begun.held_for {
        return held(left);
    }
    let progress = match is_orphaned {
        Ok(_) => work(set, context, progress, &mut journal).await,
        Err(error) => Err(error),
    };
    match progress {
        Ok(DeletionState::Done(tally)) => let_go(set, context, &mut journal, tally).await,
        Ok(DeletionState::Left(view, tally, stopped)) => {
            events::deleted(context, set, &tally);
            let verdict = status::deleting(set, &view, stopped.as_ref());
            let status = status::observed(&journal.subject, &view, &verdict);
            wait(context, set, &mut journal, status, stopped.as_ref()).await
        }
        Err(error) => {
            let status = status::unobserved(&journal.subject, &status::deletion_blocked(set, &error));
            wait(context, set, &mut journal, status, Some(&error)).await
        }
    }
}

// Without a call to CMDB: the set says so, or it goes only because its kind does.
async fn is_orphaned(set: &ProcessTemplateSet, context: &Context) -> Result<bool, Error> {
    if set.spec.deletion() == DeletionPolicy::Orphan {
        return Ok(true);
    }
    let crds: Api<CustomResourceDefinition> = Api::all(context.client.clone());
    let crd = bounded(crds.get_metadata_opt(ProcessTemplateSet::crd_name())).await;
    let crd = crd.map_err(|error| Error::ApiServer(error.to_string()))?;
    Ok(crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()))
}

// It was judged, and never came so far as to look at CMDB. A status that says nothing at all was lost.
fn has_made_nothing(status: Option<&ProcessTemplateSetStatus>) -> bool {
    status.is_some_and(|status| {
        !status.conditions.is_empty()
            && status.endpoint.is_none()
            && status.processes.iter().all(|process| process.state == ItemState::Unknown && process.id.is_none())
            && status.pending.is_empty()
    })
}

async fn work(
    set: &ProcessTemplateSet,
    context: &Context,
    progress: &Progress,
    journal: &mut StatusJournal<'_>,
) -> Result<DeletionState, Error> {
    if set.spec.is_suspended() {
        return Err(Error::Suspended);
    }
    let name = (namespace(set), set.name_any());
    let biz_id = set.spec.biz_id;
    let connection = context.connections.get_for_deletion(&name, &connection_name(set), biz_id).await?;
    let (memory, made_in) = remembered(journal);
    let here = connection.client.url().to_owned();
    let endpoint = made_in.endpoint.clone().filter(|made_in| *made_in != here);
    let job = job(set, context, connection, made_in).await?;
    let job = Job { policy: Policy { removals_are_due: true, ..job.policy }, is_read_only: true, ..job };

    let view = match look(set, context, &job, memory, progress).await {
        Err(engine::Error::ServiceTemplateMissing { .. } | engine::Error::ServiceTemplateUnknown { .. })
            if endpoint.is_none() =>
        {
            return Ok(DeletionState::Done(Tally::default()));
        }
        view => view?,
    };
    if let (Recall::OtherEndpoint, Some(made_in)) = (view.recall, endpoint) {
        return Err(engine::Error::EndpointChanged { made_in, here }.into());
    }
    let carried = context.engine.carry_out(&job, view, progress, journal).await;
    let plan = &carried.view.plan;
    let is_done = carried.stopped.is_none() && !plan.has_removals() && plan.undecided.is_empty();
    Ok(if is_done {
        DeletionState::Done(carried.tally)
    } else {
        DeletionState::Left(Box::new(carried.view), carried.tally, carried.stopped.map(Error::from))
    })
}

async fn look(
    set: &ProcessTemplateSet,
    context: &Context,
    job: &Job,
    mut memory: Memory,
    progress: &Progress,
) -> Result<PlannedView, engine::Error> {
    let now = || ReadRequest::interactive(Freshness::Since(tokio::time::Instant::now()));
    // A status that was lost is found again first, as a living set's would be.
    if memory == Memory::default() {
        let living = Job { desired: Desired::from_spec(set_name(set), &set.spec), ..job.clone() };
        memory = context.engine.view(&living, &memory, now(), progress).await?.memory;
    }
    context.engine.view(job, &memory, now(), progress).await
}

async fn let_go(set: &ProcessTemplateSet, context: &Context, journal: &mut StatusJournal<'_>, tally: Tally) -> Action {
    events::deleted(context, set, &tally);
    match finalizer::remove(set, context, &mut journal.target).await {
        // Outdated: it has changed, and the watch brings it again; or it is gone.
        Ok(()) | Err(WriteError::Outdated) => {
            context.reconciled("ok");
            Action::await_change()
        }
        Err(WriteError::Failed(reason)) => report::fail(context, set, &Error::ApiServer(reason)),
    }
}

async fn wait(
    context: &Context,
    set: &ProcessTemplateSet,
    journal: &mut StatusJournal<'_>,
    status: ProcessTemplateSetStatus,
    stopped: Option<&Error>,
) -> Action {
    report::note(context, set, stopped);
    // What begins again at once is not blocked.
    if let Some(error) = stopped.filter(|error| error.disposition() == Disposition::RetryNow) {
        context.reconciled(error.label());
        return report::wait_for(context, set, stopped, None);
    }
    match journal.write(status).await {
        Ok(_) | Err(WriteError::Outdated) => {
            context.objects.status_reported(&namespace(set), &set.name_any(), &uid(set));
            context.reconciled(stopped.map_or("ok", Error::label));
        }
        Err(WriteError::Failed(reason)) => report::untold(context, set, &Error::ApiServer(reason)),
    }
    report::wait_for(context, set, stopped, context.engine.undecided_for(&uid(set), &remembered(journal).0))
}
