//! What each transport checks before CMDB's daemons see a call.

use crate::access::credentials::{self, Caller};
use crate::access::refusal::{Refusal, code};
use crate::control::quota::{Quota, Standing};
use crate::http::request::Request;
use crate::http::transport::{NoOperation, Transport};
use crate::model::state::Account;
use crate::operation::Operation;
use crate::shared::Shared;

/// How far a request came.
pub(crate) enum Entry {
    /// To the daemon.
    In { operation: Operation, caller: Caller },
    /// It was refused.
    Refused(Refusal),
    /// No route leads from here; this is all the answer.
    NoRoute(&'static str),
}

/// Checks address and credentials, in the transport's order.
pub(crate) fn admit(accounts: &[Account], request: &Request) -> Entry {
    let entry = match request.transport {
        Transport::Esb => through_esb(accounts, request),
        Transport::Gateway => through_gateway(accounts, request),
        Transport::Direct => match credentials::trusted(request) {
            Err(refusal) => Err(refusal),
            Ok(caller) => match request.operation {
                Ok(operation) => Ok((operation, caller)),
                Err(NoOperation::Unknown) => return Entry::NoRoute("404: Page Not Found"),
                Err(NoOperation::WrongMethod) => return Entry::NoRoute("405: Method Not Allowed"),
            },
        },
    };
    match entry {
        Ok((operation, caller)) => Entry::In { operation, caller },
        Err(refusal) => Entry::Refused(refusal),
    }
}

/// Takes an admitted request from its caller's quota, if there is one, and says how the caller stands then.
pub(crate) fn count(shared: &Shared, quota: Option<&Quota>, request: &Request, entry: &Entry) -> Option<Standing> {
    let quota = quota?;
    let caller = credentials::account(request).unwrap_or_default();
    let mut quotas = shared.quotas();
    Some(match entry {
        Entry::In { .. } => quotas.take(quota, request.transport, caller),
        Entry::Refused(_) | Entry::NoRoute(_) => quotas.look(quota, request.transport, caller),
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
    Ok((operation, credentials::gateway(accounts, request)?))
}
