//! Floor 3: the engine. Looks at CMDB, carries a plan out, and keeps every write safe to interrupt. Knows nothing of
//! Kubernetes: what must be stored before and after a write goes through a [`Journal`].

mod error;
mod grants;
mod lookup;
mod other_sets;
mod progress;
mod translate;
mod write;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use error::{Disposition, Error};
pub use grants::{Grants, Touched, Unbounded};
pub use lookup::observe::{Freshness, Listing, ReadRequest};
use lookup::service_template::Resolved;
pub use lookup::service_template::{Connection, Scope};
use lookup::{observe, service_template, snapshot_cache};
pub use other_sets::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, in_new_service_template, whereabouts};
pub use progress::Progress;
pub use write::apply::{Tally, Updated};
pub use write::create::{CHUNK, Journal};
use write::{intents, rejections, write_locks};

use crate::api::ServiceTemplateSelector;
use crate::cmdb;
use crate::plan::{
    Desired, Memory, OtherSet, Place, Plan, Policy, Provenance, ServerSchema, Template, check_provenance, plan,
};

/// What is shared by all reconciles.
#[derive(Debug)]
pub struct Engine {
    service_templates: service_template::ServiceTemplates,
    service_categories: service_template::ServiceCategories,
    snapshots: observe::ListSnapshots,
    write_locks: write_locks::WriteLocks<String>,
    intents: intents::IntentClocks,
    rejected_items: rejections::RejectedItems,
    // By URL: how the server keeps sockets, once a template has shown it.
    schemas: Mutex<HashMap<String, ServerSchema>>,
}

/// One set, as the engine needs to know it.
#[derive(Clone, Debug)]
pub struct Job {
    /// uid of the object.
    pub set: String,
    /// The CMDB to look at.
    pub connection: Connection,
    /// `bk_biz_id`
    pub biz_id: i64,
    /// The service template.
    pub service_template: ServiceTemplateSelector,
    /// What the set wants.
    pub desired: Desired,
    /// What the set allows.
    pub policy: Policy,
    /// The other live sets of the business in this CMDB.
    pub others: Vec<OtherSetCandidate>,
    /// What the set may touch.
    pub grants: Arc<dyn Grants>,
    /// Where the set's memory was made.
    pub made_in: Place,
    /// Nothing may be written, not even a missing service template.
    pub is_read_only: bool,
}

/// A set's plan, with what it was made from.
#[derive(Clone, Debug)]
pub struct PlannedView {
    /// What was seen.
    pub listing: Listing,
    /// Name of the service template, as the business's list had it.
    pub service_template_name: String,
    /// The other live sets of the service template.
    pub other_sets: Arc<Vec<OtherSet>>,
    /// What is remembered, as far as it was made in this place.
    pub memory: Memory,
    /// Where the memory of the status was made.
    pub provenance: Provenance,
    /// What is to be done.
    pub plan: Plan,
}

impl PlannedView {
    // The process name of a template as it was listed last.
    fn name_of(&self, id: i64) -> String {
        let listed = self.listing.observed.templates.iter().find(|template| template.id == id);
        listed.map(|template| template.process_name.clone()).unwrap_or_default()
    }

    // A grant may have been taken back since the plan was made.
    fn check_grant(&self, job: &Job) -> Result<(), Error> {
        job.check_grant(Some(self.listing.scope.service_template_id), Some(&self.service_template_name))
    }
}

/// What came of carrying a plan out: the view at the end, and what stopped it.
#[derive(Debug)]
pub struct Carried {
    /// The plan that is left, made from a list that was taken after the last write if there was one to be had.
    pub view: PlannedView,
    /// What was written.
    pub tally: Tally,
    /// Why it ended early.
    pub stopped: Option<Error>,
    // How many of the created IDs the journal holds.
    recorded: usize,
    // Whether it still holds intents that stand for nothing: of requests that were never sent, or whose end is known.
    holds_ended: bool,
}

