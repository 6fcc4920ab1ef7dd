//! `ptset doctor`: each step failing once, what it says to do, and that it neither writes anything nor shows a secret.

use std::fs;

use cmdb_sim::{Account, Effect, Fault, Options, Schema, Simulator};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose};
use serde_json::{Value, json};
use test_support::authority::Authority;
use test_support::closed::Closed;
use test_support::command::{Said, ptset};
use test_support::proxy::Proxy;
use tokio::process::Command;

const SECRETS: [&str; 3] = ["the-app-secret", "the-password", "a-secret"];

async fn said(mut command: Command) -> Said {
    Said::by(&mut command, &SECRETS).await
}

fn command(arguments: &[&str]) -> Command {
    ptset(&[&["doctor"], arguments].concat())
}

/// A simulated CMDB with a service template and a process template, and a folder for manifests.
struct Place {
    sim: Simulator,
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        let sim = Simulator::start(options).unwrap();
        sim.update_state(|state| {
            let template = json!({ "id": 1, "name": "web", "bk_biz_id": 2, "service_category_id": 2 });
            state.service_templates.push(serde_json::from_value(template).unwrap());
            state.accounts.push(Account { app_code: "ptset".to_owned(), app_secret: SECRETS[0].to_owned() });
        });
        let named = |name: &str| json!({ "value": name, "as_default_value": true });
        let property = json!({ "bk_process_name": named("nginx"), "bk_func_name": named("nginx") });
        sim.add_process_template(1, "ann", &serde_json::from_value(property).unwrap()).unwrap();
        let place = Self { sim, folder: tempfile::tempdir().unwrap() };
        place.put(&[connection(json!({ "url": place.sim.url() })), secret("cmdb", credentials())]);
        place
    }

    fn put(&self, documents: &[Value]) {
        let text: Vec<String> = documents.iter().map(Value::to_string).collect();
        fs::write(self.folder.path().join("connection.yaml"), text.join("\n---\n")).unwrap();
    }

    /// With this said by the connection beside its URL.
    fn put_with(&self, more: Value) {
        let mut connection = connection(json!({ "url": self.sim.url() }));
        connection["spec"].as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.put(&[connection, secret("cmdb", credentials())]);
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = command(&["-f", "connection.yaml", "--biz", "2"]);
        command.current_dir(self.folder.path()).args(arguments);
        command
    }

    async fn run(&self, arguments: &[&str]) -> Said {
        let said = said(self.command(arguments)).await;
        assert!(self.sim.requests().iter().all(|request| request.call.starts_with("list_")), "only reads");
        said
    }
}

fn credentials() -> Value {
    json!({ "bk_app_code": "ptset", "bk_app_secret": SECRETS[0], "bk_username": "ann" })
}

fn secret(name: &str, data: Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Secret", "metadata": { "name": name, "namespace": "shop" }, "stringData": data,
    })
}

fn connection(mut spec: Value) -> Value {
    spec["credentialsSecretRef"] = json!({ "name": "cmdb" });
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "CmdbConnection",
        "metadata": { "name": "default", "namespace": "shop" }, "spec": spec,
    })
}

fn of_cluster(url: &str, grants: Value) -> Value {
    json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": "ClusterCmdbConnection",
        "metadata": { "name": "cmdb" },
        "spec": { "url": url, "credentialsSecretRef": { "namespace": "shop", "name": "cmdb" }, "grants": grants },
    })
}

#[tokio::test]
async fn every_step_is_a_line_and_says_what_was_found() {
    let place = Place::new();
    let said = place.run(&[]).await;
    let url = place.sim.url();
    assert_eq!(
        said.lines(),
        [
            "CmdbConnection \"default\" of namespace \"shop\":",
            "  ok       connection   in connection.yaml, line 1",
            "  ok       secrets      \"cmdb\" has bk_app_code, bk_app_secret, bk_username",
            &format!("  ok       url          {url}"),
            "                        -> The operator, unless its options allow it, says: this operator takes only https URLs.",
            "  ok       network      connected, without a proxy",
            "  skipped  tls          the URL is plain http",
            "  ok       cmdb         a CMDB answers over Esb",
            "  ok       credentials  accepted, as user \"ann\"",
            "  ok       schema       BindInfo, as its templates show; only transport Direct shows the version",
            "  ok       permission   1 service template of business 2 may be listed, and 1 process template of \"web\"",
            "                        -> Whether they may be written cannot be told without a write, for CMDB has no dry run: the \
             user needs the IAM action edit_biz_service_template for the business.",
            "8 ok, 0 failed, 1 skipped",
        ]
    );
    assert_eq!((said.status, said.errors.as_str()), (0, ""));
}

