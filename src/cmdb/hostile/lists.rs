//! What was parsed of lists neither holds large texts nor takes more memory than there is for all of them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use super::{client, endless};
use crate::cmdb::http::scripted::{Piece, Script};
use crate::cmdb::intake::footprint::Footprint as _;
use crate::cmdb::intake::list_budget::TOTAL_BYTES;
use crate::cmdb::intake::too_large::MAX_LIST;
use crate::cmdb::{
    Behalf, Client, Error, GrantedClient, Limiters, ListShare, Priority, ProcessTemplate, ServiceTemplateRef, Unbounded,
};

const OF: ServiceTemplateRef<'_> = ServiceTemplateRef { biz_id: 2, id: 7, name: "web" };

const MIB: usize = 1 << 20;

fn unbounded(client: &Client) -> GrantedClient {
    GrantedClient::new(client.clone(), Arc::new(Unbounded), Behalf::default())
}

async fn hold(client: &Client) -> Result<(Vec<ProcessTemplate>, ListShare), Error> {
    unbounded(client).hold_process_templates(Priority::Interactive, OF).await
}

// A list with these items in it.
fn list(count: usize, items: Vec<Piece>) -> Vec<Piece> {
    let start = endless(&format!(r#"{{"result":true,"code":0,"message":"","data":{{"count":{count},"info":["#));
    [vec![start], items, vec![Piece::Bytes(b"]}}".to_vec())]].concat()
}

// One template, with a large text before and after which this stands.
fn large(before: &str, bytes: usize, after: &str) -> Vec<Piece> {
    let text = |text: &str| Piece::Bytes(text.as_bytes().to_vec());
    list(1, vec![text(before), Piece::Repeat(b"secret--", bytes / 8), text(after)])
}

async fn listed(pieces: Vec<Piece>) -> Result<Vec<ProcessTemplate>, Error> {
    let client = client("cmdb.example.com", &Arc::default(), Script::new(move |_| pieces.clone()));
    unbounded(&client).list_process_templates(Priority::Interactive, OF).await
}

#[tokio::test(start_paused = true)]
async fn a_large_text_of_a_list_is_refused_and_not_quoted() {
    let property = |name: &str, value: &str| format!(r#"{{"id":1,"bk_process_name":"p","property":{{"{name}":{value}"#);
    let (row, close_row) = (r#"{"value":[{"port":{"value":""#, r#""}}]}}}"#);
    for (before, after, too_large) in [
        (r#"{"id":1,"bk_process_name":""#.to_owned(), r#""}"#, "a name of more than"),
        (r#"{"id":1,"bk_process_name":"p","creator":""#.to_owned(), r#""}"#, "a name of more than"),
        (property("description", r#"{"value":""#), r#""}}}"#, "a text of more than"),
        (property("bk_private", r#"""#), r#""}}"#, "a text of more than"),
        (property("bind_info", row), close_row, "a text of more than"),
        (property("bind_info", r#"{"value":[{""#), r#"":1}]}}}"#, "a text of more than"),
    ] {
        let error = listed(large(&before, 5 * MIB, after)).await.unwrap_err();
        assert_eq!(error.label(), "protocol", "{before}");
        let text = error.to_string();
        assert!(text.contains(too_large) && !text.contains("secret"), "{before}: {text}");
    }

    let many = format!(r#"{{"value":[{}]}}"#, vec![r#"{"row_id":1}"#; 5000].join(","));
    let item = format!(r#"{{"id":1,"bk_process_name":"p","property":{{"bind_info":{many}}}}}"#);
    let error = listed(list(1, vec![Piece::Bytes(item.into_bytes())])).await.unwrap_err();
    assert!(error.to_string().contains("a property of more than"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_property_with_a_name_that_no_set_can_name_is_skipped() {
    let before = r#"{"id":1,"bk_process_name":"p","property":{"description":{"value":"d"},""#;
    let found = listed(large(before, 5 * MIB, r#"":{"value":1}}}"#)).await.unwrap();
    assert_eq!(found[0].property.keys().collect::<Vec<_>>(), ["description"]);
    assert!(found[0].heap_bytes() < 1024);
}

#[tokio::test(start_paused = true)]
async fn what_is_larger_than_before_but_real_is_kept() {
    let before = r#"{"id":1,"bk_process_name":"p","property":{"start_cmd":{"value":""#;
    let found = listed(large(before, 60 << 10, r#""}}}"#)).await.unwrap();
    assert_eq!(found[0].property["start_cmd"].value.as_str().unwrap().len(), 60 << 10);
}

fn small_templates(count: usize, name_bytes: usize) -> Vec<u8> {
    let name = "n".repeat(name_bytes);
    let items = (1..=count).map(|id| format!(r#"{{"id":{id},"bk_process_name":"{id}{name}"}}"#));
    items.collect::<Vec<_>>().join(",").into_bytes()
}

#[tokio::test(start_paused = true)]
async fn many_small_templates_that_take_much_memory_are_refused() {
    let body = small_templates(150_000, 1);
    assert!(body.len() < 6 * MIB);
    let error = listed(list(150_000, vec![Piece::Bytes(body)])).await.unwrap_err();
    assert_eq!(error.label(), "protocol");
    assert!(error.to_string().contains("a list that takes more than"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn lists_that_are_held_stay_within_their_budget() {
    let limiters: Arc<Limiters> = Arc::default();
    let body = small_templates(20_000, 200);
    let clients: Vec<Client> = (0..8)
        .map(|number| {
            let pieces = list(20_000, vec![Piece::Bytes(body.clone())]);
            client(&format!("cmdb-{number}.example.com"), &limiters, Script::new(move |_| pieces.clone()))
        })
        .collect();

    // Each connection reads four times, and holds what it gets.
    let lists = join_all((0..4).flat_map(|_| &clients).map(hold)).await;
    let (held, refused): (Vec<_>, Vec<_>) = lists.into_iter().partition(Result::is_ok);
    let held: Vec<_> = held.into_iter().map(Result::unwrap).collect();
    for error in refused.into_iter().map(Result::unwrap_err) {
        assert!(["unavailable", "outcome_unknown"].contains(&error.label()), "{error}");
    }
    let bytes = |(list, _): &(Vec<ProcessTemplate>, ListShare)| {
        list.iter().map(|template| size_of_val(template) + template.heap_bytes()).sum::<usize>()
    };
    let (list_bytes, kept_bytes) = (bytes(&held[0]), held.iter().map(bytes).sum::<usize>());
    let (taken, most) = limiters.replies().lists.bytes();
    println!("parsed: lists={} list_bytes={list_bytes} kept_bytes={kept_bytes} budget_bytes={TOTAL_BYTES}", held.len());
    assert!(list_bytes > 4 * MIB && list_bytes <= MAX_LIST, "{list_bytes}");
    assert!(kept_bytes <= taken && most <= TOTAL_BYTES, "{kept_bytes} {taken} {most}");
    assert!((3..32).contains(&held.len()), "{}", held.len());
    assert!(limiters.replies().is_unused(), "no place for a body is held");

    // A small list needs no room, and there is room again when the lists are dropped.
    let small =
        client("small.example.com", &limiters, Script::new(|_| list(1, vec![Piece::Bytes(small_templates(1, 1))])));
    assert_eq!(hold(&small).await.unwrap().0.len(), 1);
    drop(held);
    assert!(limiters.replies().lists.is_unused());
    tokio::time::sleep(Duration::from_mins(1)).await;
    assert_eq!(hold(&clients[0]).await.unwrap().0.len(), 20_000);
}

#[tokio::test(start_paused = true)]
async fn pages_that_take_too_much_together_are_refused_and_given_back() {
    let limiters: Arc<Limiters> = Arc::default();
    let script = Script::new(|request| {
        let body: serde_json::Value = serde_json::from_slice(request.body().unwrap().as_bytes().unwrap()).unwrap();
        let start = usize::try_from(body["page"]["start"].as_u64().unwrap_or_default()).unwrap();
        let name = "n".repeat(1000);
        let items = (start..start + 500).map(|id| format!(r#"{{"id":{},"name":"{name}"}}"#, id + 1));
        list(100_000, vec![Piece::Bytes(items.collect::<Vec<_>>().join(",").into_bytes())])
    });
    let client = client("cmdb.example.com", &limiters, script);
    let error = unbounded(&client).list_service_templates(Priority::Interactive, 2).await.unwrap_err();
    assert_eq!(error.label(), "protocol");
    assert!(error.to_string().contains("a list that takes more than"), "{error}");
    assert!(limiters.replies().lists.bytes().1 <= MAX_LIST + MIB && limiters.replies().lists.is_unused());
}
