//! The create protocol. For each chunk: the intents are stored, one request is sent and never repeated, and after
//! anything but a clean success a list tells what became of it.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::time::Instant;

use super::translate::specification;
use super::{Carried, Engine, Error, Freshness, Job, Pulse, View};
use crate::cmdb::{self, Lane};
use crate::plan::{Create, DesiredItem, Intent, IntentFate, Memory, Remembered, Template};

/// Most process templates of one request: a create costs CMDB about 20 ms an item, and its servers give up after 25 s.
pub const CHUNK: usize = 50;

/// Where intents and IDs are stored, so that an operator that is started anew finds them.
pub trait Journal: Send {
    /// Stores the view's memory before a request is sent. Must not store anything when the set is no longer what it was.
    fn begin(&mut self, view: &View) -> impl Future<Output = Result<(), Error>> + Send;

    /// Stores what is known after the last request, whatever the set has become meanwhile.
    fn record(&mut self, view: &View) -> impl Future<Output = Result<(), Error>> + Send;
}

/// What was written to CMDB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// IDs of the process templates that were created, in the order of the spec.
    pub created: Vec<i64>,
}

/// A template that is to be created.
#[derive(Clone, Debug)]
struct Order {
    key: String,
    process_name: String,
    create: Create,
}

// The creates of one set, on their way.
struct Creation<'a, J> {
    engine: &'a Engine,
    job: &'a Job,
    carried: &'a mut Carried,
    journal: &'a mut J,
    queue: VecDeque<Vec<Order>>,
    // How many of the created IDs are stored.
    recorded: usize,
}

impl Engine {
    /// Creates everything that the plan says is missing.
    pub(super) async fn create_all<J: Journal>(
        &self,
        job: &Job,
        carried: &mut Carried,
        pulse: &Pulse,
        journal: &mut J,
    ) -> Result<(), Error> {
        let queue = self.chunks(job, carried);
        let mut creation = Creation { engine: self, job, carried, journal, queue, recorded: 0 };
        let result = creation.run(pulse).await;
        creation.carried.is_recorded = creation.recorded == creation.carried.tally.created.len();
        result
    }

    // Items that were refused before go alone: they must not hold back the others again.
    fn chunks(&self, job: &Job, carried: &Carried) -> VecDeque<Vec<Order>> {
        let orders = carried.view.plan.creates().map(|(item, create)| Order {
            key: item.key.clone(),
            process_name: item.process_name.clone(),
            create: create.clone(),
        });
        let (alone, together): (Vec<_>, Vec<_>) =
            orders.partition(|order| self.refusals.contains(&job.set, &order.key));
        together.chunks(CHUNK).map(<[Order]>::to_vec).chain(alone.into_iter().map(|order| vec![order])).collect()
    }
}

