//! What the ESB wraps around every answer.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Serialises the `data` of a reply. The types that come here cannot fail to serialise.
pub(super) fn data<T: Serialize>(data: &T) -> String {
    serde_json::to_string(data).unwrap_or_else(|_| "null".to_owned())
}

pub(super) fn success(data: &str, request_id: &str) -> String {
    format!(
        r#"{{"result":true,"code":0,"message":"success","data":{data},"permission":null,"request_id":"{request_id}"}}"#
    )
}

pub(super) fn failure(code: i64, message: &str, permission: &Value, request_id: &str) -> String {
    let message = Value::from(message);
    format!(
        r#"{{"result":false,"code":{code},"message":{message},"data":null,"permission":{permission},"request_id":"{request_id}"}}"#
    )
}

/// 32 hexadecimal digits, another one each time.
pub(super) fn request_id() -> String {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let seed = format!("{count} {} {}", std::process::id(), jiff::Timestamp::now().as_nanosecond());
    digest(&seed, 16)
}

/// The first bytes of the SHA-256 digest in hexadecimal.
pub(super) fn digest(text: &str, bytes: usize) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(bytes).fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}