#[tokio::test]
async fn a_program_reads_the_same_as_json() {
    let place = Place::new();
    place.sim.update_state(|state| state.accounts[0].app_secret = "another".to_owned());
    let said = place.run(&["-o", "json"]).await;
    let told: Value = serde_json::from_str(&said.text).unwrap();
    let connection = &told["connections"][0];
    assert_eq!((&connection["kind"], &connection["namespace"]), (&json!("CmdbConnection"), &json!("shop")));
    let steps: Vec<(&str, &str)> = connection["steps"].as_array().unwrap().iter().map(pair).collect();
    assert_eq!(steps[6], ("credentials", "failed"));
    assert_eq!(steps[7], ("schema", "skipped"));
    assert_eq!(told["summary"], json!({ "ok": 5, "failed": 1, "skipped": 3 }));
    assert_eq!(said.status, 1);
}

fn pair(step: &Value) -> (&str, &str) {
    (step["step"].as_str().unwrap(), step["outcome"].as_str().unwrap())
}

#[tokio::test]
async fn a_connection_that_is_not_valid_is_judged_as_by_validate() {
    let place = Place::new();
    place.put(&[connection(json!({ "url": "https://ann:the-password@example.com", "transport": "Soap" }))]);
    let said = place.run(&[]).await;
    let (step, fact, _) = said.failed();
    assert_eq!(step, "connection");
    assert!(fact.contains("spec.url: should match") && fact.contains("spec.transport"), "{fact}");
    assert_eq!(said.lines().last(), Some(&"0 ok, 1 failed, 8 skipped"));
}

#[tokio::test]
async fn secrets_that_are_absent_or_lack_a_key_are_named_with_the_keys_that_they_have() {
    let place = Place::new();
    let all = connection(json!({ "url": place.sim.url() }));
    place.put(std::slice::from_ref(&all));
    let said = place.run(&[]).await;
    assert_eq!(said.failed().1, "Secret \"cmdb\" of namespace \"shop\" is not in the files");
    place.put(&[all, secret("cmdb", json!({ "bk_app_code": "ptset", "bk_appsecret": SECRETS[0], "bk_token": "" }))]);
    let said = place.run(&[]).await;
    let (step, fact, advice) = said.failed();
    assert_eq!((step, fact), ("secrets", "Secret \"cmdb\" lacks bk_app_secret"));
    assert!(advice.contains("It has bk_app_code, bk_appsecret, bk_token"), "{advice}");
    let mut with_certificate = connection(json!({ "url": "https://127.0.0.1:1" }));
    with_certificate["spec"]["tls"] = json!({ "clientCertificateSecretRef": { "name": "us" } });
    place.put(&[with_certificate, secret("cmdb", credentials()), secret("us", json!({ "tls.crt": SECRETS[1] }))]);
    let said = place.run(&[]).await;
    assert_eq!((said.failed().0, said.failed().1), ("secrets", "Secret \"us\" lacks tls.key"));
}

#[tokio::test]
async fn a_url_with_a_password_is_refused_and_not_shown() {
    let mut command = command(&["--url", "https://ann:the-password@example.com"]);
    command.envs([("PTSET_BK_APP_CODE", "ptset"), ("PTSET_BK_APP_SECRET", SECRETS[0]), ("PTSET_BK_USERNAME", "ann")]);
    let said = said(command).await;
    let (step, fact, _) = said.failed();
    assert_eq!(step, "url");
    assert!(fact.contains("without user, query and fragment"), "{fact}");
}

#[tokio::test]
async fn without_a_connection_it_is_told_whether_the_name_or_the_port_is_wrong() {
    let place = Place::new();
    // A name that no resolver asks for: a label of it is too long.
    let unknown = format!("http://{}.example", "x".repeat(70));
    let closed = Closed::new();
    for (url, said_of_it) in [(unknown, "the name of the host is not known"), (closed.url(), "refused")] {
        place.put(&[connection(json!({ "url": url })), secret("cmdb", credentials())]);
        let said = place.run(&[]).await;
        let (step, fact, advice) = said.failed();
        assert_eq!(step, "network", "{said:#?}");
        assert!(fact.contains(said_of_it) && advice.contains("spec.url"), "{said:#?}");
    }
}

