//! The client over each of the three transports, plain and with TLS: every call arrives as that way wants it.

use std::sync::Arc;
use std::time::Duration;

use cmdb_sim::{self as sim, Options, Simulator};
use process_template_operator::cmdb::{
    Client, Config, Credentials, GrantedClient, Limits, Observer, OpenGate, Operation, PollKey, Priority, Properties,
    Property, Tls, Transport, UrlPolicy, UserCredential,
};
use rcgen::ExtendedKeyUsagePurpose;
use secrecy::SecretString;
use serde_json::json;
use test_support::authority::Authority;

use crate::{of, unbounded};

const SECRET: &str = "a-planted-secret";

struct Silent;

impl Observer for Silent {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

fn config(url: &str, transport: Transport, tls: Tls) -> Config {
    let url = if transport == Transport::Gateway { format!("{url}/api/bk-cmdb/prod") } else { url.to_owned() };
    let is_direct = transport == Transport::Direct;
    Config {
        owner: String::new(),
        url,
        transport,
        tls,
        url_policy: Arc::new(UrlPolicy::none()),
        supplier_account: "0".to_owned(),
        credentials: Credentials {
            app_code: if is_direct { String::new() } else { "ptset".to_owned() },
            app_secret: if is_direct { SecretString::default() } else { SecretString::from(SECRET) },
            user: UserCredential::Username("ann".to_owned()),
        },
        timeout: Duration::from_secs(45),
        limits: Limits { requests_per_second: 1000, max_concurrent: 4 },
        limiters: Arc::default(),
        write_gate: Arc::new(OpenGate),
    }
}

fn client(config: Config) -> GrantedClient {
    unbounded(Client::new(config, Arc::new(Silent)).unwrap())
}

fn named(name: &str) -> Properties {
    let locked = |value: &str| Property { value: json!(value), as_default_value: Some(true) };
    [("bk_process_name", name), ("bk_func_name", name)].map(|(key, value)| (key.to_owned(), locked(value))).into()
}

/// Makes every call there is.
async fn every_call(client: &GrantedClient) {
    let categories = client.list_service_categories(2).await.unwrap();
    let leaf = categories.iter().find(|category| category.bk_parent_id != 0).unwrap().id;
    let scope = client.create_service_template(2, "web", leaf).await.unwrap().id;
    assert_eq!(client.list_service_templates(Priority::Interactive, 2).await.unwrap().len(), 1);
    let ids = client.create_process_templates(of(scope), &[named("a"), named("b")]).await.unwrap();
    let user = Property { value: json!("root"), as_default_value: Some(false) };
    let changed = [("user".to_owned(), user)].into();
    assert_eq!(client.update_process_template(of(scope), (ids[0], "a"), &changed).await.unwrap().modifier, "ann");
    client.delete_process_templates(of(scope), &[(ids[1], "b")]).await.unwrap();
    let left = client.list_process_templates(Priority::Background(PollKey::default()), of(scope)).await.unwrap();
    assert_eq!(
        left.iter().map(|template| (template.id, template.creator.as_str())).collect::<Vec<_>>(),
        [(ids[0], "ann")]
    );
}

#[tokio::test]
async fn every_call_arrives_over_its_transport_and_no_secret_where_it_does_not_belong() {
    let expected = [sim::Transport::Esb, sim::Transport::Gateway, sim::Transport::Direct];
    for (transport, expected) in Transport::ALL.iter().copied().zip(expected) {
        let sim = Simulator::start(Options::default()).unwrap();
        every_call(&client(config(&sim.url(), transport, Tls::default()))).await;
        let requests = sim.requests();
        assert_eq!(requests.len(), Operation::ALL.len());
        for request in &requests {
            assert_eq!((request.transport, request.code), (expected, Some(0)), "{request:?}");
            let in_body = request.body.get("bk_app_code").is_some();
            assert_eq!(in_body, transport == Transport::Esb, "{request:?}");
            assert!(!format!("{request:?}").contains(SECRET));
        }
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_refusal_of_each_transport_is_told_by_its_own_envelope() {
    for &transport in Transport::ALL {
        let sim = Simulator::start(Options::default()).unwrap();
        let client = client(config(&sim.url(), transport, Tls::default()));
        every_call(&client).await;
        let error = client.create_process_templates(of(1), &[named("a")]).await.unwrap_err();
        assert_eq!((error.label(), error.is_item_error()), ("conflict", true), "{transport:?}: {error}");
        sim.stop().await;
    }
}

#[tokio::test]
async fn a_private_authority_and_a_client_certificate_open_the_way_and_nothing_less_does() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let (ours, other) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let certificate = ours.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let tls = ours.serve(folder.path(), &certificate);
    let sim = Simulator::start(Options { tls: Some(tls), ..Options::default() }).unwrap();
    let identity = |authority: &Authority| {
        let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
        SecretString::from(format!("{certificate}\n{key}"))
    };
    let trusting = |authority: &Authority, identity| Tls { ca_bundle: Some(authority.certificate.clone()), identity };
    for (tls, expected) in [
        (Tls::default(), "unavailable"),
        (trusting(&other, Some(identity(&ours))), "unavailable"),
        (trusting(&ours, None), "authentication"),
        (trusting(&ours, Some(identity(&other))), "authentication"),
    ] {
        let client = client(config(&sim.url(), Transport::Direct, tls));
        let error = client.list_service_categories(2).await.unwrap_err();
        assert_eq!(error.label(), expected, "{error}");
    }
    assert!(sim.requests().is_empty());
    every_call(&client(config(&sim.url(), Transport::Direct, trusting(&ours, Some(identity(&ours)))))).await;
    sim.stop().await;
}

#[tokio::test]
async fn a_fence_keeps_a_connection_from_this_machine() {
    let sim = Simulator::start(Options::default()).unwrap();
    let fence = Arc::new(UrlPolicy::around(&[], Vec::new()).unwrap());
    for url in [sim.url(), sim.url().replace("http:", "https:"), "https://localhost:1".to_owned()] {
        let config = Config { url_policy: Arc::clone(&fence), ..config(&url, Transport::Esb, Tls::default()) };
        let Ok(client) = Client::new(config, Arc::new(Silent)) else { continue };
        assert!(unbounded(client).list_service_categories(2).await.is_err(), "{url}");
    }
    assert!(sim.requests().is_empty());
}
