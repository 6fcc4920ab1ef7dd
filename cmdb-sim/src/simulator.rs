//! A running simulator: start, stop, and what a test sees and changes without a request.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::calls::edit::{self, EditError};
use crate::cmdb::Cmdb;
use crate::control::fault::Fault;
use crate::control::quota::QuotaWindow;
use crate::control::record::RequestRecord;
use crate::http::connection::{Connection, CuttableListener};
use crate::http::server;
use crate::http::tls::Tls;
use crate::model::state::{Property, State};
use crate::options::Options;

/// How long a stop waits for requests in flight.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running simulator; it stops when it is dropped.
pub struct Simulator {
    address: SocketAddr,
    is_secure: bool,
    cmdb: Arc<Cmdb>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Starts a simulator in a task of the current tokio runtime. It takes calls as soon as this returns.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let acceptor = options.tls.as_ref().map(Tls::acceptor).transpose()?;
        let is_secure = acceptor.is_some();

        let listener = std::net::TcpListener::bind(options.listen)?;
        let cmdb = Arc::new(Cmdb::open(options)?);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;

        let listener = CuttableListener { listener: TcpListener::from_std(listener)?, acceptor };
        let service = server::router(Arc::clone(&cmdb)).into_make_service_with_connect_info::<Connection>();
        let stopping = cmdb.stopping.clone();
        let server = runtime.spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned()).await
        });

        Ok(Self { address, is_secure, cmdb, server: Some(server) })
    }

    /// Base URL, without a slash at its end.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.is_secure { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops. Requests in flight get their reply; waits that a fault imposed are cut short.
    pub async fn stop(mut self) {
        self.cmdb.stopping.cancel();
        if let Some(server) = self.server.take() {
            let _ = tokio::time::timeout(STOP_PATIENCE, server).await;
        }
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.cmdb.database().export()
    }

    /// Changes the state behind the callers' backs, as a user of the web interface does.
    pub fn update_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut database = self.cmdb.database();
            let mut state = database.export();
            let result = change(&mut state);
            database.replace(state);
            result
        };
        self.cmdb.save();
        result
    }

    /// Creates a process template as a user of the web interface does and returns its ID.
    pub fn add_process_template(
        &self,
        service_template_id: i64,
        user: &str,
        property: &Property,
    ) -> Result<i64, EditError> {
        self.cmdb.edit(|database| edit::add(database, service_template_id, user, property))
    }

    /// Changes these properties of a process template as a user of the web interface does, even the function name.
    pub fn edit_process_template(&self, id: i64, user: &str, property: &Property) -> Result<(), EditError> {
        self.cmdb.edit(|database| edit::edit(database, id, user, property))
    }

    /// The requests that came, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.cmdb.requests().all().cloned().collect()
    }

    /// Forgets the requests that came.
    pub fn clear_requests(&self) {
        self.cmdb.requests().clear();
    }

    /// What was taken from the quota and what was over it, window by window, oldest first.
    #[must_use]
    pub fn quota_windows(&self) -> Vec<QuotaWindow> {
        self.cmdb.quotas().all().cloned().collect()
    }

    /// Forgets what was taken from quotas, so that every caller has its whole quota.
    pub fn clear_quota(&self) {
        self.cmdb.quotas().clear();
    }

    /// Adds a fault and returns its ID.
    #[allow(clippy::must_use_candidate, reason = "most callers never take a fault away again")]
    pub fn add_fault(&self, fault: Fault) -> u64 {
        self.cmdb.faults().add(fault)
    }

    /// All faults with their counts.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.cmdb.faults().all().to_vec()
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.cmdb.faults().clear();
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.cmdb.stopping.cancel();
    }
}
