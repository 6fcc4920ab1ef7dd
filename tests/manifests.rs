//! One table of manifests, judged by the real API server and by the offline rules alike.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::too_many_lines,
    reason = "a table, and a failed step fails the test"
)]

mod support;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, PostParams};
use process_template_operator::api::{self, CmdbConnection, ProcessTemplateSet, ProcessTemplateSetSpec};
use process_template_operator::plan::{check, check_update};
use serde_json::{Value, json};
use support::control_plane::shared;
use support::world::install_crds;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    /// By both, each with this text.
    Refused(&'static str),
    /// By both; the server with this text, the offline reading in words of its own.
    Unreadable(&'static str),
    /// What the API server cannot afford to check: offline only, with this text.
    OfflineOnly(&'static str),
}
use Verdict::{Accepted, OfflineOnly, Refused, Unreadable};

struct Case {
    name: String,
    spec: Value,
    verdict: Verdict,
}

const BYTES_256: &str = "must be at most 256 bytes";
const BYTES_2000: &str = "must be at most 2000 bytes";
const WHITE_SPACE: &str = "must not begin or end with white space";
const TWO_LISTS: &str = "a property may stand in one of locked, unlocked and unmanaged only";
const FAMILY: &str = "an IPv6 ip goes with TCP6 or UDP6, an IPv4 ip with TCP or UDP";
const FORMS: &str = "bindInfo and bindIp, port, protocol are two forms of one thing: use one of them";

fn minimal() -> Value {
    json!({ "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": [{ "name": "a", "funcName": "f" }] })
}

fn with_process(fields: Value) -> Value {
    let mut spec = minimal();
    let process = spec["processes"][0].as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        process.insert(name.clone(), value.clone());
    }
    spec
}

fn row(fields: Value) -> Value {
    let mut row = json!({ "port": 80, "protocol": "TCP" });
    for (name, value) in fields.as_object().unwrap() {
        row[name] = value.clone();
    }
    with_process(json!({ "bindInfo": [row] }))
}

fn with_spec(fields: Value) -> Value {
    let mut spec = minimal();
    for (name, value) in fields.as_object().unwrap() {
        spec[name] = value.clone();
    }
    spec
}

fn without(name: &str) -> Value {
    let mut spec = minimal();
    spec.as_object_mut().unwrap().remove(name);
    spec
}

fn many(count: usize) -> Value {
    (0..count).map(|number| json!({ "name": format!("p{number}"), "funcName": "f" })).collect()
}

fn selector(value: Value) -> Value {
    with_spec(json!({ "serviceTemplate": value }))
}

fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut case = |name: &str, spec: Value, verdict: Verdict| {
        cases.push(Case { name: name.to_owned(), spec, verdict });
    };
    case("the least that is a set", minimal(), Accepted);

    // Texts: bytes, not characters; Unicode white space.
    for (field, bytes, message) in [
        ("funcName", 256, BYTES_256),
        ("processName", 256, BYTES_256),
        ("startParamRegex", 256, BYTES_256),
        ("description", 256, BYTES_256),
        ("funcId", 256, BYTES_256),
        ("user", 256, BYTES_256),
        ("forceStopCmd", 2000, BYTES_2000),
        ("pidFile", 2000, BYTES_2000),
        ("reloadCmd", 2000, BYTES_2000),
        ("restartCmd", 2000, BYTES_2000),
        ("startCmd", 2000, BYTES_2000),
        ("stopCmd", 2000, BYTES_2000),
        ("workPath", 2000, BYTES_2000),
    ] {
        case(&format!("{field} of {bytes} bytes"), with_process(json!({ field: "x".repeat(bytes) })), Accepted);
        // Each of these characters takes three bytes.
        let wide = "\u{4e2d}".repeat(bytes / 3 + 1);
        case(
            &format!("{field} of few characters and many bytes"),
            with_process(json!({ field: wide })),
            Refused(message),
        );
        case(&format!("{field} with a blank in front"), with_process(json!({ field: " x" })), Refused(WHITE_SPACE));
    }
    for (what, text) in
        [("no-break space", "x\u{a0}"), ("ideographic space", "\u{3000}x"), ("tab", "x\t"), ("line break", "x\n")]
    {
        case(
            &format!("a text that ends or begins with a {what}"),
            with_process(json!({ "user": text })),
            Refused(WHITE_SPACE),
        );
    }
    case("a text with blanks inside", with_process(json!({ "startParamRegex": "master process" })), Accepted);
    case("an empty text", with_process(json!({ "user": "" })), Accepted);
    case("an empty key", with_process(json!({ "name": "" })), Refused("should be at least 1 chars long"));
    case("an empty function name", with_process(json!({ "funcName": "" })), Refused("should be at least 1 chars long"));
    case(
        "a key of 257 letters",
        with_process(json!({ "name": "x".repeat(257) })),
        Unreadable("may not be more than 256"),
    );

    // Numbers.
    for (field, least, most) in [
        ("autoTimeGap", 1, 10_000),
        ("priority", -100, 10_000),
        ("procNum", 1, 10_000),
        ("startCheckSeconds", 1, 600),
        ("timeoutSeconds", 1, 10_000),
    ] {
        for number in [least, most] {
            case(&format!("{field} {number}"), with_process(json!({ field: number })), Accepted);
        }
        case(
            &format!("{field} too small"),
            with_process(json!({ field: least - 1 })),
            Refused("should be greater than or equal to"),
        );
        case(
            &format!("{field} too large"),
            with_process(json!({ field: most + 1 })),
            Refused("should be less than or equal to"),
        );
    }
    case("a number as text", with_process(json!({ "procNum": "1" })), Unreadable("must be of type integer"));
    case("a fraction", with_process(json!({ "procNum": 1.5 })), Unreadable("must be of type integer"));
    case("a truth value as text", with_process(json!({ "autoStart": "yes" })), Unreadable("must be of type boolean"));

    // Sockets.
    case("a row", row(json!({ "ip": "0.0.0.0", "enable": true })), Accepted);
    case("a row without ip", row(json!({})), Accepted);
    case("a port as text", row(json!({ "port": "8000" })), Accepted);
    case("a range", row(json!({ "port": "8000-8010" })), Accepted);
    case("port 0", row(json!({ "port": 0 })), Refused("should be greater than or equal to 1"));
    case("port 65536", row(json!({ "port": 65_536 })), Refused("should be less than or equal to 65535"));
    case("port 65536 as text", row(json!({ "port": "65536" })), Unreadable("should match"));
    case("a leading zero", row(json!({ "port": "080" })), Unreadable("should match"));
    case("an empty port", row(json!({ "port": "" })), Unreadable("should match"));
    case("a comma list in a row", row(json!({ "port": "80,81" })), Unreadable("should match"));
    case(
        "a range that ends before it begins",
        row(json!({ "port": "8010-8000" })),
        OfflineOnly("a range must not end before it begins"),
    );
    case(
        "a row without protocol",
        with_process(json!({ "bindInfo": [{ "port": 80 }] })),
        Unreadable("protocol: Required value"),
    );
    case(
        "a row without port",
        with_process(json!({ "bindInfo": [{ "protocol": "TCP" }] })),
        Unreadable("port: Required value"),
    );
    case("an unknown protocol", row(json!({ "protocol": "SCTP" })), Unreadable("Unsupported value"));
    case("an unknown ip", row(json!({ "ip": "10.0.0.1" })), Unreadable("Unsupported value"));
    case("CMDB's code instead of the address", row(json!({ "ip": "1" })), Unreadable("Unsupported value"));
    case("IPv6 with TCP6", row(json!({ "ip": "::", "protocol": "TCP6" })), Accepted);
    case("IPv6 with TCP", row(json!({ "ip": "::" })), Refused(FAMILY));
    case("IPv4 with UDP6", row(json!({ "ip": "127.0.0.1", "protocol": "UDP6" })), Refused(FAMILY));
    case("a cell in two lists", row(json!({ "locked": ["port"], "unlocked": ["port"] })), Refused(TWO_LISTS));
    case("an unknown cell", row(json!({ "locked": ["user"] })), Unreadable("Unsupported value"));
    let rows = |count: usize| (0..count).map(|port| json!({ "port": port + 1, "protocol": "TCP" })).collect::<Value>();
    case("64 rows", with_process(json!({ "bindInfo": rows(64) })), Accepted);
    case("65 rows", with_process(json!({ "bindInfo": rows(65) })), Unreadable("must have at most 64 items"));
    case(
        "the older form",
        with_process(json!({ "bindIp": "127.0.0.1", "port": "80,443-445", "protocol": "TCP" })),
        Accepted,
    );
    case("the older form without a port", with_process(json!({ "port": "" })), Accepted);
    case("both forms", with_process(json!({ "port": 80, "bindInfo": [] })), Refused(FORMS));
    case("IPv6 in the older form", with_process(json!({ "bindIp": "::" })), Unreadable("Unsupported value"));
    case("TCP6 in the older form", with_process(json!({ "protocol": "TCP6" })), Unreadable("Unsupported value"));
    case("overlapping ports", with_process(json!({ "port": "80,70-90" })), OfflineOnly("ports must not overlap"));
    case("a trailing comma", with_process(json!({ "port": "80," })), Unreadable("should match"));

    // Lists of properties.
    case(
        "lists on each level",
        with_spec(json!({ "locked": ["user"], "unlocked": ["procNum"], "unmanaged": ["description"] })),
        Accepted,
    );
    case(
        "a property in two lists of the set",
        with_spec(json!({ "locked": ["user"], "unmanaged": ["user"] })),
        Refused(TWO_LISTS),
    );
    case(
        "a property in two lists of a process",
        with_process(json!({ "unlocked": ["user"], "unmanaged": ["user"] })),
        Refused(TWO_LISTS),
    );
    case(
        "a property in lists of two levels",
        {
            let mut spec = with_process(json!({ "unlocked": ["user"] }));
            spec["locked"] = json!(["user"]);
            spec
        },
        Accepted,
    );
    case("a name in a list", with_process(json!({ "unlocked": ["funcName"] })), Unreadable("Unsupported value"));
    case(
        "the process name in a list",
        with_spec(json!({ "unmanaged": ["processName"] })),
        Unreadable("Unsupported value"),
    );
    case(
        "a property twice in a list",
        with_process(json!({ "locked": ["user", "user"] })),
        Unreadable("Duplicate value"),
    );

    // Extra properties.
    let extra = |name: &str| with_process(json!({ "extraProperties": [{ "name": name, "value": { "any": [1] } }] }));
    case("an extra property", extra("bk_gateway_ip"), Accepted);
    for name in ["user", "bk_func_name", "bind_info", "timeout"] {
        case(
            &format!("{name} as an extra property"),
            extra(name),
            Refused("must not be a property that has a field of its own"),
        );
    }
    case("an extra property of another alphabet", extra("Gateway-IP"), Unreadable("should match"));
    case(
        "an extra property twice",
        with_process(json!({ "extraProperties": [{ "name": "x" }, { "name": "x" }] })),
        Unreadable("Duplicate value"),
    );

    // The set.
    for field in ["bizId", "serviceTemplate", "processes"] {
        case(&format!("no {field}"), without(field), Unreadable("Required value"));
    }
    case(
        "no function name",
        with_spec(json!({ "processes": [{ "name": "a" }] })),
        Unreadable("funcName: Required value"),
    );
    case("business 0", with_spec(json!({ "bizId": 0 })), Refused("should be greater than or equal to 1"));
    case("no process", with_spec(json!({ "processes": [] })), Unreadable("should have at least 1 items"));
    case("500 processes", with_spec(json!({ "processes": many(500) })), Accepted);
    case("501 processes", with_spec(json!({ "processes": many(501) })), Unreadable("must have at most 500 items"));
    case(
        "a key twice",
        with_spec(json!({ "processes": [{ "name": "a", "funcName": "f" }, { "name": "a", "funcName": "g" }] })),
        Refused("Duplicate value"),
    );
    case(
        "a process name twice",
        with_spec(
            json!({ "processes": [{ "name": "a", "funcName": "f" }, { "name": "b", "processName": "a", "funcName": "g" }] }),
        ),
        OfflineOnly("is that of process \"a\" already"),
    );
    case(
        "a start pair twice",
        with_spec(
            json!({ "processes": [{ "name": "a", "funcName": "f", "startParamRegex": "x" }, { "name": "b", "funcName": "f", "startParamRegex": "x" }] }),
        ),
        OfflineOnly("together those of process \"a\" already"),
    );
    case("a service template by id", selector(json!({ "id": 5 })), Accepted);
    case(
        "a service template by both",
        selector(json!({ "id": 5, "name": "web" })),
        Refused("exactly one of id and name must be set"),
    );
    case("a service template by neither", selector(json!({})), Refused("exactly one of id and name must be set"));
    case("a service template name with a blank", selector(json!({ "name": "web " })), Refused(WHITE_SPACE));
    case(
        "createIfMissing by category id",
        selector(json!({ "name": "web", "createIfMissing": { "category": { "id": 2 } } })),
        Accepted,
    );
    case(
        "createIfMissing by category names",
        selector(json!({ "name": "web", "createIfMissing": { "category": { "parent": "a", "name": "b" } } })),
        Accepted,
    );
    case(
        "createIfMissing by id",
        selector(json!({ "id": 5, "createIfMissing": { "category": { "id": 2 } } })),
        Refused("createIfMissing needs name"),
    );
    for category in [json!({}), json!({ "name": "b" }), json!({ "id": 2, "name": "b" })] {
        let name = format!("category {category}");
        case(
            &name,
            selector(json!({ "name": "web", "createIfMissing": { "category": category } })),
            Refused("either id, or parent and name must be set"),
        );
    }
    for seconds in [5, 86_400] {
        case(&format!("an interval of {seconds} s"), with_spec(json!({ "resyncIntervalSeconds": seconds })), Accepted);
    }
    case(
        "an interval too short",
        with_spec(json!({ "resyncIntervalSeconds": 4 })),
        Refused("should be greater than or equal to 5"),
    );
    case(
        "an interval too long",
        with_spec(json!({ "resyncIntervalSeconds": 86_401 })),
        Refused("should be less than or equal to 86400"),
    );
    case(
        "what is spelt out though it is the default",
        with_spec(json!({ "deletionPolicy": "Orphan", "lockPolicy": "Locked" })),
        Accepted,
    );
    case(
        "a deletion policy that this version does not have",
        with_spec(json!({ "deletionPolicy": "Delete" })),
        Unreadable("Unsupported value"),
    );
    case("an unknown lock policy", with_spec(json!({ "lockPolicy": "locked" })), Unreadable("Unsupported value"));
    case(
        "another kind of connection",
        with_spec(json!({ "connectionRef": { "kind": "Secret", "name": "x" } })),
        Unreadable("Unsupported value"),
    );
    case(
        "a connection name in capitals",
        with_spec(json!({ "connectionRef": { "name": "CMDB" } })),
        Refused("should match"),
    );
    cases
}

