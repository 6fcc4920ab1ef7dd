//! What CMDB makes of values that were sent: some servers keep another value than the one that an update took, and would be
//! updated with it for ever.
//!
//! After an update succeeded, the next list that was asked for afterwards shows what CMDB keeps. If that is what was sent,
//! nothing is remembered of it. If somebody else has changed the template since, it is drift. Otherwise the planner is shown
//! what CMDB keeps instead, and after how many updates ([`Unkept`]); it gives up after [`crate::plan::MOST_UPDATES`].

use std::collections::{BTreeMap, HashMap};

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::engine::lookup::observe::ListInUse;
use crate::engine::scope::Scope;
use crate::plan::{Desired, DesiredItem, Difference, Memory, Name, Pair, Unkept};

/// What was sent in updates and is not known to be kept, by set and key.
#[derive(Debug, Default)]
pub struct SentValues {
    by_item: Mutex<HashMap<(String, String), Sent>>,
}

// What updates have sent for one item.
#[derive(Debug)]
struct Sent {
    scope: Scope,
    // Hash of what the item wants: an edit of it starts again.
    content: String,
    id: i64,
    // The template's `modifier` after the last update, and when that was answered.
    modifier: String,
    at: Instant,
    values: BTreeMap<Name, SentValue>,
}

#[derive(Debug)]
struct SentValue {
    wanted: Pair,
    updates: usize,
    // What a list has shown since.
    kept: Option<Pair>,
}

/// An update that succeeded.
#[derive(Debug)]
pub struct Update<'a> {
    /// uid of the set.
    pub set: &'a str,
    /// The item.
    pub item: &'a DesiredItem,
    /// The scope.
    pub scope: &'a Scope,
    /// `id` of the template.
    pub id: i64,
    /// `modifier` of the template in the answer.
    pub modifier: &'a str,
    /// The differences that it was to remove.
    pub differences: Vec<&'a Difference>,
}

impl SentValues {
    /// Notes an update.
    pub fn note(&self, update: &Update<'_>) {
        let content = update.item.content_hash();
        let mut by_item = self.by_item.lock();
        let key = (update.set.to_owned(), update.item.key.clone());
        let sent = by_item.entry(key).or_insert_with(|| Sent::new(update, &content));
        if sent.content != content || sent.id != update.id || sent.scope != *update.scope {
            *sent = Sent::new(update, &content);
        }

        (sent.modifier, sent.at) = (update.modifier.to_owned(), Instant::now());
        for difference in &update.differences {
            let none = || SentValue { wanted: difference.wanted.clone(), updates: 0, kept: None };
            let value = sent.values.entry(difference.cmdb_name.clone()).or_insert_with(none);
            (value.updates, value.kept) = (value.updates.saturating_add(1), None);
        }
    }

    /// Compares what was sent with a list, and puts into the memory what CMDB keeps instead.
    pub fn compare(&self, set: &str, desired: &Desired, list: &ListInUse, memory: &mut Memory) {
        memory.unkept.clear();
        let mut by_item = self.by_item.lock();
        by_item.retain(|(owner, key), sent| {
            if owner != set {
                return true;
            }
            let item = desired.items.iter().find(|item| item.key == *key);
            let still_holds =
                sent.scope == list.listing.scope && item.is_some_and(|item| item.content_hash() == sent.content);
            let unkept = if still_holds { sent.compare(list) } else { None };
            if let Some(unkept) = unkept {
                memory.unkept.insert(key.clone(), unkept);
                return true;
            }
            false
        });
    }

    /// How many items are remembered.
    pub fn len(&self) -> usize {
        self.by_item.lock().len()
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.by_item.lock().retain(|(owner, _), _| owner != set);
    }
}

impl Sent {
    fn new(update: &Update<'_>, content: &str) -> Self {
        Self {
            scope: update.scope.clone(),
            content: content.to_owned(),
            id: update.id,
            modifier: String::new(),
            at: Instant::now(),
            values: BTreeMap::new(),
        }
    }

    // What CMDB keeps otherwise than it was sent, as far as a list has shown it; None when there is nothing to remember.
    fn compare(&mut self, list: &ListInUse) -> Option<BTreeMap<Name, Unkept>> {
        let template = list.observed.templates.iter().find(|template| template.id == self.id)?;
        // An older list may show the template as it was before, or as the update was folded in.
        if list.listing.asked_at >= self.at {
            let is_ours =
                template.modifier.is_empty() || self.modifier.is_empty() || template.modifier == self.modifier;
            if !is_ours {
                return None;
            }
            for (name, value) in &mut self.values {
                let kept = template.pair(name);
                let is_other = |kept: &&Pair| !kept.says_the_same(&value.wanted);
                value.kept = kept.filter(is_other).map(Pair::shortened);
            }
            self.values.retain(|_, value| value.kept.is_some());
        }
        let unkept = self.values.iter().filter_map(|(name, value)| {
            let kept = value.kept.clone()?;
            Some((name.clone(), Unkept { kept, updates: value.updates }))
        });
        let unkept: BTreeMap<Name, Unkept> = unkept.collect();
        (!self.values.is_empty()).then_some(unkept)
    }
}
