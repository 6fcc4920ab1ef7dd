//! The process templates of a scope: one list, shared by all sets of the scope.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::read_request::ReadRequest;
use super::snapshot_cache::SnapshotCache;
use crate::engine::error::Error;
use crate::engine::progress::Progress;
use crate::engine::scope::{Connection, Scope};
use crate::engine::translate::templates;
use crate::plan::{Observed, ServerSchema, Template};

/// The process templates of a scope, and when they were asked for.
#[derive(Clone, Debug)]
pub struct Listing {
    /// The scope.
    pub scope: Scope,
    /// Its templates.
    pub observed: Observed,
    /// When the list was asked for.
    pub asked_at: Instant,
}

/// The last list of process templates of each scope.
#[derive(Debug, Default)]
pub struct ProcessTemplateLists {
    snapshots: SnapshotCache<Scope, Vec<Template>>,
    // By URL: how the server keeps sockets, once a template has shown it.
    schemas: Mutex<HashMap<String, ServerSchema>>,
}

impl ProcessTemplateLists {
    /// The templates of a scope, as fresh as asked.
    ///
    /// # Errors
    /// Those of the call.
    pub async fn observe(
        &self,
        connection: &Connection,
        scope: Scope,
        request: ReadRequest,
        progress: &Progress,
    ) -> Result<Listing, Error> {
        let client = &connection.client;
        let read = async {
            let listed =
                client.list_process_templates(request.priority, scope.biz_id, scope.service_template_id).await?;
            Ok(templates(listed))
        };

        let cell = self.snapshots.cell(scope.clone());
        let snapshot = progress.excluding_wait(cell.get(request.freshness.not_before(), read)).await?;

        let observed = Observed {
            schema: self.schema_of(connection, &snapshot.value),
            templates: Arc::clone(&snapshot.value),
            user: client.user(),
        };
        Ok(Listing { scope, observed, asked_at: snapshot.asked_at })
    }

    /// Folds the known effect of a clean write into the scope's list.
    pub async fn fold(&self, scope: &Scope, progress: &Progress, change: impl FnOnce(&mut Vec<Template>)) {
        progress.excluding_wait(self.snapshots.cell(scope.clone()).fold(change)).await;
    }

    /// Drops the scope's list: the effect of a write is not known.
    pub async fn forget(&self, scope: &Scope, progress: &Progress) {
        progress.excluding_wait(self.snapshots.cell(scope.clone()).forget()).await;
    }

    /// How the server behind a connection keeps sockets, as far as that is known.
    pub fn schema(&self, connection: &Connection) -> ServerSchema {
        if connection.schema != ServerSchema::Unknown {
            return connection.schema;
        }
        self.schemas.lock().get(connection.client.url()).copied().unwrap_or(ServerSchema::Unknown)
    }

    fn schema_of(&self, connection: &Connection, templates: &[Template]) -> ServerSchema {
        if let Some(shown) = templates.iter().find_map(Template::schema) {
            self.schemas.lock().insert(connection.client.url().to_owned(), shown);
        }
        self.schema(connection)
    }
}
