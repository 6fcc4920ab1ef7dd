//! Hostile status lines and headers.

use super::{Behaviour, behaviour_of};
use crate::hostile::bodies::{MIB, quoted};
use crate::hostile::objects::FEW;
use crate::hostile::script::{
    ENDLESS, SECOND, Script, Step, THROTTLED, filled, head, polite_with, raw, text, throttled, with_headers,
};

fn quota(limit: &str, remaining: &str, reset: &str) -> Script {
    let values = [("Limit", limit), ("Remaining", remaining), ("Reset", reset)];
    polite_with(&values.map(|(name, value)| format!("X-Bkapi-RateLimit-{name}: {value}\r\n")).concat())
}

fn cookies() -> String {
    let numbers: Vec<String> = (0..90).map(|number| format!("Set-Cookie: c{number}={:700}\r\n", "x")).collect();
    numbers.concat()
}

pub const HEADERS: &[Behaviour] = &[
    behaviour_of("reset-max-u64", |_| quota("100", "50", "18446744073709551615"), FEW),
    behaviour_of("reset-max-i64-and-nothing-left", |_| quota("100", "0", "9223372036854775807"), FEW),
    behaviour_of("reset-epoch", |_| quota("100", "0", "1795900000"), FEW),
    behaviour_of("reset-epoch-milliseconds", |_| quota("100", "3", "1795900000000"), FEW),
    behaviour_of("quota-no-numbers", |_| quota("NaN", "inf", "-1"), FEW),
    behaviour_of("quota-all-zero", |_| quota("0", "0", "0"), FEW),
    behaviour_of("quota-max-u64", |_| quota("18446744073709551615", "18446744073709551615", "1"), FEW),
    behaviour_of("quota-beyond-u64", |_| quota("99999999999999999999999", "1e308", "18446744073709551616"), FEW),
    behaviour_of(
        "quota-jumps",
        |request| match request.number % 3 {
            0 => quota("1", "18446744073709551614", "1"),
            1 => quota("18446744073709551614", "0", "9223372036854775807"),
            _ => quota("5", "9007199254740993", "4294967296"),
        },
        FEW,
    ),
    behaviour_of("retry-after-max-u64", |_| throttled("Retry-After: 18446744073709551615\r\n"), FEW),
    behaviour_of("retry-after-year-9999", |_| throttled("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT\r\n"), FEW),
    behaviour_of(
        "throttles-with-reset-max-u64",
        |_| throttled("Retry-After: -1\r\nX-Bkapi-RateLimit-Reset: 18446744073709551615\r\n"),
        FEW,
    ),
    behaviour_of(
        "throttles-with-reset-epoch",
        |_| {
            let body = format!(r#"{{"result":false,"code":{THROTTLED},"message":"no","data":null}}"#);
            with_headers("200 OK", "X-Bkapi-RateLimit-Reset: 1795900000\r\n", vec![Step::Text(body)])
        },
        FEW,
    ),
    behaviour_of(
        "content-length-beyond-u64",
        |_| vec![head("Content-Length: 18446744073709551616\r\n"), text("{"), Step::Silence],
        FEW,
    ),
    behaviour_of(
        "content-length-max-i64",
        |_| vec![head("Content-Length: 9223372036854775807\r\n"), filled("[", 16 * MIB), Step::Silence],
        FEW,
    ),
    behaviour_of("content-length-negative", |_| vec![head("Content-Length: -1\r\n"), text("{}"), Step::Close], FEW),
    behaviour_of(
        "content-length-twice",
        |_| vec![head("Content-Length: 2\r\nContent-Length: 90\r\n"), text("{}")],
        FEW,
    ),
    behaviour_of("cookies-of-64-kb", |_| polite_with(&cookies()), FEW),
    behaviour_of(
        "endless-headers",
        |_| vec![text("HTTP/1.1 200 OK\r\n"), Step::Repeat("X-More: more\r\n", ENDLESS)],
        FEW,
    ),
    behaviour_of("slow-headers", |_| vec![text("HTTP/1.1 200 OK\r\n"), Step::Drip("X-More: more\r\n", SECOND)], FEW),
    behaviour_of("endless-103", |_| vec![Step::Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", ENDLESS)], FEW),
    behaviour_of("endless-100", |_| vec![Step::Repeat("HTTP/1.1 100 Continue\r\n\r\n", ENDLESS)], FEW),
    behaviour_of("endless-blank-lines", |_| vec![Step::Repeat("\r\n", ENDLESS)], FEW),
    behaviour_of("slow-100", |_| vec![Step::Drip("HTTP/1.1 100 Continue\r\n\r\n", SECOND)], FEW),
    behaviour_of(
        "http-1-0",
        |_| raw("HTTP/1.0 200 OK\r\n\r\n{\"result\":true,\"code\":0,\"data\":{\"count\":0,\"info\":[]}}"),
        FEW,
    ),
    behaviour_of("no-http", |_| raw("SSH-2.0-OpenSSH_9.9\r\n"), FEW),
    behaviour_of("status-999", |_| with_headers("999 Whatever", "", quoted(vec![text("no")])), FEW),
    behaviour_of(
        "redirect-loop",
        |request| {
            let location = format!("Location: /redirect-loop/0/{}?{:60000}\r\n", request.operation, "x");
            with_headers("302 Found", &location.replace(' ', "+").replacen('+', " ", 1), vec![])
        },
        FEW,
    ),
];
