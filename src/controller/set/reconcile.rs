//! One reconcile: dereference → validate → observe → plan → apply → report.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::{Resource, ResourceExt};

use super::journal::{StatusJournal, remembered};
use super::status;
use super::status::Subject;
use super::stored_set::StoredSet;
use super::{delete, events, finalizer, object_size, other_sets, report, schedule};
use crate::api::{DeletionPolicy, ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use crate::cmdb::{Behalf, PollKey};
use crate::controller::action::Action;
use crate::controller::connection::cache::ObjectName;
use crate::controller::connection::name::ConnectionName;
use crate::controller::kubernetes::status_writer;
use crate::controller::kubernetes::status_writer::Target;
use crate::controller::{Context, Error, Outcome};
use crate::engine::{Connection, Freshness, Job, Progress, ReadRequest, Tally, Touched};
use crate::plan::{Desired, Place, Plan, Policy, Recall, Removal, SetName};

// A set with something outstanding is shown what happened up to so long ago.
const OUTSTANDING_FRESHNESS: Duration = Duration::from_secs(1);

// What another set wants is kept for it for so long.
const HAND_OVER: Duration = Duration::from_mins(1);

/// Reconciles one object as the watch delivered it.
pub async fn reconcile(object: Arc<StoredSet>, context: &Context, progress: &Progress) -> Action {
    let is_leaving = object.meta().deletion_timestamp.is_some();
    match object.read().or_else(|error| if is_leaving { object.read_leniently() } else { Err(error) }) {
        Ok(set) => match newest(&set, context).await {
            Ok(Some(set)) => {
                context.objects.observe_status(&namespace(&set), &set.name_any(), &uid(&set), set.status.as_ref());
                if set.metadata.deletion_timestamp.is_some() {
                    delete::delete(&set, context, progress).await
                } else {
                    reconcile_set(&set, context, progress).await
                }
            }
            Ok(None) => Action::await_change(),
            Err(error) => report::fail(context, &set, &error),
        },
        Err(error) => reconcile_malformed(&object, &error.to_string(), context).await,
    }
}

async fn reconcile_set(set: &ProcessTemplateSet, context: &Context, progress: &Progress) -> Action {
    let name = (namespace(set), set.name_any());
    if context.connections.note_use(&name, &connection_name(set)) {
        context.wake_connection(connection_name(set));
    }
    let asked = is_asked_for(set);
    let may_rest = schedule::is_at_rest(set) && !asked && context.objects.is_new(&name.0, &name.1, &uid(set));
    let rest = if may_rest && is_as_it_was(set, context, &name).await { Some(schedule::first_look(set)) } else { None };
    let begun = context.objects.begin_reconcile(&name.0, &name.1, &uid(set), generation(set), asked, rest);
    note_what_it_is(set, context, &name);
    let (biz_id, selector) = (set.spec.biz_id, &set.spec.service_template);
    context.objects.record_target(&name.0, &name.1, &uid(set), biz_id, selector);
    if begun.is_edited {
        context.wake_neighbours(&uid(set), biz_id, selector);
    }
    if let Some(left) = begun.held_for {
        return held(left);
    }
    let mut journal = StatusJournal::new(context, subject(set), target(set));
    let outcome = work(set, context, progress, &mut journal).await;
    report::report(context, set, &mut journal, outcome).await
}

fn note_what_it_is(set: &ProcessTemplateSet, context: &Context, name: &ObjectName) {
    let (status, generation) = (set.status.as_ref(), generation(set));
    let is_at_rest = status.is_some_and(|status| status::was_in_sync(status, generation));
    context.objects.set_idle(&name.0, &name.1, &uid(set), is_at_rest);
    if status.is_some_and(|status| status::is_ready(status, generation)) {
        context.objects.note_ready(&name.0, &name.1, &uid(set), generation);
    }
}

/// The wait that an earlier reconcile imposed is not over.
pub fn held(left: Duration) -> Action {
    tracing::Span::current().record("outcome", "held");
    Action::requeue(left)
}

async fn work(
    set: &ProcessTemplateSet,
    context: &Context,
    progress: &Progress,
    journal: &mut StatusJournal<'_>,
) -> Result<Outcome, Error> {
    let name = (namespace(set), set.name_any());
    finalizer::follow_policy(set, context, &mut journal.target).await?;
    let connection = context.connections.get(&name, &connection_name(set), set.spec.biz_id).await?;
    let desired = Desired::from_spec(set_name(set), &set.spec);
    if !desired.violations.is_empty() {
        return Err(Error::Invalid(desired.violations));
    }
    let (memory, made_in) = remembered(journal);
    let job = Job { desired, ..job(set, context, connection, made_in).await? };

    let view = context.engine.view(&job, &memory, look(set), progress).await?;
    if set.spec.deletion() == DeletionPolicy::Delete {
        context.connections.keep(&name, &job.connection);
    }
    if view.recall != Recall::Kept {
        events::moved(context, set, view.recall);
    }
    if view.plan.is_settled() || set.spec.is_suspended() {
        let released = released(&view.plan);
        return Ok(Outcome { view, tally: Tally::default(), released, stopped: None });
    }
    object_size::check(context, set, journal, &view).await?;
    let released = released(&view.plan);
    let carried = context.engine.carry_out(&job, view, progress, journal).await;
    let stopped = carried.stopped.map(Error::from);
    Ok(Outcome { view: carried.view, tally: carried.tally, released, stopped })
}

// Whether the connection still leads to where the set was made, and its grants still cover that: known without a call to
// CMDB. A set that will have to delete keeps the connection from now on.
async fn is_as_it_was(set: &ProcessTemplateSet, context: &Context, name: &ObjectName) -> bool {
    let (biz_id, status) = (set.spec.biz_id, set.status.as_ref());
    let Ok(connection) = context.connections.get(name, &connection_name(set), biz_id).await else { return false };
    let Ok(grants) = context.connections.grants(&name.0, &connection_name(set)).await else { return false };
    if set.spec.deletion() == DeletionPolicy::Delete {
        context.connections.keep(name, &connection);
    }
    let touched = Touched {
        biz_id,
        service_template_id: status.and_then(|status| status.service_template_id),
        service_template_name: set.spec.service_template.name.as_deref(),
    };
    grants.cover(touched) && status.and_then(|status| status.endpoint.as_deref()) == Some(connection.client.url())
}

// What leaves the set and stays in CMDB; the next plan has forgotten it.
fn released(plan: &Plan) -> Vec<Removal> {
    plan.removals.iter().filter(|removal| !removal.is_outstanding()).cloned().collect()
}

/// What the engine needs to know of a set that wants nothing.
pub async fn job(
    set: &ProcessTemplateSet,
    context: &Context,
    connection: Connection,
    made_in: Place,
) -> Result<Job, Error> {
    let known_for = context.objects.known_for(&namespace(set), &set.name_any(), &uid(set));
    let behalf = Behalf { namespace: namespace(set), name: set.name_any(), uid: uid(set) };
    let connection = Connection { client: connection.client.on_behalf_of(behalf), ..connection };
    Ok(Job {
        set: uid(set),
        others: other_sets::others(set, context, connection.client.url()).await,
        connection,
        biz_id: set.spec.biz_id,
        service_template: set.spec.service_template.clone(),
        desired: Desired::nothing(set_name(set), &set.spec),
        // A set that takes over what leaves this one may come a moment later.
        policy: Policy {
            removals_are_due: known_for >= context.removal_delay,
            hand_overs_are_over: known_for >= HAND_OVER,
            ..Policy::of(&set.spec)
        },
        grants: context.connections.grants(&namespace(set), &connection_name(set)).await?,
        made_in,
        is_read_only: set.spec.is_suspended(),
    })
}

// An object that cannot be read gets a status all the same.
async fn reconcile_malformed(object: &StoredSet, reason: &str, context: &Context) -> Action {
    let metadata = object.meta();
    let target = Target {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        uid: object.uid().unwrap_or_default(),
        resource_version: object.resource_version().unwrap_or_default(),
    };
    report::malformed(context, target, metadata.generation.unwrap_or_default(), reason).await
}

// The cache may lag behind our own last write; what it shows is then read again.
async fn newest<'a>(
    set: &'a ProcessTemplateSet,
    context: &Context,
) -> Result<Option<Cow<'a, ProcessTemplateSet>>, Error> {
    let target = target(set);
    if context.objects.is_outdated(&target.namespace, &target.name, &target.uid, &target.resource_version) {
        return Ok(status_writer::read(&context.client, &target).await?.map(Cow::Owned));
    }
    Ok(Some(Cow::Borrowed(set)))
}

