//! Generates inputs: answers by their structure, with odd parts here and there, and mutations of recorded ones.

use std::fmt::Write as _;
use std::io::Write as _;

use fastrand::Rng;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;

use super::SECRET;
use crate::cmdb::classify;

const NUMBERS: &[&str] = &[
    "0",
    "-1",
    "-0",
    "1.5",
    "1e5",
    "1e400",
    "-1e-400",
    "2147483648",
    "4294967296",
    "9007199254740991",
    "9007199254740992",
    "9223372036854775807",
    "-9223372036854775808",
    "9223372036854775808",
    "18446744073709551615",
    "18446744073709551616",
    "99999999999999999999999999999999999999",
    "00001",
];

const HEADER_NUMBERS: &[&str] = &[
    "0",
    "1",
    "7",
    "60",
    "3600",
    "1795900000",
    "18446744073709551615",
    "18446744073709551616",
    "9223372036854775807",
    "-1",
    " 3 ",
    "1e9",
    "0x10",
    "",
    "+5",
    "soon",
    "1, 2",
    "\u{e9}",
];

const STATUSES: &[u16] = &[
    100, 101, 199, 201, 202, 204, 206, 299, 300, 301, 302, 304, 307, 400, 401, 403, 404, 408, 409, 413, 429, 431, 500,
    502, 503, 504, 599, 600, 999, 0, 65535,
];

const TEXTS: &[&str] = &[
    "success",
    "",
    "no permission",
    "User authentication failed, x",
    "APP Secret verification failed",
    "Invalid APP Code",
    "'bind_info[0].port' is invalid",
    "'' x",
    "field work_path contains space: x",
    "field  contains space",
    "it's 'a' 'b",
    "crypto/rsa: verification error",
    "timeout awaiting response headers",
    "at 2024-05-17 18:40:01.5 +0800 CST",
    "\\u0000\\u001b[31m",
    "\\ud800",
    "\\udc00\\ud800",
    "名名名",
    "\\\\\\\\\\\"",
    "%25%25%2525",
    "&amp;amp;lt;",
    "'",
    "e43da4ef2217",
];

const PROPERTIES: &[&str] = &[
    "bk_process_name",
    "bk_func_name",
    "bk_start_param_regex",
    "work_path",
    "start_cmd",
    "proc_num",
    "priority",
    "timeout",
    "auto_start",
    "user",
    "bind_info",
    "bind_ip",
    "port",
    "protocol",
    "description",
    "bk_private",
    "",
];

// Odd bytes that a mutation puts in.
const BYTES: &[&[u8]] = &[
    b"\r\n",
    b"\r\n\r\n",
    b"\0",
    b"\"",
    b"\\",
    b"\\u",
    b"{",
    b"[",
    b"]",
    b"}",
    b",",
    b":",
    b"-",
    b"1e999",
    b"null",
    b"\xff\xfe",
    b"\xc3",
    b"\xed\xa0\x80",
    b"18446744073709551615",
    b"-9223372036854775808",
    b"content-length: 18446744073709551615\r\n",
    b"transfer-encoding: chunked\r\n",
    b"content-encoding: gzip\r\n",
    b"ffffffffffffffff\r\n",
    b"X-Bkapi-RateLimit-Reset: 18446744073709551615\r\n",
];

fn one<'a, T: ?Sized>(rng: &mut Rng, list: &[&'a T]) -> &'a T {
    list[rng.usize(..list.len())]
}

// True with a probability of one in this number.
fn once_in(rng: &mut Rng, times: u32) -> bool {
    rng.u32(..times) == 0
}

/// The answer of a server, as bytes of a connection.
pub(crate) fn answer(rng: &mut Rng, operation: usize, recorded: &[Vec<u8>]) -> Vec<u8> {
    match rng.u8(..100) {
        0..2 => (0..rng.usize(..300)).map(|_| rng.u8(..)).collect(),
        2..35 => {
            let body = recorded[rng.usize(..recorded.len())].clone();
            let whole = framed(rng, 200, "", body);
            mutated(rng, whole)
        }
        35..45 => {
            let status = status(rng);
            let mut body = recorded[rng.usize(..recorded.len())].clone();
            body = mutated(rng, body);
            let headers = headers(rng);
            framed(rng, status, &headers, body)
        }
        _ => {
            let status = status(rng);
            let headers = headers(rng);
            let body = body(rng, operation).into_bytes();
            framed(rng, status, &headers, body)
        }
    }
}

