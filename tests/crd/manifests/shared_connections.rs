//! What only a connection of the cluster has: namespaces of Secrets, and grants.

use serde_json::{Value, json};

use super::{
    ABSENT, Draft, MAX_ID, NO_MATCH, NOT_LESS, NOT_LISTED, NOT_MORE, TOO_FEW, TOO_LONG, TOO_MANY, TOO_SHORT, TWICE,
    Table, UNKNOWN,
};

/// Paths of what the other kind of connection has too, tried there.
pub fn is_of_both_kinds(path: &str) -> bool {
    let own = ["spec.grants", "spec.credentialsSecretRef", "spec.tls.clientCertificateSecretRef"];
    !own.iter().any(|own| path.starts_with(own))
}

pub fn cases(table: &Table) {
    table.shared("the least that is a shared connection", json!({})).accepted();
    table
        .shared("a shared connection without credentials", json!({ "credentialsSecretRef": null }))
        .unreadable("credentialsSecretRef", ABSENT);
    table.shared("a shared connection's unknown field", json!({ "bizIds": [2] })).server_only("bizIds", UNKNOWN);
    let certificate = |secret: Value| json!({ "tls": { "clientCertificateSecretRef": secret } });
    secrets(table, "credentials", "credentialsSecretRef", |secret| json!({ "credentialsSecretRef": secret }));
    secrets(table, "a certificate", "tls.clientCertificateSecretRef", certificate);
    grants(table);
    namespaces(table);
    labels(table);
    service_templates(table);
}

fn secrets(table: &Table, of: &str, at: &str, fields: impl Fn(Value) -> Value) {
    let (namespace, name) = (format!("{at}.namespace"), format!("{at}.name"));
    let case = |what: &str, namespace: Value, name: Value| {
        let secret = json!({ "namespace": namespace, "name": name });
        table.shared(&format!("the shared Secret of {of}, {what}"), fields(secret))
    };
    case("with long names", json!("x".repeat(63)), json!("x".repeat(253))).accepted();
    case("its namespace too long", json!("x".repeat(64)), json!("x")).server_only(&namespace, TOO_LONG);
    case("its namespace empty", json!(""), json!("x")).server_only(&namespace, TOO_SHORT);
    case("its namespace no name", json!("../shop"), json!("x")).server_only(&namespace, NO_MATCH);
    case("its name too long", json!("x"), json!("x".repeat(254))).server_only(&name, TOO_LONG);
    case("its name empty", json!("x"), json!("")).server_only(&name, TOO_SHORT);
    case("its name no name", json!("x"), json!("../../shop")).server_only(&name, NO_MATCH);
    let lacking = |field: &str, secret: Value| {
        table.shared(&format!("the shared Secret of {of} without {field}"), fields(secret))
    };
    lacking("namespace", json!({ "name": "x" })).unreadable(&namespace, ABSENT);
    lacking("name", json!({ "namespace": "x" })).unreadable(&name, ABSENT);
}

fn numbered(count: usize) -> Value {
    (1..=count).map(|number| json!(format!("n{number}"))).collect()
}

// A shared connection with one grant, which has these fields.
fn grant<'a>(table: &'a Table, what: &str, namespaces: &Value, biz_ids: &Value, chosen: Option<&Value>) -> Draft<'a> {
    let mut grant = json!({ "namespaces": namespaces, "bizIds": biz_ids });
    if let Some(chosen) = chosen {
        grant["serviceTemplates"] = chosen.clone();
    }
    table.shared(&format!("a grant {what}"), json!({ "grants": [grant] }))
}

fn grants(table: &Table) {
    let one = json!({ "namespaces": {}, "bizIds": [2] });
    let many = |count: usize| json!({ "grants": vec![&one; count] });
    table.shared("no grants", json!({ "grants": [] })).accepted();
    table.shared("a hundred grants", many(100)).accepted();
    table.shared("a hundred and one grants", many(101)).server_only("grants", TOO_MANY);
    let lacking = |field: &str| {
        let mut grant = one.clone();
        grant.as_object_mut().unwrap().remove(field);
        table.shared(&format!("a grant without {field}"), json!({ "grants": [grant] }))
    };
    lacking("namespaces").unreadable("grants[0].namespaces", ABSENT);
    lacking("bizIds").unreadable("grants[0].bizIds", ABSENT);

    let (nobody, at) = (json!({}), "grants[0].bizIds");
    let businesses = |what: &str, biz_ids: &Value| grant(table, what, &nobody, biz_ids, None);
    businesses("for the highest business", &json!([1, MAX_ID])).accepted();
    businesses("for a thousand businesses", &(1..=1000).collect()).accepted();
    businesses("for a thousand and one businesses", &(1..=1001).collect()).server_only(at, TOO_MANY);
    businesses("for no business", &json!([])).server_only(at, TOO_FEW);
    businesses("for business 0", &json!([0])).server_only("grants[0].bizIds[0]", NOT_LESS);
    businesses("for a business beyond", &json!([MAX_ID + 1])).server_only("grants[0].bizIds[0]", NOT_MORE);
    businesses("for a business twice", &json!([2, 2])).server_only("grants[0].bizIds[1]", TWICE);
}

