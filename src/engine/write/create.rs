//! The create protocol. The intents of the next chunks are stored in one write; then, for each chunk, one request is
//! sent and never repeated, and after anything but a clean success a list tells what became of it.

use std::collections::VecDeque;
use std::sync::Arc;

use super::apply::Course;
use crate::cmdb;
use crate::engine::translate::specification;
use crate::engine::{Carried, Engine, Error, Job, PlannedView, Progress};
use crate::plan::{Basis, Cause, Create, Intent, IntentFate, Plan, Template};

/// Most process templates of one request: a create costs CMDB about 20 ms an item, and its servers give up after 25 s.
pub const CHUNK: usize = 50;

// Chunks whose intents are stored in one write. More would save little, and leave more to wait for after a kill.
const AHEAD: usize = 4;

/// Where intents and IDs are stored, so that an operator that is started anew finds them.
pub trait Journal: Send {
    /// Stores the view's memory before a request is sent. Must not store anything when the set is no longer what it was.
    fn begin(&mut self, view: &PlannedView) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores what is known after the last request, whatever the set has become meanwhile.
    fn record(&mut self, view: &PlannedView) -> impl Future<Output = Result<(), Error>> + Send;
}

/// A template that is to be created.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Order {
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

// The creates of one set, on their way.
struct Creation<'a, J> {
    engine: &'a Engine,
    job: &'a Job,
    carried: &'a mut Carried,
    journal: &'a mut J,
    progress: &'a Progress,
    queue: VecDeque<Chunk>,
    course: Course,
}

/// Creates what is ordered.
pub(in crate::engine) async fn creation<J: Journal>(
    engine: &Engine,
    job: &Job,
    carried: &mut Carried,
    journal: &mut J,
    orders: Vec<Order>,
    progress: &Progress,
) -> Result<Course, Error> {
    let queue = chunks(engine, job, orders);
    let mut creation = Creation { engine, job, carried, journal, progress, queue, course: Course::Clean };
    let result = creation.run().await;
    creation.withdraw();
    result.map(|()| creation.course)
}

// Items that were refused before go alone: they must not hold back the others again.
fn chunks(engine: &Engine, job: &Job, orders: Vec<Order>) -> VecDeque<Chunk> {
    let (alone, together): (Vec<_>, Vec<_>) =
        orders.into_iter().partition(|order| engine.rejected_items.contains(&job.set, &order.key));
    together.chunks(CHUNK).map(Chunk::new).chain(alone.chunks(1).map(Chunk::new)).collect()
}

