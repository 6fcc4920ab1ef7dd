//! The process templates of a scope: one list, shared by all sets of the scope.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::read_request::ReadRequest;
use super::snapshot_cache::SnapshotCache;
use crate::cmdb::ListShare;
use crate::engine::error::Error;
use crate::engine::job::Job;
use crate::engine::progress::Progress;
use crate::engine::scope::{Scope, object_of};
use crate::engine::translate::templates;
use crate::plan::{Observed, ServerSchema, Template};

/// Which list of process templates was read, and when.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The scope.
    pub scope: Scope,
    /// When the list was asked for.
    pub asked_at: Instant,
}

/// A list of process templates. It is dropped before a wait for a lock, a call, or another list: many lists are large.
#[derive(Clone, Debug)]
pub struct ListInUse {
    /// Which list it is.
    pub listing: Listing,
    /// Its templates.
    pub observed: Observed,
    /// Its share of the memory for lists.
    pub share: Arc<ListShare>,
}

/// The last list of process templates of each scope.
#[derive(Debug, Default)]
pub struct ProcessTemplateLists {
    snapshots: SnapshotCache<Scope, Vec<Template>>,
    // By URL: how the server keeps sockets, once a template has shown it.
    schemas: Mutex<HashMap<String, Shown>>,
}

// How a server keeps sockets, and the connections over which it has shown that.
#[derive(Debug)]
struct Shown {
    schema: ServerSchema,
    connections: BTreeSet<String>,
}

impl ProcessTemplateLists {
    /// The templates of a scope, as fresh as asked; `name` is that of the service template. A list that another set has read
    /// is shown to a set whose grants cover it.
    ///
    /// # Errors
    /// Those of the call, and when the set may not read it.
    pub async fn observe(
        &self,
        job: &Job,
        scope: Scope,
        name: &str,
        request: ReadRequest,
        progress: &Progress,
    ) -> Result<ListInUse, Error> {
        job.check_grant(Some(scope.service_template_id), Some(name))?;
        let client = &job.connection.client;
        let cell = self.snapshots.cell(scope.clone());
        let read = async {
            let client = client.in_lanes(cell.lanes());
            let listed = client.hold_process_templates(request.priority, scope.service_template(name)).await;
            listed.map(|(listed, share)| (templates(listed), share))
        };
        let not_before = request.freshness.not_before();
        let snapshot = cell.get(not_before, client.namespace(), progress, Box::pin(read)).await?;
        let snapshot = snapshot.map_err(|error| job.error_of(error))?;
        // It may have waited long for the list of another set.
        job.check_grant(Some(scope.service_template_id), Some(name))?;

        let observed = Observed {
            schema: self.schema_of(job, &snapshot.value),
            templates: Arc::clone(&snapshot.value),
            user: client.user(),
        };
        let listing = Listing { scope, asked_at: snapshot.asked_at };
        Ok(ListInUse { listing, observed, share: snapshot.share })
    }

    /// Folds the known effect of a clean write into the scope's list.
    pub async fn fold(&self, scope: &Scope, progress: &Progress, change: impl FnOnce(&mut Vec<Template>)) {
        self.snapshots.cell(scope.clone()).fold(progress, change).await;
    }

    /// Drops the scope's list: the effect of a write is not known.
    pub fn forget(&self, scope: &Scope) {
        self.snapshots.cell(scope.clone()).forget();
    }

    /// Drops the lists of the same service template that other connections have read: something was written over this one.
    pub fn forget_others(&self, scope: &Scope) {
        self.snapshots.forget_snapshots(|other| other != scope && other.is_of_same_templates(scope));
    }

    /// How the server at this URL keeps sockets: as its connection says, else as its templates have shown.
    pub fn schema(&self, url: &str, configured: ServerSchema) -> ServerSchema {
        if configured != ServerSchema::Unknown {
            return configured;
        }
        self.schemas.lock().get(url).map_or(ServerSchema::Unknown, |shown| shown.schema)
    }

    /// Forgets a connection that is gone, by its uid.
    pub fn forget_connection(&self, uid: &str) {
        self.snapshots.forget(|scope| object_of(&scope.connection) == uid);
        self.schemas.lock().retain(|_, shown| {
            shown.connections.remove(uid);
            !shown.connections.is_empty()
        });
    }

    /// How many lists and servers are known.
    pub fn len(&self) -> usize {
        self.snapshots.len() + self.schemas.lock().len()
    }

    fn schema_of(&self, job: &Job, templates: &[Template]) -> ServerSchema {
        let url = job.connection.client.url();
        if let Some(schema) = templates.iter().find_map(Template::schema) {
            let mut schemas = self.schemas.lock();
            let shown = schemas.entry(url.to_owned());
            let shown = shown.or_insert_with(|| Shown { schema, connections: BTreeSet::new() });
            shown.schema = schema;
            let connection = object_of(&job.connection.key);
            if !shown.connections.contains(connection) {
                shown.connections.insert(connection.to_owned());
            }
        }
        self.schema(url, job.connection.schema)
    }
}
