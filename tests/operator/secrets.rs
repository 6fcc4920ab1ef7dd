//! Planted secrets are in no text of ours: whatever the transport, whatever goes wrong, whatever the other side repeats.

use std::fmt::Debug;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cmdb_sim::{Effect, Fault, Options, Simulator};
use futures::{StreamExt, stream};
use process_template_operator::cmdb::{
    Behalf, Client, Config, Credentials, Error, GrantedClient, Limits, Observer, OpenGate, Operation, Properties,
    Property, ServiceTemplateRef, Tls, Transport, Unbounded, UrlPolicy, UserCredential,
};
use process_template_operator::telemetry::LogFormat;
use process_template_operator::{api, controller, engine, plan};
use secrecy::SecretString;
use serde_json::{Value, json};
use test_support::hunt::{Hunt, Logged, repeated};
use test_support::hunt_cluster::Cluster;
use test_support::in_process::Place;
use test_support::paused::Paused;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

// With all that some form of writing has a way of its own for.
const APP_SECRET: &str = "Pl4ntedAppKey\"one\\two/three four+five&six=7%8<9>Pl4ntedAppEnd";
const TOKEN: &str = "Pl4ntedLoginToken==/+x";
const ACCESS_TOKEN: &str = "Pl4ntedAccessToken";
const PASSWORD: &str = "Pl4ntedUrlPassword";
const CLIENT_KEY: &str = "Pl4ntedClientKey0123456789abcdefghijklmnopqrstuvwxyz";

const FORMATS: [LogFormat; 2] = [LogFormat::Text, LogFormat::Json];

struct Silent;

