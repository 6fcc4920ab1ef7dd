//! One answer, however it is made, neither panics, nor takes more than its part of time and memory.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use futures::future::join_all;
use tokio::time::{Instant, advance};

use super::{SECRET, client, config, endless, http};
use crate::cmdb::http::scripted::{Piece, Script};
use crate::cmdb::intake::budget::TOTAL_BYTES;
use crate::cmdb::{
    Behalf, Client, Config, Error, GrantedClient, Limiters, Priority, ProcessTemplate, Properties, ServiceTemplateRef,
    Unbounded,
};

const EMPTY_LIST: &str = r#"{"result":true,"code":0,"message":"","data":{"count":0,"info":[]}}"#;

const MIB: usize = 1 << 20;

const OF: ServiceTemplateRef<'_> = ServiceTemplateRef { biz_id: 2, id: 7, name: "web" };

fn unbounded(client: &Client) -> GrantedClient {
    GrantedClient::new(client.clone(), Arc::new(Unbounded), Behalf::default())
}

async fn list(client: &Client) -> Result<Vec<ProcessTemplate>, Error> {
    unbounded(client).list_process_templates(Priority::Interactive, OF).await
}

async fn create(client: &Client) -> Result<Vec<i64>, Error> {
    unbounded(client).create_process_templates(OF, &[Properties::default()]).await
}

// A client of a server that always answers so.
fn always(pieces: Vec<Piece>) -> (Client, Arc<Limiters>) {
    let limiters = Arc::default();
    (client("cmdb.example.com", &limiters, Script::new(move |_| pieces.clone())), limiters)
}