/// Old spec, new spec, verdict.
fn updates() -> Vec<(&'static str, Value, Value, Verdict)> {
    let changed = |name: &'static str, value: Value| with_spec(json!({ name: value }));
    let immutable = Refused("must not change: make a new set instead");
    let wish = json!({ "name": "web", "createIfMissing": { "category": { "id": 2 } } });
    vec![
        ("a process is added", minimal(), changed("processes", many(2)), Accepted),
        ("the business changes", minimal(), changed("bizId", json!(3)), immutable),
        (
            "the service template's name changes",
            minimal(),
            changed("serviceTemplate", json!({ "name": "api" })),
            immutable,
        ),
        ("a name becomes an id", minimal(), changed("serviceTemplate", json!({ "id": 5 })), immutable),
        ("an id changes", selector(json!({ "id": 5 })), selector(json!({ "id": 6 })), immutable),
        ("the wish to create is added", minimal(), changed("serviceTemplate", wish), Accepted),
        ("the interval changes", minimal(), changed("resyncIntervalSeconds", json!(60)), Accepted),
    ]
}

fn connections() -> Vec<(&'static str, Value, Verdict)> {
    let spec = |fields: Value| {
        let mut spec = json!({ "url": "https://cmdb.example.com", "credentialsSecretRef": { "name": "cmdb" } });
        for (name, value) in fields.as_object().unwrap() {
            spec[name] = value.clone();
        }
        spec
    };
    vec![
        ("the least", spec(json!({})), Accepted),
        ("a base path", spec(json!({ "url": "http://cmdb.example.com:8080/base/" })), Accepted),
        ("another scheme", spec(json!({ "url": "ftp://cmdb.example.com" })), Unreadable("should match")),
        ("a user in the URL", spec(json!({ "url": "https://me:secret@cmdb.example.com" })), Unreadable("should match")),
        ("a query", spec(json!({ "url": "https://cmdb.example.com/?a=b" })), Unreadable("should match")),
        (
            "a timeout below the servers' own",
            spec(json!({ "timeoutSeconds": 30 })),
            Unreadable("should be greater than or equal to 31"),
        ),
        ("an unknown schema", spec(json!({ "schema": "Old" })), Unreadable("Unsupported value")),
        (
            "no call in flight",
            spec(json!({ "limits": { "maxConcurrent": 0 } })),
            Unreadable("should be greater than or equal to 1"),
        ),
        (
            "a transport that this version does not have",
            spec(json!({ "transport": "Gateway" })),
            Unreadable("Unsupported value"),
        ),
    ]
}