impl Observer for Silent {
    fn call_finished(&self, _: Operation, _: &'static str, _: Duration) {}
}

fn config(url: &str, transport: Transport, user: UserCredential, tls: Tls) -> Config {
    let is_gateway = transport == Transport::Gateway;
    Config {
        owner: String::new(),
        url: if is_gateway { format!("{url}/api/bk-cmdb/prod") } else { url.to_owned() },
        transport,
        tls,
        url_policy: Arc::new(UrlPolicy::none()),
        supplier_account: "0".to_owned(),
        credentials: Credentials { app_code: "ptset".to_owned(), app_secret: SecretString::from(APP_SECRET), user },
        timeout: Duration::from_secs(5),
        limits: Limits { requests_per_second: 1000, max_concurrent: 4 },
        limiters: Arc::default(),
        write_gate: Arc::new(OpenGate),
    }
}

fn users(transport: Transport) -> Vec<(UserCredential, &'static str)> {
    let name = (UserCredential::Username("ann".to_owned()), APP_SECRET);
    let token = (UserCredential::Token(SecretString::from(TOKEN)), TOKEN);
    let access = (UserCredential::AccessToken(SecretString::from(ACCESS_TOKEN)), ACCESS_TOKEN);
    if transport == Transport::Direct { vec![name] } else { vec![name, token, access] }
}

fn named(name: &str) -> Properties {
    let locked = |value: &str| Property { value: json!(value), as_default_value: Some(true) };
    [("bk_process_name", name), ("bk_func_name", name)].map(|(key, value)| (key.to_owned(), locked(value))).into()
}

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

/// What can go wrong, and what the client then says.
fn situations(secret: &str) -> Vec<(Effect, &'static str)> {
    let refusal = |code: i64, message: String| json!({ "code": code, "message": message });
    let effect = |value: Value| serde_json::from_value::<Effect>(value).unwrap();
    let mut situations = Vec::new();
    for form in repeated(secret) {
        situations.push((effect(refusal(1_199_006, format!("bad request: <{form}>"))), "bad request"));
    }
    for (code, witness) in [(1_306_000, "APP Secret verification failed"), (1_640_101, "the app is not known")] {
        situations.push((effect(refusal(code, format!("{witness}: {secret}"))), witness));
    }
    let repeating = |body: Value| {
        let mut raw = Effect::raw(200, "application/json", &body.to_string());
        if let Effect::Raw(raw) = &mut raw {
            raw.headers = [("X-Bkapi-Request-Id".to_owned(), secret.to_owned())].into();
        }
        raw
    };
    let refused = json!({ "result": false, "code": 1_199_006, "message": "bad", "request_id": secret });
    let (with_id, without_id) = (refused.clone(), json!({ "result": false, "code": 1_199_006, "message": "bad" }));
    let odd = json!({ "result": true, "code": 0, "message": "", "request_id": secret, "data": secret });
    let good = json!({ "result": true, "code": 0, "message": "", "request_id": secret, "data": [1] });
    situations.extend([
        (repeating(with_id), "bad"),
        (repeating(without_id), "bad"),
        (repeating(odd), "another form"),
        (repeating(good), "ok"),
        (Effect::redirect("http://127.0.0.1:1/?secret=Pl4ntedAppKey"), "redirect"),
        (Effect::raw(502, "text/html", &format!("<p>{secret}</p>")), "502"),
        (Effect::drop_before_commit(), "broke"),
    ]);
    situations
}

async fn the_client(hunt: &mut Hunt) {
    for format in FORMATS {
        let (logged, _guard) = Logged::begin(format);
        for &transport in Transport::ALL {
            for (user, secret) in users(transport) {
                let sim = Simulator::start(Options::default()).unwrap();
                let client = client(config(&sim.url(), transport, user, Tls::default())).unwrap();
                let place = format!("{transport:?} {format:?}");
                client.list_service_categories(2).await.unwrap();
                hunt.search(&place, &format!("{client:?}"), "Client");
                for secret in [secret, APP_SECRET] {
                    for (effect, witness) in situations(secret) {
                        sim.clear_faults();
                        sim.add_fault(Fault::every("*", effect.clone()));
                        let place = format!("{place} {effect:?}");
                        let error = client.create_process_templates(OF, &[named("a")]).await.err();
                        let log = logged.take();
                        hunt.search(&place, &log, "write to CMDB");
                        if let Some(error) = error {
                            told(hunt, &place, &error, if witness == "redirect" { "302" } else { witness });
                        }
                    }
                }
                sim.stop().await;
            }
        }
    }
}

fn told(hunt: &mut Hunt, place: &str, error: &Error, witness: &str) {
    hunt.search(place, &error.to_string(), witness);
    hunt.search(place, &format!("{error:?}"), witness);
    hunt.search(place, &error.user_message(), witness);
    let error = controller::Error::Engine(engine::Error::Cmdb(Arc::new(error.clone())));
    hunt.search(place, &error.message(), witness);
    hunt.search(place, &format!("{error:?}"), witness);
}

const OF: ServiceTemplateRef<'_> = ServiceTemplateRef { biz_id: 2, id: 1, name: "web" };

fn client(config: Config) -> Result<GrantedClient, Error> {
    let client = Client::new(config, Arc::new(Silent))?;
    Ok(GrantedClient::new(client, Arc::new(Unbounded), Behalf::default()))
}

async fn tls_that_fails(hunt: &mut Hunt) {
    let user = || UserCredential::Username("ann".to_owned());
    for format in FORMATS {
        let (logged, _guard) = Logged::begin(format);
        for &transport in Transport::ALL {
            let sim = Simulator::start(Options::default()).unwrap();
            let url = sim.url().replace("http:", "https:");
            // One that speaks no TLS, a key that is none, a bundle that is none.
            let plain = client(config(&url, transport, user(), Tls::default())).unwrap();
            let error = plain.list_service_categories(2).await.unwrap_err();
            told(hunt, "no TLS", &error, "does not speak TLS");
            hunt.search("no TLS", &logged.take(), "a call failed");
            let identity = Some(SecretString::from(pem("PRIVATE KEY", CLIENT_KEY)));
            let tls = Tls { ca_bundle: None, identity };
            hunt.search("Debug of Tls", &format!("{tls:?}"), "identity");
            told(hunt, "a bad key", &client(config(&url, transport, user(), tls)).unwrap_err(), "certificate and key");
            let tls = Tls { ca_bundle: Some(pem("PRIVATE KEY", CLIENT_KEY)), identity: None };
            let error = client(config(&url, transport, user(), tls)).unwrap_err();
            told(hunt, "a key as a bundle", &error, "caBundle");
            sim.stop().await;
        }
    }
}

fn the_types(hunt: &mut Hunt) {
    let mut debug = |value: &dyn Debug, witness: &str| {
        hunt.search(witness, &format!("{value:?}"), witness);
        hunt.search(witness, &format!("{value:#?}"), witness);
    };
    let urls = [format!("https://ann:{PASSWORD}@cmdb.example"), "https://cmdb.example".to_owned()];
    for url in urls {
        for &transport in Transport::ALL {
            for (user, _) in users(transport) {
                let identity = Some(SecretString::from(pem("PRIVATE KEY", CLIENT_KEY)));
                let config = config(&url, transport, user.clone(), Tls { ca_bundle: None, identity });
                debug(&config, "Config");
                debug(&config.credentials, "Credentials");
                debug(&config.tls, "Tls");
                debug(&user, "(");
            }
        }
        let spec = json!({ "url": url, "credentialsSecretRef": { "name": "cmdb" } });
        let spec: api::CmdbConnectionSpec = serde_json::from_value(spec).unwrap();
        debug(&spec, "CmdbConnectionSpec");
        debug(&spec.endpoint, "EndpointSpec");
        debug(&api::CmdbConnection::new("default", spec.clone()), "CmdbConnection");
        let description = controller::Description::of("shop", &spec);
        debug(&description, "Description");
        let bounds = controller::Bounds {
            url_policy: Arc::new(UrlPolicy::none()),
            limiters: Arc::default(),
            write_gate: Arc::new(OpenGate),
        };
        let connection = description.connect(
            Credentials {
                app_code: "ptset".to_owned(),
                app_secret: SecretString::from(APP_SECRET),
                user: UserCredential::Token(SecretString::from(TOKEN)),
            },
            None,
            bounds,
            "key".to_owned(),
            Arc::new(Silent),
        );
        let Ok(connection) = connection else {
            debug(&connection, "without user");
            continue;
        };
        debug(&connection, "BareConnection");
        let connection = connection.granted(Arc::new(Unbounded), Behalf::default());
        debug(&connection, "Connection");
        debug(&job(connection), "Job");
    }
}

fn job(connection: engine::Connection) -> engine::Job {
    let spec = json!({ "bizId": 2, "serviceTemplate": { "name": "web" },
        "processes": [{ "name": "a", "funcName": "a" }] });
    let spec: api::ProcessTemplateSetSpec = serde_json::from_value(spec).unwrap();
    let around = engine::Surroundings {
        set: "uid".to_owned(),
        connection,
        others: Arc::new(Vec::new()),
        made_in: plan::Place::default(),
    };
    let waits = engine::Waits { removals_are_due: true, hand_overs_are_over: false };
    engine::Job::living(around, &spec, plan::Desired::from_spec(plan::SetName::default(), &spec), waits)
}

// The API server's answer is none that can be read as a Secret; then one whose labels cannot.
async fn a_secret_that_cannot_be_decoded(hunt: &mut Hunt) {
    for format in FORMATS {
        for broken in
            [json!({ "data": APP_SECRET }), json!({ "data": { "bk_app_secret": 5 }, "stringData": APP_SECRET })]
        {
            let (logged, _guard) = Logged::begin(format);
            let mut world = Paused::new();
            let mut secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb" } });
            secret["metadata"]["annotations"] =
                json!({ "kubectl.kubernetes.io/last-applied-configuration": APP_SECRET });
            secret["data"] = broken["data"].clone();
            world.api.apply(&Place::new("", "secrets", "shop", "cmdb"), &secret);
            world.service_templates(std::iter::once("web".to_owned()));
            world.apply("web", "web", json!({ "processes": [{ "name": "a", "funcName": "a" }] }));
            world.start_operator();
            let told = |world: &Paused| world.seen("web").reason("Ready") == "ApiServerUnavailable";
            world.until(Duration::from_mins(1), "told", told).await;
            hunt.search("status of the set", &world.seen("web").describe(), "ApiServerUnavailable");
            world.stop_operator().await;
            hunt.search("log", &logged.take(), "ApiServerUnavailable");
        }
    }
}

async fn the_commands(hunt: &mut Hunt) {
    let sim = Simulator::start(Options::default()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, documents: &[Value]| {
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        std::fs::write(folder.path().join(name), text.join("\n---\n")).unwrap();
    };
    let set = json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ProcessTemplateSet",
        "metadata": { "name": "web", "namespace": "shop" },
        "spec": { "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": [{ "name": "a", "funcName": "a" }] } });
    let secret = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb", "namespace": "shop" },
        "stringData": { "bk_app_code": "ptset", "bk_app_secret": APP_SECRET, "bk_username": "ann" } });
    let unreadable = json!({ "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "cmdb", "namespace": "shop" },
        "data": APP_SECRET });
    let connection = |url: &str| {
        json!({ "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
            "metadata": { "name": "default", "namespace": "shop" },
            "spec": { "url": url, "credentialsSecretRef": { "name": "cmdb" } } })
    };
    let with_password = sim.url().replace("http://", &format!("http://ann:{PASSWORD}@"));
    put("good.yaml", &[set.clone(), secret.clone(), connection(&sim.url())]);
    put("unreadable.yaml", &[set.clone(), unreadable, connection(&sim.url())]);
    put("password.yaml", &[set.clone(), secret.clone(), connection(&with_password)]);
    put("set.yaml", &[set]);
    let torn = format!("apiVersion: v1\nkind: Secret\nstringData:\n  bk_app_secret: {APP_SECRET}\n {CLIENT_KEY}: [\n");
    std::fs::write(folder.path().join("torn.yaml"), torn).unwrap();
    let repeat = |code: i64| {
        let effect = json!({ "code": code, "message": format!("bad request: {APP_SECRET}") });
        sim.clear_faults();
        sim.add_fault(Fault::every("*", serde_json::from_value(effect).unwrap()));
    };
    for output in ["text", "json"] {
        let run = async |arguments: &[&str]| -> String {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
            command.current_dir(folder.path()).args(arguments).args(["-o", output]);
            command.env("PTSET_BK_APP_CODE", "ptset").env("PTSET_BK_APP_SECRET", APP_SECRET);
            command.env("PTSET_BK_TOKEN", TOKEN).env_remove("PTSET_BK_USERNAME");
            let output = command.output().await.unwrap();
            String::from_utf8([output.stdout, output.stderr].concat()).unwrap()
        };
        for file in ["good.yaml", "unreadable.yaml"] {
            hunt.search(file, &run(&["validate", "-f", file]).await, "objects");
        }
        hunt.search("validate a password", &run(&["validate", "-f", "password.yaml"]).await, "spec.url");
        hunt.search("validate what is torn", &run(&["validate", "-f", "torn.yaml"]).await, "torn.yaml");
        hunt.search("plan what is torn", &run(&["plan", "-f", "torn.yaml"]).await, "torn.yaml");
        hunt.search("plan", &run(&["plan", "-f", "good.yaml"]).await, "web");
        hunt.search("plan a Secret", &run(&["plan", "-f", "unreadable.yaml"]).await, "cannot be read");
        hunt.search("plan a password", &run(&["plan", "-f", "password.yaml"]).await, "spec.url");
        let flag = run(&["plan", "-f", "set.yaml", "--url", &with_password]).await;
        hunt.search("plan --url", &flag, "without user");
        hunt.search("plan by URL", &run(&["plan", "-f", "set.yaml", "--url", &sim.url()]).await, "web");
        for code in [1_199_006, 1_306_000, 1_640_101] {
            repeat(code);
            hunt.search("plan refused", &run(&["plan", "-f", "good.yaml"]).await, "bad request");
        }
        sim.clear_faults();
        sim.add_fault(Fault::every("*", Effect::redirect(&format!("http://127.0.0.1:1/?{ACCESS_TOKEN}"))));
        hunt.search("plan redirected", &run(&["plan", "-f", "good.yaml"]).await, "302");
        sim.clear_faults();
    }
    sim.stop().await;
}

