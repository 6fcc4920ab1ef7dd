//! Deletion of a set: delete or orphan the templates per `deletionPolicy`, then remove the finalizer.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::Api;
use kube::{Client, CustomResourceExt as _};

use super::identity::CurrentSet;
use super::status::journal::{StatusJournal, remembered};
use super::status::{compose, judge, memory};
use super::{failure, finalizer, job, schedule};
use crate::api::{DeletionPolicy, ProcessTemplateSet, ProcessTemplateSetStatus};
use crate::controller::action::Action;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::api_call::bounded;
use crate::controller::kubernetes::status_writer::WriteError;
use crate::engine::{
    self, Disposition, Former, Freshness, Job, PlannedView, Progress, ReadRequest, Surroundings, Tally,
};
use crate::plan::{Desired, Memory, Place, Provenance};

// How far a deletion has come.
enum DeletionState {
    /// Nothing of the set is left in CMDB.
    Done(Tally),
    /// Something is left: what, and what stopped it.
    Left(Box<PlannedView>, Tally, Option<Error>),
}

/// Deletes or orphans the templates of a set that is being deleted, then removes our finalizer.
pub async fn delete(set: &CurrentSet<'_>, context: &Context, progress: &Progress) -> Action {
    if !finalizer::holds(set.object) {
        return Action::await_change();
    }
    let mut journal = context.journal(set);
    let is_orphaned = is_orphaned(set, &context.client).await;
    set.state.set_idle(false);
    if matches!(is_orphaned, Ok(true)) || memory::has_made_nothing(set.object.status.as_ref()) {
        return finish(set, context, &mut journal, Tally::default()).await;
    }

    let backoff_left = set.state.begin_reconcile(set.generation, false, None);
    set.note_reach();
    if let Some(reach) = set.state.take_edit() {
        // What it gives, another may have waited for.
        context.wake_other_sets(&set.name, &reach);
    }
    if let Some(left) = backoff_left {
        return Action::in_backoff(left);
    }

    let state = match is_orphaned {
        Ok(_) => delete_templates(set, context, progress, &mut journal).await,
        Err(error) => Err(error),
    };
    match state {
        Ok(DeletionState::Done(tally)) => finish(set, context, &mut journal, tally).await,
        Ok(DeletionState::Left(view, tally, stopped)) => {
            context.events_of(set).deleted(&tally);
            let conditions = judge::deleting(set.object, &view, stopped.as_ref(), context.is_namespaced);
            let status = compose::observed(&journal.subject, &view, &conditions);
            wait(set, context, &mut journal, status, stopped.as_ref()).await
        }
        Err(error) => {
            let conditions = judge::deletion_blocked(set.object, &error, context.is_namespaced);
            let status = compose::unobserved(&journal.subject, &conditions);
            wait(set, context, &mut journal, status, Some(&error)).await
        }
    }
}

// Whether it ends without a call to CMDB: the set says so, or its CRD is being removed.
async fn is_orphaned(set: &CurrentSet<'_>, client: &Client) -> Result<bool, Error> {
    if set.object.spec.deletion() == DeletionPolicy::Orphan {
        return Ok(true);
    }
    let crds: Api<CustomResourceDefinition> = Api::all(client.clone());
    let crd = bounded(crds.get_metadata_opt(ProcessTemplateSet::crd_name())).await;
    let crd = crd.map_err(|error| Error::ApiServer(error.to_string()))?;
    Ok(crd.is_none_or(|crd| crd.metadata.deletion_timestamp.is_some()))
}

