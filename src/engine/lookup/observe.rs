//! What is there: one shared list for each scope.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::cmdb::{PollKey, Priority};
use crate::engine::translate::templates;
use crate::engine::{Connection, Engine, Error, Progress, Scope, SnapshotCache, cell};
use crate::plan::{Observed, Template};

/// How fresh a list must be.
#[derive(Clone, Copy, Debug)]
pub enum Freshness {
    /// Not older than this.
    AtMost(Duration),
    /// Asked for at this moment or later.
    Since(Instant),
}

impl Freshness {
    /// The moment at which a list may have been asked for at the earliest.
    #[must_use]
    pub fn not_before(self) -> Instant {
        match self {
            // A machine that was started less than that ago has no older list.
            Self::AtMost(age) => Instant::now().checked_sub(age).unwrap_or_else(Instant::now),
            Self::Since(moment) => moment,
        }
    }
}

/// How a set is looked at: how fresh what it sees must be, and whether somebody waits for it.
#[derive(Clone, Copy, Debug)]
pub struct ReadRequest {
    /// How fresh a list must be.
    pub freshness: Freshness,
    /// Who waits for it.
    pub priority: Priority,
}

impl ReadRequest {
    /// Somebody waits for it: it waits in line for its turn.
    #[must_use]
    pub fn interactive(freshness: Freshness) -> Self {
        Self { freshness, priority: Priority::Interactive }
    }

    /// Nothing is outstanding: it gives way to all work, and ends at once when it is not its turn.
    #[must_use]
    pub fn background(freshness: Freshness, poll: PollKey) -> Self {
        Self { freshness, priority: Priority::Background(poll) }
    }

    /// What became of a write whose end is not clear.
    pub(in crate::engine) fn resolving() -> Self {
        Self { freshness: Freshness::Since(Instant::now()), priority: Priority::Resolve }
    }

    /// The same, at what there is at this moment or later.
    pub(in crate::engine) fn since(self, moment: Instant) -> Self {
        Self { freshness: Freshness::Since(moment), ..self }
    }

    /// What a look has begun with a call of its own, it ends: sent away between two calls, it would begin again.
    pub(in crate::engine) fn has_begun(self) -> Self {
        Self { priority: Priority::Interactive, ..self }
    }
}

/// What was seen of a scope, and when it was asked for.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The scope.
    pub scope: Scope,
    /// Its templates.
    pub observed: Observed,
    /// When the list was asked for.
    pub asked_at: Instant,
}

/// The last list of each scope.
pub type ListSnapshots = SnapshotCache<Scope, Vec<Template>>;

impl Engine {
    /// The templates of a scope, as fresh as asked.
    pub(in crate::engine) async fn observe(
        &self,
        connection: &Connection,
        scope: Scope,
        look: ReadRequest,
        progress: &Progress,
    ) -> Result<Listing, Error> {
        let read = async {
            let listed = connection
                .client
                .list_process_templates(look.priority, scope.biz_id, scope.service_template_id)
                .await?;
            Ok(templates(listed))
        };
        let snapshot = cell(&self.snapshots, scope.clone());
        let snapshot = progress.excluding_wait(snapshot.get(look.freshness.not_before(), read)).await?;
        let observed = Observed {
            schema: self.schema_of(connection, &snapshot.value),
            templates: Arc::clone(&snapshot.value),
            user: connection.client.user(),
        };
        Ok(Listing { scope, observed, asked_at: snapshot.asked_at })
    }

    /// Folds what a clean write of ours has done into the scope's list.
    pub(in crate::engine) async fn fold(
        &self,
        scope: &Scope,
        progress: &Progress,
        change: impl FnOnce(&mut Vec<Template>),
    ) {
        progress.excluding_wait(cell(&self.snapshots, scope.clone()).fold(change)).await;
    }

    /// Drops the scope's list: nobody knows what a write has done.
    pub(in crate::engine) async fn drop_snapshot(&self, scope: &Scope, progress: &Progress) {
        progress.excluding_wait(cell(&self.snapshots, scope.clone()).forget()).await;
    }
}
