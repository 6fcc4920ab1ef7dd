//! Carrying a plan out, write by write: in the plan's order, each sent once, and after anything but a clean success a
//! list tells what became of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::create::{Order, creation};
use crate::api::PROCESS_NAME;
use crate::cmdb;
use crate::engine::translate::changes;
use crate::engine::{Carried, Engine, Error, Freshness, Job, Journal, Progress, ReadRequest};
use crate::plan::{Cause, Decision, DesiredItem, MOST_PLANS, Properties, Step};

/// Most process templates of one delete: CMDB takes 500, and needs about a second for a hundred.
const DELETE_CHUNK: usize = 100;

// Longest wait for a list at the end of the process, or of a reconcile that is told to stop.
const SETTLING: Duration = Duration::from_secs(10);

// CMDB up to 3.9.26 answers with a success and leaves the name as it was.
const RENAME_IGNORED: &str = "this CMDB does not rename process templates (3.9.27 and later do): rename it by hand in \
                              CMDB, or change the name back";

/// What was written to CMDB.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tally {
    /// IDs of the process templates that were created, in the order of their creation.
    pub created: Vec<i64>,
    /// Keys of those among them whose template somebody had deleted.
    pub restored: Vec<String>,
    /// Changes, in their order.
    pub updated: Vec<Updated>,
    /// IDs of the process templates that were deleted.
    pub deleted: Vec<i64>,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct Updated {
    /// Key of the item.
    pub key: String,
    /// `id`
    pub id: i64,
    /// Why.
    pub cause: Cause,
    /// The properties that differed, by their names in a manifest.
    pub properties: Vec<String>,
    /// `modifier` before the change: who had changed the template last.
    pub modifier: String,
    /// `last_time` before the change, in milliseconds since 1970.
    pub changed_at: Option<i64>,
}

// Whether a plan may be gone on with, or has to be made anew from a new list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Course {
    Clean,
    PlanAnew,
}

// Neighbours that are sent together.
enum Batch {
    Create(Vec<Order>),
    Update { key: String, id: i64, properties: Properties },
    Delete(Vec<i64>),
}

impl Engine {
    /// Carries out the view's plan, and what it makes possible.
    pub(in crate::engine) async fn write_all<J: Journal>(
        &self,
        job: &Job,
        carried: &mut Carried,
        progress: &Progress,
        journal: &mut J,
    ) -> Result<(), Error> {
        for _ in 0..MOST_PLANS {
            if !carried.view.plan.has_writes() {
                break;
            }
            self.write_plan(job, carried, progress, journal).await?;
            let look = ReadRequest::interactive(Freshness::AtMost(crate::engine::WRITE_FRESHNESS));
            self.look_again(job, &mut carried.view, look, progress).await?;
        }
        Ok(())
    }

    async fn write_plan<J: Journal>(
        &self,
        job: &Job,
        carried: &mut Carried,
        progress: &Progress,
        journal: &mut J,
    ) -> Result<(), Error> {
        for batch in batches(carried) {
            progress.checkpoint()?;
            carried.view.check_grant(job)?;
            let course = match batch {
                Batch::Create(orders) => creation(self, job, carried, journal, orders, progress).await?,
                Batch::Update { key, id, properties } => {
                    self.update(job, carried, (&key, id), &properties, progress).await?
                }
                Batch::Delete(ids) => self.delete(job, carried, &ids, progress).await?,
            };
            if course == Course::PlanAnew {
                break;
            }
        }
        Ok(())
    }

    async fn update(
        &self,
        job: &Job,
        carried: &mut Carried,
        (key, id): (&str, i64),
        properties: &Properties,
        progress: &Progress,
    ) -> Result<Course, Error> {
        let scope = carried.view.listing.scope.clone();
        let client = &job.connection.client;
        let sent = changes(properties);
        let name = carried.view.name_of(id);
        let updated = client.update_process_template(scope.biz_id, scope.service_template_id, (id, &name), &sent);
        let updated = progress.excluding_wait(updated).await;
        match updated {
            Ok(now) if !is_renamed(properties, &now) => {
                self.look_after_failure(job, carried, progress).await?;
                self.refuse_because(job, &scope, key, RENAME_IGNORED.to_owned());
                Ok(Course::PlanAnew)
            }
            Ok(_) => {
                let user = client.user().unwrap_or_default();
                self.fold(&scope, progress, |templates| {
                    for template in templates.iter_mut().filter(|template| template.id == id) {
                        template.update(properties);
                        template.modifier.clone_from(&user);
                    }
                })
                .await;
                self.rejected_items.remove(&job.set, key);
                carried.note_update(key, id);
                Ok(Course::Clean)
            }
            Err(error) => {
                self.look_after_failure(job, carried, progress).await?;
                match error {
                    error if error.is_item_error() => {
                        self.refuse(job, &scope, key, &error);
                        Ok(Course::PlanAnew)
                    }
                    // It has gone meanwhile.
                    cmdb::Error::NotFound { .. } => Ok(Course::PlanAnew),
                    error => Err(Arc::new(error).into()),
                }
            }
        }
    }

