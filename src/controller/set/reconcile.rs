//! One reconcile of a set: dereference → validate → observe → plan → apply → report.
//!
//! # Flow
//! The watch delivers the object as text; it is read as a set, past the cache where that is older than our own last write, or
//! where the object is too large to be kept.
//! A set that is being deleted takes the way of [`super::delete`]. A living one:
//! 1. **dereference** (API server): the finalizer follows `deletionPolicy`; the connection is looked up once, as one value;
//! 2. **validate**: the spec becomes what is desired, or a list of violations;
//! 3. **observe** (CMDB): the service template and its process templates, from lists that sets share;
//!    What a set with `Delete` has in a service template that somebody deleted is deleted there ([`delete::leave_former`]);
//! 4. **plan**: what to write, from what is desired, observed and remembered, and from what other sets claim;
//! 5. **apply** (CMDB): the plan is carried out; intents and IDs go into the status on the way;
//! 6. **report** (API server): status, events, and when the next reconcile is due ([`super::report`]).
//!
//! # Guarantees
//! Nothing is written for a set in backoff or at rest that nobody has changed. What was sent to CMDB is stored whatever
//! comes after it.
//!
//! # Assumptions
//! [`super::supervise`] runs it as a task that is never dropped: deadlines and shutdown are looked at between calls.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use kube::Resource as _;

use super::identity::CurrentSet;
use super::outcome::Outcome;
use super::status::journal::{StatusJournal, remembered};
use super::status::{compose, object_size};
use super::stored_set::StoredSet;
use super::{delete, failure, finalizer, job, read, report, schedule};
use crate::api::{DeletionPolicy, ProcessTemplateSet};
use crate::cmdb::{PollKey, Touched};
use crate::controller::action::Action;
use crate::controller::connection::set_connection::SetConnection;
use crate::controller::context::Context;
use crate::controller::error::Error;
use crate::controller::kubernetes::status_writer::Target;
use crate::engine::{Freshness, Job, PlannedView, Progress, ReadRequest, ScopeView, Tally};
use crate::plan::{Desired, Provenance};

// Maximum snapshot age for a set with outstanding work.
const OUTSTANDING_FRESHNESS: Duration = Duration::from_secs(1);

/// Reconciles one object as the watch delivered it.
pub async fn reconcile(object: Arc<StoredSet>, context: &Context, progress: &Progress) -> Action {
    let target = Target::of(&*object);
    if let Some(left) = context.sets.of(&target.name, &target.uid).conflict_left(&target.resource_version) {
        return Action::in_backoff(left);
    }
    let object = if object.is_whole() {
        object
    } else {
        match whole(&target, context).await {
            Ok(whole) => Arc::new(whole),
            Err(action) => return action,
        }
    };
    let is_leaving = object.meta().deletion_timestamp.is_some();
    let cached = match object.read().or_else(|error| if is_leaving { object.read_leniently() } else { Err(error) }) {
        Ok(set) => set,
        Err(error) => return failure::malformed(&object, context, &error.to_string()).await,
    };
    drop(object);
    let set = match newest(&cached, context).await {
        Ok(Some(set)) => set,
        Ok(None) => return Action::await_change(),
        Err(error) => return failure::fail(&CurrentSet::new(&cached, &context.sets), context, &error),
    };

    let set = CurrentSet::new(&set, &context.sets);
    set.state.observe_status(set.object.status.as_ref());
    if set.object.metadata.deletion_timestamp.is_some() {
        delete::delete(&set, context, progress).await
    } else {
        reconcile_living(&set, context, progress).await
    }
}

// A large set from the API server; or what follows where it is gone or cannot be read.
async fn whole(target: &Target, context: &Context) -> Result<StoredSet, Action> {
    match read::whole(&context.client, target).await {
        Ok(Some(set)) => Ok(set),
        // The watch delivers its end.
        Ok(None) => Err(Action::await_change()),
        Err(error) => Err(failure::unread(target, context, &Error::ApiServer(error.to_string()))),
    }
}

