//! Generated answers, through everything that an answer goes through: HTTP, decompression, budget, parsing, redaction,
//! classes, limits. In a world, each answer meets what those before it have taught the client.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::advance;
use tokio_util::sync::CancellationToken;

use super::{SECRET, Unobserved, config};
use crate::cmdb::http::scripted::{Piece, Script};
use crate::cmdb::{
    Behalf, Client, Config, Credentials, Error, ErrorClass, GrantedClient, Grants, Limiters, Operation, PollKey,
    Priority, Properties, Property, Refusal, ServiceTemplateRef, Touched, Transport, Unbounded, UserCredential,
    WriteGate,
};

/// Classes of results that answers have to reach.
pub(crate) fn classes() -> BTreeSet<String> {
    let errors = ErrorClass::ALL.iter().map(|class| class.label().to_owned());
    let operations = Operation::ALL.iter().map(|operation| format!("ok {}", operation.as_str()));
    let transports = Transport::ALL.iter().map(|transport| format!("ok {}", transport.as_str()));
    let others = ["gzip", "version", "list too large", "answer too large", "gzip too large", "values", "depth"];
    errors.chain(operations).chain(transports).chain(others.map(str::to_owned)).collect()
}

/// A gate that can be closed.
#[derive(Debug, Default)]
struct Gate(AtomicBool);

impl WriteGate for Gate {
    fn is_open(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }
}

/// Clients of one server, one of each transport, with limits of their own.
pub(crate) struct World {
    clients: Vec<Client>,
    answer: Arc<Mutex<Vec<Piece>>>,
    gate: Arc<Gate>,
    shutdown: CancellationToken,
    limiters: Arc<Limiters>,
}

impl World {
    /// A server that has answered nothing yet.
    pub(crate) fn new() -> Self {
        let (answer, gate, shutdown) =
            (Arc::<Mutex<Vec<Piece>>>::default(), Arc::<Gate>::default(), CancellationToken::new());
        let limiters = Arc::new(Limiters::new(shutdown.clone()));
        let client = |transport: &Transport| {
            let answer = Arc::clone(&answer);
            let config = Config {
                transport: *transport,
                write_gate: Arc::<Gate>::clone(&gate),
                ..config("cmdb.example.com", &limiters)
            };
            Client::scripted(config, Arc::new(Unobserved), Script::new(move |_| answer.lock().clone())).unwrap()
        };
        let clients = Transport::ALL.iter().map(client).collect();
        Self { clients, answer, gate, shutdown, limiters }
    }

    /// The client of a transport.
    fn client(&self, transport: usize) -> &Client {
        &self.clients[transport % self.clients.len()]
    }

    /// A call that gets this answer. `mood` decides what else happens to it.
    pub(crate) async fn answer(
        &self,
        (transport, operation): (usize, usize),
        answer: Vec<Piece>,
        mood: u64,
        reached: &mut BTreeSet<String>,
    ) -> String {
        *self.answer.lock() = answer;
        let client = self.client(transport);
        match mood % 64 {
            0 => self.gate.0.store(true, Ordering::Relaxed),
            1 => advance(Duration::from_secs(mood % 100)).await,
            _ => {}
        }
        let operation = Operation::ALL[operation % Operation::ALL.len()];
        let is_poll = mood.is_multiple_of(5);
        let result = call(client, operation, is_poll, mood).await;
        self.gate.0.store(false, Ordering::Relaxed);

        let label = match &result {
            Ok(()) => {
                reached.insert(format!("ok {}", operation.as_str()));
                reached.insert(format!("ok {}", client.transport().as_str()));
                "ok".to_owned()
            }
            Err(error) => {
                check(error, &[SECRET]);
                reached.insert(error.label().to_owned());
                format!("{}: {}", error.label(), error.user_message())
            }
        };
        if mood.is_multiple_of(97) {
            let _ = client.version().await;
        }
        assert!(client.learned_rate().is_finite());
        let replies = self.limiters.replies();
        assert!(replies.is_unused() && replies.lists.is_unused(), "the budgets are given back");
        label
    }