impl<J: Journal> Creation<'_, J> {
    async fn run(&mut self, pulse: &Pulse) -> Result<(), Error> {
        while let Some(chunk) = self.queue.pop_front() {
            pulse.beat()?;
            self.create(&chunk).await?;
        }
        Ok(())
    }

    async fn create(&mut self, chunk: &[Order]) -> Result<(), Error> {
        let after_id = self.begin(chunk).await?;
        let scope = &self.carried.view.sight.scope;
        let specifications: Vec<_> = chunk.iter().map(|order| specification(&order.create.properties)).collect();
        let client = &self.job.connection.client;
        match client.create_process_templates(scope.biz_id, scope.service_template_id, &specifications).await {
            Ok(ids) if ids.len() == chunk.len() => {
                self.note_stored(chunk, &ids).await;
                Ok(())
            }
            // CMDB repeats a transaction that lost a race, and then counts the ids of the lost one too.
            Ok(_) => self.settle(chunk).await,
            Err(error) => {
                if error.outcome() == cmdb::WriteOutcome::NotStored {
                    for order in chunk {
                        self.engine.intents.answered(&self.job.set, &order.key, &order.intent(after_id));
                    }
                }
                let settled = self.settle(chunk).await;
                if !error.is_item_error() {
                    return Err(Arc::new(error).into());
                }
                settled?;
                self.bisect(chunk, &error);
                Ok(())
            }
        }
    }

    async fn begin(&mut self, chunk: &[Order]) -> Result<i64, Error> {
        let view = &mut self.carried.view;
        let after_id = view.plan.highest_id;
        for order in chunk {
            view.memory.intents.insert(order.key.clone(), order.intent(after_id));
        }
        if let Err(error) = self.journal.begin(view).await {
            view.memory.intents.retain(|key, _| !chunk.iter().any(|order| order.key == *key));
            return Err(error);
        }
        self.recorded = self.carried.tally.created.len();
        self.engine.intents.judge(&self.job.set, &mut view.memory, view.sight.asked_at);
        Ok(after_id)
    }

    async fn note_stored(&mut self, chunk: &[Order], ids: &[i64]) {
        let view = &mut self.carried.view;
        let user = self.job.connection.client.user().unwrap_or_default();
        let mut stored = Vec::with_capacity(chunk.len());
        for (order, &id) in chunk.iter().zip(ids) {
            remember(&mut view.memory, order, id);
            self.engine.refusals.remove(&self.job.set, &order.key);
            self.carried.tally.created.push(id);
            view.plan.highest_id = view.plan.highest_id.max(id);
            stored.push(Template {
                id,
                process_name: order.process_name.clone(),
                properties: order.create.properties.clone(),
                shown: None,
                creator: user.to_owned(),
                created_at: None,
            });
        }
        self.engine.fold(&view.sight.scope, stored).await;
    }

    // After anything but a clean success: a list tells which creates were stored, which were not, and which cannot be
    // told yet.
    async fn settle(&mut self, chunk: &[Order]) -> Result<(), Error> {
        let scope = self.carried.view.sight.scope.clone();
        self.engine.drop_snapshot(&scope).await;
        let since = Freshness::Since(Instant::now());
        let sight = self.engine.observe(&self.job.connection, scope, since, Lane::Work).await?;
        self.engine.look_again(self.job, &mut self.carried.view, sight);
        let found = &self.carried.view.memory.items;
        let stored = chunk.iter().filter_map(|order| found.get(&order.key)).map(|remembered| remembered.id);
        self.carried.tally.created.extend(stored);
        Ok(())
    }

    // One bad item must not hold back the others: halve until it is alone, and put the reason on it.
    fn bisect(&mut self, chunk: &[Order], error: &cmdb::Error) {
        let view = &self.carried.view;
        let missing = |order: &&Order| view.plan.creates().any(|(item, _)| item.key == order.key);
        let left: Vec<Order> = chunk.iter().filter(missing).cloned().collect();
        match left.as_slice() {
            [] => {}
            [order] if chunk.len() == 1 => {
                let item = self.job.desired.items.iter().find(|item| item.key == order.key);
                let content = item.map(DesiredItem::content_hash).unwrap_or_default();
                let reason = error.user_message();
                self.engine.refusals.add(&self.job.set, &order.key, &view.sight.scope, content, reason);
            }
            left => {
                let (first, second) = left.split_at(left.len().div_ceil(2));
                for half in [second, first].into_iter().filter(|half| !half.is_empty()) {
                    self.queue.push_front(half.to_vec());
                }
            }
        }
    }
}

impl Order {
    fn intent(&self, after_id: i64) -> Intent {
        Intent {
            process_name: self.process_name.clone(),
            hash: self.create.intent_hash.clone(),
            after_id,
            fate: IntentFate::Open,
        }
    }
}

fn remember(memory: &mut Memory, order: &Order, id: i64) {
    memory.intents.remove(&order.key);
    let process_name = order.process_name.clone();
    memory.items.insert(order.key.clone(), Remembered { id, created_at: None, process_name, applied_hash: None });
}