async fn reconcile_living(set: &CurrentSet<'_>, context: &Context, progress: &Progress) -> Action {
    let known = match start(set, context).await {
        Start::Go(known) => known,
        Start::InBackoff(left) => return Action::in_backoff(left),
    };

    let mut journal = context.journal(set);
    let mut connection = None;
    let outcome = async {
        let connection = connection.insert(dereference(set, context, &mut journal, known).await?);
        announce_edit(set, context, connection).await;
        let desired = validate(set)?;
        let around = job::surroundings(set, context, connection, &journal, progress);
        let job = Job::living(around.clone(), &set.object.spec, desired, job::waits(set, context));
        let request = read_request(set);
        let mut observed = observe(set, context, connection, &job, request, progress).await?;
        let mut is_cleared = false;
        let here = &observed.list.listing;
        if let Some(former) = delete::former(set, &around, here.scope.service_template_id, &journal) {
            // No list is held meanwhile.
            let again = ReadRequest::interactive(Freshness::Since(here.asked_at));
            drop(observed);
            is_cleared = delete::leave_former(set, context, around, former, &mut journal, progress).await?;
            observed = observe(set, context, connection, &job, again, progress).await?;
        }
        let view = plan(set, context, &job, &journal, observed, is_cleared);
        apply(set, context, &job, view, &mut journal, progress).await
    }
    .await;
    report::report(set, context, connection.as_ref(), &mut journal, outcome).await
}

// Whether a reconcile starts now.
enum Start {
    // It does; with the connection, if it was looked up to find that out.
    Go(Option<Box<Result<SetConnection, Error>>>),
    // Still in backoff, or left at rest.
    InBackoff(Duration),
}

// Book-keeping before the steps: uses of connections, edits that others may have waited for, backoff, and rest after a start
// of the operator.
async fn start(set: &CurrentSet<'_>, context: &Context) -> Start {
    if context.connections.note_use(&set.name, &set.connection) {
        context.waker.connection(&set.connection);
    }
    let is_requested = set.is_reconcile_requested();
    let may_rest = schedule::is_idle(set.object) && !is_requested && set.state.is_new();
    let known = if may_rest { Some(context.connections.for_set(&set.user()).await) } else { None };
    if let Some(Ok(connection)) = &known
        && set.object.spec.deletion() == DeletionPolicy::Delete
    {
        context.connections.keep(&set.name, connection);
    }
    let is_unchanged = known.as_ref().is_some_and(|known| is_as_it_was(set, known));
    let rest = is_unchanged.then(|| schedule::first_look(set.object));

    let backoff_left = set.state.begin_reconcile(set.generation, is_requested, rest);
    note_standing(set);
    set.note_reach();
    backoff_left.map_or(Start::Go(known.map(Box::new)), Start::InBackoff)
}

// An edit may give up what other sets have waited for. It wakes them only when its own set counts for them: within its
// grants, over a connection that works.
async fn announce_edit(set: &CurrentSet<'_>, context: &Context, connection: &SetConnection) {
    let spec = &set.object.spec;
    if !connection.connection.client.grants().cover(touched(set)) {
        return;
    }
    let Ok(lead) = context.connections.lead(&set.name.namespace, &set.connection, spec.biz_id).await else { return };
    if lead.is_broken || !lead.is_proven(set.made_in()) {
        return;
    }

    set.state.note_reach(spec.biz_id, &spec.service_template, &lead.url);
    if let Some(reach) = set.state.take_edit() {
        context.wake_other_sets(&set.name, &reach);
    }
}

fn note_standing(set: &CurrentSet<'_>) {
    let status = set.object.status.as_ref();
    set.state.set_idle(status.is_some_and(|status| compose::was_in_sync(status, set.generation)));
    if status.is_some_and(|status| compose::is_ready(status, set.generation)) {
        set.state.note_ready(set.generation);
    }
}

// Step 1. API server: the finalizer, the connection and its Secrets.
async fn dereference(
    set: &CurrentSet<'_>,
    context: &Context,
    journal: &mut StatusJournal<'_>,
    known: Option<Box<Result<SetConnection, Error>>>,
) -> Result<SetConnection, Error> {
    finalizer::follow_policy(&context.client, set, &mut journal.target).await?;
    journal.subject.is_new = set.state.has_made_nothing();
    match known {
        Some(known) => *known,
        None => context.connections.for_set(&set.user()).await,
    }
}

// Step 2. No client: the rules that concern the whole set.
fn validate(set: &CurrentSet<'_>) -> Result<Desired, Error> {
    let desired = Desired::from_spec(set.set_name(), &set.object.spec);
    if desired.violations.is_empty() { Ok(desired) } else { Err(Error::Invalid(desired.violations)) }
}

