//! The create protocol: how process templates are created so that none is created twice, although a create cannot be
//! repeated safely and its answer may be lost.
//!
//! *Flow.* The creates of a plan wait in a queue ([`super::create_queue`]). Before a request is sent, the intents of its items
//! and of the next ones are stored in one write ([`Creation::announce`]): for each item its name, a hash of what will be sent,
//! and the highest template ID that was listed before. Then each batch is one POST ([`Creation::send`]), of as many items as
//! the service template has shown to take ([`super::batch_size`]). After a clean success the IDs are noted and the list is
//! updated without a call ([`Creation::note_stored`]). After anything else a list shows the outcome ([`Creation::settle`]),
//! and the planner decides each intent by it: a template of this name and hash with a higher ID is ours (a claim); else the
//! intent stays undecided until no server can still be working on the request (the grace period), or until CMDB itself has
//! answered that it was not stored; then the item is created again under a new intent. If CMDB refused an item of the batch,
//! the batch is divided until that item is alone and can carry the reason. The parts wait until everything else was
//! tried, and one list settles all that were refused until then.
//!
//! *Guarantees.*
//! * Intents are stored before their POST. An operator that was killed between the two, or before the answer was stored,
//!   knows after its restart which creates may be under way, and claims what they stored instead of creating it again.
//! * One POST an intent: no request is repeated, whatever its answer. A second try is a new intent, with a newer list
//!   behind it.
//! * A request that was sent is never given up: the reconcile is stopped between calls only, and when it is stopped or the
//!   process ends, the list that shows the outcome still has a grace of its own.
//! * Intents whose requests were never sent are withdrawn ([`Creation::withdraw`]); nothing waits for them.
//! * An item that CMDB refused does not hold back the others: no item is sent alone because of a refusal before every batch
//!   of several items was tried. From then on it is sent alone, and last. It costs at most two requests an item.
//!
//! *Assumptions.*
//! * CMDB stores the items of one request together or not at all, and gives rising IDs.
//! * The grace period (`--create-grace-seconds`) is longer than a CMDB server can work on a request after its caller is gone: its
//!   own transaction limit is two minutes.
//! * Nobody else creates a template of the same name and content between our list and our POST. If somebody does, the
//!   template is claimed: it is as wanted.
//!
//! *Caveats.*
//! * The grace period runs on the clock of this process, from the moment when the request was sent. After a restart it starts
//!   again, because the clocks of two machines cannot be compared.
//! * CMDB repeats a transaction that lost a race, and its answer then has too many IDs. Such an answer counts as unclear.

use std::sync::Arc;

use super::create_queue::{CreateQueue, Order};
use super::journal::Journal;
use super::writes::{Course, Writes};
use crate::cmdb::{self, SentAt};
use crate::engine::error::Error;
use crate::engine::translate::specification;
use crate::plan::{Basis, Cause, Template};

// Items whose intents are stored in one write. More would save little, and leave more to wait for after a kill.
const ANNOUNCED: usize = 200;

// The creates of one plan, while they are sent.
struct Creation<'c, 'w, J> {
    writes: &'c mut Writes<'w, J>,
    queue: CreateQueue,
    // What CMDB refused since the last list: each batch with its error.
    refused: Vec<(Vec<Order>, cmdb::Error)>,
    course: Course,
}

/// Creates what is ordered.
pub(crate) async fn create<J: Journal>(writes: &mut Writes<'_, J>, orders: Vec<Order>) -> Result<Course, Error> {
    // Items that were refused before go alone, and last: they must not hold back the others again.
    let was_refused = |order: &Order| writes.writer.rejected_items.contains(&writes.job.set, &order.key);
    let (alone, fresh) = orders.into_iter().partition(was_refused);
    let queue = CreateQueue::new(fresh, alone);

    let mut creation = Creation { writes, queue, refused: Vec::new(), course: Course::Clean };
    let result = creation.run().await;
    creation.withdraw();
    if result.is_err() {
        // What CMDB refused is decided by a list: the next process would have to wait for it.
        let _ = creation.settle_refused().await;
    }
    result.map(|()| creation.course)
}

