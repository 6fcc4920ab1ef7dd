//! What each transport checks before CMDB's daemons see a call.

use crate::access::credentials::{self, Caller, USER, app_code};
use crate::access::refusal::{Refusal, code};
use crate::cmdb::Cmdb;
use crate::control::quota::{Quota, QuotaStatus};
use crate::http::request::Request;
use crate::http::transport::{NoOperation, Transport};
use crate::model::state::Account;
use crate::operation::Operation;

/// What the checks made of a request.
pub(crate) enum Admission {
    /// The daemon carries it out.
    Granted { operation: Operation, caller: Caller },
    /// It was refused.
    Refused(Refusal),
    /// No route leads from here; this is all the answer.
    NoRoute(&'static str),
}

/// Checks address and credentials, in the transport's order.
pub(crate) fn admit(accounts: &[Account], request: &Request) -> Admission {
    let checked = match request.transport {
        Transport::Esb => through_esb(accounts, request),
        Transport::Gateway => through_gateway(accounts, request),
        Transport::Direct => match credentials::trusted(&request.headers) {
            Err(refusal) => Err(refusal),
            Ok(caller) => match request.operation {
                Ok(operation) => Ok((operation, caller)),
                Err(NoOperation::Unknown) => return Admission::NoRoute("404: Page Not Found"),
                Err(NoOperation::WrongMethod) => return Admission::NoRoute("405: Method Not Allowed"),
            },
        },
    };
    match checked {
        Ok((operation, caller)) => Admission::Granted { operation, caller },
        Err(refusal) => Admission::Refused(refusal),
    }
}

/// Takes an admitted request from its caller's quota, if there is one, and answers what is left of it.
pub(crate) fn charge(
    cmdb: &Cmdb,
    quota: Option<&Quota>,
    request: &Request,
    admission: &Admission,
) -> Option<QuotaStatus> {
    let quota = quota?;
    let caller = account(request).unwrap_or_default();
    let mut quotas = cmdb.quotas();
    Some(match admission {
        Admission::Granted { .. } => quotas.take(quota, request.transport, caller),
        Admission::Refused(_) | Admission::NoRoute(_) => quotas.peek(quota, request.transport, caller),
    })
}

fn through_esb(accounts: &[Account], request: &Request) -> Result<(Operation, Caller), Refusal> {
    let operation = request.operation.map_err(|_| Refusal::new(code::ESB_COMPONENT_NOT_FOUND, &[]))?;
    if request.is_broken {
        return Err(Refusal::esb("Request JSON string is wrong in format, which cannot be analyzed."));
    }
    Ok((operation, credentials::esb(accounts, request.authorization.as_ref(), &request.body)?))
}

fn through_gateway(accounts: &[Account], request: &Request) -> Result<(Operation, Caller), Refusal> {
    let operation = request.operation.map_err(|_| Refusal::new(code::GATEWAY_NOT_FOUND, &[]))?;
    Ok((operation, credentials::gateway(accounts, request.authorization.as_ref(), &request.headers)?))
}

/// The account of a quota: the application, or the user where there are no applications.
fn account(request: &Request) -> Option<&str> {
    match request.transport {
        Transport::Esb => app_code(request.authorization.as_ref().unwrap_or(&request.body)),
        Transport::Gateway => app_code(request.authorization.as_ref()?),
        Transport::Direct => request.headers.first(USER),
    }
}