// Step 3. CMDB: lists; writes nothing but a missing service template that the set asks for.
async fn observe(
    set: &CurrentSet<'_>,
    context: &Context,
    connection: &SetConnection,
    job: &Job,
    request: ReadRequest,
    progress: &Progress,
) -> Result<ScopeView, Error> {
    let observed = context.engine.observe(job, request, progress).await?;
    if set.object.spec.deletion() == DeletionPolicy::Delete {
        context.connections.keep(&set.name, connection);
    }
    Ok(observed)
}

// Step 4. No client: what to write, from what is wanted, observed and remembered.
fn plan(
    set: &CurrentSet<'_>,
    context: &Context,
    job: &Job,
    journal: &StatusJournal<'_>,
    observed: ScopeView,
    is_cleared: bool,
) -> PlannedView {
    let (memory, _) = remembered(journal);
    let view = context.engine.plan(job, memory, observed);
    if view.provenance != Provenance::Here {
        context.events_of(set).moved(view.provenance, is_cleared);
    }
    view
}

// Step 5. CMDB: carries the plan out.
async fn apply(
    set: &CurrentSet<'_>,
    context: &Context,
    job: &Job,
    view: PlannedView,
    journal: &mut StatusJournal<'_>,
    progress: &Progress,
) -> Result<Outcome, Error> {
    if view.is_settled() || set.object.spec.is_suspended() {
        return Ok(Outcome { view, tally: Tally::default(), released: Vec::new(), stopped: None });
    }
    object_size::check(&context.client, set.object, journal, &view).await?;
    let carried = context.engine.carry_out(job, view, progress, journal).await;
    let stopped = carried.stopped.map(Error::from);
    context.wake_claimants(set, &carried.view.listing.scope.endpoint, &carried.tally);
    Ok(Outcome { view: carried.view, tally: carried.tally, released: carried.released, stopped })
}

// Whether the connection still leads to where the set was made, and its grants still cover that: known without a call to
// CMDB.
fn is_as_it_was(set: &CurrentSet<'_>, connection: &Result<SetConnection, Error>) -> bool {
    let Ok(connection) = connection else { return false };
    connection.connection.client.grants().cover(touched(set)) && set.made_in() == Some(connection.url())
}

// What the set touches, as far as that is known without a call to CMDB.
fn touched<'a>(set: &'a CurrentSet<'_>) -> Touched<'a> {
    let (spec, status) = (&set.object.spec, set.object.status.as_ref());
    Touched {
        biz_id: spec.biz_id,
        service_template_id: spec.service_template.id.or(status.and_then(|status| status.service_template_id)),
        service_template_name: spec.service_template.name.as_deref(),
    }
}

// The cache may lag behind our own last write; what it shows is then read again.
async fn newest<'a>(
    set: &'a ProcessTemplateSet,
    context: &Context,
) -> Result<Option<Cow<'a, ProcessTemplateSet>>, Error> {
    let current = CurrentSet::new(set, &context.sets);
    let target = current.target();
    if current.state.is_outdated(&target.resource_version) {
        return Ok(read::read(&context.client, &target).await?.map(Cow::Owned));
    }
    Ok(Some(Cow::Borrowed(set)))
}

// At rest, one list an interval serves all sets of a scope, and gives way to work; a requested reconcile is shown the present.
fn read_request(set: &CurrentSet<'_>) -> ReadRequest {
    let status = set.object.status.as_ref();
    let was_in_sync =
        status.is_some_and(|status| compose::was_in_sync(status, set.generation) && status.pending.is_empty());
    // The first of a service template's sets polls for all.
    let selector = &set.object.spec.service_template;
    let poll = PollKey::of((set.object.spec.biz_id, selector.id, &selector.name));

    if set.is_reconcile_requested() {
        ReadRequest::interactive(Freshness::Since(tokio::time::Instant::now()))
    } else if schedule::is_idle(set.object) {
        ReadRequest::background(Freshness::AtMost(schedule::period(set.object)), poll)
    } else if was_in_sync {
        // It could not be checked for long: those are many at once when CMDB comes back, and no one waits for them.
        ReadRequest::background(Freshness::AtMost(OUTSTANDING_FRESHNESS), poll)
    } else {
        ReadRequest::interactive(Freshness::AtMost(OUTSTANDING_FRESHNESS))
    }
}
