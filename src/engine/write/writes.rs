//! What one set's writes have in common: what they share with those of other sets, and how they go on after an answer.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::batch_size::BatchSizes;
use super::intents::IntentClocks;
use super::journal::Ledger;
use super::open_creates::OpenCreates;
use super::rejections::RejectedItems;
use super::renames::Renames;
use super::unkept::{SentValues, Update};
use super::write_locks::WriteLocks;
use crate::cmdb;
use crate::engine::error::Error;
use crate::engine::job::Job;
use crate::engine::lookup::observe::{ListInUse, ProcessTemplateLists};
use crate::engine::lookup::read_request::{Freshness, ReadRequest};
use crate::engine::progress::Progress;
use crate::engine::view::PlannedView;
use crate::plan::{
    Cause, Decision, DesiredItem, Difference, Memory, OtherSet, Plan, Properties, Removal, Template, check_provenance,
    effects, plan,
};

// Longest wait for the list that resolves a create, when the process ends or the reconcile is stopped.
const SETTLE_GRACE: Duration = Duration::from_secs(10);

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
    /// Names that they had.
    pub deleted_names: Vec<String>,
}

impl Tally {
    /// These templates, with the names that a list has shown, were deleted.
    pub fn note_deleted(&mut self, deleted: Vec<(i64, String)>) {
        for (id, name) in deleted {
            self.deleted.push(id);
            if !name.is_empty() {
                self.deleted_names.push(name);
            }
        }
    }
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
    /// What instances make of the change.
    pub effects: Vec<String>,
    /// `modifier` before the change: who had changed the template last.
    pub modifier: String,
    /// Whether that is the user of our own connection.
    pub is_own_change: bool,
    /// `last_time` before the change, in milliseconds since 1970.
    pub changed_at: Option<i64>,
}

/// The result of carrying out a plan: the view at the end, and what stopped it.
#[derive(Debug)]
pub struct Carried {
    /// The plan that is left, made from a list that was taken after the last write, if there was one.
    pub view: PlannedView,
    /// What was written.
    pub tally: Tally,
    /// What has left the set, by a plan that decides about claims, and stays in CMDB.
    pub released: Vec<Removal>,
    /// Why it was stopped before it was done.
    pub stopped: Option<Error>,
}

/// Whether the rest of a plan still holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Course {
    /// Its next write can be sent.
    Clean,
    /// A new plan has to be made from a new list.
    PlanAgain,
}

/// Whether the write lock of the scope is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScopeLock {
    /// It is.
    Locked,
    /// It is not: other sets may take over or release templates at the same time.
    Unlocked,
}

/// What the writes of all sets share.
#[derive(Debug)]
pub struct Writer {
    /// The last list of each scope.
    pub lists: ProcessTemplateLists,
    /// One writer at a time for each scope.
    pub locks: WriteLocks<String>,
    /// How long each intent has been known.
    pub intents: IntentClocks,
    /// What other sets must wait for.
    pub open_creates: OpenCreates,
    /// What CMDB refused.
    pub rejected_items: RejectedItems,
    /// Which servers rename templates.
    pub renames: Renames,
    /// What updates have sent.
    pub sent_values: SentValues,
    /// How many items a create request carries.
    pub batch_sizes: BatchSizes,
}

/// The writes of one set while its plan is carried out.
pub(crate) struct Writes<'a, J> {
    /// What they share with those of other sets.
    pub writer: &'a Writer,
    /// The set.
    pub job: &'a Job,
    /// Checked between calls.
    pub progress: &'a Progress,
    /// Where intents and IDs are stored.
    pub ledger: Ledger<'a, J>,
    /// What has been done so far.
    pub carried: Carried,
}

impl Writer {
    /// A writer; `create_grace` is the time after which no server can still be working on a create.
    pub fn new(create_grace: Duration) -> Self {
        Self {
            lists: ProcessTemplateLists::default(),
            locks: WriteLocks::default(),
            intents: IntentClocks::new(create_grace),
            open_creates: OpenCreates::new(create_grace),
            rejected_items: RejectedItems::default(),
            renames: Renames::default(),
            sent_values: SentValues::default(),
            batch_sizes: BatchSizes::default(),
        }
    }