// A list so young is trusted before a write: names are unique in CMDB, so an older one could only cost a refused call.
const WRITE_FRESHNESS: Duration = Duration::from_secs(5);

// How long a confirmation waits for other writers of the scope, to share one list with them.
const CONFIRMATION_PATIENCE: Duration = Duration::from_secs(5);

impl Engine {
    /// An engine. `create_grace` is the time after which no server can still be working on a create: longer than CMDB's
    /// own transaction limit of two minutes.
    #[must_use]
    pub fn new(create_grace: Duration) -> Self {
        Self {
            service_templates: service_template::ServiceTemplates::default(),
            service_categories: service_template::ServiceCategories::default(),
            snapshots: observe::ListSnapshots::default(),
            write_locks: write_locks::WriteLocks::default(),
            intents: intents::IntentClocks::new(create_grace),
            rejected_items: rejections::RejectedItems::default(),
            schemas: Mutex::default(),
        }
    }

    /// Looks at CMDB and plans; writes nothing but, where the set wishes it, a missing service template.
    pub async fn view(
        &self,
        job: &Job,
        memory: &Memory,
        look: ReadRequest,
        progress: &Progress,
    ) -> Result<PlannedView, Error> {
        let Resolved { scope, name, other_sets, look } = self.resolve(job, look, progress).await?;
        progress.checkpoint()?;
        let listing = self.observe(&job.connection, scope, look, progress).await?;
        progress.checkpoint()?;
        Ok(self.plan(job, memory.clone(), listing, other_sets, name))
    }

    fn plan(
        &self,
        job: &Job,
        mut memory: Memory,
        listing: Listing,
        other_sets: Vec<OtherSet>,
        service_template_name: String,
    ) -> PlannedView {
        let provenance = check_provenance(&mut memory, &job.made_in, &listing.scope.place(), &listing.observed);
        let (plan, other_sets) = (Plan::default(), Arc::new(other_sets));
        let mut view =
            PlannedView { listing: listing.clone(), service_template_name, other_sets, memory, provenance, plan };
        self.plan_anew(job, &mut view, listing);
        view
    }

    /// Carries a plan out. Ends with a list that shows what is there, so that nothing is called done that was not seen.
    pub async fn carry_out<J: Journal>(
        &self,
        job: &Job,
        view: PlannedView,
        progress: &Progress,
        journal: &mut J,
    ) -> Carried {
        let mut carried = Carried { view, tally: Tally::default(), stopped: None, recorded: 0, holds_ended: false };
        if carried.view.plan.has_writes() {
            carried.stopped = self.write(job, &mut carried, progress, journal).await.err();
        }
        let may_go_on = !matches!(carried.stopped, Some(Error::Stopped | Error::Outdated));
        let confirmed = if may_go_on { self.confirm(job, &mut carried, progress).await } else { Ok(()) };
        // What was confirmed is stored by what its caller reports; without that, the last IDs are stored here.
        let is_recorded = carried.recorded == carried.tally.created.len() && !carried.holds_ended;
        if !is_recorded
            && (!may_go_on || confirmed.is_err())
            && let Err(error) = journal.record(&carried.view).await
        {
            carried.stopped = Some(error);
        }
        if let Err(error) = confirmed {
            carried.stopped.get_or_insert(error);
        }
        carried
    }

    async fn write<J: Journal>(
        &self,
        job: &Job,
        carried: &mut Carried,
        progress: &Progress,
        journal: &mut J,
    ) -> Result<(), Error> {
        let scope = carried.view.listing.scope.clone();
        let _write_guard = progress.excluding_wait(self.write_locks.take(&scope.writer_key())).await;
        progress.checkpoint()?;
        // While we waited for the turn, others may have written.
        let look = ReadRequest::interactive(Freshness::AtMost(WRITE_FRESHNESS));
        self.look_again(job, &mut carried.view, look, progress).await?;
        self.write_all(job, carried, progress, journal).await
    }