fn status(rng: &mut Rng) -> u16 {
    if once_in(rng, 5) { STATUSES[rng.usize(..STATUSES.len())] } else { 200 }
}

fn headers(rng: &mut Rng) -> String {
    let mut headers = String::new();
    for name in ["X-Bkapi-RateLimit-Reset", "X-Bkapi-RateLimit-Limit", "X-Bkapi-RateLimit-Remaining", "Retry-After"] {
        if once_in(rng, 6) {
            let _ = write!(headers, "{name}: {}\r\n", one(rng, HEADER_NUMBERS));
        }
    }
    if once_in(rng, 5) {
        let id = match rng.u8(..5) {
            0 => SECRET.to_owned(),
            1 => "x".repeat(rng.usize(..400)),
            2 => "\u{e9}".to_owned(),
            _ => format!("{:016x}", rng.u64(..)),
        };
        let _ = write!(headers, "X-Request-Id: {id}\r\n");
    }
    if once_in(rng, 20) {
        headers.push_str(&"X-Other: y\r\n".repeat(rng.usize(..150)));
    }
    headers
}

// Puts a body into an HTTP answer.
fn framed(rng: &mut Rng, status: u16, headers: &str, body: Vec<u8>) -> Vec<u8> {
    let mut headers = headers.to_owned();
    let body = match rng.u8(..24) {
        0 | 1 => {
            headers.push_str("content-encoding: gzip\r\n");
            let packed = gzip(&body);
            if once_in(rng, 4) { mutated(rng, packed) } else { packed }
        }
        2 => {
            headers.push_str(one(
                rng,
                &["content-encoding: gzip\r\n", "content-encoding: br\r\n", "Content-Encoding: GZIP, gzip\r\n"],
            ));
            body
        }
        _ => body,
    };
    let (framing, body) = match rng.u8(..20) {
        0..3 => ("transfer-encoding: chunked\r\n".to_owned(), chunked(rng, &body)),
        3..5 => ("connection: close\r\n".to_owned(), body),
        5 => (format!("content-length: {}\r\n", rng.usize(..2000)), body),
        6 => (format!("content-length: {}\r\n", one(rng, NUMBERS)), body),
        _ => (format!("content-length: {}\r\n", body.len()), body),
    };
    let version =
        if once_in(rng, 50) { one(rng, &["HTTP/1.0", "HTTP/2.0", "http/1.1", "ICY", ""]) } else { "HTTP/1.1" };
    let mut bytes = format!("{version} {status} Status\r\n{headers}{framing}\r\n").into_bytes();
    bytes.extend(body);
    bytes
}

fn chunked(rng: &mut Rng, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for chunk in body.chunks(rng.usize(1..500)) {
        bytes.extend(format!("{:x}\r\n", chunk.len()).into_bytes());
        bytes.extend(chunk);
        bytes.extend(b"\r\n");
    }
    if !once_in(rng, 10) {
        bytes.extend(b"0\r\n\r\n");
    }
    bytes
}

/// Compresses.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let level = if bytes.len() > 65_536 { Compression::fast() } else { Compression::none() };
    let mut encoder = GzEncoder::new(Vec::new(), level);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn body(rng: &mut Rng, operation: usize) -> String {
    let mut fields = Vec::new();
    let is_ok = rng.bool();
    let code = if is_ok { "0".to_owned() } else { code(rng) };
    let code = if once_in(rng, 20) { value(rng, 2) } else { code };
    let (code_name, text_name) = if rng.bool() { ("code", "message") } else { ("bk_error_code", "bk_error_msg") };
    let result = if once_in(rng, 30) { value(rng, 2) } else { is_ok.to_string() };
    fields.push(format!("\"result\":{result}"));
    fields.push(format!("\"{code_name}\":{code}"));
    let text = if once_in(rng, 15) { value(rng, 3) } else { text(rng) };
    fields.push(format!("\"{text_name}\":{text}"));
    if rng.bool() {
        let id = match rng.u8(..6) {
            0 => "\"a\"".to_owned(),
            1 => format!("\"{SECRET}\""),
            2 => value(rng, 2),
            _ => format!("\"{:032x}\"", rng.u128(..)),
        };
        fields.push(format!("\"request_id\":{id}"));
    }
    if once_in(rng, 4) {
        fields.push(format!("\"permission\":{}", value(rng, 4)));
    }
    let data = if once_in(rng, 8) { value(rng, 4) } else { data(rng, operation) };
    fields.push(format!("\"data\":{data}"));
    if once_in(rng, 30) {
        fields.push(fields[rng.usize(..fields.len())].clone());
    }
    rng.shuffle(&mut fields);
    format!("{{{}}}", fields.join(","))
}