#[tokio::test(start_paused = true)]
async fn no_number_of_a_header_panics() {
    for number in
        ["18446744073709551615", "18446744073709551614", "9223372036854775807", "1e9", "-1", "99999999999999999999"]
    {
        for name in ["Reset", "Limit", "Remaining"] {
            let headers: String = ["Reset", "Limit", "Remaining"]
                .map(|other| {
                    let value = if other == name { number } else { "7" };
                    format!("X-Bkapi-RateLimit-{other}: {value}\r\n")
                })
                .concat();
            let (client, _) = always(http(200, &headers, EMPTY_LIST.as_bytes()));
            for _ in 0..3 {
                list(&client).await.unwrap();
            }
            let (client, _) = always(http(429, &headers, b"{}"));
            list(&client).await.unwrap_err();
            assert!(client.learned_rate().is_finite());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_epoch_for_a_reset_stops_a_connection_for_minutes_at_most() {
    let answered = AtomicUsize::new(0);
    let script = Script::new(move |_| {
        let headers =
            "X-Bkapi-RateLimit-Limit: 100\r\nX-Bkapi-RateLimit-Remaining: 0\r\nX-Bkapi-RateLimit-Reset: 1795900000\r\n";
        let is_first = answered.fetch_add(1, Ordering::Relaxed) == 0;
        http(200, if is_first { headers } else { "" }, EMPTY_LIST.as_bytes())
    });
    let client = client("cmdb.example.com", &Arc::default(), script);
    list(&client).await.unwrap();
    let Error::Throttled { retry_after: Some(wait), .. } = list(&client).await.unwrap_err() else { panic!() };
    assert!(wait <= Duration::from_mins(5), "{wait:?}");
    advance(wait).await;
    list(&client).await.unwrap();
    assert!(client.learned_rate() > 100.0);
}

#[tokio::test(start_paused = true)]
async fn a_large_message_is_cut_before_anything_else_is_done_with_it() {
    for text in ["a", "planted-app-", SECRET] {
        let bytes: &'static [u8] = text.as_bytes();
        let (client, _) = always(vec![
            endless(r#"{"result":false,"code":1113019,"message":""#),
            Piece::Repeat(bytes, (31 << 20) / bytes.len()),
            Piece::Bytes(b"\"}".to_vec()),
        ]);
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.label(), "conflict");
        assert!(error.user_message().len() < 600 && !error.user_message().contains(SECRET));
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_of_ten_million_values_is_refused_before_it_is_built() {
    for field in ["message", "bk_error_msg", "request_id", "permission", "data", "unknown"] {
        let start = format!(r#"{{"result":false,"code":1,"{field}":[[]"#);
        let values = Piece::Repeat(b",[]", 10_000_000);
        let (client, limiters) = always(vec![endless(&start), values, Piece::Bytes(b"]}".to_vec())]);
        let error = list(&client).await.unwrap_err();
        assert_eq!(error.label(), "protocol");
        assert!(error.to_string().contains("more values"), "{error}");
        assert!(limiters.replies().is_unused());
    }
}

#[tokio::test(start_paused = true)]
async fn eight_answers_of_32_mib_at_a_time_stay_within_the_budget() {
    let limiters: Arc<Limiters> = Arc::default();
    let clients: Vec<Client> = (0..8)
        .map(|number| {
            let blanks = Piece::Repeat(b" ", (32 << 20) - EMPTY_LIST.len());
            let pieces = vec![endless(""), blanks, Piece::Bytes(EMPTY_LIST.into())];
            client(&format!("cmdb-{number}.example.com"), &limiters, Script::new(move |_| pieces.clone()))
        })
        .collect();
    for result in join_all(clients.iter().map(list)).await {
        assert_eq!(result.unwrap(), []);
    }
    let (held, most) = limiters.replies().bytes();
    assert!(held == 0 && (32 << 20..=TOTAL_BYTES).contains(&most), "{most}");
    assert!(limiters.replies().is_unused());
    println!("replies: budget_bytes={TOTAL_BYTES} most_bytes={most} answers=8 answer_bytes={}", 32 << 20);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_holds_its_answers_leaves_the_budget_to_others() {
    let limiters: Arc<Limiters> = Arc::default();
    let part = vec![endless(""), Piece::Repeat(b" ", 200 << 10), Piece::Hang];
    let greedy = client("greedy.example.com", &limiters, Script::new(move |_| part.clone()));
    let whole = vec![endless(""), Piece::Repeat(b" ", 200 << 10), Piece::Bytes(EMPTY_LIST.into())];
    let other = client("other.example.com", &limiters, Script::new(move |_| whole.clone()));

    let begun = Instant::now();
    let held = async { join_all((0..100).map(|_| list(&greedy))).await };
    let (answers, ()) = tokio::join!(held, async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        list(&other).await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    });
    assert!(answers.iter().all(Result::is_err));
    assert!(limiters.replies().is_unused());
}

// An answer of this size that stalls, or is whole.
fn blanks(bytes: usize, end: Piece) -> Vec<Piece> {
    vec![endless(""), Piece::Repeat(b" ", bytes), end]
}

// How long an answer of this size takes, which is there at once, while the answers of others stall.
async fn beside(stalled: &[Client], calls: usize, honest: &Client) -> Duration {
    // One after the other, so that each takes as much as it gets.
    let all = join_all(stalled.iter().zip(1..).map(async |(client, turn)| {
        tokio::time::sleep(Duration::from_millis(10) * turn).await;
        join_all((0..calls).map(|_| list(client))).await
    }));
    let answer = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        list(honest).await.unwrap();
        begun.elapsed()
    };
    tokio::select! {
        _ = all => panic!("they do not stall"),
        waited = answer => waited,
    }
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_stalls_its_answers_leaves_the_budget_to_others_of_the_same_host() {
    let limiters: Arc<Limiters> = Arc::default();
    let client = |owner: &str, pieces: Vec<Piece>| {
        let config = Config { owner: owner.to_owned(), ..config("gateway.example.com", &limiters) };
        Client::scripted(config, Arc::new(super::Unobserved), Script::new(move |_| pieces.clone())).unwrap()
    };
    let stalled = client("shop", blanks(200 << 10, Piece::Hang));
    let honest = client("bank", blanks(200 << 10, Piece::Bytes(EMPTY_LIST.into())));
    assert_eq!(beside(&[stalled], 60, &honest).await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn owners_that_stall_their_answers_in_all_places_give_them_up_to_others() {
    let limiters: Arc<Limiters> = Arc::default();
    let of = |owner: &str, pieces: Vec<Piece>| client(owner, &limiters, Script::new(move |_| pieces.clone()));
    for (bytes, owners, calls, hold) in [(200 << 10, 6, 25, 1), (MIB, 4, 6, 2), (3 * MIB, 1, 2, 5)] {
        let owner = |nth| of(&format!("shop-{bytes}-{nth}"), blanks(bytes, Piece::Hang));
        let stalled: Vec<Client> = (0..owners).map(owner).collect();
        let honest = of("bank", blanks(bytes, Piece::Bytes(EMPTY_LIST.into())));
        let waited = beside(&stalled, calls, &honest).await;
        println!("stalled: answer_bytes={bytes} owners={owners} waited_ms={}", waited.as_millis());
        assert!(waited > Duration::ZERO && waited <= Duration::from_secs(hold), "{bytes}: {waited:?}");
        assert!(limiters.replies().bytes().1 <= TOTAL_BYTES);
    }
    assert!(limiters.replies().is_unused());
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_keeps_its_place_while_no_owner_with_fewer_waits() {
    let limiters: Arc<Limiters> = Arc::default();
    let slow = [Piece::Pause(Duration::from_secs(30)), Piece::Bytes(EMPTY_LIST.into())];
    let pieces = [vec![endless(""), Piece::Repeat(b" ", 200 << 10)], slow.to_vec()].concat();
    let slow = client("shop", &limiters, Script::new(move |_| pieces.clone()));
    for answer in join_all((0..24).map(|_| list(&slow))).await {
        assert_eq!(answer.unwrap(), []);
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_ends_at_the_deadline_of_its_call() {
    let drips = || (0..1000).flat_map(|_| [Piece::Bytes(b" ".to_vec()), Piece::Pause(Duration::from_millis(900))]);
    let (client, limiters) = always([endless("")].into_iter().chain(drips()).collect());
    let begun = Instant::now();
    let error = create(&client).await.unwrap_err();
    assert_eq!((error.label(), begun.elapsed()), ("outcome_unknown", Duration::from_secs(45)));
    let begun = Instant::now();
    assert_eq!(list(&client).await.unwrap_err().label(), "outcome_unknown");
    assert_eq!(begun.elapsed(), Duration::from_secs(45));
    assert!(limiters.replies().is_unused());
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_compressed_answer_counts_as_what_it_decompresses_to() {
    let packed = |bytes: &[u8]| always(http(200, "content-encoding: gzip\r\n", &gzip(bytes)));
    let (client, _) = packed(EMPTY_LIST.as_bytes());
    assert_eq!(list(&client).await.unwrap(), []);

    let (client, limiters) = packed(&vec![b' '; 8 << 20]);
    let error = create(&client).await.unwrap_err();
    assert_eq!(error.label(), "protocol");
    assert!(error.to_string().contains("larger than any"), "{error}");
    let (held, most) = limiters.replies().bytes();
    assert!(held == 0 && most <= 3 << 20, "it was read to its limit only: {most}");
}

#[tokio::test(start_paused = true)]
async fn only_a_list_is_large() {
    let blanks = || vec![endless(""), Piece::Repeat(b" ", 2 << 20), Piece::Bytes(EMPTY_LIST.into())];
    let (client, _) = always(blanks());
    assert_eq!(list(&client).await.unwrap(), []);
    let error = create(&client).await.unwrap_err();
    assert!(error.label() == "protocol" && error.to_string().contains("larger than any"), "{error}");

    let failure = Piece::Bytes(b"HTTP/1.1 502 Bad\r\nconnection: close\r\n\r\n".to_vec());
    let (client, _) = always(vec![failure, Piece::Repeat(b" ", 2 << 20)]);
    assert_eq!(list(&client).await.unwrap_err().label(), "protocol");
}

#[tokio::test(start_paused = true)]
async fn deep_nesting_is_refused() {
    for (open, close) in [("[", "]"), (r#"{"a":"#, "}")] {
        let body =
            [r#"{"result":true,"code":0,"data":"#, &open.repeat(100_000), "1", &close.repeat(100_000), "}"].concat();
        let (client, _) = always(http(200, "", body.as_bytes()));
        for error in [create(&client).await.unwrap_err(), list(&client).await.unwrap_err()] {
            assert_eq!(error.label(), "protocol");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_short_request_id_is_not_cut_out_of_a_message() {
    for (id, shown) in [("a", "Invalid APP Code"), ("APP", "Invalid APP Code"), ("APP Code", "Invalid")] {
        let body = format!(r#"{{"result":false,"code":1306000,"message":"Invalid APP Code","request_id":"{id}"}}"#);
        let (client, _) = always(http(200, "", body.as_bytes()));
        let error = list(&client).await.unwrap_err();
        assert_eq!((error.label(), error.user_message()), ("authentication", format!("{shown} (code 1306000)")));
    }
}

#[tokio::test(start_paused = true)]
async fn an_id_that_is_none_fails_the_list() {
    for id in ["0", "-1", "1.5", "\"1\"", "18446744073709551615", "9223372036854775807"] {
        let body = EMPTY_LIST.replace("[]", &format!(r#"[{{"id":{id},"bk_process_name":"a"}}]"#));
        let (client, _) = always(http(200, "", body.as_bytes()));
        assert_eq!(list(&client).await.unwrap_err().label(), "protocol", "{id}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_secret_is_masked_in_what_was_cut() {
    let body =
        format!(r#"{{"result":false,"code":7,"message":"{}{SECRET}{SECRET}"}}"#, " ".repeat(4096 - SECRET.len() - 6));
    let config = config("cmdb.example.com", &Arc::default());
    let pieces = http(200, "", body.as_bytes());
    let client = Client::scripted(config, Arc::new(super::Unobserved), Script::new(move |_| pieces.clone())).unwrap();
    assert_eq!(list(&client).await.unwrap_err().user_message(), "****** (code 7)");
}