    /// The first plan from a list: a memory that was not made here is cleared before it counts. It decides nothing about claims.
    pub fn plan(
        &self,
        job: &Job,
        mut memory: Memory,
        list: &ListInUse,
        other_sets: Vec<OtherSet>,
        service_template_name: String,
    ) -> PlannedView {
        let ListInUse { listing, observed, .. } = list;
        self.intents.start(&job.set);
        self.open_creates.start(&job.set, &memory);
        let provenance = check_provenance(&mut memory, &job.made_in, &listing.scope.place(), observed);
        let (plan, other_sets) = (Plan::default(), Arc::new(other_sets));
        let mut view = PlannedView {
            listing: listing.clone(),
            names: BTreeMap::new(),
            service_template_name,
            other_sets,
            memory,
            provenance,
            plan,
            is_decided: false,
        };
        self.plan_again(job, &mut view, list, ScopeLock::Unlocked);
        view
    }

    /// A new plan from a new list, unless the grant has been taken back meanwhile. Under the write lock it decides about claims,
    /// by those that other sets have after the list.
    pub async fn look_again(
        &self,
        job: &Job,
        view: &mut PlannedView,
        request: ReadRequest,
        progress: &Progress,
        lock: ScopeLock,
    ) -> Result<(), Error> {
        let (scope, name) = (view.listing.scope.clone(), view.service_template_name.as_str());
        let id = scope.service_template_id;
        let list = self.lists.observe(job, scope, name, request, progress).await?;
        if lock == ScopeLock::Locked {
            view.other_sets = Arc::new(job.other_sets(id, Some(name)).await);
        }
        self.plan_again(job, view, &list, lock);
        Ok(())
    }

    fn plan_again(&self, job: &Job, view: &mut PlannedView, list: &ListInUse, lock: ScopeLock) {
        let ListInUse { listing, observed, .. } = list;
        let mut memory = std::mem::take(&mut view.memory);
        self.intents.set_fates(&job.set, &mut memory, listing.asked_at);
        self.rejected_items.remind(&job.set, &listing.scope, &job.desired, &mut memory);
        self.sent_values.compare(&job.set, &job.desired, list, &mut memory);
        memory.ignores_renames = self.renames.works(&listing.scope.endpoint) == Some(false);
        let other_sets = self.open_creates.marked(&view.other_sets, &listing.scope.writer_key());
        let mut plan = plan(&job.desired, observed, &other_sets, &memory, &job.policy);
        plan.shorten_found();
        match lock {
            ScopeLock::Locked => memory.absorb(&plan),
            ScopeLock::Unlocked => memory.absorb_undecided(&plan),
        }
        let ids = plan.template_ids().chain(view.names.keys().copied());
        let named = |id| Some((id, observed.name_of(id)?.to_owned()));
        view.names = ids.filter_map(named).collect();
        (view.listing, view.memory, view.plan) = (listing.clone(), memory, plan);
        view.is_decided = lock == ScopeLock::Locked;
    }
}