fn object(kind: &str, spec: &Value) -> DynamicObject {
    let object = json!({
        "apiVersion": "cmdb.bk.tencent.com/v1alpha1", "kind": kind, "metadata": { "name": "case" }, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn assert_server(name: &str, verdict: Verdict, answer: Result<DynamicObject, kube::Error>) {
    match (verdict, answer) {
        (Accepted | OfflineOnly(_), Ok(_)) => {}
        (Refused(text) | Unreadable(text), Err(kube::Error::Api(status))) => {
            assert!(status.message.contains(text), "{name}: {text:?} is not in {:?}", status.message);
        }
        (verdict, answer) => panic!("{name}: {verdict:?}, but the API server says {answer:?}"),
    }
}

fn offline(spec: &Value) -> Result<(), String> {
    let spec: ProcessTemplateSetSpec = serde_json::from_value(spec.clone()).map_err(|error| error.to_string())?;
    let violations: Vec<String> = check(&spec).iter().map(ToString::to_string).collect();
    if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) }
}

fn assert_offline(name: &str, verdict: Verdict, answer: &Result<(), String>) {
    match (verdict, answer) {
        (Accepted, Ok(())) | (Unreadable(_), Err(_)) => {}
        (Refused(text) | OfflineOnly(text), Err(said)) => {
            assert!(said.contains(text), "{name}: {text:?} is not in {said:?}")
        }
        (verdict, answer) => panic!("{name}: {verdict:?}, but offline {answer:?}"),
    }
}

#[tokio::test]
async fn the_real_api_server_judges_every_manifest_as_the_table_says() {
    let Some(plane) = shared().await else { return };
    let client = plane.client().await;
    install_crds(&client).await;
    let namespace: Namespace = serde_json::from_value(json!({ "metadata": { "name": "manifests" } })).unwrap();
    Api::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
    let api = |resource: ApiResource| Api::<DynamicObject>::namespaced_with(client.clone(), "manifests", &resource);
    let sets = api(ApiResource::erase::<ProcessTemplateSet>(&()));
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    for case in cases() {
        let answer = sets.create(&dry, &object("ProcessTemplateSet", &case.spec)).await;
        assert_server(&case.name, case.verdict, answer);
    }
    for (name, old, new, verdict) in updates() {
        let stored = sets.create(&PostParams::default(), &object("ProcessTemplateSet", &old)).await.unwrap();
        let mut changed = object("ProcessTemplateSet", &new);
        changed.metadata.resource_version = stored.metadata.resource_version;
        assert_server(name, verdict, sets.replace("case", &dry, &changed).await);
        sets.delete("case", &DeleteParams::default()).await.unwrap();
    }
    let all = api(ApiResource::erase::<CmdbConnection>(&()));
    for (name, spec, verdict) in connections() {
        assert_server(name, verdict, all.create(&dry, &object("CmdbConnection", &spec)).await);
    }
    let verdicts: Vec<Verdict> = cases()
        .iter()
        .map(|case| case.verdict)
        .chain(updates().into_iter().map(|update| update.3))
        .chain(connections().into_iter().map(|connection| connection.2))
        .collect();
    let refused = verdicts.iter().filter(|verdict| matches!(verdict, Refused(_) | Unreadable(_))).count();
    let offline_only = verdicts.iter().filter(|verdict| matches!(verdict, OfflineOnly(_))).count();
    println!("manifests: cases={} refused={refused} offline_only={offline_only}", verdicts.len());
    assert!(refused >= 40);
}

#[test]
fn the_offline_rules_judge_every_manifest_as_the_table_says() {
    for case in cases() {
        assert_offline(&case.name, case.verdict, &offline(&case.spec));
    }
    for (name, old, new, verdict) in updates() {
        let read = |spec: Value| serde_json::from_value::<ProcessTemplateSetSpec>(spec).unwrap();
        let violations: Vec<String> = check_update(&read(old), &read(new)).iter().map(ToString::to_string).collect();
        let answer = if violations.is_empty() { Ok(()) } else { Err(violations.join("; ")) };
        assert_offline(name, verdict, &answer);
    }
}

#[test]
fn what_a_rule_says_stands_in_the_description_of_its_field() {
    let (_, crd) = api::crds().unwrap().remove(0);
    let mut descriptions = String::new();
    let mut values = vec![&crd];
    while let Some(value) = values.pop() {
        match value {
            Value::Object(fields) => {
                if let Some(Value::String(text)) = fields.get("description") {
                    descriptions.push_str(&text.to_lowercase());
                }
                values.extend(fields.values());
            }
            Value::Array(items) => values.extend(items),
            _ => {}
        }
    }
    let server_side = ["should ", "Duplicate value"];
    for case in cases() {
        if let Refused(text) = case.verdict {
            if !server_side.iter().any(|start| text.starts_with(start)) {
                assert!(descriptions.contains(&text.to_lowercase()), "{}: {text}", case.name);
            }
        }
    }
}
