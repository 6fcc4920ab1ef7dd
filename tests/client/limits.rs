//! Gentle to CMDB: quotas are followed, an endpoint that is down is left alone, and polls give way.

use std::sync::Arc;
use std::time::Duration;

use cmdb_sim::{Effect, Fault, Options, Quota, RequestRecord, Simulator};
use futures::future::join_all;
use process_template_operator::cmdb::{
    Client, Config, Credentials, Disposition, Error, GrantedClient, Limiters, Limits, Observer, OpenGate, Operation,
    PollKey, Priority, Properties, Property, Tls, Transport, UrlPolicy, UserCredential, WriteOutcome,
};
use secrecy::SecretString;
use serde_json::json;
use test_support::world::PATIENCE;
use tokio::time::{Instant, sleep};

use crate::{of, unbounded};

const LIST: &str = "list_proc_template";
const CREATE: &str = "batch_create_proc_template";

struct Silent;

impl Observer for Silent {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

struct Endpoint {
    sim: Simulator,
    transport: Transport,
    limiters: Arc<Limiters>,
    limits: Limits,
}

impl Endpoint {
    fn new(transport: Transport) -> Self {
        let limits = Limits { requests_per_second: 1000, max_concurrent: 4 };
        Self { sim: Simulator::start(Options::default()).unwrap(), transport, limiters: Arc::default(), limits }
    }

    fn with_quota(transport: Transport, limit: u64, window_seconds: f64, headers: bool) -> Self {
        let endpoint = Self::new(transport);
        endpoint.sim.update_state(|state| state.quota = Some(Quota { limit, window_seconds, headers, code: None }));
        endpoint
    }

    fn client(&self) -> GrantedClient {
        self.client_of("ptset", "a-secret")
    }

    fn client_of(&self, app_code: &str, app_secret: &str) -> GrantedClient {
        let path = if self.transport == Transport::Gateway { "/api/bk-cmdb/prod" } else { "" };
        let config = Config {
            owner: String::new(),
            url: format!("{}{path}", self.sim.url()),
            transport: self.transport,
            tls: Tls::default(),
            url_policy: Arc::new(UrlPolicy::none()),
            supplier_account: "0".to_owned(),
            credentials: Credentials {
                app_code: app_code.to_owned(),
                app_secret: SecretString::from(app_secret),
                user: UserCredential::Username("ann".to_owned()),
            },
            timeout: Duration::from_secs(45),
            limits: self.limits,
            limiters: Arc::clone(&self.limiters),
            write_gate: Arc::new(OpenGate),
        };
        unbounded(Client::new(config, Arc::new(Silent)).unwrap())
    }

    fn requests(&self, call: &str) -> Vec<RequestRecord> {
        self.sim.requests().into_iter().filter(|record| record.call == call).collect()
    }

    async fn until_requests(&self, call: &str, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.requests(call).len() < count {
            assert!(Instant::now() < deadline, "fewer than {count} of {call}");
            sleep(Duration::from_millis(5)).await;
        }
    }

