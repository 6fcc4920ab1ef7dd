//! Every answer that is no success, on every transport that can give it: which class it has, whether the call is tried
//! again, and what a write that ended so has done. The answers go over real HTTP from the simulator to the client; what they
//! must lead to stands in `support/error_rows.rs`, with where each rule comes from. That a class leads to its condition is
//! told by the unit test of `src/controller/status.rs`, and for one answer of each class by a set on a real control plane,
//! in `operator/errors.rs`.

use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use cmdb_sim::{self as sim, Fault, Options, Simulator};
use futures::StreamExt;
use process_template_operator::cmdb::{
    self, Client, Config, Credentials, GrantedClient, Limits, Observer, OpenGate, Operation, Priority, Properties,
    Property, Tls, Transport, UrlPolicy, UserCredential,
};
use process_template_operator::{controller, engine};
use secrecy::SecretString;
use serde_json::json;
use test_support::authority::Authority;
use test_support::error_rows::{Beside, Meaning, Row, Sent, TABLE, effect};

use crate::{of, unbounded};

// Rows at a time: most of their time is the wait before a read is tried again.
const AT_A_TIME: usize = 32;

// One read, and every write.
const CALLS: [Operation; 5] = [
    Operation::ListProcessTemplates,
    Operation::CreateProcessTemplates,
    Operation::UpdateProcessTemplate,
    Operation::DeleteProcessTemplates,
    Operation::CreateServiceTemplate,
];

// Nobody's: so none of the clients reads the system's certificates, which takes longer than all of its calls.
static CERTIFICATE: LazyLock<String> = LazyLock::new(|| Authority::new().certificate);

/// Every outcome that the observer was told of.
#[derive(Default)]
struct Outcomes(Mutex<Vec<&'static str>>);

impl Observer for Outcomes {
    fn call_finished(&self, _: Operation, outcome: &'static str, _: Duration) {
        self.0.lock().unwrap().push(outcome);
    }
}

fn config(url: &str, transport: Transport) -> Config {
    let url = if transport == Transport::Gateway { format!("{url}/api/bk-cmdb/prod") } else { url.to_owned() };
    Config {
        owner: String::new(),
        url,
        transport,
        tls: Tls { ca_bundle: Some(CERTIFICATE.clone()), identity: None },
        url_policy: Arc::new(UrlPolicy::none()),
        supplier_account: "0".to_owned(),
        credentials: Credentials {
            app_code: "ptset".to_owned(),
            app_secret: SecretString::from("a-secret"),
            user: UserCredential::Username("ann".to_owned()),
        },
        timeout: Duration::from_secs(45),
        limits: Limits { requests_per_second: 1000, max_concurrent: 4 },
        limiters: Arc::default(),
        write_gate: Arc::new(OpenGate),
    }
}

async fn call(client: &GrantedClient, operation: Operation) -> Result<(), cmdb::Error> {
    let name = Property { value: json!("web"), as_default_value: Some(true) };
    let properties = Properties::from([("bk_process_name".to_owned(), name)]);
    match operation {
        Operation::ListProcessTemplates => client.list_process_templates(Priority::Interactive, of(1)).await.map(drop),
        Operation::CreateProcessTemplates => client.create_process_templates(of(1), &[properties]).await.map(drop),
        Operation::UpdateProcessTemplate => {
            client.update_process_template(of(1), (1, "a"), &properties).await.map(drop)
        }
        Operation::DeleteProcessTemplates => client.delete_process_templates(of(1), &[(1, "a")]).await,
        Operation::CreateServiceTemplate => client.create_service_template(2, "web", 2).await.map(drop),
        Operation::ListServiceTemplates => client.list_service_templates(Priority::Interactive, 2).await.map(drop),
        Operation::ListServiceCategories => client.list_service_categories(2).await.map(drop),
    }
}

/// What an error leads to, if it can be told in the table's words.
fn found(error: cmdb::Error) -> Option<Meaning> {
    let (label, outcome, item, disposition) =
        (error.label(), error.outcome(), error.is_item_error(), error.disposition());
    let error = controller::Error::from(engine::Error::from(Arc::new(error)));
    let (beside, after) = match (disposition, error.disposition()) {
        (cmdb::Disposition::WaitForChange, engine::Disposition::WaitForChange) => (Beside::Stalled, None),
        (cmdb::Disposition::RetryLater { after }, engine::Disposition::RetryLater(same)) if after == same => {
            (Beside::Reconciling, after.map(|after| after.as_secs()))
        }
        _ => return None,
    };
    Some(Meaning { label, reason: error.label(), beside, after, outcome, item })
}

/// Sends an answer to every call over one transport, and gives what is wrong.
async fn wrong(row: &Row, transport: Transport) -> Vec<String> {
    let (sent, _, http_status, _, meaning) = *row;
    let simulator = Simulator::start(Options::default()).unwrap();
    simulator.add_fault(Fault::every("*", effect(row, &simulator.url())));
    let mut wrong = Vec::new();
    for operation in CALLS {
        simulator.clear_requests();
        // A client of its own: what it has learned from one answer must not keep it from the next.
        let outcomes = Arc::new(Outcomes::default());
        let client = Client::new(config(&simulator.url(), transport), Arc::<Outcomes>::clone(&outcomes)).unwrap();
        let client = unbounded(client);
        let error = call(&client, operation).await.unwrap_err();
        let (label, text) = (error.label(), error.to_string());
        let may_be_item = matches!(operation, Operation::CreateProcessTemplates | Operation::UpdateProcessTemplate);
        let expected = Meaning { item: meaning.item && may_be_item, ..meaning };
        let found = found(error);
        if found != Some(expected) {
            wrong.push(format!("{transport:?} {row:?} {operation:?}: {text}: {found:?}"));
        }
        // A write is sent once; a read again as long as time alone may mend it at once.
        let times = if !operation.is_write() && label == "outcome_unknown" { 3 } else { 1 };
        assert_eq!(*outcomes.0.lock().unwrap(), vec![label; times], "{transport:?} {row:?} {operation:?}");
        let requests = simulator.requests();
        assert_eq!(requests.len(), times, "{transport:?} {row:?} {operation:?}");
        let code = if let Sent::Code(code) = sent { Some(code) } else { None };
        let http_status = (sent != Sent::Nothing).then_some(http_status);
        for request in requests {
            let seen = (request.call.as_str(), request.transport, request.http_status, request.code);
            assert_eq!(seen, (operation.as_str(), of_sim(transport), http_status, code), "the row was not sent");
        }
    }
    simulator.stop().await;
    wrong
}

fn of_sim(transport: Transport) -> sim::Transport {
    match transport {
        Transport::Esb => sim::Transport::Esb,
        Transport::Gateway => sim::Transport::Gateway,
        Transport::Direct => sim::Transport::Direct,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_leads_where_the_table_says_on_every_transport_that_gives_it() {
    let cases: Vec<_> = TABLE.iter().flat_map(|row| row.1.iter().map(move |transport| (row, *transport))).collect();
    let of = |wanted: Transport| cases.iter().any(|(_, transport)| *transport == wanted);
    let transports = Transport::ALL.iter().filter(|transport| of(**transport)).count();
    let sent = cases.iter().map(|(row, transport)| wrong(row, *transport));
    let done: Vec<Vec<String>> = futures::stream::iter(sent).buffer_unordered(AT_A_TIME).collect().await;
    let wrong = done.iter().filter(|wrong| !wrong.is_empty()).count();
    println!("error table: rows={} transports={transports} wrong={wrong}", done.len());
    assert_eq!(wrong, 0, "{:#?}", done.concat());
}
