//! Hostile bodies: large, deep, small on the wire, costly to read.

use std::time::Duration;

use super::{Behaviour, behaviour_of};
use crate::hostile::bodies::{MIB, bomb, deep, numbered_items, only, quoted, tiny_item, tiny_items};
use crate::hostile::objects::{FEW, Objects, Secret};
use crate::hostile::script::{ENDLESS, INVALID, Step, body, filled, head, list, polite, refusal, text, with_headers};

/// The largest body within the client's limit.
const LARGE: u64 = 31 * MIB;

/// Sets of eight connections at once.
const EIGHT: Objects = Objects { sets: 16, connections: 8, has_businesses: true, ..FEW };

const LONG_SECRET: Objects = Objects { secret: Secret::Long("a", 60_000), ..FEW };

const BEFORE_MESSAGE: &str = r#"{"result":false,"code":1199006,"data":null,"message":"#;

pub const SIZES: &[Behaviour] = &[
    behaviour_of("lists-of-32-mib", |request| tiny_items(request, LARGE), FEW),
    behaviour_of(
        "process-lists-of-32-mib",
        |request| only(request, "list_proc_template", || tiny_items(request, LARGE)),
        Objects { has_businesses: true, ..FEW },
    ),
    behaviour_of("eight-connections-with-lists-of-32-mib", |request| tiny_items(request, LARGE), EIGHT),
    behaviour_of(
        "eight-connections-with-stalled-lists-of-32-mib",
        |request| {
            let mut script = tiny_items(request, LARGE);
            script.insert(script.len() - 1, Step::Wait(Duration::from_secs(20)));
            script
        },
        EIGHT,
    ),
    behaviour_of("lists-of-a-million-items", |request| numbered_items(request, 1_000_000, 1), FEW),
    behaviour_of(
        "process-lists-of-300000-items",
        |request| only(request, "list_proc_template", || numbered_items(request, 300_000, 1)),
        FEW,
    ),
    behaviour_of(
        "endless-pages",
        |request| {
            let start = request.body["page"]["start"].as_i64().unwrap_or_default();
            only(request, "list_service_template", || numbered_items(request, 500, start + 1))
        },
        FEW,
    ),
    behaviour_of(
        "process-of-a-million-properties",
        |request| {
            let before = text(r#"{"id":1,"bk_process_name":"p","property":{"#);
            let item = vec![before, filled(r#""a":{},"#, LARGE), text(r#""b":{}}}"#)];
            only(request, "list_proc_template", || list(1, item))
        },
        FEW,
    ),
    behaviour_of(
        "eight-connections-with-properties-of-5-mib",
        |request| {
            let before = text(r#"{"id":1,"bk_process_name":"p","property":{""#);
            let value = vec![text(r#"":{"value":""#), filled("v", 5 * MIB)];
            let description = vec![text(r#""},"description":{"value":""#), filled("d", 5 * MIB), text(r#""}}}"#)];
            let item = [vec![before, filled("n", 5 * MIB)], value, description].concat();
            only(request, "list_proc_template", || list(1, item))
        },
        EIGHT,
    ),
    behaviour_of(
        "eight-connections-with-lists-that-are-large-when-parsed",
        |request| only(request, "list_proc_template", || numbered_items(request, 60_000, 1)),
        EIGHT,
    ),
    behaviour_of(
        "name-of-31-mib",
        |request| {
            let key = if request.is("list_proc_template") { "bk_process_name" } else { "name" };
            list(1, vec![Step::Text(format!(r#"{{"id":1,"{key}":""#)), filled("x", LARGE), text("\"}")])
        },
        FEW,
    ),
    behaviour_of(
        "surplus-ids",
        |request| {
            let ids = vec![text(r#"{"result":true,"code":0,"data":["#), filled("7,", 8 * MIB), text("7]}")];
            only(request, "batch_create_proc_template", || body(ids))
        },
        FEW,
    ),
    behaviour_of(
        "message-of-31-mib-arrays",
        |_| refusal(INVALID, vec![text("["), filled("[],", LARGE), text("0]")]),
        FEW,
    ),
    behaviour_of("message-of-31-mib-text", |_| refusal(INVALID, quoted(vec![filled("no ", LARGE)])), FEW),
    behaviour_of("message-of-31-mib-escapes", |_| refusal(INVALID, quoted(vec![filled("\\u0000", LARGE)])), FEW),
    behaviour_of("message-near-secret", |_| refusal(INVALID, quoted(vec![filled("a", MIB)])), LONG_SECRET),
    behaviour_of(
        "message-near-secret-escaped",
        |_| refusal(INVALID, quoted(vec![filled("%25252525&amp;amp;", MIB)])),
        Objects { secret: Secret::Long("%&", 30_000), ..FEW },
    ),
    behaviour_of(
        "message-near-secret-backslashes",
        |_| refusal(INVALID, quoted(vec![filled("\\\\", MIB)])),
        Objects { secret: Secret::Long("\\x", 30_000), ..FEW },
    ),
    behaviour_of(
        "request-id-near-secret",
        |_| body(vec![text(BEFORE_MESSAGE), text(r#""no","request_id":""#), filled("a", MIB), text("\"}")]),
        LONG_SECRET,
    ),
    behaviour_of(
        "code-of-31-mib-digits",
        |_| body(vec![text(r#"{"result":false,"code":"#), filled("9", LARGE), text("}")]),
        FEW,
    ),
    behaviour_of("white-space-of-31-mib", |_| body(vec![filled("\n", LARGE), text("{}")]), FEW),
    behaviour_of(
        "nested-without-end",
        |_| body(vec![text(r#"{"result":true,"code":0,"data":"#), filled("[", LARGE)]),
        FEW,
    ),
    behaviour_of("nested-110-deep", |_| body(vec![deep(110, LARGE)]), FEW),
    behaviour_of(
        "endless-body",
        |_| vec![head("Transfer-Encoding: chunked\r\n"), text("FFFFFFFFFFF\r\n"), Step::Repeat("[", ENDLESS)],
        FEW,
    ),
    behaviour_of(
        "endless-chunks-of-a-byte",
        |_| vec![head("Transfer-Encoding: chunked\r\n"), Step::Repeat("1\r\n \r\n", ENDLESS)],
        FEW,
    ),
    behaviour_of(
        "endless-chunk-size",
        |_| vec![head("Transfer-Encoding: chunked\r\n"), Step::Repeat("0", ENDLESS)],
        FEW,
    ),
    behaviour_of("gzip-bomb-of-arrays", |_| bomb("arrays", (&format!("{BEFORE_MESSAGE}["), "[],", "0]}"), LARGE), FEW),
    behaviour_of(
        "gzip-bomb-of-items",
        |request| {
            let (item, after) = (tiny_item(request), r#"{"id":1,"name":"n","bk_process_name":"p"}]}}"#);
            bomb(item, (r#"{"result":true,"code":0,"data":{"count":1,"info":["#, item, after), LARGE)
        },
        FEW,
    ),
    behaviour_of(
        "gzip-bomb-of-a-gib",
        |_| bomb("gib", ("[", "                                ", "]"), 1024 * MIB),
        FEW,
    ),
    behaviour_of(
        "not-utf-8",
        |_| body(vec![Step::Bytes([BEFORE_MESSAGE.as_bytes(), &[b'"', 0xff, 0xc3, 0, b'"', b'}']].concat().into())]),
        FEW,
    ),
    behaviour_of(
        "nul-and-control-characters",
        |_| refusal(INVALID, quoted(vec![text(r"\u0000\u001b[2J\u202e\uffff")])),
        FEW,
    ),
    behaviour_of("no-body", |_| body(vec![]), FEW),
    behaviour_of("html", |_| with_headers("200 OK", "", vec![filled("<html>busy</html>", MIB)]), FEW),
    behaviour_of(
        "version-page-of-31-mib",
        |request| if request.is("/version") { body(vec![filled("version ", LARGE)]) } else { polite() },
        Objects { transport: "Direct", ..FEW },
    ),
];
