//! The creates of one plan in the order in which they are sent: first what was not tried yet, then the parts of batches that
//! CMDB refused, the largest first, and last what is sent alone.

use std::collections::VecDeque;

use crate::plan::{Create, Intent, IntentFate, Plan};

// Largest part that is sent item by item. To divide it further would cost more requests than that as soon as two of its
// items are bad.
const SMALL: usize = 7;

/// A template that is to be created.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    /// Key of the item.
    pub key: String,
    /// What is created.
    pub create: Create,
    /// Created beside the template that it is to replace.
    pub is_temporary: bool,
    /// Highest template ID when its intent was stored. None: it has no intent yet.
    pub after_id: Option<i64>,
    /// The user who sends it.
    pub user: String,
}

/// What is left to be sent. Each order is in one place.
#[derive(Debug)]
pub(crate) struct CreateQueue {
    // Not tried yet.
    fresh: VecDeque<Order>,
    // Parts of batches that were refused, of two items or more, the largest first.
    parts: VecDeque<Vec<Order>>,
    // Sent alone.
    alone: VecDeque<Order>,
}

impl CreateQueue {
    /// A queue of orders that were never refused, and of others that were.
    pub fn new(fresh: VecDeque<Order>, alone: VecDeque<Order>) -> Self {
        Self { fresh, parts: VecDeque::new(), alone }
    }

    /// Whether something is left that was not tried yet.
    pub fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// Whether nothing is left but what is sent alone, if anything.
    pub fn has_only_alone(&self) -> bool {
        self.fresh.is_empty() && self.parts.is_empty()
    }

    /// Whether nothing is left.
    pub fn is_empty(&self) -> bool {
        self.orders().next().is_none()
    }

    /// Whether all items of the next batch have intents, as far as it goes without storing more.
    pub fn is_next_announced(&self) -> bool {
        let first = if self.fresh.is_empty() { self.parts.front().map(Vec::as_slice) } else { None };
        match first {
            Some(part) => part.iter().all(Order::is_announced),
            None => self.orders().next().is_some_and(Order::is_announced),
        }
    }

    /// Gives intents to the next `count` orders, and to the rest of a part that they reach into. As long as something was not
    /// tried, parts get none: they have no new list behind them yet. Returns the intents with the keys of their items.
    pub fn announce(&mut self, count: usize, after_id: i64, user: &str) -> Vec<(String, Intent)> {
        let orders: Vec<&mut Order> = if self.fresh.is_empty() {
            let mut taken = 0;
            let parts = self.parts.iter_mut().take_while(|part| {
                let is_taken = taken < count;
                taken += part.len();
                is_taken
            });
            let mut orders: Vec<&mut Order> = parts.flatten().collect();
            let left = count.saturating_sub(orders.len());
            orders.extend(self.alone.iter_mut().take(left));
            orders
        } else {
            self.fresh.iter_mut().take(count).collect()
        };
        let mut announced = Vec::new();
        for order in orders.into_iter().filter(|order| !order.is_announced()) {
            order.after_id = Some(after_id);
            user.clone_into(&mut order.user);
            announced.extend(order.intent().map(|intent| (order.key.clone(), intent)));
        }
        announced
    }

    /// Drops orders without an intent.
    pub fn retain_unannounced(&mut self, is_kept: impl Fn(&Order) -> bool) {
        let is_kept = |order: &Order| order.is_announced() || is_kept(order);
        self.fresh.retain(is_kept);
        self.parts.iter_mut().for_each(|part| part.retain(is_kept));
        self.parts.retain(|part| !part.is_empty());
        self.alone.retain(is_kept);
    }

    /// Takes the next batch, of at most `size` items. All of them have intents.
    pub fn take_batch(&mut self, size: usize) -> Vec<Order> {
        let size = size.max(1);
        if !self.fresh.is_empty() {
            let ready = self.fresh.iter().take(size).take_while(|order| order.is_announced()).count();
            return self.fresh.drain(..ready).collect();
        }
        match self.parts.pop_front() {
            Some(mut part) => {
                if part.len() > size {
                    self.put_part(part.split_off(size));
                }
                part
            }
            None => self.alone.pop_front().into_iter().collect(),
        }
    }

    /// Puts a batch back that was not sent.
    pub fn put_back(&mut self, batch: Vec<Order>) {
        self.parts.push_front(batch);
    }

    /// Divides what is missing of a batch that was refused. Its items need new intents.
    pub fn divide(&mut self, mut orders: Vec<Order>) {
        for order in &mut orders {
            order.after_id = None;
        }
        if orders.len() <= SMALL {
            self.alone.extend(orders);
            return;
        }
        let second = orders.split_off(orders.len().div_ceil(2));
        self.put_part(orders);
        self.put_part(second);
    }

    /// Takes out all that is left.
    pub fn drain(&mut self) -> impl Iterator<Item = Order> {
        let parts = std::mem::take(&mut self.parts).into_iter().flatten();
        std::mem::take(&mut self.fresh).into_iter().chain(parts).chain(std::mem::take(&mut self.alone))
    }

    // Behind those of the same size: what was refused first is tried first.
    fn put_part(&mut self, part: Vec<Order>) {
        let place = self.parts.partition_point(|other| other.len() >= part.len());
        self.parts.insert(place, part);
    }

    fn orders(&self) -> impl Iterator<Item = &Order> {
        self.fresh.iter().chain(self.parts.iter().flatten()).chain(&self.alone)
    }
}

impl Order {
    /// An order of a plan, without an intent.
    pub fn new(plan: &Plan, key: &str, create: &Create) -> Self {
        let is_temporary = plan.is_temporary(key, create);
        Self { key: key.to_owned(), create: create.clone(), is_temporary, after_id: None, user: String::new() }
    }

    /// Its intent; None: it has none yet.
    pub fn intent(&self) -> Option<Intent> {
        Some(Intent {
            process_name: self.create.process_name.clone(),
            hash: self.create.intent_hash.clone(),
            after_id: self.after_id?,
            user: Some(self.user.clone()),
            fate: IntentFate::Open,
        })
    }

    fn is_announced(&self) -> bool {
        self.after_id.is_some()
    }
}