fn namespaces(table: &Table) {
    let biz_ids = json!([2]);
    let case =
        |what: &str, names: Value| grant(table, &format!("to {what}"), &json!({ "matchNames": names }), &biz_ids, None);
    let at = "grants[0].namespaces.matchNames";
    let first = &format!("{at}[0]");
    case("a thousand namespaces", numbered(1000)).accepted();
    case("a thousand and one namespaces", numbered(1001)).server_only(at, TOO_MANY);
    case("a namespace of 63 letters", json!(["x".repeat(63)])).accepted();
    case("a namespace of 64 letters", json!(["x".repeat(64)])).server_only(first, TOO_LONG);
    case("a namespace without letters", json!([""])).server_only(first, TOO_SHORT);
    case("a namespace twice", json!(["shop", "shop"])).server_only(&format!("{at}[1]"), TWICE);
}

fn labels(table: &Table) {
    let biz_ids = json!([2]);
    let case = |what: &str, selector: Value| {
        grant(table, &format!("by labels, {what}"), &json!({ "selector": selector }), &biz_ids, None)
    };
    let at = "grants[0].namespaces.selector";
    let labels = |count: usize| -> Value {
        let labels: serde_json::Map<_, _> = (1..=count).map(|number| (format!("n{number}"), json!("x"))).collect();
        json!({ "matchLabels": labels })
    };
    case("32 of them", labels(32)).accepted();
    case("33 of them", labels(33)).server_only(&format!("{at}.matchLabels"), TOO_MANY);

    let expressions =
        |count: usize| json!({ "matchExpressions": vec![json!({ "key": "x", "operator": "Exists" }); count] });
    let at = &format!("{at}.matchExpressions");
    case("32 expressions", expressions(32)).accepted();
    case("33 expressions", expressions(33)).server_only(at, TOO_MANY);
    let one = |what: &str, expression: Value| case(what, json!({ "matchExpressions": [expression] }));
    for operator in ["In", "NotIn", "Exists", "DoesNotExist"] {
        one(&format!("operator {operator}"), json!({ "key": "x", "operator": operator })).accepted();
    }
    one("an unknown operator", json!({ "key": "x", "operator": "Like" }))
        .unreadable(&format!("{at}[0].operator"), NOT_LISTED);
    one("without an operator", json!({ "key": "x" })).unreadable(&format!("{at}[0].operator"), ABSENT);
    one("without a key", json!({ "operator": "Exists" })).unreadable(&format!("{at}[0].key"), ABSENT);
    let key = |letters: usize| {
        one(&format!("a key of {letters} letters"), json!({ "key": "x".repeat(letters), "operator": "Exists" }))
    };
    key(317).accepted();
    key(318).server_only(&format!("{at}[0].key"), TOO_LONG);
    key(0).server_only(&format!("{at}[0].key"), TOO_SHORT);

    let at = &format!("{at}[0].values");
    let values = |what: &str, values: Value| {
        one(&format!("values {what}"), json!({ "key": "x", "operator": "In", "values": values }))
    };
    values("a hundred", numbered(100)).accepted();
    values("a hundred and one", numbered(101)).server_only(at, TOO_MANY);
    values("of 63 letters", json!(["x".repeat(63)])).accepted();
    values("of 64 letters", json!(["x".repeat(64)])).server_only(&format!("{at}[0]"), TOO_LONG);
    values("twice", json!(["x", "x"])).server_only(&format!("{at}[1]"), TWICE);
}

fn service_templates(table: &Table) {
    let (nobody, biz_ids) = (json!({}), json!([2]));
    let case = |what: &str, chosen: Value| {
        grant(table, &format!("to service templates, {what}"), &nobody, &biz_ids, Some(&chosen))
    };
    case("none", json!({})).accepted();
    let at = "grants[0].serviceTemplates.matchNames";
    let names = |what: &str, names: Value| case(what, json!({ "matchNames": names }));
    names("a thousand names", numbered(1000)).accepted();
    names("a thousand and one names", numbered(1001)).server_only(at, TOO_MANY);
    names("a name of 256 letters", json!(["x".repeat(256)])).accepted();
    names("a name of 257 letters", json!(["x".repeat(257)])).server_only(&format!("{at}[0]"), TOO_LONG);
    names("a name without letters", json!([""])).server_only(&format!("{at}[0]"), TOO_SHORT);
    names("a name twice", json!(["x", "x"])).server_only(&format!("{at}[1]"), TWICE);
    let at = "grants[0].serviceTemplates.matchIds";
    let ids = |what: &str, ids: Value| case(what, json!({ "matchIds": ids }));
    ids("a thousand IDs", (1..=1000).collect()).accepted();
    ids("a thousand and one IDs", (1..=1001).collect()).server_only(at, TOO_MANY);
    ids("the highest ID", json!([1, MAX_ID])).accepted();
    ids("ID 0", json!([0])).server_only(&format!("{at}[0]"), NOT_LESS);
    ids("an ID beyond", json!([MAX_ID + 1])).server_only(&format!("{at}[0]"), NOT_MORE);
    ids("an ID twice", json!([2, 2])).server_only(&format!("{at}[1]"), TWICE);
}
