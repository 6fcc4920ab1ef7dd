//! What CMDB answers while one of its daemons is lost or too slow, in the words of the daemon that notices.

use crate::access::refusal::code;
use crate::control::effect::{Daemon, Refuse};
use crate::http::request::Request;
use crate::http::transport::{self, Transport};
use crate::operation::Operation;

const CORESERVICE: &str = "127.0.0.1:50009";

const PROCSERVER: &str = "127.0.0.1:60008";

/// What a daemon does that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// It dies before it has answered.
    InFlight,
    /// It is not there.
    Down,
}

/// The apiserver has waited too long for `procserver`.
pub(crate) fn timed_out(request: &Request, operation: Operation) -> Refuse {
    through_proxy(request, operation, "net/http: timeout awaiting response headers")
}

/// A daemon is lost.
pub(crate) fn lost(request: &Request, operation: Operation, daemon: Daemon, loss: Loss) -> Refuse {
    match (daemon, loss) {
        (Daemon::Procserver, Loss::InFlight) => through_proxy(request, operation, "EOF"),
        (Daemon::Procserver, Loss::Down) => through_proxy(request, operation, &refused_by(PROCSERVER)),
        (Daemon::Coreservice, Loss::InFlight) if operation.is_write() => {
            aborting(&format!("read tcp 127.0.0.1:41218->{CORESERVICE}: read: connection reset by peer"))
        }
        // A delete asks for the templates before it has a transaction to abort.
        (Daemon::Coreservice, Loss::Down) if operation.is_write() && operation != Operation::DeleteProcTemplate => {
            aborting(&refused_by(CORESERVICE))
        }
        (Daemon::Coreservice, _) => Refuse { code: code::REQUEST_FAILED, ..Refuse::default() },
    }
}

/// The ESB passes the body on, but not the status.
fn through_proxy(request: &Request, operation: Operation, error: &str) -> Refuse {
    let (method, path) = transport::resource(operation);
    let id = request.path_id.as_deref().unwrap_or_default();
    let verb = method.chars().take(1).chain(method.chars().skip(1).map(|letter| letter.to_ascii_lowercase()));
    let verb: String = verb.collect();
    Refuse {
        code: code::UNKNOWN,
        message: Some(format!(r#"proxy request failed, {verb} "http://{PROCSERVER}/process/v3/{path}{id}": {error}"#)),
        http_status: (request.transport != Transport::Esb).then_some(500),
        ..Refuse::default()
    }
}

/// `procserver` has lost `coreservice` and can not even abort the transaction.
fn aborting(error: &str) -> Refuse {
    Refuse {
        code: code::UNKNOWN,
        message: Some(format!(r#"Post "http://{CORESERVICE}/api/v3/update/transaction/abort": {error}"#)),
        ..Refuse::default()
    }
}

fn refused_by(address: &str) -> String {
    format!("dial tcp {address}: connect: connection refused")
}
