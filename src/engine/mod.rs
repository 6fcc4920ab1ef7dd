//! Floor 3: the engine. Reads CMDB, carries a plan out, and keeps every write safe to interrupt. Knows nothing of
//! Kubernetes: what must be stored before and after a write goes through a [`Journal`].

mod error;
mod job;
mod lookup;
mod other_sets;
mod progress;
mod scope;
mod translate;
mod view;
mod write;

use std::time::Duration;

pub use error::{Disposition, Error};
pub use job::{Job, Surroundings, Waits};
pub use lookup::observe::{ListInUse, Listing};
pub use lookup::read_request::{Freshness, ReadRequest};
use lookup::service_template::{Resolved, ServiceTemplates};
pub use other_sets::{Age, LiveSet, OtherSetCandidate, OtherSetIndex, OtherSets, in_new_service_template};
pub use progress::Progress;
pub use scope::{BareConnection, Connection, Scope};
pub use translate::{Listed, shown_schema};
pub use view::{PlannedView, ScopeView};
use write::apply::carry_out;
use write::former::clear_former;
pub use write::former::{Former, differing};
pub use write::journal::Journal;
use write::writes::Writer;
pub use write::writes::{Carried, Tally, Updated};

use crate::plan::{Memory, ServerSchema};

/// What all reconciles share.
#[derive(Debug)]
pub struct Engine {
    service_templates: ServiceTemplates,
    writer: Writer,
}

impl Engine {
    /// An engine. `create_grace` is the time after which no server can still be working on a create: longer than CMDB's
    /// own transaction limit of two minutes.
    #[must_use]
    pub fn new(create_grace: Duration) -> Self {
        Self { service_templates: ServiceTemplates::default(), writer: Writer::new(create_grace) }
    }

    /// Reads CMDB: the service template of a set, its process templates, and which other sets live there. Writes nothing but a
    /// missing service template, where the set asks for that.
    ///
    /// # Errors
    /// Why the set cannot be observed.
    pub async fn observe(&self, job: &Job, request: ReadRequest, progress: &Progress) -> Result<ScopeView, Error> {
        self.observe_scope(job, request, progress).await.map_err(|error| progress.cause_of(error))
    }

    async fn observe_scope(&self, job: &Job, request: ReadRequest, progress: &Progress) -> Result<ScopeView, Error> {
        let Resolved { scope, name, other_sets, request } =
            self.service_templates.resolve(job, request, progress).await?;
        progress.checkpoint()?;
        let list = self.writer.lists.observe(job, scope, &name, request, progress).await?;
        progress.checkpoint()?;
        Ok(ScopeView { list, other_sets, service_template_name: name })
    }

    /// Plans what to write, from what was observed and what is remembered of it.
    #[must_use]
    pub fn plan(&self, job: &Job, memory: Memory, observed: ScopeView) -> PlannedView {
        let ScopeView { list, other_sets, service_template_name } = observed;
        self.writer.plan(job, memory, &list, other_sets, service_template_name)
    }

    /// [`Self::observe`], then [`Self::plan`].
    ///
    /// # Errors
    /// Those of [`Self::observe`].
    pub async fn view(
        &self,
        job: &Job,
        memory: &Memory,
        request: ReadRequest,
        progress: &Progress,
    ) -> Result<PlannedView, Error> {
        let observed = self.observe(job, request, progress).await?;
        Ok(self.plan(job, memory.clone(), observed))
    }

    /// Carries a plan out. A list at the end confirms the writes, so nothing is reported as done that no list has shown.
    pub async fn carry_out<J: Journal>(
        &self,
        job: &Job,
        view: PlannedView,
        progress: &Progress,
        journal: &mut J,
    ) -> Carried {
        let mut carried = carry_out(&self.writer, job, view, progress, journal).await;
        carried.stopped = carried.stopped.map(|error| progress.cause_of(error));
        carried
    }

    /// Deletes what a set has made in a service template that somebody has deleted. `job` is that of a deletion; `recovering` finds
    /// what belongs to a set whose status was lost.
    ///
    /// # Errors
    /// Why nothing was deleted.
    pub async fn clear_former<J: Journal>(
        &self,
        job: &Job,
        memory: Memory,
        recovering: Option<&Job>,
        progress: &Progress,
        journal: &mut J,
    ) -> Result<Former, Error> {
        let engine = (&self.service_templates, &self.writer);
        let cleared = clear_former(engine, job, memory, recovering, progress, journal).await;
        cleared.map_err(|error| progress.cause_of(error))
    }

    /// The time until a set's intents can be decided at the latest; None: it has none.
    #[must_use]
    pub fn undecided_for(&self, set: &str, memory: &Memory) -> Option<Duration> {
        let decided_by = self.writer.intents.decided_by(set, memory)?;
        Some(decided_by.saturating_duration_since(tokio::time::Instant::now()))
    }

    /// The time until a set need not wait for creates of other sets any more; None: it does not.
    #[must_use]
    pub fn held_for(&self, view: &PlannedView) -> Option<Duration> {
        if !view.plan.waits_for_others() {
            return None;
        }
        let over_by = self.writer.open_creates.over_by(&view.other_sets)?;
        Some(over_by.saturating_duration_since(tokio::time::Instant::now()))
    }

    /// The status of a set was stored with this memory: others need not wait for creates that it does not announce. The process
    /// names of those that have ended.
    pub fn note_stored(&self, set: &str, memory: &Memory) -> Vec<String> {
        self.writer.open_creates.stored(set, memory)
    }

    /// Forgets a set that was deleted.
    pub fn forget(&self, set: &str) {
        self.service_templates.forget(set);
        self.writer.intents.forget(set);
        self.writer.open_creates.forget(set);
        self.writer.rejected_items.forget(set);
        self.writer.sent_values.forget(set);
        self.writer.batch_sizes.forget(set);
    }

    /// Forgets a connection that is gone, by its uid.
    pub fn forget_connection(&self, uid: &str) {
        self.service_templates.forget_connection(uid);
        self.writer.lists.forget_connection(uid);
        self.writer.batch_sizes.forget_connection(uid);
    }

    /// How many sets, items, lists and servers are remembered in all.
    #[must_use]
    pub fn entries(&self) -> usize {
        let Writer { intents, open_creates, rejected_items, renames, sent_values, lists, batch_sizes, .. } =
            &self.writer;
        let items = intents.len() + open_creates.len() + rejected_items.len() + sent_values.len();
        self.service_templates.len() + items + renames.len() + lists.len() + batch_sizes.len()
    }

    /// How the server at this URL keeps sockets: as its connection says, else as its templates have shown.
    #[must_use]
    pub fn schema(&self, url: &str, configured: ServerSchema) -> ServerSchema {
        self.writer.lists.schema(url, configured)
    }
}