async fn delete_templates(
    set: &CurrentSet<'_>,
    context: &Context,
    progress: &Progress,
    journal: &mut StatusJournal<'_>,
) -> Result<DeletionState, Error> {
    if set.object.spec.is_suspended() {
        return Err(Error::Suspended);
    }
    let connection = context.connections.for_deletion(&set.user()).await?;
    let (memory, made_in) = remembered(journal);
    let here = connection.url().to_owned();
    let endpoint = made_in.endpoint.filter(|made_in| *made_in != here);
    let hand_overs_are_over = job::waits(set, context).hand_overs_are_over;
    let around = job::surroundings(set, context, &connection, journal, progress);
    let job = Job::deletion(around, set.set_name(), &set.object.spec, hand_overs_are_over);

    let view = match observe_and_plan(set, context, &job, memory.clone(), progress).await {
        Err(engine::Error::ServiceTemplateMissing { .. } | engine::Error::ServiceTemplateUnknown { .. })
            if endpoint.is_none() =>
        {
            return delete_from_former(set, context, &job, (memory, false), progress, journal).await;
        }
        view => view?,
    };
    if let (Provenance::OtherEndpoint, Some(made_in)) = (view.provenance, endpoint) {
        return Err(engine::Error::EndpointChanged { made_in, here }.into());
    }

    // The name leads to another service template than the one that the templates are in.
    if view.provenance == Provenance::OtherServiceTemplate {
        match delete_from_former(set, context, &job, (memory, true), progress, journal).await? {
            DeletionState::Done(tally) => context.events_of(set).deleted(&tally),
            left @ DeletionState::Left(..) => return Ok(left),
        }
    }

    let carried = context.engine.carry_out(&job, view, progress, journal).await;
    context.wake_claimants(set, &here, &carried.tally);
    context.events_of(set).left_to_others(&carried.released);
    let plan = &carried.view.plan;
    let is_done = carried.stopped.is_none() && !plan.has_removals() && plan.undecided.is_empty();
    Ok(if is_done {
        DeletionState::Done(carried.tally)
    } else {
        DeletionState::Left(Box::new(carried.view), carried.tally, carried.stopped.map(Error::from))
    })
}

async fn observe_and_plan(
    set: &CurrentSet<'_>,
    context: &Context,
    job: &Job,
    mut memory: Memory,
    progress: &Progress,
) -> Result<PlannedView, engine::Error> {
    let now = || ReadRequest::interactive(Freshness::Since(tokio::time::Instant::now()));
    // A status that was lost is recovered first.
    if memory == Memory::default() {
        let lost = recovering(set, job);
        let found = context.engine.view(&lost, &memory, now(), progress).await?;
        if is_lost(job) {
            context.events_of(set).left_as_different(&engine::differing(&found.plan));
        }
        memory = found.memory;
        memory.absorb(&found.plan);
    }
    context.engine.view(job, &memory, now(), progress).await
}

// Whether the status does not even say that the set has read CMDB.
fn is_lost(job: &Job) -> bool {
    job.made_in == Place::default()
}

fn recovering(set: &CurrentSet<'_>, job: &Job) -> Job {
    job.recovering(Desired::from_spec(set.set_name(), &set.object.spec))
}

// Deletes what is left of a set in the service template that its templates are in, which is not the one that it names; `is_replaced`:
// its name leads to another.
async fn delete_from_former(
    set: &CurrentSet<'_>,
    context: &Context,
    job: &Job,
    (memory, is_replaced): (Memory, bool),
    progress: &Progress,
    journal: &mut StatusJournal<'_>,
) -> Result<DeletionState, Error> {
    let lost = (memory == Memory::default()).then(|| recovering(set, job));
    let held: Vec<(i64, String)> =
        memory.items.values().map(|remembered| (remembered.id, remembered.process_name.clone())).collect();
    let events = context.events_of(set);
    Ok(match context.engine.clear_former(job, memory, lost.as_ref(), progress, journal).await? {
        Former::There(name) => {
            // The list that did not show it was wrong, or is not any more.
            if !is_replaced {
                let what = format!("{name:?}");
                return Err(engine::Error::ServiceTemplateUnconfirmed { biz_id: job.biz_id, what }.into());
            }
            events.left_in_former(&name, &held);
            DeletionState::Done(Tally::default())
        }
        Former::Unknown => {
            if is_lost(job) {
                events.left_unknown();
            }
            DeletionState::Done(Tally::default())
        }
        Former::Cleared { tally, left_to_others, strangers } => {
            events.left_to_others(&left_to_others);
            if is_lost(job) {
                events.left_as_different(&strangers);
            }
            DeletionState::Done(tally)
        }
        Former::Left(carried) => {
            DeletionState::Left(Box::new(carried.view), carried.tally, carried.stopped.map(Error::from))
        }
    })
}

