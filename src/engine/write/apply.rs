//! Carrying out a plan: its writes in the plan's order, each sent once. After anything but a clean success a list shows
//! the outcome, and the rest is planned again.
//!
//! *Claims.* Which of several sets has a template is decided under the write lock of the scope only, by what other sets claim
//! after the lock was got: taking a template over, also without a write, releasing and deleting it. A plan that was made
//! before or after that decides nothing of it (`Memory::absorb_undecided`). The lock may be waited for long, so the plan
//! under the lock is a new one. A delete takes long too, so claims are looked at again before each.
//!
//! *Lists.* Under the lock a list that was asked for shortly before is good enough: what this process writes is in it. It is
//! folded into the list of the writing connection, and drops the lists of the same scope over other connections.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::create::create;
use super::create_queue::Order;
use super::journal::{Journal, Ledger};
use super::writes::{Carried, Course, Tally, Writer, Writes};
use crate::api::PROCESS_NAME;
use crate::cmdb;
use crate::engine::error::Error;
use crate::engine::job::Job;
use crate::engine::lookup::read_request::{Freshness, ReadRequest};
use crate::engine::progress::Progress;
use crate::engine::translate::changes;
use crate::engine::view::PlannedView;
use crate::plan::{MOST_PLANS, Pair, Plan, Properties, Step};

/// Most process templates of one delete: CMDB takes 500, and needs about a second for a hundred.
const DELETE_CHUNK: usize = 100;

// How long a confirmation waits for other writers of the scope, to share one list with them.
const CONFIRMATION_PATIENCE: Duration = Duration::from_secs(5);

// Steps of one kind that follow each other and are sent together.
enum Batch {
    Create(Vec<Order>),
    Update { key: String, id: i64, properties: Properties },
    Delete(Vec<i64>),
}

/// Carries out a plan, and what it makes possible. A list at the end confirms the writes, so nothing is reported as
/// done that no list has shown.
pub async fn carry_out<J: Journal>(
    writer: &Writer,
    job: &Job,
    view: PlannedView,
    progress: &Progress,
    journal: &mut J,
) -> Carried {
    // Of what takes no write, only what is not confirmed yet needs a list of its own.
    let is_unconfirmed = !view.plan.is_settled();
    let carried = Carried { view, tally: Tally::default(), released: Vec::new(), stopped: None };
    let mut writes = Writes { writer, job, progress, ledger: Ledger::new(journal), carried };
    if writes.carried.view.plan.has_writes() || writes.carried.view.has_claims_to_decide() {
        writes.carried.stopped = write(&mut writes).await.err();
    }
    if is_unconfirmed || writes.carried.stopped.is_some() || writes.carried.tally != Tally::default() {
        return finish(writes).await;
    }
    writes.carried
}

async fn write<J: Journal>(writes: &mut Writes<'_, J>) -> Result<(), Error> {
    let scope = &writes.carried.view.listing.scope;
    let _write_guard = writes.progress.wait_for(writes.writer.locks.take(&scope.writer_key())).await?;
    writes.progress.checkpoint()?;

    // While we waited for the lock, other sets may have written, and claim other templates.
    writes.look_again(ReadRequest::interactive(Freshness::TO_WRITE)).await?;
    write_all(writes).await
}

async fn write_all<J: Journal>(writes: &mut Writes<'_, J>) -> Result<(), Error> {
    for _ in 0..MOST_PLANS {
        if !writes.carried.view.plan.has_writes() {
            break;
        }
        write_plan(writes).await?;
        writes.look_again(ReadRequest::interactive(Freshness::TO_WRITE)).await?;
    }
    Ok(())
}

async fn write_plan<J: Journal>(writes: &mut Writes<'_, J>) -> Result<(), Error> {
    for batch in batches(&writes.carried.view.plan) {
        writes.progress.checkpoint()?;
        writes.carried.view.check_grant(writes.job)?;
        let course = match batch {
            Batch::Create(orders) => create(writes, orders).await?,
            Batch::Update { key, id, properties } => update(writes, &key, id, &properties).await?,
            Batch::Delete(ids) => delete(writes, &ids).await?,
        };
        if course == Course::PlanAgain {
            break;
        }
    }
    Ok(())
}