    fn is_out_of_reach(&self) {
        self.sim.add_fault(Fault::every("*", Effect::raw(503, "text/html", "<html>no server</html>")));
    }
}

async fn list(client: &GrantedClient, lane: Priority) -> Result<(), Error> {
    client.list_process_templates(lane, of(1)).await.map(drop)
}

async fn create(client: &GrantedClient) -> Result<(), Error> {
    let name = Property { value: json!("a"), as_default_value: Some(true) };
    let specification: Properties = [("bk_process_name".to_owned(), name)].into();
    client.create_process_templates(of(1), &[specification]).await.map(drop)
}

#[tokio::test]
async fn a_quota_that_the_gateway_tells_is_used_up_and_not_exceeded() {
    let endpoint = Endpoint::with_quota(Transport::Gateway, 20, 1.0, true);
    let client = endpoint.client();
    let results = join_all((0..60).map(|_| list(&client, Priority::Interactive))).await;
    assert!(results.iter().all(Result::is_ok));
    let windows = endpoint.sim.quota_windows();
    let refused: u64 = windows.iter().map(|window| window.refused).sum();
    assert_eq!(refused, 0, "{windows:?}");
    assert!(windows.len() <= 5, "{windows:?}");
}

#[tokio::test]
async fn a_quota_that_is_not_told_is_found_out() {
    let endpoint = Endpoint::with_quota(Transport::Esb, 10, 1.0, false);
    let client = endpoint.client();
    let mut throttled = 0;
    for _ in 0..25 {
        throttled += usize::from(matches!(list(&client, Priority::Interactive).await, Err(Error::Throttled { .. })));
    }
    assert!((2..=8).contains(&throttled), "{throttled}");
    assert!(client.bare().learned_rate() < 1000.0);
}

#[tokio::test]
async fn what_one_client_learns_holds_for_all_of_the_same_caller() {
    let endpoint = Endpoint::with_quota(Transport::Esb, 1, 600.0, false);
    let first = endpoint.client();
    list(&first, Priority::Interactive).await.unwrap();
    assert_eq!(list(&first, Priority::Interactive).await.unwrap_err().label(), "throttled");
    let second = endpoint.client();
    assert_eq!(list(&second, Priority::Background(PollKey::default())).await.unwrap_err().label(), "busy");
    assert_eq!(endpoint.requests(LIST).len(), 2);
    list(&endpoint.client_of("other", "a-secret"), Priority::Background(PollKey::default())).await.unwrap();
}

#[tokio::test]
async fn a_long_stop_is_told_and_a_write_is_not_sent_then() {
    let endpoint = Endpoint::with_quota(Transport::Gateway, 1, 600.0, true);
    let client = endpoint.client();
    list(&client, Priority::Interactive).await.unwrap();
    let error = create(&client).await.unwrap_err();
    let Error::Throttled { retry_after: Some(after), .. } = error else { panic!("{error:?}") };
    assert!(after > Duration::from_secs(290) && after <= Duration::from_mins(5), "{after:?}");
    assert_eq!(error.outcome(), WriteOutcome::NotStored);
    assert!(endpoint.requests(CREATE).is_empty());
}

#[tokio::test]
async fn a_poll_that_is_not_sent_says_when_its_turn_comes() {
    let limits = Limits { requests_per_second: 1, max_concurrent: 4 };
    let endpoint = Endpoint { limits, ..Endpoint::new(Transport::Esb) };
    let client = endpoint.client();
    list(&client, Priority::Background(PollKey::default())).await.unwrap();
    let error = list(&client, Priority::Background(PollKey::default())).await.unwrap_err();
    let Error::Busy { operation: Operation::ListProcessTemplates, retry_after } = error else { panic!("{error:?}") };
    assert!(retry_after > Duration::ZERO && retry_after <= Duration::from_secs(2));
    assert_eq!(error.disposition(), Disposition::RetryLater { after: Some(retry_after) });
    assert_eq!((error.label(), error.outcome()), ("busy", WriteOutcome::NotStored));
    list(&client, Priority::Interactive).await.unwrap();
    assert_eq!(endpoint.requests(LIST).len(), 2);
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_left_alone_and_found_well_by_one_probe() {
    let endpoint = Endpoint::new(Transport::Esb);
    endpoint.is_out_of_reach();
    let client = endpoint.client();
    for _ in 0..2 {
        assert_eq!(create(&client).await.unwrap_err().label(), "outcome_unknown");
    }
    // The quick tries of a read end as soon as it counts as down.
    assert_eq!(list(&client, Priority::Interactive).await.unwrap_err().label(), "outcome_unknown");
    assert_eq!(endpoint.requests(LIST).len(), 1);
    let unsent = create(&endpoint.client()).await.unwrap_err();
    assert_eq!(endpoint.requests(CREATE).len(), 2);
    assert_eq!(unsent.outcome(), WriteOutcome::NotStored);
    let Error::Unavailable { retry_after: Some(after), .. } = &unsent else { panic!("{unsent:?}") };
    assert!(*after <= Duration::from_millis(1200), "{after:?}");
    sleep(*after).await;
    // Who tries it and finds it still down is told the same.
    let probed = list(&client, Priority::Interactive).await.unwrap_err();
    assert_eq!((endpoint.requests(LIST).len(), probed.label()), (2, "unavailable"));
    let expected = "no answer lately (HTTP status 503 with a body that is not CMDB's), so the call was not made";
    assert_eq!([&probed, &unsent].map(Error::user_message), [expected, expected]);

    endpoint.sim.clear_faults();
    endpoint.sim.clear_requests();
    let deadline = Instant::now() + PATIENCE;
    while let Err(error) = list(&client, Priority::Interactive).await {
        assert!(Instant::now() < deadline);
        let Error::Unavailable { retry_after: Some(after), .. } = error else { panic!("{error:?}") };
        sleep(after).await;
    }
    assert!(join_all((0..3).map(|_| create(&client))).await.iter().any(Result::is_err), "it answers again");
    assert_eq!(endpoint.requests(LIST).len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_refuses_is_not_down() {
    let endpoint = Endpoint::new(Transport::Esb);
    endpoint.sim.add_fault(Fault::every("*", Effect::code(1_199_998)));
    let client = endpoint.client();
    for _ in 0..4 {
        assert_eq!(create(&client).await.unwrap_err().label(), "outcome_unknown");
    }
    assert_eq!(endpoint.requests(CREATE).len(), 4);
}

#[tokio::test]
async fn after_a_switch_nothing_is_sent_with_the_old_login_any_more() {
    let endpoint = Endpoint::new(Transport::Esb);
    let (client, new) = (endpoint.client_of("ptset", "old-secret"), endpoint.client_of("ptset", "new-secret"));
    list(&new, Priority::Interactive).await.unwrap();
    let credential = endpoint.requests(LIST)[0].credential.clone();
    endpoint.sim.clear_requests();
    endpoint.sim.add_fault(Fault::nth(LIST, 1, Effect::raw(502, "text/html", "<html>bad gateway</html>")));
    let switch = async {
        endpoint.until_requests(LIST, 1).await;
        client.bare().switch_login(new.bare());
    };
    let (listed, ()) = tokio::join!(list(&client, Priority::Interactive), switch);
    listed.unwrap();
    create(&client).await.unwrap_err();
    let sent = endpoint.sim.requests();
    assert_eq!(sent.len(), 3);
    assert_ne!(sent[0].credential, credential);
    assert!(sent[1..].iter().all(|record| record.credential == credential), "{sent:?}");
}

#[tokio::test]
async fn what_waits_in_line_goes_with_the_new_login() {
    let limits = Limits { requests_per_second: 2, max_concurrent: 4 };
    let endpoint = Endpoint { limits, ..Endpoint::new(Transport::Esb) };
    let (client, new) = (endpoint.client_of("old", "old-secret"), endpoint.client_of("new", "new-secret"));
    list(&client, Priority::Interactive).await.unwrap();
    list(&client, Priority::Interactive).await.unwrap();
    let old = endpoint.requests(LIST)[0].credential.clone();
    let mut waiting = Box::pin(list(&client, Priority::Interactive));
    assert!(futures::poll!(&mut waiting).is_pending());
    client.bare().switch_login(new.bare());
    drop(new);
    waiting.await.unwrap();
    let sent = endpoint.requests(LIST);
    assert!(sent.len() == 3 && sent[2].credential != old, "{sent:?}");
    assert_eq!(client.user().as_deref(), Some("ann"));
}
