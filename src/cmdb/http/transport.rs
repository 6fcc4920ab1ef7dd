//! The three ways to reach CMDB, and how each writes a call.

use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Map, Value};

use crate::cmdb::{Credentials, Error, Operation, UserCredential};

/// A way to reach CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// The BlueKing ESB: every call is a POST, with the credentials in its body.
    Esb,
    /// The BlueKing API gateway: the credentials are in a header. The base URL has the gateway's name and stage:
    /// `https://bkapi.example.com/api/bk-cmdb/prod`.
    Gateway,
    /// CMDB's own API server, which trusts whoever reaches it: a user in a header, no secret.
    Direct,
}

/// A call as it is sent.
#[derive(Debug)]
pub(in crate::cmdb) struct Call {
    /// Method.
    pub method: Method,
    /// Path below the base URL.
    pub path: String,
    /// Headers; those that carry secrets are marked as such.
    pub headers: HeaderMap,
    /// Body.
    pub body: Map<String, Value>,
}

impl Transport {
    /// Every way.
    pub const ALL: &[Self] = &[Self::Esb, Self::Gateway, Self::Direct];

    /// Its name in a connection, in logs and in metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Esb => "Esb",
            Self::Gateway => "Gateway",
            Self::Direct => "Direct",
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
        let mut headers = HeaderMap::new();
        let mut body = parameters.clone();
        let (method, path) = match self {
            Self::Esb => (Method::POST, format!("/api/c/compapi/v2/cc/{}/", operation.as_str())),
            Self::Gateway | Self::Direct => route(operation),
        };
        match self {
            Self::Esb => {
                credentials.put_into(&mut body);
                if !supplier_account.is_empty() {
                    body.insert("bk_supplier_account".to_owned(), supplier_account.into());
                }
                put(&mut headers, "Blueking-Language", "en")?;
            }
            Self::Gateway => {
                let mut value = HeaderValue::try_from(credentials.authorization())
                    .map_err(|_| unusable("the credentials cannot stand in a header"))?;
                value.set_sensitive(true);
                headers.insert("X-Bkapi-Authorization", value);
                // The gateway sets user and supplier account; servers of either age read one of the two.
                put(&mut headers, "HTTP_BLUEKING_LANGUAGE", "en")?;
                put(&mut headers, "X-Bkcmdb-Language", "en")?;
            }
            Self::Direct => {
                let UserCredential::Username(user) = &credentials.user else {
                    return Err(unusable("transport Direct takes bk_username and no token"));
                };
                // Both families: before and since CMDB 3.14.
                for (name, value) in [
                    ("BK_User", user.as_str()),
                    ("HTTP_BLUEKING_SUPPLIER_ID", supplier_account),
                    ("HTTP_BK_SUPPLIER_ACCOUNT", supplier_account),
                    ("HTTP_BLUEKING_LANGUAGE", "en"),
                    ("X-Bkcmdb-User", user),
                    ("X-Bkcmdb-Supplier-Account", supplier_account),
                    ("X-Bkcmdb-Language", "en"),
                ] {
                    put(&mut headers, name, value)?;
                }
            }
        }
        Ok(Call { method, path, headers, body })
    }
}

// Where the gateway and CMDB's own API server have a call.
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

fn put(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), Error> {
    let name = HeaderName::try_from(name).map_err(|_| unusable("a header's name is none"))?;
    let value =
        HeaderValue::try_from(value).map_err(|_| unusable("user or supplier account cannot stand in a header"))?;
    headers.insert(name, value);
    Ok(())
}

fn unusable(message: &str) -> Error {
    Error::Configuration { message: message.to_owned() }
}
