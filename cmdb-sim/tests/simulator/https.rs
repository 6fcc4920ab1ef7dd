//! HTTPS, and certificates of clients.

use std::io::{Read, Write};
use std::path::Path;
use std::time::Duration;

use cmdb_sim::{Effect, Fault, Options, Simulator, Tls, Transport};
use reqwest::Method;
use serde_json::json;

use rcgen::ExtendedKeyUsagePurpose;

use crate::authority::Authority;
use crate::client::{CREATE, LIST, Server, TRANSPORTS, batch, everything, keys, plain_client};

/// A client that trusts the authority.
pub fn client(authority: &Authority) -> reqwest::ClientBuilder {
    plain_client().tls_certs_only([reqwest::Certificate::from_pem(authority.certificate.as_bytes()).unwrap()])
}

/// The same with a certificate that another authority has signed.
pub fn client_with_certificate(authority: &Authority, signed_by: &Authority) -> reqwest::ClientBuilder {
    let (certificate, key) = signed_by.sign(ExtendedKeyUsagePurpose::ClientAuth);
    client(authority).identity(reqwest::Identity::from_pem(format!("{certificate}{key}").as_bytes()).unwrap())
}

/// The files of a server, with the authority as the clients' CA, too.
pub fn files(authority: &Authority, folder: &Path) -> Tls {
    authority.serve(folder, &authority.sign(ExtendedKeyUsagePurpose::ServerAuth))
}

#[tokio::test]
async fn https_serves_calls_and_admin_routes_to_those_who_trust_its_ca() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = Tls { client_ca: None, ..files(&authority, directory.path()) };
    let options = Options { tls: Some(tls), ..Options::default() };
    let server = Server::seen_by(client(&authority), options).await;
    assert!(server.simulator.url().starts_with("https://127.0.0.1:"));
    for transport in TRANSPORTS {
        assert_eq!(server.call(transport, LIST, everything()).await[keys(transport).0], 0);
    }
    let many: Vec<String> = (0..100).map(|at| format!("{at} {}", "x".repeat(200))).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    server.call(Transport::Direct, CREATE, batch(&many)).await;
    let listed = server.call(Transport::Direct, LIST, everything()).await;
    assert_eq!(listed["data"]["info"].as_array().unwrap().len(), 100);
    assert_eq!(server.admin(Method::GET, "state", json!({})).await.0, 200);

    let url = format!("{}/sim/state", server.simulator.url());
    for stranger in [client(&Authority::new()), plain_client()] {
        assert!(stranger.build().unwrap().get(&url).send().await.is_err());
    }
    assert!(plain_client().build().unwrap().get(url.replace("https", "http")).send().await.is_err());
    server.call(Transport::Direct, LIST, everything()).await;
    server.simulator.stop().await;
}

#[tokio::test]
async fn with_a_client_ca_only_its_certificates_are_accepted() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let options = Options { tls: Some(files(&authority, directory.path())), ..Options::default() };
    let server = Server::seen_by(client_with_certificate(&authority, &authority), options).await;
    assert_eq!(server.call(Transport::Direct, LIST, everything()).await["bk_error_code"], 0);
    let url = format!("{}/sim/state", server.simulator.url());
    for stranger in [client(&authority), client_with_certificate(&authority, &Authority::new())] {
        assert!(stranger.build().unwrap().get(&url).send().await.is_err());
    }
}

#[tokio::test]
async fn a_drop_cuts_an_https_connection_before_any_byte_of_the_reply() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let options = Options { tls: Some(files(&authority, directory.path())), ..Options::default() };
    let server = Server::seen_by(client_with_certificate(&authority, &authority), options).await;
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::drop_before_commit()));
    server.simulator.add_fault(Fault::nth(CREATE, 2, Effect::drop_after_commit()));
    server.simulator.add_fault(Fault::nth(CREATE, 3, Effect::hold_names(60.0, false)));
    for name in ["before", "after", "held"] {
        let error = server.request(Transport::Direct, CREATE, batch(&[name])).await.unwrap_err();
        assert!(!error.is_connect() && error.status().is_none(), "{error:?}");
    }
    assert_eq!(server.names(), ["after"]);
    assert_eq!(server.call(Transport::Direct, CREATE, batch(&["held"])).await["bk_error_code"], 1_199_066);
    server.simulator.add_fault(Fault::nth(CREATE, 1, Effect::hang(0.5, false)));
    let send = server.request(Transport::Direct, CREATE, batch(&["hung up"]));
    assert!(tokio::time::timeout(Duration::from_millis(200), send).await.is_err());
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert!(server.simulator.requests().last().unwrap().client_hung_up);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_without_a_handshake_does_not_block_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let tls = Tls { client_ca: None, ..files(&authority, directory.path()) };
    let options = Options { tls: Some(tls), ..Options::default() };
    let server = Server::seen_by(client(&authority), options).await;
    let silent = std::net::TcpStream::connect(server.simulator.address()).unwrap();
    let mut rude = std::net::TcpStream::connect(server.simulator.address()).unwrap();
    rude.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    server.client.get(format!("{}/sim/state", server.simulator.url())).send().await.unwrap();
    rude.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    let mut answer = Vec::new();
    let _ = rude.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    drop(silent);
}

#[tokio::test]
async fn files_that_are_no_certificates_stop_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    let good = files(&authority, directory.path());
    let empty = directory.path().join("empty.pem");
    std::fs::write(&empty, "").unwrap();
    let (_, other) = authority.sign(ExtendedKeyUsagePurpose::ServerAuth);
    let other_key = directory.path().join("other.key");
    std::fs::write(&other_key, other).unwrap();
    for (tls, named) in [
        (Tls { certificate: empty.clone(), ..good.clone() }, "empty.pem"),
        (Tls { key: empty.clone(), ..good.clone() }, "empty.pem"),
        (Tls { client_ca: Some(empty.clone()), ..good.clone() }, "empty.pem"),
        (Tls { key: "missing.key".into(), ..good.clone() }, "missing.key"),
        (Tls { key: other_key, ..good.clone() }, "tls.crt"),
    ] {
        let error = Simulator::start(Options { tls: Some(tls), ..Options::default() }).err().unwrap();
        assert!(error.to_string().contains(named), "{error}");
    }
}