    async fn confirm(&self, job: &Job, carried: &mut Carried, progress: &Progress) -> Result<(), Error> {
        let scope = carried.view.listing.scope.clone();
        let written_at = tokio::time::Instant::now();
        progress.excluding_wait(self.write_locks.quiet(&scope.writer_key(), CONFIRMATION_PATIENCE)).await;
        progress.checkpoint()?;
        self.look_again(job, &mut carried.view, ReadRequest::interactive(Freshness::Since(written_at)), progress).await
    }

    // Looks once more, unless the grant has been taken back meanwhile, and plans anew.
    async fn look_again(
        &self,
        job: &Job,
        view: &mut PlannedView,
        look: ReadRequest,
        progress: &Progress,
    ) -> Result<(), Error> {
        view.check_grant(job)?;
        let listing = self.observe(&job.connection, view.listing.scope.clone(), look, progress).await?;
        self.plan_anew(job, view, listing);
        Ok(())
    }

    // Plans anew from a newer list; what became of the status's memory was told by the first.
    fn plan_anew(&self, job: &Job, view: &mut PlannedView, listing: Listing) {
        let mut memory = std::mem::take(&mut view.memory);
        self.intents.judge(&job.set, &mut memory, listing.asked_at);
        self.rejected_items.recall(&job.set, &listing.scope, &job.desired, &mut memory);
        let plan = plan(&job.desired, &listing.observed, &view.other_sets, &memory, &job.policy);
        memory.absorb(&plan);
        (view.listing, view.memory, view.plan) = (listing, memory, plan);
    }

    /// When a set's begun creates can be decided at the latest, from now.
    #[must_use]
    pub fn undecided_for(&self, set: &str, memory: &Memory) -> Option<Duration> {
        let decided_by = self.intents.decided_by(set, memory)?;
        Some(decided_by.saturating_duration_since(tokio::time::Instant::now()))
    }

    /// Forgets a set that is gone.
    pub fn forget(&self, set: &str) {
        self.intents.forget(set);
        self.rejected_items.forget(set);
    }

    /// How the server behind a connection keeps sockets, as far as that is known.
    #[must_use]
    pub fn schema(&self, connection: &Connection) -> ServerSchema {
        if connection.schema != ServerSchema::Unknown {
            return connection.schema;
        }
        let schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
        schemas.get(connection.client.url()).copied().unwrap_or(ServerSchema::Unknown)
    }

    fn schema_of(&self, connection: &Connection, templates: &[Template]) -> ServerSchema {
        if let Some(shown) = templates.iter().find_map(Template::schema) {
            let mut schemas = self.schemas.lock().unwrap_or_else(PoisonError::into_inner);
            schemas.insert(connection.client.url().to_owned(), shown);
        }
        self.schema(connection)
    }
}

/// How a server keeps sockets, as the first of its process templates shows.
#[must_use]
pub fn shown_schema(listed: Vec<cmdb::ProcessTemplate>) -> Option<ServerSchema> {
    translate::templates(listed).iter().find_map(Template::schema)
}

type SnapshotCache<K, T> = Mutex<HashMap<K, (Arc<snapshot_cache::SnapshotCell<T>>, tokio::time::Instant)>>;

// The cell of a key; cells that nobody has asked for in an hour are dropped.
fn cell<K: std::hash::Hash + Eq, T>(cells: &SnapshotCache<K, T>, key: K) -> Arc<snapshot_cache::SnapshotCell<T>> {
    const UNUSED_FOR: Duration = Duration::from_hours(1);
    let mut cells = cells.lock().unwrap_or_else(PoisonError::into_inner);
    if !cells.contains_key(&key) {
        cells.retain(|_, (_, used_at)| used_at.elapsed() < UNUSED_FOR);
    }
    let (cell, used_at) = cells.entry(key).or_insert_with(|| (Arc::default(), tokio::time::Instant::now()));
    *used_at = tokio::time::Instant::now();
    Arc::clone(cell)
}