// A cluster behind a proxy whose protocol is none, or that is not there.
async fn a_proxy_with_a_password(hunt: &mut Hunt) {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "here",
        "clusters": [{ "name": "here", "cluster": { "server": "https://127.0.0.1:1" } }],
        "users": [{ "name": "here", "user": { "token": TOKEN } }],
        "contexts": [{ "name": "here", "context": { "cluster": "here", "user": "here" } }],
    });
    std::fs::write(folder.path().join("kubeconfig"), kubeconfig.to_string()).unwrap();
    for (scheme, witness) in [("socks5", "proxy"), ("ftp", "proxy"), ("http", "begins"), ("https", "begins")] {
        for format in ["text", "json"] {
            let mut command = Command::new(env!("CARGO_BIN_EXE_ptset"));
            command
                .args(["run", "--log", "trace", "--log-format", format, "--listen", "127.0.0.1:0"])
                .env("KUBECONFIG", folder.path().join("kubeconfig"))
                .env("HTTPS_PROXY", format!("{scheme}://ann:{PASSWORD}@127.0.0.1:1"))
                .env_remove("NO_PROXY")
                .stderr(Stdio::piped())
                .kill_on_drop(true);
            let mut running = command.spawn().unwrap();
            let mut lines = BufReader::new(running.stderr.take().unwrap()).lines();
            let mut said = String::new();
            // Until its first watch has failed, or it has ended.
            while let Some(line) = lines.next_line().await.unwrap() {
                said += &line;
                said.push('\n');
                if line.contains("a watch failed") {
                    break;
                }
            }
            hunt.search(&format!("run behind {scheme}"), &said, witness);
            let _ = running.start_kill();
        }
    }
}

#[tokio::test]
#[ignore = "needs a control plane: make test"]
async fn planted_secrets_are_in_no_text_of_ours() {
    let mut hunt = Hunt::new(&[APP_SECRET, TOKEN, ACCESS_TOKEN, PASSWORD, CLIENT_KEY]);
    the_types(&mut hunt);
    tls_that_fails(&mut hunt).await;
    the_client(&mut hunt).await;
    a_secret_that_cannot_be_decoded(&mut hunt).await;
    the_commands(&mut hunt).await;
    a_proxy_with_a_password(&mut hunt).await;
    let clusters = Transport::ALL.iter().flat_map(|way| [(*way, "text"), (*way, "json")]);
    let searches =
        clusters.map(|(transport, format)| async move { Cluster::new(transport, format).await.search().await });
    for found in stream::iter(searches).buffer_unordered(3).collect::<Vec<_>>().await {
        hunt.add(found);
    }
    println!("\nsecret hunt: places={} found={}", hunt.places, hunt.found.len());
    assert!(hunt.found.is_empty(), "{}", hunt.found.join("\n"));
}
