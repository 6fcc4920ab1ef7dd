//! The three transports of CMDB, and which operation an address names on each of them.

use serde::{Deserialize, Serialize};

use crate::operation::Operation;

/// Where the ESB's calls of CMDB live.
const ESB_PATH: &str = "/api/c/compapi/v2/cc/";

/// Where the gateway's resources of CMDB live; a stage follows.
const GATEWAY_PATH: &str = "/api/bk-cmdb/";

/// Where the apiserver's resources live.
const APISERVER_PATH: &str = "/api/v3/";

/// The resources of the apiserver; the gateway has the same ones behind its stage.
const RESOURCES: &[(&str, &str, Operation)] = &[
    ("POST", "createmany/proc/proc_template", Operation::BatchCreateProcTemplate),
    ("PUT", "update/proc/proc_template", Operation::UpdateProcTemplate),
    ("DELETE", "deletemany/proc/proc_template", Operation::DeleteProcTemplate),
    ("POST", "findmany/proc/proc_template", Operation::ListProcTemplate),
    ("POST", "find/proc/proc_template/id/{}", Operation::GetProcTemplate),
    ("POST", "findmany/proc/service_template", Operation::ListServiceTemplate),
    ("GET", "find/proc/service_template/{}", Operation::GetServiceTemplate),
    ("POST", "create/proc/service_template", Operation::CreateServiceTemplate),
    ("DELETE", "delete/proc/service_template", Operation::DeleteServiceTemplate),
    ("POST", "findmany/proc/service_category", Operation::ListServiceCategory),
];

/// The transport of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    /// The ESB: every call is a POST, with the credentials in its body.
    #[default]
    Esb,
    /// The API gateway: the apiserver's methods and paths behind a stage, with the credentials in a header.
    Gateway,
    /// The apiserver itself: no credentials, headers that it trusts.
    Direct,
}

/// What a method and a path ask for.
pub(crate) struct Address<'a> {
    pub transport: Transport,
    /// Name of the call in the ESB's words, even of one that does not exist there; empty when a path names none.
    pub name: &'a str,
    pub operation: Result<Operation, NoOperation>,
    /// The ID at the end of the path, where the resource has one.
    pub id: Option<&'a str>,
}

/// Why an address names no call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoOperation {
    Unknown,
    WrongMethod,
}

impl<'a> Address<'a> {
    /// Nothing when the path belongs to no transport.
    pub fn of(method: &str, path: &'a str) -> Option<Self> {
        if let Some(name) = path.strip_prefix(ESB_PATH) {
            let name = name.trim_end_matches('/');
            return Some(Self {
                transport: Transport::Esb,
                name,
                operation: Operation::from_name(name).ok_or(NoOperation::Unknown),
                id: None,
            });
        }

        let (transport, resolved) = if let Some(staged) = path.strip_prefix(GATEWAY_PATH) {
            let resource = staged.split_once('/').filter(|(stage, _)| !stage.is_empty());
            let resource = resource.and_then(|(stage, _)| staged[stage.len()..].strip_prefix(APISERVER_PATH));
            // A resource of the gateway is method and path together, so a wrong method finds none.
            let resolved = resource.map_or(Err(NoOperation::Unknown), |path| resolve(method, path));
            (Transport::Gateway, resolved.map_err(|_| NoOperation::Unknown))
        } else {
            (Transport::Direct, resolve(method, path.strip_prefix(APISERVER_PATH)?))
        };
        let operation = resolved.map(|(operation, _)| operation);
        let id = resolved.ok().and_then(|(_, id)| id);
        Some(Self { transport, name: operation.map_or("", Operation::name), operation, id })
    }
}

/// Method and path of an operation's resource, as the apiserver passes it on; a path with an ID ends before the ID.
pub(crate) fn resource(operation: Operation) -> (&'static str, &'static str) {
    let resource = RESOURCES.iter().find(|(_, _, its_operation)| *its_operation == operation);
    resource.map_or(("POST", ""), |(method, path, _)| (*method, path.trim_end_matches("{}")))
}

/// The operation of a method and a path, and the ID in the path. A slash at the end of the path means nothing.
fn resolve<'a>(method: &str, path: &'a str) -> Result<(Operation, Option<&'a str>), NoOperation> {
    let path = path.trim_end_matches('/');
    let mut no_call = NoOperation::Unknown;
    for (its_method, pattern, operation) in RESOURCES {
        let Some(id) = matched(pattern, path) else { continue };
        if *its_method == method {
            return Ok((*operation, Some(id).filter(|id| !id.is_empty())));
        }
        no_call = NoOperation::WrongMethod;
    }
    Err(no_call)
}

/// The ID that a path has where its pattern ends with `{}`, empty where it does not; nothing when the path does not match.
fn matched<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.strip_suffix("{}") {
        None => (pattern == path).then_some(""),
        Some(prefix) => path.strip_prefix(prefix).filter(|id| !id.is_empty() && !id.contains('/')),
    }
}
