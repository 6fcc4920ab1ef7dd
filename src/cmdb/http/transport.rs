//! The transports: the ways to reach CMDB, and how each of them writes a call.
//!
//! To add one, add the variant and follow the compiler: every match on [`Transport`] is exhaustive, and lists and names
//! are derived from the variants.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};
use strum::{IntoStaticStr, VariantArray};

use crate::cmdb::{Credentials, Error, Operation, UserCredential};

/// A way to reach CMDB. Its name is that of the variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, IntoStaticStr, VariantArray)]
pub enum Transport {
    /// The BlueKing ESB: every call is a POST, with the credentials in its body.
    Esb,
    /// The BlueKing API gateway: the credentials are in a header. The base URL has the gateway's name and stage:
    /// `https://bkapi.example.com/api/bk-cmdb/prod`.
    Gateway,
    /// CMDB's own API server, which trusts every client that reaches it: a user in a header, no secret.
    Direct,
}

/// A call as it is sent.
#[derive(Debug)]
pub(in crate::cmdb) struct Call {
    /// HTTP method.
    pub method: Method,
    /// Path below the base URL.
    pub path: String,
    /// Headers. Those that contain secrets are marked as sensitive.
    pub headers: HeaderMap,
    /// Body.
    pub body: Map<String, Value>,
}

impl Transport {
    /// Every transport.
    pub const ALL: &[Self] = Self::VARIANTS;

    /// The name in a connection, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether CMDB's version can be read over it.
    #[must_use]
    pub fn has_version(self) -> bool {
        match self {
            Self::Esb | Self::Gateway => false,
            Self::Direct => true,
        }
    }

    /// Writes a call.
    pub(in crate::cmdb) fn call(
        self,
        operation: Operation,
        parameters: &Map<String, Value>,
        credentials: &Credentials,
        supplier_account: &str,
    ) -> Result<Call, Error> {
        let body = parameters.clone();
        match self {
            Self::Esb => esb(operation, body, credentials, supplier_account),
            Self::Gateway => gateway(operation, body, credentials),
            Self::Direct => direct(operation, body, credentials, supplier_account),
        }
    }
}

fn esb(
    operation: Operation,
    mut body: Map<String, Value>,
    credentials: &Credentials,
    supplier_account: &str,
) -> Result<Call, Error> {
    credentials.put_into(&mut body);
    if !supplier_account.is_empty() {
        body.insert("bk_supplier_account".to_owned(), supplier_account.into());
    }
    let mut headers = HeaderMap::new();
    put(&mut headers, &[("Blueking-Language", "en")])?;
    let path = format!("/api/c/compapi/v2/cc/{}/", operation.as_str());
    Ok(Call { method: Method::POST, path, headers, body })
}

fn gateway(operation: Operation, body: Map<String, Value>, credentials: &Credentials) -> Result<Call, Error> {
    let mut authorization = HeaderValue::try_from(credentials.authorization())
        .map_err(|_| unusable("the credentials cannot stand in a header"))?;
    authorization.set_sensitive(true);

    // The gateway sets user and supplier account. Old and new servers read one language header each.
    let mut headers = HeaderMap::new();
    headers.insert("X-Bkapi-Authorization", authorization);
    put(&mut headers, &[("HTTP_BLUEKING_LANGUAGE", "en"), ("X-Bkcmdb-Language", "en")])?;

    let (method, path) = route(operation);
    Ok(Call { method, path, headers, body })
}

fn direct(
    operation: Operation,
    body: Map<String, Value>,
    credentials: &Credentials,
    supplier_account: &str,
) -> Result<Call, Error> {
    let UserCredential::Username(user) = &credentials.user else {
        return Err(unusable("transport Direct takes bk_username and no token"));
    };

    let mut headers = HeaderMap::new();
    let entries = [
        // Before CMDB 3.14.
        ("BK_User", user.as_str()),
        ("HTTP_BLUEKING_SUPPLIER_ID", supplier_account),
        ("HTTP_BK_SUPPLIER_ACCOUNT", supplier_account),
        ("HTTP_BLUEKING_LANGUAGE", "en"),
        // Since CMDB 3.14.
        ("X-Bkcmdb-User", user),
        ("X-Bkcmdb-Supplier-Account", supplier_account),
        ("X-Bkcmdb-Language", "en"),
    ];
    put(&mut headers, &entries)?;

    let (method, path) = route(operation);
    Ok(Call { method, path, headers, body })
}

// Method and path of a call on the gateway and on CMDB's own API server.
fn route(operation: Operation) -> (Method, String) {
    let (method, path) = match operation {
        Operation::CreateProcessTemplates => (Method::POST, "createmany/proc/proc_template"),
        Operation::UpdateProcessTemplate => (Method::PUT, "update/proc/proc_template"),
        Operation::DeleteProcessTemplates => (Method::DELETE, "deletemany/proc/proc_template"),
        Operation::ListProcessTemplates => (Method::POST, "findmany/proc/proc_template"),
        Operation::CreateServiceTemplate => (Method::POST, "create/proc/service_template"),
        Operation::ListServiceTemplates => (Method::POST, "findmany/proc/service_template"),
        Operation::ListServiceCategories => (Method::POST, "findmany/proc/service_category"),
    };
    (method, format!("/api/v3/{path}"))
}

fn put(headers: &mut HeaderMap, entries: &[(&str, &str)]) -> Result<(), Error> {
    for (name, value) in entries {
        let name = HeaderName::try_from(*name).map_err(|_| unusable("a header's name is none"))?;
        let value =
            HeaderValue::try_from(*value).map_err(|_| unusable("user or supplier account cannot stand in a header"))?;
        headers.insert(name, value);
    }
    Ok(())
}

fn unusable(message: &str) -> Error {
    Error::Configuration { message: message.to_owned() }
}