fn code(rng: &mut Rng) -> String {
    let code = match rng.u8(..20) {
        0 => return one(rng, NUMBERS).to_owned(),
        1 => rng.i64(..),
        _ => {
            let known = classify::codes();
            known[rng.usize(..known.len())]
        }
    };
    if once_in(rng, 10) { format!("\"{code}\"") } else { code.to_string() }
}

fn number(rng: &mut Rng) -> String {
    if once_in(rng, 25) { one(rng, NUMBERS).to_owned() } else { rng.i64(1..100).to_string() }
}

fn text(rng: &mut Rng) -> String {
    let text = match rng.u8(..16) {
        0 => format!("{} {SECRET} {SECRET}", one(rng, TEXTS)),
        1 => format!("{}{SECRET}", "x".repeat(rng.usize(4000..4200))),
        2 => format!("{}{}", one(rng, TEXTS), "名".repeat(rng.usize(..1500))),
        3 => "-:".repeat(rng.usize(..300)),
        _ => one(rng, TEXTS).to_owned(),
    };
    let text = if text.contains(SECRET) && once_in(rng, 3) { text.replace('-', "\\u002d") } else { text };
    format!("\"{text}\"")
}

// Any value.
fn value(rng: &mut Rng, depth: usize) -> String {
    match rng.u8(..10) {
        0 => "null".to_owned(),
        1 => rng.bool().to_string(),
        2 | 3 => number(rng),
        4 => one(rng, NUMBERS).to_owned(),
        5 | 6 => text(rng),
        _ if depth == 0 => "[]".to_owned(),
        7 => {
            let items: Vec<String> = (0..rng.usize(..4)).map(|_| value(rng, depth - 1)).collect();
            format!("[{}]", items.join(","))
        }
        8 => {
            let fields: Vec<String> = (0..rng.usize(..4))
                .map(|_| format!("\"{}\":{}", one(rng, PROPERTIES), value(rng, depth - 1)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        _ => {
            let levels = rng.usize(..40);
            format!("{}{}", "[".repeat(levels), "]".repeat(levels))
        }
    }
}

fn mostly(rng: &mut Rng, usual: String) -> String {
    if once_in(rng, 40) { value(rng, 3) } else { usual }
}

// The data of a success. The numbers of the operations are those of `Operation::ALL`.
fn data(rng: &mut Rng, operation: usize) -> String {
    match operation {
        0 => {
            let ids: Vec<String> = (0..rng.usize(..4)).map(|_| number(rng)).collect();
            if rng.bool() { format!("[[{}]]", ids.join(",")) } else { format!("[{}]", ids.join(",")) }
        }
        1 => template(rng),
        2 => value(rng, 2),
        3 => list(rng, template),
        4 => service_template(rng),
        5 => list(rng, service_template),
        _ => list(rng, category),
    }
}

fn list(rng: &mut Rng, item: fn(&mut Rng) -> String) -> String {
    let items: Vec<String> = (0..rng.usize(..4)).map(|_| item(rng)).collect();
    let count = if once_in(rng, 4) { number(rng) } else { items.len().to_string() };
    let count = mostly(rng, count);
    let info = if once_in(rng, 20) { value(rng, 1) } else { format!("[{}]", items.join(",")) };
    format!("{{\"count\":{count},\"info\":{info}}}")
}

/// A list of process templates.
pub(crate) fn templates(rng: &mut Rng) -> String {
    list(rng, template)
}

fn template(rng: &mut Rng) -> String {
    let properties: Vec<String> = (0..rng.usize(..6))
        .map(|_| {
            let name = one(rng, PROPERTIES);
            format!("\"{name}\":{}", property(rng, name))
        })
        .collect();
    let (id, biz, parent) = (number(rng), number(rng), number(rng));
    let id = mostly(rng, id);
    let name = if rng.bool() { one(rng, &["\"nginx\"", "\"worker-2\"", "\"flat\""]).to_owned() } else { text(rng) };
    let time = one(
        rng,
        &[
            "\"2024-05-17T18:40:01.532Z\"",
            "\"-009999-01-01T00:00:00Z\"",
            "\"9999-12-31T23:59:59.999999999Z\"",
            "null",
            "7",
        ],
    );
    let properties = mostly(rng, format!("{{{}}}", properties.join(",")));
    let creator = if rng.bool() { "\"ann\"".to_owned() } else { value(rng, 1) };
    format!(
        "{{\"id\":{id},\"bk_process_name\":{name},\"bk_biz_id\":{biz},\"service_template_id\":{parent},\"property\":{properties},\
         \"creator\":{creator},\"create_time\":{time},\"last_time\":{time}}}"
    )
}

fn property(rng: &mut Rng, name: &str) -> String {
    let usual = match name {
        "bind_info" => {
            let rows: Vec<String> = (0..rng.usize(..3)).map(|_| row(rng)).collect();
            format!("[{}]", rows.join(","))
        }
        "proc_num" | "priority" | "timeout" => number(rng),
        _ => text(rng),
    };
    let value = mostly(rng, usual);
    let locked = one(rng, &["true", "false", "null"]).to_owned();
    let locked = mostly(rng, locked);
    mostly(rng, format!("{{\"value\":{value},\"as_default_value\":{locked}}}"))
}

fn row(rng: &mut Rng) -> String {
    let mut cells = Vec::new();
    for (name, usual) in
        [("ip", "\"1\""), ("port", "\"8000-8010\""), ("protocol", "\"1\""), ("enable", "true"), ("row_id", "1")]
    {
        if !once_in(rng, 6) {
            let value = mostly(rng, usual.to_owned());
            let pair =
                if name == "row_id" { value } else { format!("{{\"value\":{value},\"as_default_value\":true}}") };
            cells.push(format!("\"{name}\":{pair}"));
        }
    }
    let row = format!("{{{}}}", cells.join(","));
    mostly(rng, row)
}

fn service_template(rng: &mut Rng) -> String {
    let (id, name, biz, category) = (number(rng), text(rng), number(rng), number(rng));
    let item = format!("{{\"id\":{id},\"name\":{name},\"bk_biz_id\":{biz},\"service_category_id\":{category}}}");
    mostly(rng, item)
}

fn category(rng: &mut Rng) -> String {
    let (id, name, parent) = (number(rng), text(rng), number(rng));
    let item = format!("{{\"id\":{id},\"name\":{name},\"bk_parent_id\":{parent},\"bk_biz_id\":0}}");
    mostly(rng, item)
}

/// Some bytes changed, removed, repeated or put in.
pub(crate) fn mutated(rng: &mut Rng, mut bytes: Vec<u8>) -> Vec<u8> {
    for _ in 0..rng.usize(1..6) {
        if bytes.is_empty() {
            return bytes;
        }
        let at = rng.usize(..bytes.len());
        let end = (at + rng.usize(..40)).min(bytes.len());
        match rng.u8(..8) {
            0 | 1 => bytes[at] ^= 1 << rng.u8(..8),
            2 => bytes[at] = rng.u8(..),
            3 => drop(bytes.drain(at..end)),
            4 => {
                let part = bytes[at..end].to_vec();
                let to = rng.usize(..=bytes.len());
                bytes.splice(to..to, part);
            }
            5 | 6 => {
                let odd = BYTES[rng.usize(..BYTES.len())];
                bytes.splice(at..at, odd.iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// An object with some of its values replaced by odd ones.
pub(crate) fn object(rng: &mut Rng, recorded: &Value) -> Vec<u8> {
    let mut object = recorded.clone();
    for _ in 0..rng.usize(1..4) {
        replace(rng, &mut object);
    }
    let bytes = object.to_string().into_bytes();
    if once_in(rng, 6) { mutated(rng, bytes) } else { bytes }
}

// Goes down at random, and replaces what it comes to.
fn replace(rng: &mut Rng, value: &mut Value) {
    let children: Vec<&mut Value> = match value {
        Value::Array(items) => items.iter_mut().collect(),
        Value::Object(fields) => fields.values_mut().collect(),
        _ => Vec::new(),
    };
    let count = children.len();
    if count > 0 && !once_in(rng, 8) {
        let at = rng.usize(..count);
        if let Some(child) = children.into_iter().nth(at) {
            replace(rng, child);
        }
        return;
    }
    let odd = self::value(rng, 3);
    *value = match value.take() {
        Value::Array(items) if !items.is_empty() && rng.bool() => {
            let mut items = items;
            items.extend(items.clone());
            Value::Array(items)
        }
        Value::String(text) if rng.bool() => Value::String(text.repeat(rng.usize(..50))),
        _ => serde_json::from_str(&odd).unwrap_or(Value::Null),
    };
}