// At rest, one list an interval serves all sets of a scope, and gives way to work; who asks is shown the present.
fn look(set: &ProcessTemplateSet) -> ReadRequest {
    let status = set.status.as_ref();
    let was_in_sync =
        status.is_some_and(|status| status::was_in_sync(status, generation(set)) && status.pending.is_empty());
    // Whoever of a service template's sets comes looks for all.
    let selector = &set.spec.service_template;
    let poll = PollKey::of((set.spec.biz_id, selector.id, &selector.name));
    if is_asked_for(set) {
        ReadRequest::interactive(Freshness::Since(tokio::time::Instant::now()))
    } else if schedule::is_at_rest(set) {
        ReadRequest::background(Freshness::AtMost(schedule::period(set)), poll)
    } else if was_in_sync {
        // It could not be checked for long: those are many at once when CMDB comes back, and nobody waits for them.
        ReadRequest::background(Freshness::AtMost(OUTSTANDING_FRESHNESS), poll)
    } else {
        ReadRequest::interactive(Freshness::AtMost(OUTSTANDING_FRESHNESS))
    }
}

/// Which set it is.
pub fn set_name(set: &ProcessTemplateSet) -> SetName {
    SetName { namespace: namespace(set), name: set.name_any() }
}

/// What is judged.
pub fn subject(set: &ProcessTemplateSet) -> Subject {
    Subject {
        generation: generation(set),
        keys: set.spec.processes.iter().map(|process| process.name.clone()).collect(),
        previous: set.status.clone().unwrap_or_default(),
        requested_at: requested_at(set).cloned(),
        now: Time(Timestamp::now()),
    }
}

/// What is written to.
pub fn target(set: &ProcessTemplateSet) -> Target {
    Target {
        namespace: namespace(set),
        name: set.name_any(),
        uid: uid(set),
        resource_version: set.resource_version().unwrap_or_default(),
    }
}

// Somebody asks for a look, and has not been answered.
fn is_asked_for(set: &ProcessTemplateSet) -> bool {
    requested_at(set) != set.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref())
}

fn requested_at(set: &ProcessTemplateSet) -> Option<&String> {
    set.annotations().get(RECONCILE_REQUESTED_AT)
}

/// The connection that a set uses.
pub fn connection_name(set: &ProcessTemplateSet) -> ConnectionName {
    ConnectionName::of_set(&namespace(set), &set.spec)
}

/// Namespace of a set.
pub fn namespace(set: &ProcessTemplateSet) -> String {
    set.namespace().unwrap_or_default()
}

/// uid of a set.
pub fn uid(set: &ProcessTemplateSet) -> String {
    set.uid().unwrap_or_default()
}

/// Generation of a set's spec.
pub fn generation(set: &ProcessTemplateSet) -> i64 {
    set.metadata.generation.unwrap_or_default()
}