#[tokio::test]
async fn a_proxy_of_the_environment_is_named_without_its_user() {
    let place = Place::new();
    let proxy = Proxy::to(&place.sim.url()).await;
    place.put(&[connection(json!({ "url": "http://cmdb.example" })), secret("cmdb", credentials())]);
    let run = async || {
        let mut command = place.command(&[]);
        command.env("HTTP_PROXY", format!("http://ann:the-password@{}", proxy.address));
        said(command).await
    };
    let said = run().await;
    assert_eq!(said.status, 0, "{said:#?}");
    assert!(said.step("network").1.contains(&format!("the proxy {}", proxy.address)), "{said:#?}");
    proxy.storm(1, 100);
    let said = run().await;
    let (step, _, advice) = said.failed();
    assert_eq!(step, "cmdb", "{said:#?}");
    assert!(advice.contains("NO_PROXY"), "{advice}");
}

struct Certified<'a> {
    authority: &'a Authority,
    change: fn(&mut CertificateParams),
    asks_for_ours: bool,
}

impl Certified<'_> {
    fn place(self) -> Place {
        let folder = tempfile::tempdir().unwrap();
        let certificate = self.authority.sign_with(ExtendedKeyUsagePurpose::ServerAuth, self.change);
        let mut tls = self.authority.serve(folder.path(), &certificate);
        tls.client_ca = tls.client_ca.filter(|_| self.asks_for_ours);
        Place::with(Options { tls: Some(tls), ..Options::default() })
    }
}

#[tokio::test]
async fn each_failure_of_tls_is_told_apart_with_what_to_do() {
    let (ours, other) = (Authority::new(), Authority::new());
    let sound = |asks_for_ours| Certified { authority: &ours, change: |_| (), asks_for_ours };
    let old = |parameters: &mut CertificateParams| parameters.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let named = |parameters: &mut CertificateParams| {
        parameters.subject_alt_names =
            CertificateParams::new(vec!["cmdb.example".to_owned()]).unwrap().subject_alt_names;
    };
    let trusting = |authority: &Authority| json!({ "tls": { "caBundle": authority.certificate } });
    let cases = [
        (sound(false), json!({}), "signed by nobody", "spec.tls.caBundle"),
        (sound(false), trusting(&other), "signed by nobody", "those there have not"),
        (Certified { change: named, ..sound(false) }, trusting(&ours), "another name", "spec.url"),
        (Certified { change: old, ..sound(false) }, trusting(&ours), "expired", "renewed"),
        (sound(true), trusting(&ours), "wants a client certificate", "spec.tls.clientCertificateSecretRef"),
        (sound(false), json!({ "tls": { "caBundle": "none" } }), "no list of certificates", "spec.tls"),
    ];
    for (certified, more, fact_has, advice_has) in cases {
        let place = certified.place();
        place.put_with(more);
        let said = place.run(&[]).await;
        let (step, fact, advice) = said.failed();
        assert!(step == "tls" && fact.contains(fact_has) && advice.contains(advice_has), "{fact_has}: {said:#?}");
        assert!(place.sim.requests().is_empty());
    }
    let place = Place::new();
    place.put(&[
        connection(json!({ "url": place.sim.url().replace("http:", "https:") })),
        secret("cmdb", credentials()),
    ]);
    assert!(place.run(&[]).await.failed().1.contains("does not speak TLS"));
}

#[tokio::test]
async fn a_client_certificate_opens_the_way_if_the_server_trusts_it() {
    let (ours, other) = (Authority::new(), Authority::new());
    let place = Certified { authority: &ours, change: |_| (), asks_for_ours: true }.place();
    let put = |authority: &Authority| {
        let (certificate, key) = authority.sign(ExtendedKeyUsagePurpose::ClientAuth);
        let tls = json!({ "caBundle": ours.certificate, "clientCertificateSecretRef": { "name": "us" } });
        let connection = connection(json!({ "url": place.sim.url(), "tls": tls }));
        let us = secret("us", json!({ "tls.crt": certificate, "tls.key": key }));
        place.put(&[connection, secret("cmdb", credentials()), us]);
    };
    put(&other);
    let said = place.run(&[]).await;
    let (step, fact, _) = said.failed();
    assert!(step == "tls" && fact.contains("does not take the client certificate"), "{said:#?}");
    put(&ours);
    let said = place.run(&[]).await;
    assert_eq!((said.status, said.step("tls").0), (0, "ok"), "{said:#?}");
    assert!(said.step("secrets").1.contains("\"us\" has tls.crt, tls.key") && !said.text.contains("PRIVATE"));
}