    /// What a call says when the process shuts down.
    pub(crate) async fn end(self, reached: &mut BTreeSet<String>) {
        self.shutdown.cancel();
        let ended = call(self.client(0), Operation::ListProcessTemplates, false, 0).await;
        reached.insert(ended.unwrap_err().label().to_owned());
    }
}

/// A call with these credentials, to a server that repeats each of them.
pub(crate) async fn repeat(
    credentials: Credentials,
    transport: usize,
    secrets: &[&str],
    reached: &mut BTreeSet<String>,
) {
    let text = serde_json::to_string(&format!("refused: {}", secrets.join(" "))).unwrap();
    let body = format!(r#"{{"result":false,"code":1306000,"message":{text},"request_id":{text}}}"#);
    let pieces = super::http(200, "", body.as_bytes());
    let config = Config {
        transport: Transport::ALL[transport % Transport::ALL.len()],
        credentials,
        ..config("cmdb.example.com", &Arc::default())
    };
    let client = Client::scripted(config, Arc::new(Unobserved), Script::new(move |_| pieces.clone())).unwrap();
    let error = client.try_once(2).await.unwrap_err();
    check(&error, secrets);
    reached.insert(error.label().to_owned());
}

/// A client of a server whose service template has these process templates, as JSON.
pub(crate) fn client_of(templates: String) -> GrantedClient {
    let script = Script::new(move |request| {
        let data = if request.url().path().contains("service_template") {
            r#"{"count":1,"info":[{"id":5,"name":"web","bk_biz_id":3,"service_category_id":2}]}"#
        } else {
            &templates
        };
        super::http(200, "", format!(r#"{{"result":true,"code":0,"message":"","data":{data}}}"#).as_bytes())
    });
    unbounded(&super::client("cmdb.example.com", &Arc::default(), script))
}

/// Grants that take everything back.
#[derive(Debug)]
struct Nothing;

impl Grants for Nothing {
    fn refusal(&self, _: Touched<'_>) -> Option<Refusal> {
        Some(Refusal::NotGranted)
    }
}

fn unbounded(client: &Client) -> GrantedClient {
    GrantedClient::new(client.clone(), Arc::new(Unbounded), Behalf::default())
}

async fn call(client: &Client, operation: Operation, is_poll: bool, mood: u64) -> Result<(), Error> {
    granted_call(&unbounded(client), operation, is_poll, mood).await
}

async fn granted_call(client: &GrantedClient, operation: Operation, is_poll: bool, mood: u64) -> Result<(), Error> {
    const OF: ServiceTemplateRef<'_> = ServiceTemplateRef { biz_id: 2, id: 7, name: "web" };
    let name = Property { value: "a".into(), as_default_value: Some(true) };
    let properties: Properties = [("bk_process_name".to_owned(), name)].into();
    let priority = if is_poll { Priority::Background(PollKey::of(mood)) } else { Priority::Interactive };
    match operation {
        Operation::CreateProcessTemplates => {
            let ids = client.create_process_templates(OF, &[properties]).await?;
            assert!(ids.iter().all(|id| *id > 0));
        }
        Operation::UpdateProcessTemplate => {
            client.update_process_template(OF, (52, "a"), &properties).await?;
        }
        Operation::DeleteProcessTemplates => client.delete_process_templates(OF, &[(52, "a")]).await?,
        Operation::ListProcessTemplates => {
            let listed = client.list_process_templates(priority, OF).await?;
            assert!(listed.iter().all(|template| template.id > 0) && listed.is_sorted_by_key(|template| template.id));
        }
        Operation::CreateServiceTemplate => {
            client.create_service_template(2, "web", 1).await?;
        }
        Operation::ListServiceTemplates => {
            client.list_service_templates(priority, 2).await?;
        }
        Operation::ListServiceCategories => {
            client.list_service_categories(2).await?;
        }
    }
    Ok(())
}

// What an error says is short, printable and without secrets; and what it asks to wait for is minutes at most.
fn check(error: &Error, secrets: &[&str]) {
    let texts = [error.to_string(), error.user_message(), format!("{error:?}")];
    for secret in secrets.iter().filter(|secret| secret.len() >= 12) {
        assert!(texts.iter().all(|text| !text.contains(secret)), "{secret:?} is shown");
    }
    if let Some(reply) = error.reply() {
        assert!(reply.message.len() <= 512 && !reply.message.contains(char::is_control), "{:?}", reply.message);
        assert!(reply.request_id.as_ref().is_none_or(|id| id.len() <= 128 + 3), "{:?}", reply.request_id);
    }
    assert!(error.field().is_none_or(|field| field.len() <= 256 && !field.contains(char::is_control)));
    if let crate::cmdb::Disposition::RetryLater { after: Some(after) } = error.disposition() {
        assert!(after <= Duration::from_mins(5), "{after:?}");
    }
}

/// Answers at the limits, with the class that each must reach: they take long.
pub(crate) async fn limits(reached: &mut BTreeSet<String>) -> u64 {
    let list = Operation::ALL.iter().position(|operation| *operation == Operation::ListProcessTemplates).unwrap();
    let create = Operation::ALL.iter().position(|operation| *operation == Operation::CreateProcessTemplates).unwrap();
    let blanks = |count| vec![super::endless(""), Piece::Repeat(b" ", count)];
    let within = |start: &str, piece| vec![super::endless(start), piece];
    let bomb = super::http(200, "content-encoding: gzip\r\n", &super::generate::gzip(&vec![b' '; 2 << 20]));
    let cases = [
        ("list too large", list, blanks((32 << 20) + 1), "larger than any"),
        ("answer too large", create, blanks((1 << 20) + 1), "larger than any"),
        ("gzip too large", create, bomb, "larger than any"),
        ("values", list, within("[1", Piece::Repeat(b",1", 700_000)), "more values"),
        ("depth", list, within("", Piece::Repeat(b"[", 100)), "more values"),
    ];
    let mut done = 0;
    for (class, operation, pieces, expected) in cases {
        let result = World::new().answer((1, operation), pieces, 2, reached).await;
        assert!(result.contains(expected), "{class}: {result}");
        reached.insert(class.to_owned());
        done += 1;
    }

    let world = World::new();
    *world.answer.lock() = super::http(200, "", br#"{"module":"apiserver","version":"3.14.7"}"#);
    let direct = Transport::ALL.iter().position(|transport| transport.has_version()).unwrap();
    assert_eq!(world.client(direct).version().await.as_deref(), Some("3.14.7"));
    reached.insert("version".to_owned());
    done += 1;

    // Calls that are not sent.
    let mut config = config("cmdb.example.com", &Arc::default());
    config.limits.requests_per_second = 1;
    let ok = super::http(200, "", br#"{"result":true,"code":0,"data":{"count":0,"info":[]}}"#);
    let client = Client::scripted(config, Arc::new(Unobserved), Script::new(move |_| ok.clone())).unwrap();
    for _ in 0..2 {
        if let Err(error) = call(&client, Operation::ListProcessTemplates, true, 0).await {
            reached.insert(error.label().to_owned());
        }
        done += 1;
    }
    let refused = GrantedClient::new(client, Arc::new(Nothing), Behalf::default());
    let error = granted_call(&refused, Operation::CreateProcessTemplates, false, 0).await.unwrap_err();
    reached.insert(error.label().to_owned());
    done += 1;

    let token = Credentials {
        app_code: String::new(),
        app_secret: "".into(),
        user: UserCredential::Token("planted-login-token".into()),
    };
    repeat(token, 2, &["planted-login-token"], reached).await;
    done + 1
}
