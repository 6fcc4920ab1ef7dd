//! The create protocol: how process templates are created so that none is created twice, although a create cannot be
//! repeated safely and its answer may be lost.
//!
//! *Flow.* The creates of a plan are cut into chunks of at most [`CHUNK`] items. Before the request of a chunk is sent, the
//! intents of this chunk and of the next ones are stored in one write ([`Creation::announce`]): for each item its name, a
//! hash of what will be sent, and the highest template ID that was listed before. Then each chunk is one POST
//! ([`Creation::send`]). After a clean success the IDs are noted and the list is updated without a call
//! ([`Creation::note_stored`]). After anything else a list shows the outcome ([`Creation::settle`]), and the planner decides
//! each intent by it: a template of this name and hash with a higher ID is ours (a claim); else the intent stays undecided
//! until no server can still be working on the request (the grace period), or until CMDB itself has answered that it was
//! not stored; then the item is created again under a new intent. If CMDB refused an item of the chunk, the chunk is halved
//! until that item is alone and can carry the reason ([`Creation::bisect`]).
//!
//! *Guarantees.*
//! * Intents are stored before their POST. An operator that was killed between the two, or before the answer was stored,
//!   knows after its restart which creates may be under way, and claims what they stored instead of creating it again.
//! * One POST an intent: no request is repeated, whatever its answer. A second try is a new intent, with a newer list
//!   behind it.
//! * A request that was sent is never given up: the reconcile is stopped between calls only, and when it is stopped or the
//!   process ends, the list that shows the outcome still has a grace of its own.
//! * Intents whose requests were never sent are withdrawn ([`Creation::withdraw`]); nothing waits for them.
//! * An item that CMDB refused does not hold back the others; from then on it is sent alone.
//!
//! *Assumptions.*
//! * CMDB stores the items of one request together or not at all, and gives rising IDs.
//! * The grace period (`--create-grace-seconds`) is longer than a CMDB server can work on a request after its caller is gone: its
//!   own transaction limit is two minutes.
//! * Nobody else creates a template of the same name and content between our list and our POST. If somebody does, the
//!   template is claimed: it is as wanted.
//!
//! *Caveats.*
//! * The grace period runs on the clock of this process. After a restart it starts again, because the clocks of two
//!   machines cannot be compared.
//! * CMDB repeats a transaction that lost a race, and its answer then has too many IDs. Such an answer counts as unclear.

use std::collections::VecDeque;
use std::sync::Arc;

use super::journal::Journal;
use super::writes::{Course, Writes};
use crate::cmdb;
use crate::engine::error::Error;
use crate::engine::translate::specification;
use crate::plan::{Basis, Cause, Create, Intent, IntentFate, Plan, Template};

/// Most process templates of one request: a create costs CMDB about 20 ms an item, and its servers give up after 25 s.
pub const CHUNK: usize = 50;

// Chunks whose intents are stored in one write. More would save little, and leave more to wait for after a kill.
const AHEAD: usize = 4;

/// A template that is to be created.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    key: String,
    create: Create,
    // Created beside the template that it is to replace.
    is_temporary: bool,
}

// The templates of one request.
#[derive(Debug)]
struct Chunk {
    orders: Vec<Order>,
    // Highest template ID when their intents were stored; None: not stored yet.
    after_id: Option<i64>,
}

// The creates of one plan, while they are sent.
struct Creation<'c, 'w, J> {
    writes: &'c mut Writes<'w, J>,
    queue: VecDeque<Chunk>,
    course: Course,
}

/// Creates what is ordered.
pub(crate) async fn create<J: Journal>(writes: &mut Writes<'_, J>, orders: Vec<Order>) -> Result<Course, Error> {
    let queue = chunks(writes, orders);
    let mut creation = Creation { writes, queue, course: Course::Clean };
    let result = creation.run().await;
    creation.withdraw();
    result.map(|()| creation.course)
}

// Items that were refused before go alone: they must not hold back the others again.
fn chunks<J>(writes: &Writes<'_, J>, orders: Vec<Order>) -> VecDeque<Chunk> {
    let was_refused = |order: &Order| writes.writer.rejected_items.contains(&writes.job.set, &order.key);
    let (alone, together): (Vec<_>, Vec<_>) = orders.into_iter().partition(was_refused);
    together.chunks(CHUNK).map(Chunk::new).chain(alone.chunks(1).map(Chunk::new)).collect()
}

impl<J: Journal> Creation<'_, '_, J> {
    async fn run(&mut self) -> Result<(), Error> {
        while let Some(first) = self.queue.front() {
            self.writes.progress.checkpoint()?;
            if first.after_id.is_none() {
                self.announce().await?;
            }
            self.writes.carried.view.check_grant(self.writes.job)?;
            if let Some(Chunk { orders, after_id: Some(after_id) }) = self.queue.pop_front() {
                self.send(orders, after_id).await?;
            }
        }
        Ok(())
    }

    // Stores the intents of the next chunks.
    async fn announce(&mut self) -> Result<(), Error> {
        let view = &mut self.writes.carried.view;
        let after_id = view.plan.highest_id;
        let next = || self.queue.iter().take(AHEAD).filter(|chunk| chunk.after_id.is_none());
        for order in next().flat_map(|chunk| &chunk.orders) {
            view.memory.intents.insert(order.key.clone(), order.intent(after_id));
        }

        if let Err(error) = self.writes.ledger.begin(view, self.writes.carried.tally.created.len()).await {
            for order in next().flat_map(|chunk| &chunk.orders) {
                view.memory.intents.remove(&order.key);
            }
            return Err(error);
        }

        for chunk in self.queue.iter_mut().take(AHEAD) {
            chunk.after_id.get_or_insert(after_id);
        }
        Ok(())
    }