/// The service template, other than this one, in which a living set with `Delete` has made something that is still remembered.
pub fn former(
    set: &CurrentSet<'_>,
    around: &Surroundings,
    service_template_id: i64,
    journal: &StatusJournal<'_>,
) -> Option<i64> {
    let spec = &set.object.spec;
    let (memory, made_in) = remembered(journal);
    let is_here = made_in.endpoint.as_deref() == Some(around.connection.client.url());
    let former = made_in.service_template_id.filter(|id| is_here && *id != service_template_id);
    let is_deleted = spec.deletion() == DeletionPolicy::Delete && !spec.is_suspended();
    former.filter(|_| is_deleted && memory != Memory::default())
}

/// Deletes what a living set with `Delete` has made in a former service template that is gone, before its status forgets that for
/// the service template of the same name which is there now. Whether it is gone.
///
/// # Errors
/// Why something of it is left: the status keeps it.
pub async fn leave_former(
    set: &CurrentSet<'_>,
    context: &Context,
    around: Surroundings,
    id: i64,
    journal: &mut StatusJournal<'_>,
    progress: &Progress,
) -> Result<bool, Error> {
    let spec = &set.object.spec;
    let (memory, _) = remembered(journal);
    let job = Job::deletion(around, set.set_name(), spec, true);
    let events = context.events_of(set);
    match context.engine.clear_former(&job, memory, None, progress, journal).await? {
        Former::There(_) | Former::Unknown => Ok(false),
        Former::Cleared { tally, left_to_others, .. } => {
            events.deleted(&tally);
            events.left_to_others(&left_to_others);
            Ok(true)
        }
        Former::Left(carried) => {
            events.deleted(&carried.tally);
            Err(carried.stopped.unwrap_or(engine::Error::FormerUndecided { id }).into())
        }
    }
}

async fn finish(set: &CurrentSet<'_>, context: &Context, journal: &mut StatusJournal<'_>, tally: Tally) -> Action {
    context.events_of(set).deleted(&tally);
    match finalizer::remove(&context.client, set, &mut journal.target).await {
        // Outdated: it has changed, and the watch delivers it again; or it is gone.
        Ok(()) | Err(WriteError::Outdated) => {
            context.note_outcome("ok");
            Action::await_change()
        }
        Err(WriteError::Failed(reason)) => failure::fail(set, context, &Error::ApiServer(reason)),
    }
}

async fn wait(
    set: &CurrentSet<'_>,
    context: &Context,
    journal: &mut StatusJournal<'_>,
    status: ProcessTemplateSetStatus,
    stopped: Option<&Error>,
) -> Action {
    failure::note(set, context, stopped);
    // What starts again at once is not blocked.
    if let Some(error) = stopped.filter(|error| error.disposition() == Disposition::RetryNow) {
        context.note_outcome(error.label());
        return schedule::at_once(set, journal, error);
    }
    match journal.write(status).await {
        Ok(_) => {
            set.state.status_reported();
            context.note_outcome(stopped.map_or("ok", Error::label));
        }
        Err(WriteError::Outdated) => {
            context.note_outcome(stopped.map_or("ok", Error::label));
            return schedule::after_conflict(set, journal.conflicting_version());
        }
        Err(WriteError::Failed(reason)) => failure::unreported(set, context, &Error::ApiServer(reason)),
    }
    schedule::retry(set, stopped, context.engine.undecided_for(&set.uid, &remembered(journal).0))
}