async fn update<J: Journal>(
    writes: &mut Writes<'_, J>,
    key: &str,
    id: i64,
    properties: &Properties,
) -> Result<Course, Error> {
    let created = writes.carried.tally.created.len();
    writes.ledger.begin_change(&writes.carried.view, key, id, created).await?;

    let scope = &writes.carried.view.listing.scope;
    let client = &writes.job.connection.client;
    let sent = changes(properties);
    let name = writes.carried.view.name_of(id);
    let service_template = scope.service_template(&writes.carried.view.service_template_name);
    let updated = client.update_process_template(service_template, (id, &name), &sent);
    let updated = writes.progress.excluding_wait(updated).await;

    match updated {
        Ok(now) if !is_renamed(properties, &now) => {
            writes.writer.renames.note(&scope.endpoint, false);
            writes.look_after_failure().await?;
            Ok(Course::PlanAgain)
        }
        Ok(now) => {
            writes.note_sent(key, id, properties, &now.modifier);
            if properties.get(PROCESS_NAME).is_some() {
                writes.writer.renames.note(&scope.endpoint, true);
            }
            let user = client.user().unwrap_or_default();
            writes
                .fold(|templates| {
                    for template in templates.iter_mut().filter(|template| template.id == id) {
                        template.update(properties);
                        template.modifier.clone_from(&user);
                    }
                })
                .await;
            writes.writer.rejected_items.remove(&writes.job.set, key);
            writes.carried.note_update(key, id);
            Ok(Course::Clean)
        }
        Err(error) => after_failed_update(writes, key, error).await,
    }
}

// How the writes go on after an update of an item's template that failed.
async fn after_failed_update<J: Journal>(
    writes: &mut Writes<'_, J>,
    key: &str,
    error: cmdb::Error,
) -> Result<Course, Error> {
    // It was not sent.
    if matches!(error, cmdb::Error::NotGranted { .. }) {
        return Err(writes.job.error_of(Arc::new(error)));
    }
    writes.look_after_failure().await?;
    match error {
        error if error.is_item_error() => {
            writes.refuse(key, &error);
            Ok(Course::PlanAgain)
        }
        // It was deleted meanwhile.
        cmdb::Error::NotFound { .. } => Ok(Course::PlanAgain),
        error => Err(Arc::new(error).into()),
    }
}

