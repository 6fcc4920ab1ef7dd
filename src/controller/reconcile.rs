//! One reconcile: dereference → validate → observe → plan → apply → report.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use kube::runtime::controller::Action;
use kube::{Resource, ResourceExt};

use super::journal::{StatusJournal, remembered};
use super::status::{self, Subject};
use super::watched::Watched;
use super::writer::{self, Target};
use super::{Context, Error, Outcome, events, report, size};
use crate::api::{ProcessTemplateSet, RECONCILE_REQUESTED_AT};
use crate::engine::{Freshness, Job, Pulse, Tally};
use crate::plan::{Desired, Recall};

// A set with something outstanding is shown what happened up to so long ago.
const OUTSTANDING_FRESHNESS: Duration = Duration::from_secs(1);

/// Reconciles one object as the watch delivered it.
pub async fn reconcile(object: Arc<Watched>, context: &Context, pulse: &Pulse) -> Action {
    match object.read() {
        Ok(set) => match newest(&set, context).await {
            Ok(Some(set)) => reconcile_set(&set, context, pulse).await,
            Ok(None) => Action::await_change(),
            Err(error) => report::retry(context, &set, &error),
        },
        Err(error) => reconcile_malformed(&object, &error.to_string(), context).await,
    }
}

async fn reconcile_set(set: &ProcessTemplateSet, context: &Context, pulse: &Pulse) -> Action {
    // With deletionPolicy Orphan there is nothing to do for a set that goes; no finalizer of ours holds it.
    if set.metadata.deletion_timestamp.is_some() {
        return Action::await_change();
    }
    let asked = requested_at(set) != set.status.as_ref().and_then(|status| status.last_handled_reconcile_at.as_ref());
    let held = context.objects.begin(&namespace(set), &set.name_any(), &uid(set), generation(set), asked);
    if let Some(left) = held {
        return Action::requeue(left);
    }
    let mut journal = StatusJournal::new(context, subject(set), target(set));
    let outcome = work(set, context, pulse, &mut journal).await;
    report::report(context, set, &mut journal, outcome).await
}

async fn work(
    set: &ProcessTemplateSet,
    context: &Context,
    pulse: &Pulse,
    journal: &mut StatusJournal<'_>,
) -> Result<Outcome, Error> {
    let name = (namespace(set), set.name_any());
    let connection = context.connections.get(&name, set.spec.connection_name()).await?;
    let desired = Desired::from_spec(&set.spec);
    if !desired.violations.is_empty() {
        return Err(Error::Invalid(desired.violations));
    }
    let (memory, made_in) = remembered(journal);
    let (biz_id, service_template) = (set.spec.biz_id, set.spec.service_template.clone());
    let job = Job { set: uid(set), connection, biz_id, service_template, desired, made_in };

    let view = context.engine.view(&job, &memory, freshness(set), pulse).await?;
    if view.recall != Recall::Kept {
        events::moved(context, set, view.recall).await;
    }
    if view.plan.is_settled() {
        return Ok(Outcome { view, tally: Tally::default(), stopped: None });
    }
    size::check(context, set, journal, &view).await?;
    let carried = context.engine.carry_out(&job, view, pulse, journal).await;
    Ok(Outcome { view: carried.view, tally: carried.tally, stopped: carried.stopped.map(Error::from) })
}

// An object that cannot be read gets a status all the same.
async fn reconcile_malformed(object: &Watched, reason: &str, context: &Context) -> Action {
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
        return Ok(writer::read(&context.client, &target).await?.map(Cow::Owned));
    }
    Ok(Some(Cow::Borrowed(set)))
}

// At rest, one list an interval serves all sets of a scope; who asks is shown the present.
fn freshness(set: &ProcessTemplateSet) -> Freshness {
    let status = set.status.as_ref();
    let handled = status.and_then(|status| status.last_handled_reconcile_at.as_ref());
    let at_rest = status.is_some_and(|status| status::is_ready(status, generation(set)) && status.pending.is_empty());
    if requested_at(set) != handled {
        Freshness::Since(tokio::time::Instant::now())
    } else if at_rest {
        Freshness::AtMost(set.spec.resync_interval())
    } else {
        Freshness::AtMost(OUTSTANDING_FRESHNESS)
    }
}

fn subject(set: &ProcessTemplateSet) -> Subject {
    Subject {
        generation: generation(set),
        keys: set.spec.processes.iter().map(|process| process.name.clone()).collect(),
        previous: set.status.clone().unwrap_or_default(),
        requested_at: requested_at(set).cloned(),
        now: Time(Timestamp::now()),
    }
}

fn target(set: &ProcessTemplateSet) -> Target {
    Target {
        namespace: namespace(set),
        name: set.name_any(),
        uid: uid(set),
        resource_version: set.resource_version().unwrap_or_default(),
    }
}

fn requested_at(set: &ProcessTemplateSet) -> Option<&String> {
    set.annotations().get(RECONCILE_REQUESTED_AT)
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
