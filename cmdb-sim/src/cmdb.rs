//! The simulated CMDB, which all requests work on: its database, faults, quotas and records of requests.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;

use crate::control::fault::FaultBook;
use crate::control::quota::QuotaBook;
use crate::control::record::RequestBook;
use crate::model::database::Database;
use crate::model::state::State;
use crate::options::Options;

/// The simulated CMDB. No lock is held across an await.
pub(crate) struct Cmdb {
    database: Mutex<Database>,
    faults: Mutex<FaultBook>,
    requests: Mutex<RequestBook>,
    quotas: Mutex<QuotaBook>,
    state_file: Option<PathBuf>,
    /// Saves follow each other, so that an older state never overwrites a newer one.
    saving: Mutex<()>,
    pub stopping: CancellationToken,
}

impl Cmdb {
    pub fn open(options: Options) -> io::Result<Self> {
        let state = match &options.state_file {
            Some(path) => load(path)?,
            None => None,
        };
        let state = state.unwrap_or_else(|| State::of_schema(options.schema));
        Ok(Self {
            database: Mutex::new(Database::new(state)),
            faults: Mutex::default(),
            requests: Mutex::new(RequestBook::open(options.request_limit, options.request_log.as_deref())?),
            quotas: Mutex::default(),
            state_file: options.state_file,
            saving: Mutex::new(()),
            stopping: CancellationToken::new(),
        })
    }

    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock()
    }

    pub fn faults(&self) -> MutexGuard<'_, FaultBook> {
        self.faults.lock()
    }

    pub fn requests(&self) -> MutexGuard<'_, RequestBook> {
        self.requests.lock()
    }

    pub fn quotas(&self) -> MutexGuard<'_, QuotaBook> {
        self.quotas.lock()
    }

    /// Sleeps, but not beyond the simulator's stop.
    pub async fn wait(&self, duration: Duration) {
        tokio::select! {
            () = tokio::time::sleep(duration) => {}
            () = self.stopping.cancelled() => {}
        }
    }

    /// Changes the state behind the callers' backs and saves it, if the change was made.
    pub fn edit<T, E>(&self, edit: impl FnOnce(&mut Database) -> Result<T, E>) -> Result<T, E> {
        let edited = edit(&mut self.database());
        if edited.is_ok() {
            self.save();
        }
        edited
    }

    /// Writes the state to its file, if it has one.
    pub fn save(&self) {
        let Some(path) = &self.state_file else { return };
        let _saving = self.saving.lock();
        let state = self.database().export();
        let written = serde_json::to_vec_pretty(&state).map_err(io::Error::from).and_then(|text| replace(path, &text));
        if let Err(error) = written {
            tracing::error!(%error, path = %path.display(), "cannot save the state");
        }
    }
}

fn load(path: &Path) -> io::Result<Option<State>> {
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A reader sees the old text or the new one, never half of it.
fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}
