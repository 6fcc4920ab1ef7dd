//! The CMDB simulator: a stand-in for the process template calls of BlueKing CMDB.
//!
//! Real HTTP, the server's own order of checks, codes and texts, and faults on demand. It shares no type with the
//! client, so that one misreading cannot hide on both sides.
//!
//! One port speaks the three ways to CMDB. Calls have their ESB names in faults and records whichever way they come:
//!
//! | way | address | credentials | errors |
//! |---|---|---|---|
//! | ESB | `POST /api/c/compapi/v2/cc/<name>/` | in the body | `code`, `message`, `request_id` |
//! | gateway | `/api/bk-cmdb/{stage}/api/v3/...` | `X-Bkapi-Authorization` | its own (16xxxxx), or `code`, `message` |
//! | apiserver | `/api/v3/...` | none; user and supplier account in headers | `bk_error_code`, `bk_error_msg` |
//!
//! | call | method and path behind the gateway and of the apiserver |
//! |---|---|
//! | `batch_create_proc_template` | `POST /api/v3/createmany/proc/proc_template` |
//! | `update_proc_template` | `PUT /api/v3/update/proc/proc_template` |
//! | `delete_proc_template` | `DELETE /api/v3/deletemany/proc/proc_template` |
//! | `list_proc_template` | `POST /api/v3/findmany/proc/proc_template` |
//! | `list_service_template` | `POST /api/v3/findmany/proc/service_template` |
//! | `create_service_template` | `POST /api/v3/create/proc/service_template` |
//! | `list_service_category` | `POST /api/v3/findmany/proc/service_category` |
//!
//! The apiserver tells everybody its version at `GET /version`; that is no call, and stands in no record.
//!
//! With [`Options::tls`] all of it is HTTPS, and with a client CA only for those who have a certificate.
//!
//! Beside the calls, without credentials:
//!
//! | route | what it does |
//! |---|---|
//! | `GET /sim/state`, `PUT /sim/state` | the whole [`State`]; a key that is not put stays as it is |
//! | `POST /sim/process_templates` | `{user, service_template_id, property}`: a user of the web interface adds one |
//! | `PATCH /sim/process_templates/{id}` | `{user, property}`: changes these properties, even the function name |
//! | `DELETE /sim/process_templates/{id}` | takes a process template away, as a user of the web interface does |
//! | `POST /sim/faults`, `GET /sim/faults` | adds a [`Fault`]; all of them with their counts |
//! | `DELETE /sim/faults`, `DELETE /sim/faults/{id}` | takes all of them away, or one |
//! | `GET /sim/requests`, `DELETE /sim/requests` | every [`RequestRecord`], oldest first; forgets them |
//! | `GET /sim/requests?summary=true` | counts per call and outcome |
//! | `GET /sim/quota`, `DELETE /sim/quota` | every [`QuotaWindow`], oldest first; forgets them, so that all begin anew |
//!
//! A [`Quota`] in the state counts the calls of each application, or of each user where there are no applications:
//!
//! | what is over it gets | HTTP status | code |
//! |---|---|---|
//! | from the gateway | 429 | 1642901, with `X-Bkapi-RateLimit-*` where the quota says so |
//! | from the ESB | 200 | 1306429 |
//! | from the apiserver | 200 | 1199997 |

mod access;
mod calls;
mod clock;
mod control;
mod dispatch;
mod http;
mod model;
mod operation;
mod options;
mod shared;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use calls::edit;
use http::connection::{Connection, CuttableListener};
use http::server;
use shared::Shared;

pub use calls::edit::EditError;
pub use control::fault::{
    Delay, Drop, DropMoment, Effect, Fault, Hang, HoldNames, Raw, Redirect, Refuse, ShortIds, SurplusIds,
};
pub use control::quota::{Quota, QuotaWindow};
pub use control::record::RequestRecord;
pub use http::tls::Tls;
pub use http::transport::Transport;
pub use model::state::{
    Account, Attribute, Business, NextIds, ProcessTemplate, Property, ServiceCategory, ServiceTemplate, State,
};
pub use options::{Options, Schema};

/// How long a stop waits for requests that are under way.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// A running simulator; it stops when it is dropped.
pub struct Simulator {
    address: SocketAddr,
    is_secure: bool,
    shared: Arc<Shared>,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Simulator {
    /// Starts a simulator in a task of the current tokio runtime. It takes calls as soon as this returns.
    pub fn start(options: Options) -> io::Result<Self> {
        let runtime = Handle::try_current().map_err(io::Error::other)?;
        let acceptor = options.tls.as_ref().map(Tls::acceptor).transpose()?;
        let is_secure = acceptor.is_some();
        let listener = std::net::TcpListener::bind(options.listen)?;
        let shared = Arc::new(Shared::open(options)?);
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = CuttableListener { listener: TcpListener::from_std(listener)?, acceptor };
        let service = server::router(Arc::clone(&shared)).into_make_service_with_connect_info::<Connection>();
        let stopping = shared.stopping.clone();
        let server = runtime.spawn(async move {
            axum::serve(listener, service).with_graceful_shutdown(stopping.cancelled_owned()).await
        });
        Ok(Self { address, is_secure, shared, server: Some(server) })
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

    /// Stops. Requests under way get their reply, and waits that a fault imposed end now.
    pub async fn stop(mut self) {
        self.shared.stopping.cancel();
        if let Some(server) = self.server.take() {
            let _ = tokio::time::timeout(STOP_PATIENCE, server).await;
        }
    }

    /// A copy of the state.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.database().export()
    }

    /// Changes the state behind the callers' backs, as a user of the web interface does.
    pub fn update_state<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = {
            let mut database = self.shared.database();
            let mut state = database.export();
            let result = change(&mut state);
            database.replace(state);
            result
        };
        self.shared.save();
        result
    }

    /// Creates a process template as a user of the web interface does and returns its ID.
    pub fn add_process_template(
        &self,
        service_template_id: i64,
        user: &str,
        property: &Property,
    ) -> Result<i64, EditError> {
        self.shared.edit(|database| edit::add(database, service_template_id, user, property))
    }

    /// Changes these properties of a process template as a user of the web interface does, even the function name.
    pub fn edit_process_template(&self, id: i64, user: &str, property: &Property) -> Result<(), EditError> {
        self.shared.edit(|database| edit::edit(database, id, user, property))
    }

    /// The requests that came, oldest first.
    #[must_use]
    pub fn requests(&self) -> Vec<RequestRecord> {
        self.shared.requests().all().cloned().collect()
    }

    /// Forgets the requests that came.
    pub fn clear_requests(&self) {
        self.shared.requests().clear();
    }

    /// What was taken from the quota and what was over it, window by window, oldest first.
    #[must_use]
    pub fn quota_windows(&self) -> Vec<QuotaWindow> {
        self.shared.quotas().all().cloned().collect()
    }

    /// Forgets what was taken from the quota: everybody begins anew.
    pub fn clear_quota(&self) {
        self.shared.quotas().clear();
    }

    /// Adds a fault and returns its ID.
    #[allow(clippy::must_use_candidate, reason = "most callers never take a fault away again")]
    pub fn add_fault(&self, fault: Fault) -> u64 {
        self.shared.faults().add(fault)
    }

    /// All faults with their counts.
    #[must_use]
    pub fn faults(&self) -> Vec<Fault> {
        self.shared.faults().all().to_vec()
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.shared.faults().clear();
    }
}

impl std::ops::Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stopping.cancel();
    }
}
