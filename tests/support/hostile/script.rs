//! How a CMDB answers a request: a list of steps.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

/// CMDB's code of a throttled call, over the ESB.
pub const THROTTLED: i64 = 1_306_429;

/// CMDB's code of a parameter that is not valid.
pub const INVALID: i64 = 1_199_006;

/// More repetitions than any client waits for.
pub const ENDLESS: u64 = 1 << 40;

/// One second.
pub const SECOND: Duration = Duration::from_secs(1);

/// A request.
#[derive(Debug)]
pub struct Request {
    /// CMDB's name of the call, on every transport; the path, if it is no call.
    pub operation: String,
    /// Its body; null if that is not JSON.
    pub body: Value,
    /// Number of requests before it to the same behaviour.
    pub number: u64,
}

impl Request {
    /// Whether the call is a list.
    pub fn is_list(&self) -> bool {
        self.operation.starts_with("list_")
    }

    /// Whether it is this call.
    pub fn is(&self, operation: &str) -> bool {
        self.operation == operation
    }
}

/// A change of a well-behaved answer.
pub type Change = fn(&Request, &mut Value);

/// One step of an answer.
#[derive(Clone)]
pub enum Step {
    /// Send the answer of a well-behaved CMDB, with additional header lines, and changed.
    Polite(String, Change),
    /// Do what a well-behaved CMDB does with the request, and send no answer.
    Unsaid,
    /// Send a text.
    Text(String),
    /// Send bytes.
    Bytes(Arc<[u8]>),
    /// Send a text this many times.
    Repeat(&'static str, u64),
    /// Send a text again and again, with a pause after each byte.
    Drip(&'static str, Duration),
    /// Wait.
    Wait(Duration),
    /// Send nothing any more, and keep the connection open.
    Silence,
    /// Close the connection.
    Close,
    /// Reset the connection.
    Reset,
}

/// All steps of an answer. After the last one the connection serves the next request.
pub type Script = Vec<Step>;

impl Step {
    fn len(&self) -> u64 {
        match self {
            Self::Text(text) => text.len() as u64,
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Repeat(text, times) => text.len() as u64 * times,
            _ => 0,
        }
    }
}

/// The answer of a well-behaved CMDB.
pub fn polite() -> Script {
    polite_with("")
}

/// The answer of a well-behaved CMDB, with additional header lines.
pub fn polite_with(headers: &str) -> Script {
    vec![Step::Polite(headers.to_owned(), |_, _| ())]
}

/// The answer of a well-behaved CMDB, changed.
pub fn changed(change: Change) -> Script {
    vec![Step::Polite(String::new(), change)]
}

/// The answer of a well-behaved CMDB, after a wait.
pub fn late(seconds: u64) -> Script {
    [vec![Step::Wait(Duration::from_secs(seconds))], polite()].concat()
}

/// A text, after which the connection is closed.
pub fn raw(line: &str) -> Script {
    vec![text(line), Step::Close]
}

/// A step that sends a text.
pub fn text(text: &str) -> Step {
    Step::Text(text.to_owned())
}

/// A step that repeats a text up to this many bytes.
pub fn filled(text: &'static str, bytes: u64) -> Step {
    Step::Repeat(text, bytes / text.len() as u64)
}

/// HTTP 200 with this body and its true length.
pub fn body(steps: Vec<Step>) -> Script {
    with_headers("200 OK", "", steps)
}

/// A status, additional header lines, and a body with its true length.
pub fn with_headers(status: &str, headers: &str, steps: Vec<Step>) -> Script {
    let length: u64 = steps.iter().map(Step::len).sum();
    let kind = "Content-Type: application/json";
    let head = format!("HTTP/1.1 {status}\r\n{kind}\r\nContent-Length: {length}\r\n{headers}\r\n");
    [vec![Step::Text(head)], steps].concat()
}

/// The head of an answer.
pub fn head(headers: &str) -> Step {
    Step::Text(format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{headers}\r\n"))
}

/// An error with this code and this message, which is any JSON.
pub fn refusal(code: i64, message: Vec<Step>) -> Script {
    let before = format!(r#"{{"result":false,"code":{code},"data":null,"message":"#);
    body([vec![Step::Text(before)], message, vec![text("}")]].concat())
}

/// An answer that throttles, with additional header lines.
pub fn throttled(headers: &str) -> Script {
    let body = json!({ "result": false, "code": THROTTLED, "message": "too many requests", "data": null });
    with_headers("429 Too Many Requests", headers, vec![Step::Text(body.to_string())])
}

/// A list with this count and these items.
pub fn list(count: u64, items: Vec<Step>) -> Script {
    let before = format!(r#"{{"result":true,"code":0,"message":"","data":{{"count":{count},"info":["#);
    body([vec![Step::Text(before)], items, vec![text("]}}")]].concat())
}

/// A hostile answer to every other request.
pub fn every_other(request: &Request, script: impl FnOnce() -> Script) -> Script {
    if request.number.is_multiple_of(2) { script() } else { polite() }
}
