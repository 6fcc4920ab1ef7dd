//! Envelopes around the data of a reply, and IDs of requests.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// The shape of an envelope of CMDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// The ESB's: `code`, `message` and the ID of the request.
    Esb,
    /// The apiserver's: `bk_error_code`, `bk_error_msg`.
    Apiserver,
    /// What the apiserver makes of a daemon's reply to a gateway: `code`, `message`.
    Proxied,
}

/// Serialises the `data` of a reply. The types that come here cannot fail to serialise.
pub(crate) fn data<T: Serialize>(data: &T) -> String {
    serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())
}

pub(crate) fn success(shape: Shape, data: &str, request_id: &str) -> String {
    wrap(shape, 0, "success", data, &Value::Null, request_id)
}

pub(crate) fn failure(shape: Shape, code: i64, message: &str, permission: &Value, request_id: &str) -> String {
    wrap(shape, code, message, "null", permission, request_id)
}

/// The data stays text: a list of thousands is serialised once.
fn wrap(shape: Shape, code: i64, message: &str, data: &str, permission: &Value, request_id: &str) -> String {
    let result = code == 0;
    let message = Value::from(message);
    match shape {
        Shape::Esb => format!(
            r#"{{"result":{result},"code":{code},"message":{message},"data":{data},"permission":{permission},"request_id":"{request_id}"}}"#
        ),
        Shape::Apiserver => format!(
            r#"{{"result":{result},"bk_error_code":{code},"bk_error_msg":{message},"permission":{permission},"data":{data}}}"#
        ),
        Shape::Proxied => format!(
            r#"{{"result":{result},"code":{code},"message":{message},"permission":{permission},"data":{data}}}"#
        ),
    }
}

/// A new ID of a request: 32 hexadecimal digits.
pub(crate) fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{count} {} {}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    digest(&seed, 16)
}

/// The same ID with the dashes that the gateway writes into it.
pub(crate) fn dashed(id: &str) -> String {
    let pieces = [0..8, 8..12, 12..16, 16..20, 20..32].map(|range| id.get(range).unwrap_or_default());
    pieces.join("-")
}

/// The first bytes of the SHA-256 digest in hexadecimal.
pub(crate) fn digest(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(bytes).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
