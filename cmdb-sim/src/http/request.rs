//! A request: what a call needs of it, and what is recorded of it.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::access::credentials::{self, AUTHORIZATION};
use crate::access::refusal::Language;
use crate::calls::decode::Object;
use crate::clock::now;
use crate::cmdb::Cmdb;
use crate::control::record::{RequestRecord, masked};
use crate::http::envelope;
use crate::http::headers::Headers;
use crate::http::transport::{Address, NoOperation, Transport};
use crate::operation::Operation;

/// Headers that are recorded: they identify the caller or the client, and hold no secret.
const RECORDED_HEADERS: &[&str] = &[
    "content-type",
    "user-agent",
    "x-request-id",
    "x-bkapi-request-id",
    "blueking-language",
    "http_blueking_language",
    "x-bkcmdb-language",
    "bk_user",
    "x-bkcmdb-user",
    "http_bk_supplier_account",
    "http_blueking_supplier_id",
    "x-bkcmdb-supplier-account",
];

/// A request, read.
pub(crate) struct Request {
    pub sequence: u64,
    pub transport: Transport,
    /// Name of the call in the ESB's words, whatever the transport.
    pub name: String,
    pub operation: Result<Operation, NoOperation>,
    /// The ID at the end of the path, where the resource has one.
    pub path_id: Option<String>,
    pub body: Object,
    /// Set when the body was to be JSON and is not.
    pub is_broken: bool,
    pub authorization: Option<Object>,
    pub language: Language,
    /// ID of the request, which every reply names.
    pub id: String,
    pub headers: Headers,
    /// Cancelled as soon as the caller is gone.
    hung_up: CancellationToken,
}

impl Request {
    /// Reads a request and records it.
    pub fn read(
        cmdb: &Cmdb,
        method: &str,
        path: &str,
        address: &Address,
        headers: Headers,
        bytes: &[u8],
        hung_up: CancellationToken,
    ) -> Self {
        let transport = address.transport;
        let (body, is_broken) = parse(transport, bytes);
        let recorded_body = body.as_ref().map_or(Value::Null, masked);
        let body = body.unwrap_or_default();

        let authorization = credentials::authorization(headers.get(AUTHORIZATION));
        let secret = match transport {
            Transport::Esb => credentials::secret(authorization.as_ref().unwrap_or(&body)),
            Transport::Gateway => authorization.as_ref().and_then(credentials::secret),
            Transport::Direct => None,
        };

        let recorded = RECORDED_HEADERS.iter();
        let recorded: BTreeMap<String, String> =
            recorded.filter_map(|name| Some(((*name).to_owned(), headers.get(name)?.to_owned()))).collect();

        let record = RequestRecord {
            time: now(),
            transport,
            call: address.name.to_owned(),
            method: method.to_owned(),
            path: path.to_owned(),
            headers: recorded,
            credential: secret.map_or_else(String::new, |secret| envelope::digest(secret, 4)),
            body: recorded_body,
            ..RequestRecord::default()
        };

        let language = match transport {
            Transport::Esb => Language::of_esb(headers.get("blueking-language")),
            // Behind a gateway the old name is ignored.
            Transport::Gateway => Language::of_cmdb(headers.get("x-bkcmdb-language")),
            Transport::Direct => {
                Language::of_cmdb(headers.get("x-bkcmdb-language").or_else(|| headers.get("http_blueking_language")))
            }
        };

        Self {
            sequence: cmdb.requests().begin(record, bytes.len()),
            transport,
            name: address.name.to_owned(),
            operation: address.operation,
            path_id: address.id.map(str::to_owned),
            body,
            is_broken,
            authorization,
            language,
            id: envelope::request_id(),
            headers,
            hung_up,
        }
    }

    pub fn has_hung_up(&self) -> bool {
        self.hung_up.is_cancelled()
    }

    /// Waits until the caller is gone.
    pub async fn hang_up(&self) {
        self.hung_up.cancelled().await;
    }
}

/// The body's object, if it has one, and whether it should have one and has not.
fn parse(transport: Transport, bytes: &[u8]) -> (Option<Object>, bool) {
    let is_json = match transport {
        // The ESB takes only what starts like an object for JSON, and everything else for a form.
        Transport::Esb => bytes.trim_ascii_start().starts_with(b"{"),
        Transport::Gateway | Transport::Direct => !bytes.is_empty(),
    };
    if !is_json {
        return (None, false);
    }
    match serde_json::from_slice(bytes) {
        Ok(Value::Object(body)) => (Some(body), false),
        Ok(Value::Null) => (None, false),
        _ => (None, true),
    }
}
