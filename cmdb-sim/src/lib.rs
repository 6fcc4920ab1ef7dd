//! A simulated BlueKing CMDB: its calls for process templates, for tests.
//!
//! Real HTTP, the server's own order of checks, codes and texts, and faults on demand. It shares no type with the
//! operator's client, so that one misreading of CMDB cannot hide on both sides.
//!
//! One port serves the three transports of CMDB. Faults and records name a call as the ESB does, on every transport:
//!
//! | transport | address | credentials | errors |
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
//! | `get_proc_template`, not in the ESB | `POST /api/v3/find/proc/proc_template/id/{id}` |
//! | `list_service_template` | `POST /api/v3/findmany/proc/service_template` |
//! | `get_service_template`, not in the ESB | `GET /api/v3/find/proc/service_template/{id}` |
//! | `create_service_template` | `POST /api/v3/create/proc/service_template` |
//! | `delete_service_template` | `DELETE /api/v3/delete/proc/service_template` |
//! | `list_service_category` | `POST /api/v3/findmany/proc/service_category` |
//!
//! A slash at the end of a path means nothing.
//!
//! The apiserver answers its version at `GET /version` without credentials; that is no call, and is not recorded.
//!
//! With [`Options::tls`] all of it is HTTPS, and with a client CA only for clients that have a certificate.
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
//! | `GET /sim/quota`, `DELETE /sim/quota` | every [`QuotaWindow`], oldest first; forgets them, so that every caller has its whole quota |
//!
//! A [`Quota`] in the state counts the calls of each application, or of each user where there are no applications:
//!
//! | a call over the limit, on | HTTP status | code |
//! |---|---|---|
//! | the gateway | 429 | 1642901, with `X-Bkapi-RateLimit-*` where the quota says so |
//! | the ESB | 200 | 1306429 |
//! | the apiserver | 200 | 1199997 |

mod access;
mod calls;
mod clock;
mod cmdb;
mod control;
mod dispatch;
mod execute;
mod http;
mod model;
mod operation;
mod options;
mod simulator;

pub use calls::edit::EditError;
pub use control::effect::{
    CountOff, Daemon, Delay, Drop, DropMoment, Effect, ForeignItems, ForeignScope, Hang, HoldNames, HoldTemplates,
    Killed, Late, PageLimit, Raw, Redirect, Refuse, ShortIds, SurplusIds,
};
pub use control::fault::Fault;
pub use control::quota::{Quota, QuotaWindow};
pub use control::record::RequestRecord;
pub use http::tls::Tls;
pub use http::transport::Transport;
pub use model::category::ServiceCategory;
pub use model::cost::CreateCost;
pub use model::schema::Schema;
pub use model::state::{
    Account, Attribute, Business, DataStatus, NextIds, ProcessTemplate, Property, ServiceTemplate, State,
};
pub use options::Options;
pub use simulator::Simulator;