impl<J: Journal> Creation<'_, J> {
    async fn run(&mut self) -> Result<(), Error> {
        while let Some(first) = self.queue.front() {
            self.progress.checkpoint()?;
            if first.after_id.is_none() {
                self.announce().await?;
            }
            self.carried.view.check_grant(self.job)?;
            if let Some(Chunk { orders, after_id: Some(after_id) }) = self.queue.pop_front() {
                self.create(orders, after_id).await?;
            }
        }
        Ok(())
    }

    // Stores the intents of the next chunks.
    async fn announce(&mut self) -> Result<(), Error> {
        let view = &mut self.carried.view;
        let after_id = view.plan.highest_id;
        let next = || self.queue.iter().take(AHEAD).filter(|chunk| chunk.after_id.is_none());
        for order in next().flat_map(|chunk| &chunk.orders) {
            view.memory.intents.insert(order.key.clone(), order.intent(after_id));
        }
        if let Err(error) = self.journal.begin(view).await {
            for order in next().flat_map(|chunk| &chunk.orders) {
                view.memory.intents.remove(&order.key);
            }
            return Err(error);
        }
        for chunk in self.queue.iter_mut().take(AHEAD) {
            chunk.after_id.get_or_insert(after_id);
        }
        self.carried.recorded = self.carried.tally.created.len();
        self.carried.holds_ended = false;
        Ok(())
    }

    // Intents whose requests were never sent stand for nothing.
    fn withdraw(&mut self) {
        let memory = &mut self.carried.view.memory;
        for chunk in std::mem::take(&mut self.queue) {
            for order in chunk.orders.iter().filter(|_| chunk.after_id.is_some()) {
                memory.intents.remove(&order.key);
                self.carried.holds_ended = true;
            }
        }
    }

    async fn create(&mut self, mut chunk: Vec<Order>, after_id: i64) -> Result<(), Error> {
        // A list that was taken meanwhile may have shown that somebody else took a name.
        let intents = &self.carried.view.memory.intents;
        chunk.retain(|order| intents.get(&order.key).is_some_and(|intent| intent.after_id == after_id));
        if chunk.is_empty() {
            return Ok(());
        }
        for order in &chunk {
            self.engine.intents.sent(&self.job.set, &order.key, &order.intent(after_id));
        }
        let scope = &self.carried.view.listing.scope;
        let specifications: Vec<_> = chunk.iter().map(|order| specification(&order.create.properties)).collect();
        let client = &self.job.connection.client;
        let created = client.create_process_templates(scope.biz_id, scope.service_template_id, &specifications);
        match self.progress.excluding_wait(created).await {
            Ok(ids) if ids.len() == chunk.len() => {
                self.note_stored(&chunk, &ids).await;
                Ok(())
            }
            // CMDB repeats a transaction that lost a race, and then counts the ids of the lost one too.
            Ok(_) => self.settle(&chunk).await,
            // It was not sent: its intents are withdrawn with those of the chunks behind it.
            Err(cmdb::Error::Ending { .. }) => {
                self.queue.push_front(Chunk { orders: chunk, after_id: Some(after_id) });
                Err(Error::Stopped)
            }
            Err(error) => {
                if error.outcome() == cmdb::WriteOutcome::NotStored {
                    for order in &chunk {
                        self.engine.intents.answered(&self.job.set, &order.key, &order.intent(after_id));
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

    async fn note_stored(&mut self, chunk: &[Order], ids: &[i64]) {
        let view = &mut self.carried.view;
        let user = self.job.connection.client.user().unwrap_or_default();
        let mut stored = Vec::with_capacity(chunk.len());
        for (order, &id) in chunk.iter().zip(ids) {
            view.memory.created(&order.key, &order.create.process_name, id, order.is_temporary);
            self.engine.rejected_items.remove(&self.job.set, &order.key);
            self.carried.tally.created.push(id);
            if order.create.cause == Cause::Drift {
                self.carried.tally.restored.push(order.key.clone());
            }
            view.plan.highest_id = view.plan.highest_id.max(id);
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
        self.engine.fold(&view.listing.scope, self.progress, fold).await;
    }

    // After anything but a clean success: a list tells which creates were stored, which were not, and which cannot be
    // told yet.
    async fn settle(&mut self, chunk: &[Order]) -> Result<(), Error> {
        self.course = Course::PlanAnew;
        self.engine.settle(self.job, self.carried, self.progress).await?;
        let view = &self.carried.view;
        self.carried.holds_ended |= chunk.iter().any(|order| !view.memory.intents.contains_key(&order.key));
        let items = &view.plan.items;
        let stored = chunk.iter().filter_map(|order| {
            let found = items.iter().find(|item| item.key == order.key)?.found.as_ref()?;
            (found.basis == Basis::Claimed && found.process_name == order.create.process_name).then_some(found.id)
        });
        let stored: Vec<i64> = stored.collect();
        self.carried.tally.created.extend(stored);
        Ok(())
    }

    // One bad item must not hold back the others: halve until it is alone, and put the reason on it.
    fn bisect(&mut self, chunk: &[Order], error: &cmdb::Error) {
        let view = &self.carried.view;
        let missing = |order: &&Order| view.plan.creates().any(|(key, _)| key == order.key);
        let left: Vec<Order> = chunk.iter().filter(missing).cloned().collect();
        match left.as_slice() {
            [] => {}
            [order] if chunk.len() == 1 => {
                self.engine.refuse(self.job, &view.listing.scope, &order.key, error);
            }
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
    pub(in crate::engine) fn new(plan: &Plan, key: &str, create: &Create) -> Self {
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
