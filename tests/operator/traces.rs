//! Traces over OTLP: each reconcile is a span, and its calls to CMDB are spans within it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::HeaderMap;
use axum::routing::post;
use serde_json::json;
use test_support::world::{PATIENCE, World};
use tokio::net::TcpListener;
use tokio::time::{Duration, Instant, sleep};

/// A span as it was received.
#[derive(Clone, Debug, Default)]
struct Span {
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    attributes: BTreeMap<String, String>,
}

/// The fields of a protobuf message that are messages, texts or bytes, by number; the others are skipped.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 0x7f) << shift;
            if first & 0x80 == 0 {
                return value;
            }
        }
        panic!("a number that does not end");
    }
    let mut fields = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        match key & 7 {
            0 => drop(varint(&mut message)),
            1 => message = &message[8..],
            5 => message = &message[4..],
            2 => {
                let length = usize::try_from(varint(&mut message)).unwrap();
                let (field, rest) = message.split_at(length);
                fields.push((key >> 3, field));
                message = rest;
            }
            other => panic!("no such type: {other}"),
        }
    }
    fields
}

fn all(message: &[u8], number: u64) -> Vec<&[u8]> {
    fields(message).into_iter().filter(|(field, _)| *field == number).map(|(_, field)| field).collect()
}

fn text(message: &[u8], number: u64) -> String {
    all(message, number).first().map(|text| String::from_utf8(text.to_vec()).unwrap()).unwrap_or_default()
}

fn attributes(message: &[u8], number: u64) -> BTreeMap<String, String> {
    let pair = |pair: &[u8]| (text(pair, 1), all(pair, 2).first().map(|value| text(value, 1)).unwrap_or_default());
    all(message, number).into_iter().map(pair).collect()
}

// ExportTraceServiceRequest: resource_spans 1, of which the resource is 1 and scope_spans 2, of which spans are 2.
fn received(request: &[u8]) -> Vec<Span> {
    let mut spans = Vec::new();
    for of_resource in all(request, 1) {
        let resource = attributes(all(of_resource, 1)[0], 1);
        assert_eq!(resource["service.name"], "process-template-operator");
        for span in all(of_resource, 2).into_iter().flat_map(|of_scope| all(of_scope, 2)) {
            let bytes = |number| all(span, number).first().map(|bytes| bytes.to_vec()).unwrap_or_default();
            spans.push(Span { id: bytes(2), parent: bytes(4), name: text(span, 5), attributes: attributes(span, 9) });
        }
    }
    spans
}

/// What receives traces; the variable that leads there.
async fn collector(spans: &Arc<Mutex<Vec<Span>>>) -> String {
    let kept = Arc::clone(spans);
    let receive = move |headers: HeaderMap, body: Bytes| {
        assert_eq!(headers["content-type"], "application/x-protobuf");
        kept.lock().unwrap().extend(received(&body));
        std::future::ready("")
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/v1/traces", post(receive))).await });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a control plane: make test"]
async fn a_reconcile_is_a_span_and_each_of_its_calls_one_within_it() {
    let spans = Arc::<Mutex<Vec<Span>>>::default();
    let endpoint = collector(&spans).await;
    let mut world = World::new("traces").await;
    world.service_template("web");
    world.start_operator_with(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()), ("no_proxy", "127.0.0.1")]).await;
    world.apply("web", json!({ "processes": [{ "name": "nginx", "funcName": "nginx" }] })).await;
    world.until_ready("web").await;
    // What was not exported yet is, at the end.
    world.stop_operator().await;
    let deadline = Instant::now() + PATIENCE;
    let is_there = || spans.lock().unwrap().iter().any(|span| span.name == "batch_create_proc_template");
    while !is_there() {
        assert!(Instant::now() < deadline, "{:?}", spans.lock().unwrap());
        sleep(Duration::from_millis(20)).await;
    }
    let spans = spans.lock().unwrap().clone();
    let create = spans.iter().find(|span| span.name == "batch_create_proc_template").unwrap();
    let reconcile = spans.iter().find(|span| span.id == create.parent).unwrap();
    assert_eq!((reconcile.name.as_str(), reconcile.parent.len()), ("reconcile", 0));
    let said = ["namespace", "name", "outcome"].map(|name| reconcile.attributes[name].as_str());
    assert_eq!(said, ["traces", "web", "ok"]);
    let calls: Vec<&Span> = spans.iter().filter(|span| span.parent == reconcile.id).collect();
    let sent = world.sim.requests();
    for call in &calls {
        let id = &call.attributes["correlation_id"];
        let record = sent.iter().find(|record| record.headers["x-request-id"] == *id).unwrap();
        assert_eq!((&call.name, &call.attributes["operation"]), (&record.call, &record.call));
        assert_eq!(call.attributes["outcome"], "ok");
    }
    // The lists before and after, and the create.
    let of_set = sent.iter().filter(|record| record.call.ends_with("proc_template")).count();
    assert_eq!(calls.iter().filter(|call| call.name.ends_with("proc_template")).count(), of_set);
    println!("traces: spans={} calls={}", spans.len(), calls.len());
    world.end().await;
}