impl<J> Writes<'_, J> {
    /// A new plan from a new list, under the write lock.
    pub async fn look_again(&mut self, request: ReadRequest) -> Result<(), Error> {
        let view = &mut self.carried.view;
        self.writer.look_again(self.job, view, request, self.progress, ScopeLock::Locked).await?;
        self.carried.note_released();
        Ok(())
    }

    /// A new plan from a new list that confirms the writes, without the write lock.
    pub async fn confirm(&mut self, request: ReadRequest) -> Result<(), Error> {
        self.writer.look_again(self.job, &mut self.carried.view, request, self.progress, ScopeLock::Unlocked).await
    }

    /// Whether these templates are to be deleted by what other sets claim at this moment too. The list that is kept is good
    /// enough, however old: it shows what this process has written.
    pub async fn are_still_deleted(&self, ids: &[i64]) -> Result<bool, Error> {
        let PlannedView { listing, service_template_name: name, memory, .. } = &self.carried.view;
        let request = ReadRequest::interactive(Freshness::Since(listing.asked_at));
        let list = self.writer.lists.observe(self.job, listing.scope.clone(), name, request, self.progress).await?;
        let others = self.job.other_sets(listing.scope.service_template_id, Some(name)).await;
        let others = self.writer.open_creates.marked(&others, &listing.scope.writer_key());
        let plan = plan(&self.job.desired, &list.observed, &others, memory, &self.job.policy);
        Ok(ids.iter().all(|id| plan.deletes(*id)))
    }

    /// Finds out the outcome of a change or a deletion whose answer does not tell.
    pub async fn look_after_failure(&mut self) -> Result<(), Error> {
        self.forget_list();
        // The next reconcile starts with a list anyway.
        self.progress.checkpoint()?;
        self.look_again(ReadRequest::interactive(Freshness::Since(Instant::now()))).await
    }

    /// Finds out the outcome of a create, also when the process ends: the next process would have to wait for it.
    pub async fn settle(&mut self) -> Result<(), Error> {
        self.forget_list();
        let view = &mut self.carried.view;
        let look = self.writer.look_again(self.job, view, ReadRequest::resolving(), self.progress, ScopeLock::Locked);
        self.progress.run_for_grace(SETTLE_GRACE, look).await?;
        self.carried.note_released();
        Ok(())
    }

    /// Folds the known effect of a clean write into the list; what other connections have listed is out of date.
    pub async fn fold(&self, change: impl FnOnce(&mut Vec<Template>)) {
        self.writer.lists.forget_others(&self.carried.view.listing.scope);
        self.writer.lists.fold(&self.carried.view.listing.scope, self.progress, change).await;
    }

    fn forget_list(&self) {
        self.writer.lists.forget(&self.carried.view.listing.scope);
        self.writer.lists.forget_others(&self.carried.view.listing.scope);
    }

    /// An update of an item's template succeeded: whether CMDB keeps what was sent is seen in the next list.
    pub fn note_sent(&self, key: &str, id: i64, sent: &Properties, modifier: &str) {
        let item = self.job.desired.items.iter().find(|item| item.key == key);
        let planned = self.carried.view.plan.items.iter().find(|item| item.key == key).map(|item| &item.decision);
        let (Some(item), Some(Decision::Update(change))) = (item, planned) else { return };
        // A temporary value is not what is wanted.
        let is_sent = |difference: &&Difference| {
            sent.get(&difference.cmdb_name).is_some_and(|pair| pair.says_the_same(&difference.wanted))
        };
        let differences = change.differences.iter().filter(is_sent).collect();
        let scope = &self.carried.view.listing.scope;
        self.writer.sent_values.note(&Update { set: &self.job.set, item, scope, id, modifier, differences });
    }

    /// CMDB refused the item: it is not sent again as it is.
    pub fn refuse(&self, key: &str, error: &cmdb::Error) {
        self.refuse_because(key, error.user_message());
    }

    /// The same for a reason that CMDB did not give.
    pub fn refuse_because(&self, key: &str, reason: String) {
        let item = self.job.desired.items.iter().find(|item| item.key == key);
        let content = item.map(DesiredItem::content_hash).unwrap_or_default();
        self.writer.rejected_items.add(&self.job.set, key, &self.carried.view.listing.scope, content, reason);
    }
}

impl Carried {
    // What the last plan has released; the next one has forgotten it.
    fn note_released(&mut self) {
        for removal in self.view.plan.removals.iter().filter(|removal| !removal.is_outstanding()) {
            if !self.released.iter().any(|known| known.id == removal.id) {
                self.released.push(removal.clone());
            }
        }
    }

    /// The item's template was changed, as the plan says.
    pub fn note_update(&mut self, key: &str, id: i64) {
        let item = self.view.plan.items.iter().find(|item| item.key == key);
        let Some((Decision::Update(change), Some(found))) = item.map(|item| (&item.decision, &item.found)) else {
            return;
        };
        // Through a temporary value, one change takes two updates.
        if self.tally.updated.iter().any(|updated| updated.id == id) {
            return;
        }

        self.tally.updated.push(Updated {
            key: key.to_owned(),
            id,
            cause: change.cause,
            properties: change.differences.iter().map(ToString::to_string).collect(),
            effects: effects(&change.differences),
            modifier: found.modifier.clone(),
            is_own_change: found.is_own_change,
            changed_at: found.changed_at,
        });
    }
}