    // Removes the intents whose requests were never sent.
    fn withdraw(&mut self) {
        for chunk in std::mem::take(&mut self.queue) {
            for order in chunk.orders.iter().filter(|_| chunk.after_id.is_some()) {
                self.writes.carried.view.memory.intents.remove(&order.key);
                self.writes.ledger.note_ended();
            }
        }
    }

    // Sends the request of a chunk, whose intents are stored.
    async fn send(&mut self, mut chunk: Vec<Order>, after_id: i64) -> Result<(), Error> {
        // A list that was taken meanwhile may have shown that somebody else took a name.
        let intents = &self.writes.carried.view.memory.intents;
        chunk.retain(|order| intents.get(&order.key).is_some_and(|intent| intent.after_id == after_id));
        if chunk.is_empty() {
            return Ok(());
        }

        // From now on a server may be working on it.
        let Writes { writer, job, progress, .. } = *self.writes;
        for order in &chunk {
            writer.intents.sent(&job.set, &order.key, &order.intent(after_id));
        }
        let scope = &self.writes.carried.view.listing.scope;
        let specifications: Vec<_> = chunk.iter().map(|order| specification(&order.create.properties)).collect();
        let client = &job.connection.client;
        let service_template = scope.service_template(&self.writes.carried.view.service_template_name);
        let created = client.create_process_templates(service_template, &specifications);
        let created = progress.excluding_wait(created).await;

        match created {
            Ok(ids) if ids.len() == chunk.len() => {
                self.note_stored(&chunk, &ids).await;
                Ok(())
            }
            // CMDB repeats a transaction that lost a race, and then counts the IDs of the lost one too.
            Ok(_) => self.settle(&chunk).await,
            // It was not sent: its intents are withdrawn with those of the chunks behind it.
            Err(error @ (cmdb::Error::NotGranted { .. } | cmdb::Error::Ending { .. })) => {
                self.queue.push_front(Chunk { orders: chunk, after_id: Some(after_id) });
                Err(job.error_of(Arc::new(error)))
            }
            Err(error) => {
                if error.outcome() == cmdb::WriteOutcome::NotStored {
                    for order in &chunk {
                        writer.intents.answered(&job.set, &order.key, &order.intent(after_id));
                    }
                }
                let settled = self.settle(&chunk).await;
                if !error.is_item_error() {
                    return Err(Arc::new(error).into());
                }
                settled?;
                self.bisect(&chunk, &error);
                Ok(())
            }
        }
    }

    // Notes the IDs of a chunk, and puts its templates into the list.
    async fn note_stored(&mut self, chunk: &[Order], ids: &[i64]) {
        let Writes { writer, job, .. } = *self.writes;
        let carried = &mut self.writes.carried;
        let user = job.connection.client.user().unwrap_or_default();
        let mut stored = Vec::with_capacity(chunk.len());

        for (order, &id) in chunk.iter().zip(ids) {
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
    async fn settle(&mut self, chunk: &[Order]) -> Result<(), Error> {
        self.course = Course::PlanAgain;
        self.writes.settle().await?;

        let view = &self.writes.carried.view;
        if chunk.iter().any(|order| !view.memory.intents.contains_key(&order.key)) {
            self.writes.ledger.note_ended();
        }
        let items = &view.plan.items;
        let stored = chunk.iter().filter_map(|order| {
            let found = items.iter().find(|item| item.key == order.key)?.found.as_ref()?;
            (found.basis == Basis::Claimed && found.process_name == order.create.process_name).then_some(found.id)
        });
        let stored: Vec<i64> = stored.collect();
        self.writes.carried.tally.created.extend(stored);
        Ok(())
    }

    // One bad item must not hold back the others: halve until it is alone, and put the reason on it.
    fn bisect(&mut self, chunk: &[Order], error: &cmdb::Error) {
        let plan = &self.writes.carried.view.plan;
        let missing = |order: &&Order| plan.creates().any(|(key, _)| key == order.key);
        let left: Vec<Order> = chunk.iter().filter(missing).cloned().collect();
        match left.as_slice() {
            [] => {}
            [order] if chunk.len() == 1 => self.writes.refuse(&order.key, error),
            left => {
                let (first, second) = left.split_at(left.len().div_ceil(2));
                for half in [second, first].into_iter().filter(|half| !half.is_empty()) {
                    self.queue.push_front(Chunk::new(half));
                }
            }
        }
    }
}

impl Chunk {
    fn new(orders: &[Order]) -> Self {
        Self { orders: orders.to_vec(), after_id: None }
    }
}

impl Order {
    pub(crate) fn new(plan: &Plan, key: &str, create: &Create) -> Self {
        Self { key: key.to_owned(), create: create.clone(), is_temporary: plan.is_temporary(key, create) }
    }

    fn intent(&self, after_id: i64) -> Intent {
        Intent {
            process_name: self.create.process_name.clone(),
            hash: self.create.intent_hash.clone(),
            after_id,
            fate: IntentFate::Open,
        }
    }
}