#[tokio::test]
async fn what_is_no_cmdb_is_told_by_how_it_answers() {
    let not_found = json!({ "code": 1_640_401, "code_name": "API_NOT_FOUND", "message": "API not found" }).to_string();
    let cases = [
        (Effect::redirect("https://login.example/"), "Redirects are not followed"),
        (Effect::code(1_306_000), "The ESB answers, and fails"),
        (Effect::code(1_306_201), "has not reached CMDB"),
        (Effect::raw(200, "text/html", "<html>welcome</html>"), "Esb wants the URL of an ESB"),
        (Effect::raw(403, "text/html", "<html>no</html>"), "A proxy or a login page"),
        (Effect::raw(502, "text/html", "<html>bad gateway</html>"), "see whether CMDB runs"),
        (Effect::raw(404, "application/json", &not_found), "spec.transport is Gateway"),
        (Effect::drop_before_commit(), "whether it is an https URL"),
    ];
    for (effect, advice_has) in cases {
        let place = Place::new();
        place.sim.add_fault(Fault::every("*", effect));
        let said = place.run(&[]).await;
        let (step, _, advice) = said.failed();
        assert!(step == "cmdb" && advice.contains(advice_has), "{advice_has}: {said:#?}");
    }
    let place = Place::new();
    place.put_with(json!({ "transport": "Gateway", "url": format!("{}/elsewhere", place.sim.url()) }));
    assert!(place.run(&[]).await.failed().2.contains("name and stage"));
}

#[tokio::test]
async fn credentials_that_are_refused_are_told_in_the_words_of_who_refused() {
    let place = Place::new();
    place.sim.update_state(|state| state.accounts[0].app_secret = "another".to_owned());
    for (transport, path) in [("Esb", ""), ("Gateway", "/api/bk-cmdb/prod")] {
        place.put_with(json!({ "transport": transport, "url": format!("{}{path}", place.sim.url()) }));
        let said = place.run(&[]).await;
        let (step, fact, advice) = said.failed();
        assert_eq!(step, "credentials", "{said:#?}");
        assert!(fact.contains("the credentials were refused") && advice.contains("Secret"), "{said:#?}");
    }
}

#[tokio::test]
async fn rejected_credentials_lead_to_what_has_to_be_changed() {
    let failure = |code: i64, message: &str| json!({ "result": false, "code": code, "message": message, "data": null });
    let cases = [
        (
            "Esb",
            failure(1_306_000, "Invalid APP Code [bk_app_code=ptset], please confirm"),
            "bk_app_code and bk_app_secret",
        ),
        ("Esb", failure(1_306_000, "APP Secret verification failed, please confirm"), "bk_app_code and bk_app_secret"),
        ("Esb", failure(1_306_000, "User authentication failed, please provide a valid user"), "white list"),
        (
            "Gateway",
            failure(1_640_001, "Parameters error [reason=\"bk_app_code or bk_app_secret is incorrect\"]"),
            "bk_app_code and bk_app_secret",
        ),
        ("Gateway", failure(1_640_101, "App authentication failed"), "bk_app_code and bk_app_secret"),
        ("Gateway", failure(1_640_102, "User authentication failed"), "Check the user"),
        ("Gateway", failure(1_640_001, "Parameters error"), "Check application and user"),
    ];
    for (transport, body, advice_has) in cases {
        let place = Place::new();
        let path = if transport == "Gateway" { "/api/bk-cmdb/prod" } else { "" };
        place.put_with(json!({ "transport": transport, "url": format!("{}{path}", place.sim.url()) }));
        place.sim.add_fault(Fault::every("*", Effect::raw(200, "application/json", &body.to_string())));
        let said = place.run(&[]).await;
        let (step, _, advice) = said.failed();
        assert!(step == "credentials" && advice.contains(advice_has), "{advice_has}: {said:#?}");
        assert!(!advice.contains("doctor"), "{said:#?}");
    }
}