impl<J> Drop for Creation<'_, '_, J> {
    fn drop(&mut self) {
        // After a panic too: other sets must not wait for creates that no reconcile carries on.
        self.writes.writer.open_creates.interrupted(&self.writes.job.set);
    }
}

impl<J: Journal> Creation<'_, '_, J> {
    async fn run(&mut self) -> Result<(), Error> {
        loop {
            self.writes.progress.checkpoint()?;
            if self.is_settling_due() {
                self.settle_refused().await?;
            }
            if self.queue.is_empty() {
                return Ok(());
            }
            if !self.queue.is_next_announced() {
                self.announce().await?;
                continue;
            }

            self.writes.carried.view.check_grant(self.writes.job)?;
            let size = self.writes.writer.batch_sizes.size(&self.writes.carried.view.listing.scope);
            let batch = self.queue.take_batch(size);
            self.send(batch).await?;
        }
    }

    // Stores the intents of the next items.
    async fn announce(&mut self) -> Result<(), Error> {
        let Writes { writer, job, .. } = *self.writes;
        let view = &mut self.writes.carried.view;
        // A list that was taken meanwhile may have shown that somebody else took a name.
        if self.course == Course::PlanAgain {
            self.queue.retain_unannounced(|order| view.plan.creates().any(|(key, _)| key == order.key));
        }
        let user = job.connection.client.user().unwrap_or_default();
        let announced = self.queue.announce(ANNOUNCED, view.plan.highest_id, &user);
        let writer_key = view.listing.scope.writer_key();
        for (key, intent) in &announced {
            writer.intents.announced(&job.set, key, intent);
            writer.open_creates.announced(&job.set, &writer_key, key, intent);
            view.memory.intents.insert(key.clone(), intent.clone());
        }
        if announced.is_empty() {
            return Ok(());
        }
        // If it fails they are withdrawn: nothing was sent, although the write may have arrived.
        self.writes.ledger.begin(view, self.writes.carried.tally.created.len()).await
    }

    // Removes the intents whose requests were never sent.
    fn withdraw(&mut self) {
        let Writes { writer, job, .. } = *self.writes;
        for order in self.queue.drain() {
            if let Some(intent) = order.intent() {
                writer.intents.unsent(&job.set, &order.key, &intent);
                writer.open_creates.not_stored(&job.set, &order.key);
                self.writes.carried.view.memory.intents.remove(&order.key);
                self.writes.ledger.note_ended();
            }
        }
    }

    // Sends one request, whose intents are stored.
    async fn send(&mut self, mut batch: Vec<Order>) -> Result<(), Error> {
        // A list that was taken meanwhile may have shown that somebody else took a name.
        let intents = &self.writes.carried.view.memory.intents;
        batch.retain(|order| intents.get(&order.key).is_some_and(|intent| Some(intent.after_id) == order.after_id));
        if batch.is_empty() {
            return Ok(());
        }

        let Writes { writer, job, progress, .. } = *self.writes;
        let scope = self.writes.carried.view.listing.scope.clone();
        let specifications: Vec<_> = batch.iter().map(|order| specification(&order.create.properties)).collect();
        let sent_at = SentAt::default();
        let client = job.connection.client.noting(&sent_at);
        let service_template = scope.service_template(&self.writes.carried.view.service_template_name);
        let created = client.create_process_templates(service_template, &specifications);
        let created = progress.excluding_wait(created).await;

        let Some(sent_at) = sent_at.get() else {
            // Its intents are withdrawn with those of the batches behind it.
            self.queue.put_back(batch);
            return created.map(drop).map_err(|error| job.error_of(Arc::new(error)));
        };
        // From then on a server may have been working on it.
        let intents = || batch.iter().filter_map(|order| Some((&order.key, order.intent()?)));
        for (key, intent) in intents() {
            writer.intents.sent(&job.set, key, &intent, sent_at);
            writer.open_creates.sent(&job.set, key, sent_at);
        }

        let (count, took) = (batch.len(), sent_at.elapsed());
        if created.is_ok() {
            writer.batch_sizes.note_stored(&job.set, &scope, count, took);
        }
        match created {
            Ok(ids) if ids.len() == count => {
                self.note_stored(&batch, &ids).await;
                Ok(())
            }
            // CMDB repeats a transaction that lost a race, and then counts the IDs of the lost one too.
            Ok(_) => self.settle(&batch).await,
            Err(error) => {
                if error.outcome() == cmdb::WriteOutcome::NotStored {
                    for (key, intent) in intents() {
                        writer.intents.refused(&job.set, key, &intent);
                        writer.open_creates.not_stored(&job.set, key);
                    }
                } else {
                    writer.batch_sizes.note_unknown(&job.set, &scope, count, took, cmdb::is_timeout(&error));
                }
                if error.is_item_error() {
                    self.refused.push((batch, error));
                    return Ok(());
                }
                // Its own error counts, also where the list fails.
                let _ = self.settle(&batch).await;
                Err(Arc::new(error).into())
            }
        }
    }

