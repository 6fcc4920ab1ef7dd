//! What counts as evidence: an answer that is whole and of the scope that was asked for. Against a server that lies.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use process_template_operator::cmdb::{
    Client, Config, Credentials, Disposition, Error, GrantedClient, Limits, Observer, OpenGate, Operation, Priority,
    Properties, Tls, Transport, UrlPolicy, UserCredential, WriteOutcome,
};
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use crate::{of, unbounded};

const BIZ: i64 = 2;
const TEMPLATE: i64 = 7;

type Answers = dyn Fn(&Value) -> Value + Send + Sync;

struct Silent;

impl Observer for Silent {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

/// A server that answers each body with these data, or with an error where they have a code.
struct Server {
    answers: Box<Answers>,
    bodies: Mutex<Vec<Value>>,
}

async fn arrived(State(server): State<Arc<Server>>, request: Request) -> Response {
    let body = to_bytes(request.into_body(), usize::MAX).await.unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let data = (server.answers)(&body);
    server.bodies.lock().unwrap().push(body);
    let answer = match data.get("code") {
        Some(code) => json!({ "result": false, "code": code, "message": data["message"], "data": null }),
        None => json!({ "result": true, "code": 0, "message": "success", "data": data }),
    };
    ([(CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
}

async fn serve(answers: impl Fn(&Value) -> Value + Send + Sync + 'static) -> (GrantedClient, Arc<Server>) {
    let server = Arc::new(Server { answers: Box::new(answers), bodies: Mutex::default() });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let router = Router::new().fallback(arrived).with_state(Arc::clone(&server));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = Config {
        owner: String::new(),
        url,
        transport: Transport::Esb,
        credentials: Credentials {
            app_code: "ptset".to_owned(),
            app_secret: SecretString::from("a-secret"),
            user: UserCredential::Username("admin".to_owned()),
        },
        supplier_account: "0".to_owned(),
        tls: Tls::default(),
        url_policy: Arc::new(UrlPolicy::none()),
        timeout: Duration::from_secs(30),
        limits: Limits { requests_per_second: 1000, max_concurrent: 4 },
        limiters: Arc::default(),
        write_gate: Arc::new(OpenGate),
    };
    (unbounded(Client::new(config, Arc::new(Silent)).unwrap()), server)
}

impl Server {
    fn bodies(&self) -> Vec<Value> {
        self.bodies.lock().unwrap().clone()
    }
}

fn whole(info: &Value) -> Value {
    json!({ "count": info.as_array().unwrap().len(), "info": info })
}

fn template(id: i64, biz_id: impl Into<Value>, service_template_id: impl Into<Value>) -> Value {
    let (biz_id, service_template_id) = (biz_id.into(), service_template_id.into());
    json!({
        "id": id, "bk_process_name": format!("p{id}"), "bk_biz_id": biz_id, "service_template_id": service_template_id,
    })
}

async fn list(client: &GrantedClient) -> Result<Vec<i64>, Error> {
    let listed = client.list_process_templates(Priority::Interactive, of(TEMPLATE)).await?;
    Ok(listed.iter().map(|template| template.id).collect())
}

async fn service_templates(client: &GrantedClient) -> Result<Vec<i64>, Error> {
    let listed = client.list_service_templates(Priority::Interactive, BIZ).await?;
    Ok(listed.iter().map(|template| template.id).collect())
}

// ---- The scope ----

#[tokio::test]
async fn a_process_template_of_another_scope_refuses_the_whole_list() {
    for (other, says) in [
        (template(192, 7, TEMPLATE), "asked about business 2, it answered with process template 192 of business 7"),
        (
            template(192, BIZ, 8),
            "asked about service template 7, it answered with process template 192 of service template 8",
        ),
        (template(192, 7, Value::Null), "business 7"),
        (template(192, Value::Null, 8), "service template 8"),
    ] {
        for place in [0, 1] {
            let mut info = vec![template(51, BIZ, TEMPLATE)];
            info.insert(place, other.clone());
            let data = whole(&json!(info));
            let (client, _) = serve(move |_| data.clone()).await;
            let error = list(&client).await.unwrap_err();
            assert_eq!(error.label(), "protocol", "{error}");
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}

#[tokio::test]
async fn a_template_that_shows_no_scope_counts() {
    for absent in [Value::Null, json!(0)] {
        let data = whole(&json!([template(51, absent.clone(), absent), { "id": 52, "bk_process_name": "p" }]));
        let (client, _) = serve(move |_| data.clone()).await;
        assert_eq!(list(&client).await, Ok(vec![51, 52]));
    }
    let (client, _) = serve(|_| whole(&json!([{ "id": 7, "name": "web" }]))).await;
    assert_eq!(service_templates(&client).await, Ok(vec![7]));
}

#[tokio::test]
async fn a_service_template_or_category_of_another_business_refuses_the_whole_list() {
    let item = |id: i64, biz_id: i64| json!({ "id": id, "name": format!("t{id}"), "bk_biz_id": biz_id });
    let data = whole(&json!([item(6, BIZ), item(7, 3)]));
    let (client, _) = serve(move |_| data.clone()).await;
    let error = service_templates(&client).await.unwrap_err();
    assert_eq!(error.label(), "protocol", "{error}");
    assert!(
        error.to_string().contains("asked about business 2, it answered with service template 7 of business 3"),
        "{error}"
    );
    assert_eq!(client.list_service_categories(BIZ).await.unwrap_err().label(), "protocol");

    let data = whole(&json!([item(1, 0), item(2, BIZ)]));
    let (client, _) = serve(move |_| data.clone()).await;
    assert_eq!(client.list_service_categories(BIZ).await.unwrap().len(), 2, "one of business 0 is everybody's");
}

#[tokio::test]
async fn the_answer_to_an_update_of_another_scope_leaves_its_outcome_unknown() {
    for (shown, says) in [
        (template(51, 7, TEMPLATE), "process template 51 of business 7"),
        (template(51, BIZ, 8), "process template 51 of service template 8"),
        (template(52, BIZ, TEMPLATE), "asked to write process template 51, it answered with another"),
    ] {
        let (client, server) = serve(move |_| shown.clone()).await;
        let updated = client.update_process_template(of(TEMPLATE), (51, "p51"), &Properties::default()).await;
        let error = updated.unwrap_err();
        assert_eq!((error.label(), error.outcome()), ("protocol", WriteOutcome::Unknown), "{error}");
        assert!(error.to_string().contains(says), "{error}");
        assert_eq!(server.bodies().len(), 1, "a write is never sent again");
    }
    let (client, _) = serve(|_| template(51, Value::Null, Value::Null)).await;
    client.update_process_template(of(TEMPLATE), (51, "p51"), &Properties::default()).await.unwrap();
}

#[tokio::test]
async fn the_answer_to_a_create_of_another_service_template_leaves_its_outcome_unknown() {
    for shown in [
        json!({ "id": 9, "name": "web", "bk_biz_id": 3, "service_category_id": 2 }),
        json!({ "id": 9, "name": "db", "bk_biz_id": BIZ, "service_category_id": 2 }),
    ] {
        let (client, _) = serve(move |_| shown.clone()).await;
        let error = client.create_service_template(BIZ, "web", 2).await.unwrap_err();
        assert_eq!((error.label(), error.outcome()), ("protocol", WriteOutcome::Unknown), "{error}");
    }
    // CMDB cuts blanks off a name.
    let (client, _) = serve(|_| json!({ "id": 9, "name": "web", "bk_biz_id": BIZ })).await;
    assert_eq!(client.create_service_template(BIZ, " web ", 2).await.unwrap().id, 9);
}

// ---- The whole of it ----

/// Longest page that a server gives, whatever it is asked for.
const CUT: usize = 200;

fn number(body: &Value, key: &str) -> Option<usize> {
    body["page"][key].as_u64().map(|number| usize::try_from(number).unwrap())
}

/// The page of these IDs that a request asks for, cut to `most`.
fn page(body: &Value, ids: &[i64], most: usize) -> Vec<Value> {
    let (start, limit) = (number(body, "start").unwrap_or_default(), number(body, "limit").unwrap_or(usize::MAX));
    let shown = ids.iter().skip(start).take(limit.min(most));
    shown.map(|id| json!({ "id": id, "name": format!("t{id}"), "bk_process_name": format!("p{id}") })).collect()
}

fn ids(count: i64) -> Vec<i64> {
    (1..=count).collect()
}

/// Both lists of a server that answers so.
async fn both(answers: impl Fn(&Value) -> Value + Clone + Send + Sync + 'static) -> [Result<Vec<i64>, Error>; 2] {
    let (client, _) = serve(answers.clone()).await;
    let process_templates = list(&client).await;
    let (client, _) = serve(answers).await;
    [process_templates, service_templates(&client).await]
}

fn unclear(listed: Result<Vec<i64>, Error>, says: &str) {
    let error = listed.unwrap_err();
    assert_eq!((error.label(), error.disposition()), ("outcome_unknown", Disposition::RetryLater { after: None }));
    assert!(error.to_string().contains(says), "{error}");
}

#[tokio::test]
async fn a_list_that_shows_less_than_it_counts_is_unclear() {
    for (count, shown) in [(2, 0), (2, 1), (1502, 200), (501, 500), (i64::MAX, 3)] {
        for listed in both(move |_| json!({ "count": count, "info": page(&Value::Null, &ids(shown), 9999) })).await {
            unclear(listed, "counts");
        }
    }
}

#[tokio::test]
async fn a_list_that_is_cut_is_read_to_its_end() {
    for total in [CUT - 1, CUT, CUT + 1, 2 * CUT, 450, 1502] {
        let total = i64::try_from(total).unwrap();
        for counted in [true, false] {
            let answers =
                move |body: &Value| json!({ "count": counted.then_some(total), "info": page(body, &ids(total), CUT) });
            let [process_templates, service_templates] = both(answers).await;
            assert_eq!(service_templates, Ok(ids(total)), "counted: {counted}");
            if counted {
                assert_eq!(process_templates, Ok(ids(total)));
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_ignores_where_a_page_starts_has_not_shown_the_rest() {
    for count in [json!(1502), Value::Null] {
        let answers = move |_: &Value| json!({ "count": count, "info": page(&Value::Null, &ids(1502), 500) });
        let (client, _) = serve(answers).await;
        unclear(service_templates(&client).await, "start");
    }
    // It has shown everything at once.
    let [one, other] = both(|_| json!({ "count": 30, "info": page(&Value::Null, &ids(30), 500) })).await;
    assert_eq!((one, other), (Ok(ids(30)), Ok(ids(30))));
}

#[tokio::test]
async fn a_list_that_shows_more_than_it_counts_or_one_item_twice_is_unclear() {
    for listed in both(|_| json!({ "count": 1, "info": page(&Value::Null, &[5, 6], 9) })).await {
        unclear(listed, "counts 1");
    }
    for count in [json!(1), json!(2), json!(3), Value::Null] {
        for listed in both(move |_| json!({ "count": count, "info": page(&Value::Null, &[5, 5], 9) })).await {
            unclear(listed, "");
        }
    }
}

#[tokio::test]
async fn one_odd_answer_does_not_fail_a_list() {
    for odd in [
        json!({ "count": 3, "info": [] }),
        json!({ "count": 3, "info": page(&Value::Null, &[5, 6], 9) }),
        json!({ "count": 2, "info": page(&Value::Null, &[5, 5], 9) }),
        json!({ "count": 1, "info": page(&Value::Null, &[5, 6, 7], 9) }),
        whole(&json!([{ "id": 192, "name": "web", "bk_process_name": "p", "bk_biz_id": 7 }])),
    ] {
        let first = Arc::new(Mutex::new(Some(odd)));
        let answers = move |body: &Value| {
            let odd = first.lock().unwrap().take();
            odd.unwrap_or_else(|| json!({ "count": 3, "info": page(body, &[5, 6, 7], 9) }))
        };
        let (client, _) = serve(answers.clone()).await;
        assert_eq!(list(&client).await, Ok(vec![5, 6, 7]));
    }
}

#[tokio::test]
async fn a_smaller_page_limit_that_the_server_suggests_is_kept_to() {
    for suggestion in [200, 1, 499] {
        let answers = move |body: &Value| {
            if number(body, "limit").is_none_or(|limit| limit <= suggestion) {
                return json!({ "count": 450, "info": page(body, &ids(450), 9999) });
            }
            json!({ "code": 1_199_059, "message": format!("page limit is exceeded. suggestion {suggestion}") })
        };
        let (client, server) = serve(answers).await;
        if suggestion == 1 {
            // Hundreds of calls for one list are no list.
            service_templates(&client).await.unwrap_err();
            continue;
        }
        assert_eq!(service_templates(&client).await, Ok(ids(450)));
        let before = server.bodies().len();
        assert_eq!(service_templates(&client).await, Ok(ids(450)));
        let limits: Vec<_> = server.bodies()[before..].iter().map(|body| number(body, "limit").unwrap()).collect();
        assert!(limits.iter().all(|limit| *limit == suggestion), "it is not asked for more again: {limits:?}");
    }
}

#[tokio::test]
async fn a_refused_page_limit_without_a_suggestion_ends() {
    for message in ["page limit is exceeded", "page limit is exceeded. suggestion 0", "suggestion 99999999999999999999"]
    {
        let (client, server) = serve(move |_| json!({ "code": 1_199_059, "message": message })).await;
        assert_eq!(service_templates(&client).await.unwrap_err().label(), "invalid");
        assert!(server.bodies().len() <= 3, "{}", server.bodies().len());
    }
}

// A list that a hand changes after each page, as long as there are changes.
async fn changed_while_it_is_read(changes: Vec<Vec<i64>>) -> (Result<Vec<i64>, Error>, Vec<i64>, usize) {
    let state = Arc::new(Mutex::new((changes.clone(), 0)));
    let last = changes.last().unwrap().clone();
    let answers = move |body: &Value| {
        let (changes, at) = &mut *state.lock().unwrap();
        let now = &changes[(*at).min(changes.len() - 1)];
        *at += 1;
        json!({ "count": now.len(), "info": page(body, now, 500) })
    };
    let (client, server) = serve(answers).await;
    let listed = service_templates(&client).await;
    (listed, last, server.bodies().len())
}

#[tokio::test]
async fn a_list_that_changes_between_its_pages_is_read_again() {
    let without = |gone: i64, count: i64| ids(count).into_iter().filter(|id| *id != gone).collect::<Vec<_>>();
    for (what, second) in [
        ("inserted", ids(601)),
        ("deleted before the page", without(3, 600)),
        ("deleted after the page", without(550, 600)),
        ("one deleted and one inserted", without(3, 601)),
        ("all deleted", vec![]),
    ] {
        let (listed, last, calls) = changed_while_it_is_read(vec![ids(600), second]).await;
        assert_eq!(listed, Ok(last), "{what}");
        println!("evidence: changed={what:?} calls={calls}");
    }
    // One that never stops changing.
    let changes = (0..50).map(|turn| ids(600 + 7 * turn).into_iter().filter(|id| *id > turn).collect()).collect();
    let (listed, _, calls) = changed_while_it_is_read(changes).await;
    println!("evidence: changed=always calls={calls}");
    assert!(calls <= 10, "{calls}");
    if listed.is_err() {
        unclear(listed, "");
    }
}

#[tokio::test]
async fn a_server_that_gives_one_item_a_page_does_not_bind_a_client_for_ever() {
    let (client, server) = serve(|body| json!({ "count": 1_000_000, "info": page(body, &ids(5000), 1) })).await;
    service_templates(&client).await.unwrap_err();
    println!("evidence: pages={}", server.bodies().len());
    assert!(server.bodies().len() <= 400);
}