#[tokio::test]
async fn a_failure_that_says_little_is_told_with_what_is_odd_about_it() {
    let json = |body: &Value| Effect::raw(200, "application/json", &body.to_string());
    let redirect = "https://ann:word@login.example/plain/login?c_url=https%3A%2F%2Fcmdb&ticket=1#top";
    let action = json!({ "id": "edit_biz_service_template", "name": "Edit Service Template", "related": [1] });
    let denied = |permission: Value| {
        json(&json!({
            "result": false, "code": 9_900_403, "message": "no permission", "data": null, "permission": permission,
        }))
    };
    let cases = [
        (Effect::redirect(redirect), "HTTP status 302, a redirect to https://login.example/plain/login."),
        (Effect::redirect("/login?next=1"), "/login."),
        (Effect::redirect("http://["), "HTTP status 302 with an empty body."),
        (Effect::raw(200, "text/plain", ""), "HTTP status 200 with an empty body."),
        (
            json(&json!({ "result": false, "code": 0, "message": "", "data": null })),
            "no message, with result false and code 0",
        ),
        (
            json(&json!({ "result": true, "code": 7, "message": " ", "data": null })),
            "no message, with result true and code 7",
        ),
        (json(&json!({})), "no message, with no result and no code"),
        (
            denied(json!({ "system_id": "bk_cmdb", "actions": [action] })),
            "no permission; needed: Edit Service Template (edit_biz_service_template) (code 9900403)",
        ),
        (denied(json!({ "actions": [{ "id": 1 }, { "name": "Edit" }] })), "no permission; needed: Edit (code 9900403)"),
        (denied(json!([[]])), "no permission (code 9900403)"),
        (denied(json!({ "actions": "all" })), "no permission (code 9900403)"),
    ];
    for (effect, fact_has) in cases {
        let place = Place::new();
        place.sim.add_fault(Fault::every("*", effect));
        let said = place.run(&[]).await;
        let (_, fact, _) = said.failed();
        assert!(format!("{fact}.").contains(fact_has), "{fact_has}: {said:#?}");
        assert!(!said.text.contains("word") && !said.text.contains("ticket"), "{said:#?}");
    }
}

#[tokio::test]
async fn the_schema_is_that_of_the_templates_and_direct_shows_the_version() {
    let place = Place::with(Options { schema: Schema::Flat, ..Options::default() });
    place.put_with(json!({ "transport": "Direct" }));
    let said = place.run(&[]).await;
    assert_eq!(said.step("schema").1, "Flat, as its templates show; version 3.8.3-simulated");
    assert!(said.step("credentials").1.contains("trusts whoever reaches it"));
    place.put_with(json!({ "schema": "BindInfo" }));
    assert_eq!(place.run(&[]).await.failed().0, "schema");
    place.put_with(json!({ "schema": "Flat" }));
    assert!(place.run(&[]).await.step("schema").1.starts_with("Flat, as spec.schema says"));
}

#[tokio::test]
async fn what_may_not_be_listed_names_the_permission() {
    for call in ["list_service_template", "list_proc_template"] {
        let place = Place::new();
        place.sim.add_fault(Fault::every(call, Effect::code(1_199_047)));
        let said = place.run(&[]).await;
        let (step, fact, advice) = said.failed();
        assert!(step == "permission" && fact.contains(call) && advice.contains("edit service template"), "{said:#?}");
    }
    let place = Place::new();
    let said = place.run(&["--service-template", "db"]).await;
    assert_eq!(said.failed().1, "business 2 has no service template named \"db\"");
    let mut command = command(&["-f", "connection.yaml"]);
    command.current_dir(place.folder.path());
    let said = self::said(command).await;
    assert_eq!((said.status, said.step("permission").0), (0, "skipped"));
}

#[tokio::test]
async fn grants_are_listed_and_judged_for_a_namespace_and_a_business() {
    let place = Place::new();
    let grants = json!([
        { "namespaces": { "matchNames": ["shop"] }, "bizIds": [2], "serviceTemplates": { "matchNames": ["web"] } },
        { "namespaces": { "selector": { "matchLabels": { "team": "bank" } } }, "bizIds": [7, 3] },
    ]);
    let put = |grants: &Value| {
        let namespace = json!({
            "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "tills", "labels": { "team": "bank" } },
        });
        place.put(&[of_cluster(&place.sim.url(), grants.clone()), namespace, secret("cmdb", credentials())]);
    };
    let run = async |arguments: &[&str]| {
        let mut command = command(&["-f", "connection.yaml"]);
        command.current_dir(place.folder.path()).args(arguments);
        said(command).await
    };
    put(&grants);
    let said = run(&[]).await;
    assert_eq!(said.status, 0, "{said:#?}");
    assert_eq!(
        said.step("grants").1,
        "namespaces \"shop\": business 2, service templates \"web\"; namespaces those with team=bank: businesses 3, 7"
    );
    assert!(said.step("permission").1.contains("business 2"), "the first that is granted");
    assert_eq!(run(&["-n", "tills"]).await.step("grants").1, "namespace \"tills\" is granted businesses 3, 7");
    assert_eq!(run(&["-n", "shop", "--biz", "2"]).await.step("grants").0, "ok");
    let said = run(&["-n", "tills", "--biz", "2"]).await;
    let (step, fact, _) = said.failed();
    assert_eq!(
        (step, fact),
        ("grants", "namespace \"tills\": the connection grants this namespace nothing in business 2")
    );
    put(&json!([]));
    assert_eq!(run(&[]).await.failed().1, "it grants nothing to anybody");
}