    // Notes the IDs of a batch, and puts its templates into the list.
    async fn note_stored(&mut self, batch: &[Order], ids: &[i64]) {
        let Writes { writer, job, .. } = *self.writes;
        let carried = &mut self.writes.carried;
        let user = job.connection.client.user().unwrap_or_default();
        let mut stored = Vec::with_capacity(batch.len());

        for (order, &id) in batch.iter().zip(ids) {
            carried.view.memory.created(&order.key, &order.create.process_name, id, order.is_temporary);
            writer.rejected_items.remove(&job.set, &order.key);
            carried.tally.created.push(id);
            if order.create.cause == Cause::Drift {
                carried.tally.restored.push(order.key.clone());
            }
            carried.view.plan.highest_id = carried.view.plan.highest_id.max(id);
            stored.push(Template {
                id,
                process_name: order.create.process_name.clone(),
                properties: order.create.properties.clone(),
                shown: None,
                creator: user.clone(),
                created_at: None,
                modifier: user.clone(),
                changed_at: None,
            });
        }

        let fold = |templates: &mut Vec<Template>| {
            templates.extend(stored);
            templates.sort_by_key(|template| template.id);
        };
        self.writes.fold(fold).await;
    }

    // After anything but a clean success: a list shows which creates were stored, which were not, and which cannot be
    // decided yet.
    async fn settle(&mut self, sent: &[Order]) -> Result<(), Error> {
        self.course = Course::PlanAgain;
        self.writes.settle().await?;

        let view = &self.writes.carried.view;
        if sent.iter().any(|order| !view.memory.intents.contains_key(&order.key)) {
            self.writes.ledger.note_ended();
        }
        let items = &view.plan.items;
        let stored = sent.iter().filter_map(|order| {
            let found = items.iter().find(|item| item.key == order.key)?.found.as_ref()?;
            (found.basis == Basis::Claimed && found.process_name == order.create.process_name).then_some(found.id)
        });
        let stored: Vec<i64> = stored.collect();
        self.writes.carried.tally.created.extend(stored);
        Ok(())
    }

    // Whether a list is due that shows what became of refused batches: their parts come next, or nothing does.
    fn is_settling_due(&self) -> bool {
        let is_divided = self.refused.iter().any(|(batch, _)| batch.len() > 1);
        let are_parts_next = !self.queue.has_fresh() && !self.queue.is_next_announced();
        are_parts_next || is_divided && self.queue.has_only_alone()
    }

    // Settles what CMDB refused since the last list. What is still missing of a batch is divided, and an item that was alone
    // carries the reason.
    async fn settle_refused(&mut self) -> Result<(), Error> {
        if self.refused.is_empty() {
            return Ok(());
        }
        let sent: Vec<Order> = self.refused.iter().flat_map(|(batch, _)| batch).cloned().collect();
        self.settle(&sent).await?;

        let plan = &self.writes.carried.view.plan;
        for (batch, error) in std::mem::take(&mut self.refused) {
            let is_alone = batch.len() == 1;
            let missing = |order: &Order| plan.creates().any(|(key, _)| key == order.key);
            let left: Vec<Order> = batch.into_iter().filter(missing).collect();
            match left.as_slice() {
                [order] if is_alone => self.writes.refuse(&order.key, &error),
                _ => self.queue.divide(left),
            }
        }
        Ok(())
    }
}