    async fn delete(
        &self,
        job: &Job,
        carried: &mut Carried,
        ids: &[i64],
        progress: &Progress,
    ) -> Result<Course, Error> {
        let scope = carried.view.listing.scope.clone();
        let client = &job.connection.client;
        let names: Vec<(i64, String)> = ids.iter().map(|id| (*id, carried.view.name_of(*id))).collect();
        let named: Vec<(i64, &str)> = names.iter().map(|(id, name)| (*id, name.as_str())).collect();
        let deleted = client.delete_process_templates(scope.biz_id, scope.service_template_id, &named);
        match progress.excluding_wait(deleted).await {
            Ok(()) => {
                self.fold(&scope, progress, |templates| templates.retain(|template| !ids.contains(&template.id))).await;
                carried.tally.deleted.extend(ids);
                Ok(Course::Clean)
            }
            Err(error) => {
                self.look_after_failure(job, carried, progress).await?;
                let listed = &carried.view.listing.observed.templates;
                let gone = |id: &&i64| !listed.iter().any(|template| template.id == **id);
                let gone: Vec<i64> = ids.iter().filter(gone).copied().collect();
                // Some were gone already, or it was done all the same: the others are tried once more.
                if gone.is_empty() {
                    return Err(Arc::new(error).into());
                }
                carried.tally.deleted.extend(gone);
                Ok(Course::PlanAnew)
            }
        }
    }

    // A list tells what became of a change or a deletion whose end is not clear.
    async fn look_after_failure(&self, job: &Job, carried: &mut Carried, progress: &Progress) -> Result<(), Error> {
        self.drop_snapshot(&carried.view.listing.scope, progress).await;
        // Who begins anew begins with a list.
        progress.checkpoint()?;
        self.look_again(job, &mut carried.view, ReadRequest::interactive(Freshness::Since(Instant::now())), progress)
            .await
    }

    // A list tells what became of a create, also at the end of the process: whoever goes on would have to wait for it.
    pub(in crate::engine) async fn settle(
        &self,
        job: &Job,
        carried: &mut Carried,
        progress: &Progress,
    ) -> Result<(), Error> {
        self.drop_snapshot(&carried.view.listing.scope, progress).await;
        progress
            .run_for_grace(SETTLING, self.look_again(job, &mut carried.view, ReadRequest::resolving(), progress))
            .await
    }

    // The item is not sent again as it is.
    pub(in crate::engine) fn refuse(&self, job: &Job, scope: &crate::engine::Scope, key: &str, error: &cmdb::Error) {
        self.refuse_because(job, scope, key, error.user_message());
    }

    fn refuse_because(&self, job: &Job, scope: &crate::engine::Scope, key: &str, reason: String) {
        let item = job.desired.items.iter().find(|item| item.key == key);
        let content = item.map(DesiredItem::content_hash).unwrap_or_default();
        self.rejected_items.add(&job.set, key, scope, content, reason);
    }
}

fn is_renamed(sent: &Properties, now: &cmdb::ProcessTemplate) -> bool {
    let wanted = sent.get(PROCESS_NAME).and_then(|pair| pair.value.as_text());
    wanted.is_none_or(|wanted| wanted == now.bk_process_name)
}

fn batches(carried: &Carried) -> Vec<Batch> {
    let plan = &carried.view.plan;
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

impl Carried {
    fn note_update(&mut self, key: &str, id: i64) {
        let item = self.view.plan.items.iter().find(|item| item.key == key);
        let Some((Decision::Update(change), Some(found))) = item.map(|item| (&item.decision, &item.found)) else {
            return;
        };
        // On the way through a temporary value, one change takes two updates.
        if self.tally.updated.iter().any(|updated| updated.id == id) {
            return;
        }
        self.tally.updated.push(Updated {
            key: key.to_owned(),
            id,
            cause: change.cause,
            properties: change.differences.iter().map(ToString::to_string).collect(),
            modifier: found.modifier.clone(),
            changed_at: found.changed_at,
        });
    }
}