async fn delete<J: Journal>(writes: &mut Writes<'_, J>, ids: &[i64]) -> Result<Course, Error> {
    // The writes before it may have taken long.
    if !writes.are_still_deleted(ids).await? || try_rename(writes, ids).await? == Course::PlanAgain {
        return Ok(Course::PlanAgain);
    }
    let scope = &writes.carried.view.listing.scope;
    let client = &writes.job.connection.client;
    let names: Vec<(i64, String)> = ids.iter().map(|id| (*id, writes.carried.view.name_of(*id))).collect();
    let named: Vec<(i64, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
    let service_template = scope.service_template(&writes.carried.view.service_template_name);
    let deleted = client.delete_process_templates(service_template, &named);

    match writes.progress.excluding_wait(deleted).await {
        Ok(()) => {
            writes.carried.tally.note_deleted(names);
            writes.fold(|templates| templates.retain(|template| !ids.contains(&template.id))).await;
            Ok(Course::Clean)
        }
        // It was not sent.
        Err(error @ cmdb::Error::NotGranted { .. }) => Err(writes.job.error_of(Arc::new(error))),
        Err(error) => {
            writes.look_after_failure().await?;
            let listed = &writes.carried.view.names;
            let gone: Vec<(i64, String)> = names.into_iter().filter(|(id, _)| !listed.contains_key(id)).collect();
            // Some were gone already, or the delete was done in spite of the error: the others are tried once more.
            if gone.is_empty() {
                return Err(Arc::new(error).into());
            }
            writes.carried.tally.note_deleted(gone);
            Ok(Course::PlanAgain)
        }
    }
}

// Finds out whether this CMDB renames templates, before one is deleted whose name another is to get. The old template still has
// the name: a server that renames refuses to give it to the new one too, and one that ignores names answers with a success.
async fn try_rename<J: Journal>(writes: &mut Writes<'_, J>, ids: &[i64]) -> Result<Course, Error> {
    let view = &writes.carried.view;
    let endpoint = view.listing.scope.endpoint.clone();
    let replacement = view.plan.items.iter().find_map(|item| {
        let found = item.found.as_ref()?;
        let old = found.replaces.filter(|old| ids.contains(old))?;
        Some((item.key.clone(), found.id, found.process_name.clone(), view.name_of(old)))
    });
    let Some((key, id, name, taken)) = replacement else { return Ok(Course::Clean) };
    if writes.writer.renames.works(&endpoint).is_some() {
        return Ok(Course::Clean);
    }

    let mut rename = Properties::default();
    rename.insert(PROCESS_NAME, Pair::new(taken.as_str(), true));
    let service_template = view.listing.scope.service_template(&view.service_template_name);
    let client = &writes.job.connection.client;
    let sent = changes(&rename);
    let renamed = client.update_process_template(service_template, (id, &name), &sent);
    match writes.progress.excluding_wait(renamed).await {
        Err(cmdb::Error::Conflict { .. }) => {
            writes.writer.renames.note(&endpoint, true);
            writes.progress.checkpoint()?;
            Ok(Course::Clean)
        }
        Ok(now) if !is_renamed(&rename, &now) => {
            writes.writer.renames.note(&endpoint, false);
            writes.look_after_failure().await?;
            Ok(Course::PlanAgain)
        }
        // Somebody has deleted the old template: it is replaced.
        Ok(_) => {
            writes.carried.view.memory.created(&key, &taken, id, false);
            writes.ledger.note_ended();
            writes.look_after_failure().await?;
            Ok(Course::PlanAgain)
        }
        Err(error) => after_failed_update(writes, &key, error).await,
    }
}

// Confirms the writes by a list, or stores what they gave.
async fn finish<J: Journal>(mut writes: Writes<'_, J>) -> Carried {
    let may_go_on = !matches!(writes.carried.stopped, Some(Error::Stopped | Error::Outdated));
    let confirmed = if may_go_on { confirm(&mut writes).await } else { Ok(()) };

    // After a confirmation the caller's report stores the last IDs. Without one they are stored here.
    if (!may_go_on || confirmed.is_err())
        && let Err(error) = writes.ledger.record(&writes.carried.view, writes.carried.tally.created.len()).await
    {
        writes.carried.stopped = Some(error);
    }
    if let Err(error) = confirmed {
        writes.carried.stopped.get_or_insert(error);
    }
    writes.carried
}

async fn confirm<J: Journal>(writes: &mut Writes<'_, J>) -> Result<(), Error> {
    let writer_key = writes.carried.view.listing.scope.writer_key();
    let written_at = Instant::now();
    writes.progress.wait_for(writes.writer.locks.quiet(&writer_key, CONFIRMATION_PATIENCE)).await?;
    writes.progress.checkpoint()?;
    writes.confirm(ReadRequest::interactive(Freshness::Since(written_at))).await?;
    if !writes.carried.view.has_claims_to_decide() {
        return Ok(());
    }

    // The list shows something to take over or to release that no plan under the lock has seen.
    let _write_guard = writes.progress.wait_for(writes.writer.locks.take(&writer_key)).await?;
    writes.progress.checkpoint()?;
    writes.look_again(ReadRequest::interactive(Freshness::Since(written_at))).await
}

fn is_renamed(sent: &Properties, now: &cmdb::ProcessTemplate) -> bool {
    let wanted = sent.get(PROCESS_NAME).and_then(|pair| pair.value.as_text());
    wanted.is_none_or(|wanted| wanted == now.bk_process_name)
}

fn batches(plan: &Plan) -> Vec<Batch> {
    let mut batches = Vec::new();
    for step in &plan.steps {
        match step {
            Step::Create { key, create } => {
                let order = Order::new(plan, key, create);
                match batches.last_mut() {
                    Some(Batch::Create(orders)) => orders.push(order),
                    _ => batches.push(Batch::Create(vec![order])),
                }
            }
            Step::Update { key, id, properties, .. } => {
                batches.push(Batch::Update { key: key.clone(), id: *id, properties: properties.clone() });
            }
            Step::Delete { id, .. } => match batches.last_mut() {
                Some(Batch::Delete(ids)) if ids.len() < DELETE_CHUNK => ids.push(*id),
                _ => batches.push(Batch::Delete(vec![*id])),
            },
        }
    }
    batches
}
