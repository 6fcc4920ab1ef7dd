//! One table of manifests, judged by the offline rules as by the real API server, which `applied.rs` asks.

mod shared_connections;

use std::cell::RefCell;
use std::collections::BTreeSet;

use process_template_operator::api::{
    self, ClusterCmdbConnectionSpec, CmdbConnectionSpec, FUNC_NAME, PROCESS_NAME, ProcessTemplateSetSpec, Property,
};
use process_template_operator::plan::{check, check_update};
use serde_json::{Value, json};

const BYTES_256: &str = "must be at most 256 bytes";
const BYTES_2000: &str = "must be at most 2000 bytes";
const WHITE_SPACE: &str = "must not begin or end with white space";
const TWO_LISTS: &str = "a property may stand in one of locked, unlocked and unmanaged only";
const FAMILY: &str = "an IPv6 ip goes with TCP6 or UDP6, an IPv4 ip with TCP or UDP";
const FORMS: &str = "bindInfo and bindIp, port, protocol are two forms of one thing: use one of them";
const ONE_WAY: &str = "exactly one of id and name must be set";
const NEW_NAME: &str =
    "createIfMissing needs a name that CMDB accepts: without white space and without any of \\ | / : * , < > \" ? #";
const CATEGORY: &str = "either id, or parent and name must be set";
const MODELLED: &str = "must not be a property that has a field of its own";
const IMMUTABLE: &str = "must not change: make a new set instead";

// The API server's own words.
const NOT_LESS: &str = "should be greater than or equal to";
const NOT_MORE: &str = "should be less than or equal to";
const TOO_SHORT: &str = "should be at least";
const TOO_LONG: &str = "Too long: may not be more than";
const TOO_FEW: &str = "should have at least";
const TOO_MANY: &str = "Too many";
const NO_MATCH: &str = "should match";
const NOT_LISTED: &str = "Unsupported value";
const TWICE: &str = "Duplicate value";
const ABSENT: &str = "Required value";
const NOT_A: &str = "must be of type";
pub const UNKNOWN: &str = "unknown field";

const POLICIES: &[(&str, &[&str])] = &[
    ("deletionPolicy", &["Orphan", "Delete"]),
    ("adoptionPolicy", &["Never", "IfIdentical", "Always"]),
    ("driftPolicy", &["Correct", "Detect"]),
    ("replacePolicy", &["Never", "Recreate"]),
];

const MAX_ID: i64 = 9_007_199_254_740_991;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Accepted,
    /// By both, each with this text.
    Refused(&'static str),
    /// By both: by the server with this text, offline in words of its own.
    Unreadable(&'static str),
    /// What the API server cannot afford to check: offline only, with this text.
    OfflineOnly(&'static str),
    /// By the API server only, which stores it in a form that is read offline.
    AcceptedOnceStored,
    /// What cannot be seen offline: a field that is not read at all, and the bounds of a connection.
    ServerOnly(&'static str),
}
use Verdict::{Accepted, AcceptedOnceStored, OfflineOnly, Refused, ServerOnly, Unreadable};

#[derive(Clone)]
pub enum Subject {
    Set(Value),
    Update(Value, Value),
    Connection(Value),
    Shared(Value),
}

pub struct Case {
    name: String,
    pub subject: Subject,
    /// Where it is refused: `spec.processes[0].user`.
    path: String,
    pub verdict: Verdict,
}

#[derive(Default)]
struct Table {
    cases: RefCell<Vec<Case>>,
}

/// A case without its verdict.
struct Draft<'a> {
    table: &'a Table,
    name: String,
    subject: Subject,
    base: &'static str,
}

impl Draft<'_> {
    fn close(self, at: &str, verdict: Verdict) {
        let joint = if at.is_empty() || at.starts_with('[') { "" } else { "." };
        let path = format!("{}{joint}{at}", self.base);
        self.table.cases.borrow_mut().push(Case { name: self.name, subject: self.subject, path, verdict });
    }

    fn accepted(self) {
        self.close("", Accepted);
    }

    fn accepted_once_stored(self) {
        self.close("", AcceptedOnceStored);
    }

    fn refused(self, at: &str, text: &'static str) {
        self.close(at, Refused(text));
    }

    fn unreadable(self, at: &str, text: &'static str) {
        self.close(at, Unreadable(text));
    }

    fn offline_only(self, at: &str, text: &'static str) {
        self.close(at, OfflineOnly(text));
    }

    fn server_only(self, at: &str, text: &'static str) {
        self.close(at, ServerOnly(text));
    }
}

impl Table {
    fn draft(&self, name: &str, subject: Subject, base: &'static str) -> Draft<'_> {
        Draft { table: self, name: name.to_owned(), subject, base }
    }

    /// The minimal set with these fields in its spec; null takes one away.
    fn set(&self, name: &str, fields: Value) -> Draft<'_> {
        self.draft(name, Subject::Set(merged(minimal(), fields)), "spec")
    }

    /// The minimal set with these fields in its process.
    fn process(&self, name: &str, fields: Value) -> Draft<'_> {
        self.draft(name, Subject::Set(with_process(fields)), "spec.processes[0]")
    }

    /// The minimal set with one socket that has these fields.
    fn row(&self, name: &str, fields: Value) -> Draft<'_> {
        let row = merged(json!({ "port": 80, "protocol": "TCP" }), fields);
        let spec = with_process(json!({ "bindInfo": [row] }));
        self.draft(name, Subject::Set(spec), "spec.processes[0].bindInfo[0]")
    }

    /// The minimal set with this service template.
    fn selector(&self, name: &str, selector: Value) -> Draft<'_> {
        self.draft(name, Subject::Set(with_selector(selector)), "spec.serviceTemplate")
    }

    /// The minimal set that creates its service template in this category.
    fn category(&self, name: &str, category: Value) -> Draft<'_> {
        let spec = with_selector(json!({ "name": "web", "createIfMissing": { "category": category } }));
        self.draft(name, Subject::Set(spec), "spec.serviceTemplate.createIfMissing.category")
    }

    fn update(&self, name: &str, old: Value, new: Value) -> Draft<'_> {
        self.draft(name, Subject::Update(old, new), "spec")
    }

    /// The minimal connection with these fields in its spec; null takes one away.
    fn connection(&self, name: &str, fields: Value) -> Draft<'_> {
        let least = json!({ "url": "https://cmdb.example.com", "credentialsSecretRef": { "name": "cmdb" } });
        self.draft(name, Subject::Connection(merged(least, fields)), "spec")
    }

    /// The minimal connection of the cluster with these fields in its spec; null takes one away.
    fn shared(&self, name: &str, fields: Value) -> Draft<'_> {
        let secret = json!({ "namespace": "ptset-system", "name": "cmdb" });
        let least = json!({ "url": "https://cmdb.example.com", "credentialsSecretRef": secret });
        self.draft(name, Subject::Shared(merged(least, fields)), "spec")
    }
}

fn minimal() -> Value {
    json!({ "bizId": 2, "serviceTemplate": { "name": "web" }, "processes": [{ "name": "a", "funcName": "f" }] })
}

fn merged(mut object: Value, fields: Value) -> Value {
    let Value::Object(fields) = fields else { panic!("{fields}") };
    for (name, value) in fields {
        if value.is_null() {
            object.as_object_mut().unwrap().remove(&name);
        } else {
            object[name] = value;
        }
    }
    object
}

fn with_process(fields: Value) -> Value {
    merged(minimal(), json!({ "processes": [merged(json!({ "name": "a", "funcName": "f" }), fields)] }))
}

fn with_selector(selector: Value) -> Value {
    merged(minimal(), json!({ "serviceTemplate": selector }))
}

fn many(count: usize) -> Value {
    (0..count).map(|number| json!({ "name": format!("p{number}"), "funcName": "f" })).collect()
}

/// Every case.
pub fn table() -> Vec<Case> {
    let table = Table::default();
    texts(&table);
    white_space(&table);
    numbers(&table);
    forms_of_values(&table);
    families(&table);
    row_ports(&table);
    rows(&table);
    older_sockets(&table);
    property_lists(&table);
    extras(&table);
    sets(&table);
    unique_in_a_set(&table);
    service_templates(&table);
    categories(&table);
    connection_references(&table);
    updates(&table);
    connections(&table);
    addresses(&table);
    shared_connections::cases(&table);
    table.cases.into_inner()
}

// CMDB counts bytes: each of these characters takes three.
fn texts(table: &Table) {
    const SHORT: &[&str] = &["name", "processName", "funcName", "startParamRegex", "description", "funcId", "user"];
    const LONG: &[&str] = &["forceStopCmd", "pidFile", "reloadCmd", "restartCmd", "startCmd", "stopCmd", "workPath"];
    let short = SHORT.iter().map(|field| (*field, 256, BYTES_256));
    for (field, bytes, message) in short.chain(LONG.iter().map(|field| (*field, 2000, BYTES_2000))) {
        let case = |what: &str, text: String| {
            let name = format!("{field} {what}");
            table.process(&name, json!({ field: text }))
        };
        case("of as many bytes as it may have", "x".repeat(bytes)).accepted();
        case("of a byte more", "x".repeat(bytes + 1)).unreadable(field, TOO_LONG);
        case("of a third as many wide characters", "\u{4e2d}".repeat(bytes / 3)).accepted();
        case("of a wide character more", "\u{4e2d}".repeat(bytes / 3 + 1)).refused(field, message);
        case("with a blank in front", " x".to_owned()).refused(field, WHITE_SPACE);
        case("with a blank inside", "x y".to_owned()).accepted();
        if ["name", "processName", "funcName"].contains(&field) {
            case("that is empty", String::new()).refused(field, TOO_SHORT);
        } else {
            case("that is empty", String::new()).accepted();
        }
    }
    // Four bytes each.
    table.process("64 signs of 256 bytes", json!({ "user": "\u{1f600}".repeat(64) })).accepted();
    table.process("65 signs of 260 bytes", json!({ "user": "\u{1f600}".repeat(65) })).refused("user", BYTES_256);
    table
        .process("a name of 100 characters and 300 bytes", json!({ "name": "\u{4e2d}".repeat(100) }))
        .refused("name", BYTES_256);
}

fn white_space(table: &Table) {
    for (what, text) in [
        ("no-break space", "x\u{a0}"),
        ("ideographic space", "\u{3000}x"),
        ("tab", "x\t"),
        ("line break", "x\n"),
        ("next line", "\u{85}x"),
        ("line separator", "x\u{2028}"),
        ("en quad", "\u{2000}x"),
    ] {
        table
            .process(&format!("a text with a {what} at its edge"), json!({ "user": text }))
            .refused("user", WHITE_SPACE);
        table
            .selector(&format!("a name with a {what} at its edge"), json!({ "name": text }))
            .refused("name", WHITE_SPACE);
    }
    // Without width, and no white space to CMDB either.
    for (what, text) in [("zero width space", "x\u{200b}"), ("byte order mark", "\u{feff}x")] {
        table.process(&format!("a text with a {what} at its edge"), json!({ "user": text })).accepted();
    }
    table.process("a control character at the edge", json!({ "user": "\u{1c}x" })).accepted();
    table.process("a text with a tab inside", json!({ "user": "x\ty" })).accepted();
    table.process("a text of one blank", json!({ "user": " " })).refused("user", WHITE_SPACE);
}

fn numbers(table: &Table) {
    for (field, least, most) in [
        ("autoTimeGap", 1, 10_000),
        ("priority", -100, 10_000),
        ("procNum", 1, 10_000),
        ("startCheckSeconds", 1, 600),
        ("timeoutSeconds", 1, 10_000),
    ] {
        table.process(&format!("{field} {least}"), json!({ field: least })).accepted();
        table.process(&format!("{field} {most}"), json!({ field: most })).accepted();
        table.process(&format!("{field} below {least}"), json!({ field: least - 1 })).refused(field, NOT_LESS);
        table.process(&format!("{field} above {most}"), json!({ field: most + 1 })).refused(field, NOT_MORE);
    }
    for (field, least, most) in [("bizId", 1, MAX_ID), ("resyncIntervalSeconds", 5, 86_400)] {
        table.set(&format!("{field} {least}"), json!({ field: least })).accepted();
        table.set(&format!("{field} {most}"), json!({ field: most })).accepted();
        table.set(&format!("{field} below {least}"), json!({ field: least - 1 })).refused(field, NOT_LESS);
        table.set(&format!("{field} above {most}"), json!({ field: most + 1 })).refused(field, NOT_MORE);
    }
    table.process("a number beyond 32 bits", json!({ "procNum": 2_147_483_648_i64 })).unreadable("procNum", NOT_MORE);
    table.set("a number beyond 64 bits", json!({ "bizId": 1e19 })).unreadable("bizId", NOT_MORE);
}

fn forms_of_values(table: &Table) {
    table.process("a number as text", json!({ "procNum": "1" })).unreadable("procNum", NOT_A);
    table.process("a fraction", json!({ "procNum": 1.5 })).unreadable("procNum", NOT_A);
    for value in [true, false] {
        table.process(&format!("autoStart {value}"), json!({ "autoStart": value })).accepted();
    }
    // What is no fraction in truth is stored as the whole number that it is.
    table.process("a whole number with a point", json!({ "procNum": 1.0 })).accepted_once_stored();
    table.process("a port with a point", json!({ "port": 80.0 })).accepted_once_stored();
    table.set("a business with a point", json!({ "bizId": 2.0 })).accepted_once_stored();
    table.process("a truth value as text", json!({ "autoStart": "yes" })).unreadable("autoStart", NOT_A);
    table.process("a truth value as number", json!({ "autoStart": 1 })).unreadable("autoStart", NOT_A);
    table.process("a text as number", json!({ "funcId": 1 })).unreadable("funcId", NOT_A);
    table.process("a list for a text", json!({ "user": ["x"] })).unreadable("user", NOT_A);
    table.process("one socket without a list", json!({ "bindInfo": 80 })).unreadable("bindInfo", NOT_A);
    table.process("one name without a list", json!({ "locked": "user" })).unreadable("locked", NOT_A);
    table.set("processes without a list", json!({ "processes": "a" })).unreadable("processes", NOT_A);
    table.set("a process as text", json!({ "processes": ["a"] })).unreadable("processes[0]", NOT_A);
    table.set("the business as text", json!({ "bizId": "2" })).unreadable("bizId", NOT_A);
    table.set("the service template as text", json!({ "serviceTemplate": "web" })).unreadable("serviceTemplate", NOT_A);
    // Null is absence.
    let mut nulls = minimal();
    nulls["processes"][0]["user"] = Value::Null;
    nulls["locked"] = Value::Null;
    table.draft("null where a value may be absent", Subject::Set(nulls), "spec").accepted();
    let mut nulls = minimal();
    nulls["processes"][0]["funcName"] = Value::Null;
    table.draft("null where a value must be", Subject::Set(nulls), "spec.processes[0]").unreadable("funcName", ABSENT);
}

fn families(table: &Table) {
    let ips = [
        ("127.0.0.1", 4),
        ("0.0.0.0", 4),
        ("FirstInnerIP", 4),
        ("FirstOuterIP", 4),
        ("::1", 6),
        ("::", 6),
        ("FirstInnerIPv6", 6),
        ("FirstOuterIPv6", 6),
    ];
    let protocols = [("TCP", 4), ("UDP", 4), ("TCP6", 6), ("UDP6", 6)];
    for (protocol, family) in protocols {
        table.row(&format!("{protocol} without ip"), json!({ "protocol": protocol })).accepted();
        for (ip, family_of_ip) in ips {
            let case = table.row(&format!("{protocol} on {ip}"), json!({ "ip": ip, "protocol": protocol }));
            if family == family_of_ip { case.accepted() } else { case.refused("", FAMILY) }
        }
    }
    for (ip, family) in ips {
        let case = table.process(&format!("{ip} in the older form"), json!({ "bindIp": ip }));
        if family == 4 { case.accepted() } else { case.unreadable("bindIp", NOT_LISTED) }
    }
    for (protocol, family) in protocols {
        let case = table.process(&format!("{protocol} in the older form"), json!({ "protocol": protocol }));
        if family == 4 { case.accepted() } else { case.unreadable("protocol", NOT_LISTED) }
    }
    table.row("an unknown protocol", json!({ "protocol": "SCTP" })).unreadable("protocol", NOT_LISTED);
    table.row("a protocol in small letters", json!({ "protocol": "tcp" })).unreadable("protocol", NOT_LISTED);
    table.row("an unknown ip", json!({ "ip": "10.0.0.1" })).unreadable("ip", NOT_LISTED);
    table.row("an empty ip", json!({ "ip": "" })).unreadable("ip", NOT_LISTED);
    table.row("CMDB's code instead of the address", json!({ "ip": "1" })).unreadable("ip", NOT_LISTED);
}

fn row_ports(table: &Table) {
    for port in [1, 9999, 65_535] {
        table.row(&format!("port {port}"), json!({ "port": port })).accepted();
        table.row(&format!("port {port} as text"), json!({ "port": port.to_string() })).accepted();
    }
    for range in ["8000-8010", "80-80", "1-65535", "60000-65535"] {
        table.row(&format!("ports {range}"), json!({ "port": range })).accepted();
    }
    table.row("port 0", json!({ "port": 0 })).refused("port", NOT_LESS);
    table.row("port -1", json!({ "port": -1 })).refused("port", NOT_LESS);
    table.row("port 65536", json!({ "port": 65_536 })).refused("port", NOT_MORE);
    for port in [
        "",
        "0",
        "080",
        "65536",
        "99999",
        "100000",
        "1-65536",
        "0-80",
        "80-090",
        "80,81",
        "80-",
        "-80",
        "80-90-91",
        " 80",
        "80 ",
        "80\n",
        "+80",
        "8e1",
        "http",
        "\u{ff18}\u{ff10}",
    ] {
        table.row(&format!("port {port:?} as text"), json!({ "port": port })).unreadable("port", NO_MATCH);
    }
    table.row("a port text of twelve letters", json!({ "port": "10000-100000" })).unreadable("port", TOO_LONG);
    table.row("a port that is a fraction", json!({ "port": 80.5 })).unreadable("port", NOT_A);
    table.row("a port that is a truth value", json!({ "port": true })).unreadable("port", NOT_A);
    table
        .row("a range that ends before it begins", json!({ "port": "8010-8000" }))
        .offline_only("port", "a range must not end before it begins");
}

fn rows(table: &Table) {
    let rows = |count: usize| (0..count).map(|port| json!({ "port": port + 1, "protocol": "TCP" })).collect::<Value>();
    table.process("no row", json!({ "bindInfo": [] })).accepted();
    table.process("64 rows", json!({ "bindInfo": rows(64) })).accepted();
    table.process("65 rows", json!({ "bindInfo": rows(65) })).unreadable("bindInfo", TOO_MANY);
    table.process("the same row twice", json!({ "bindInfo": [rows(1)[0], rows(1)[0]] })).accepted();
    table
        .row("a row in full", json!({ "ip": "0.0.0.0", "enable": true, "locked": ["ip"], "unlocked": ["port"] }))
        .accepted();
    table.row("a row without protocol", json!({ "protocol": null })).unreadable("protocol", ABSENT);
    table.row("a row without port", json!({ "port": null })).unreadable("port", ABSENT);
    table.row("an enable that is text", json!({ "enable": "true" })).unreadable("enable", NOT_A);
    table.row("a cell in two lists", json!({ "locked": ["port"], "unlocked": ["ip", "port"] })).refused("", TWO_LISTS);
    for list in ["locked", "unlocked"] {
        table.row(&format!("every cell {list}"), json!({ list: ["enable", "ip", "port", "protocol"] })).accepted();
        table
            .row(&format!("an unknown cell {list}"), json!({ list: ["user"] }))
            .unreadable(&format!("{list}[0]"), NOT_LISTED);
        table
            .row(&format!("a cell twice {list}"), json!({ list: ["ip", "ip"] }))
            .unreadable(&format!("{list}[1]"), TWICE);
        table
            .row(
                &format!("more cells than there are {list}"),
                json!({ list: ["enable", "ip", "port", "protocol", "ip"] }),
            )
            .unreadable(list, TOO_MANY);
    }
    table.row("a row's unknown field", json!({ "rowId": 1 })).server_only("rowId", UNKNOWN);
}

fn older_sockets(table: &Table) {
    let ports = |count: usize| (0..count).map(|port| (10_000 + port).to_string()).collect::<Vec<_>>().join(",");
    table
        .process("the older form", json!({ "bindIp": "127.0.0.1", "port": "80,443-445", "protocol": "TCP" }))
        .accepted();
    table.process("the older form with an empty port", json!({ "port": "" })).accepted();
    table.process("the older form with a number", json!({ "port": 80 })).accepted();
    table.process("port 0 in the older form", json!({ "port": 0 })).refused("port", NOT_LESS);
    table.process("port 65536 in the older form", json!({ "port": 65_536 })).refused("port", NOT_MORE);
    table.process("ports of 256 letters", json!({ "port": ports(42) + ",1000" })).accepted();
    table.process("ports of 257 letters", json!({ "port": ports(43) })).unreadable("port", TOO_LONG);
    for port in ["80,", ",80", "80,,81", "80, 81", "080", "80;81", "80-81-82", "65536", "80,0"] {
        table
            .process(&format!("ports {port:?} in the older form"), json!({ "port": port }))
            .unreadable("port", NO_MATCH);
    }
    table.process("neighbouring ports", json!({ "port": "80,81-90,91" })).accepted();
    for port in ["80,70-90", "80,80", "1-10,10-20"] {
        table
            .process(&format!("overlapping ports {port}"), json!({ "port": port }))
            .offline_only("port", "ports must not overlap");
    }
    table
        .process("a range that ends before it begins in the older form", json!({ "port": "80,9000-8000" }))
        .offline_only("port", "a range must not end before it begins");
    for (field, value) in [("bindIp", json!("0.0.0.0")), ("port", json!(80)), ("protocol", json!("TCP"))] {
        table.process(&format!("bindInfo and {field}"), json!({ "bindInfo": [], field: value })).refused("", FORMS);
        table.process(&format!("{field} without bindInfo"), json!({ field: value })).accepted();
    }
}

fn property_lists(table: &Table) {
    let every: Vec<&str> = Property::ALL.iter().map(|property| property.name()).collect();
    let mut too_many = every.clone();
    too_many.push("user");
    for list in ["locked", "unlocked", "unmanaged"] {
        for level in ["set", "process"] {
            let case = |what: &str, names: Value| {
                let name = format!("{list} of a {level} {what}");
                let fields = json!({ list: names });
                if level == "set" { table.set(&name, fields) } else { table.process(&name, fields) }
            };
            case("that names nothing", json!([])).accepted();
            case("that names every property", json!(every)).accepted();
            case("that names more than there are", json!(too_many)).unreadable(list, TOO_MANY);
            case("that names a property twice", json!(["user", "user"])).unreadable(&format!("{list}[1]"), TWICE);
            // The server always locks the two names.
            for name in ["processName", "funcName", "name", "nope", "proc_num"] {
                case(&format!("that names {name}"), json!([name])).unreadable(&format!("{list}[0]"), NOT_LISTED);
            }
        }
    }
    for (left, right) in [("locked", "unlocked"), ("locked", "unmanaged"), ("unlocked", "unmanaged")] {
        let both = json!({ left: ["procNum", "user"], right: ["user"] });
        table.set(&format!("a property {left} and {right} in a set"), both.clone()).refused("", TWO_LISTS);
        table.process(&format!("a property {left} and {right} in a process"), both).refused("", TWO_LISTS);
        let each = json!({ left: ["procNum"], right: ["user"] });
        table.set(&format!("two properties {left} and {right} in a set"), each.clone()).accepted();
        table.process(&format!("two properties {left} and {right} in a process"), each).accepted();
        let levels = merged(with_process(json!({ left: ["user"] })), json!({ right: ["user"] }));
        let name = format!("a property {left} in a process and {right} in its set");
        table.draft(&name, Subject::Set(levels), "spec").accepted();
    }
}

fn extras(table: &Table) {
    let extras = |names: &[&str]| {
        let entries: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
        json!({ "extraProperties": entries })
    };
    let letters = ["x".repeat(64), "x".repeat(65)];
    let numbered: Vec<String> = (0..17).map(|number| format!("x{number}")).collect();
    let numbered: Vec<&str> = numbered.iter().map(String::as_str).collect();
    let at = "extraProperties[0].name";
    for name in ["bk_gateway_ip", "x", "a9_", letters[0].as_str(), "auto_starts"] {
        table.process(&format!("the extra property {name}"), extras(&[name])).accepted();
    }
    for name in Property::ALL.iter().map(|property| property.cmdb_name()).chain([FUNC_NAME, PROCESS_NAME]) {
        table.process(&format!("the extra property {name}"), extras(&[name])).refused(at, MODELLED);
    }
    for name in ["Gateway", "gateway-ip", "_x", "9x", "x y", "\u{e9}"] {
        table.process(&format!("the extra property {name:?}"), extras(&[name])).unreadable(at, NO_MATCH);
    }
    table.process("an extra property of 65 letters", extras(&[&letters[1]])).unreadable(at, TOO_LONG);
    table.process("an extra property without letters", extras(&[""])).unreadable(at, TOO_SHORT);
    table.process("16 extra properties", extras(&numbered[..16])).accepted();
    table.process("17 extra properties", extras(&numbered)).unreadable("extraProperties", TOO_MANY);
    table.process("an extra property twice", extras(&["x", "y", "x"])).unreadable("extraProperties[2]", TWICE);
    for value in [json!("x"), json!(1.5), json!([null, { "any": true }]), json!({ "value": 1 }), json!(null)] {
        let entry = json!({ "name": "x", "value": value, "asDefaultValue": true });
        let name = format!("an extra property with the value {value}");
        table.process(&name, json!({ "extraProperties": [entry] })).accepted();
    }
    table
        .process("an extra property without name", json!({ "extraProperties": [{ "value": 1 }] }))
        .unreadable(at, ABSENT);
    table
        .process(
            "an extra property whose lock is text",
            json!({ "extraProperties": [{ "name": "x", "asDefaultValue": "x" }] }),
        )
        .unreadable("extraProperties[0].asDefaultValue", NOT_A);
}

fn sets(table: &Table) {
    table.set("the least that is a set", json!({})).accepted();
    for field in ["bizId", "serviceTemplate", "processes"] {
        table.set(&format!("no {field}"), json!({ field: null })).unreadable(field, ABSENT);
    }
    for field in ["name", "funcName"] {
        table.process(&format!("no {field} of a process"), json!({ field: null })).unreadable(field, ABSENT);
    }
    table.set("no process", json!({ "processes": [] })).unreadable("processes", TOO_FEW);
    table.set("500 processes", json!({ "processes": many(500) })).accepted();
    table.set("501 processes", json!({ "processes": many(501) })).unreadable("processes", TOO_MANY);
    table.set("what is the default anyway", json!({ "deletionPolicy": "Orphan", "lockPolicy": "Locked" })).accepted();
    table.set("the other lock policy", json!({ "lockPolicy": "Unlocked" })).accepted();
    for policy in ["locked", "", "Always"] {
        table
            .set(&format!("lock policy {policy:?}"), json!({ "lockPolicy": policy }))
            .unreadable("lockPolicy", NOT_LISTED);
    }
    for (field, values) in POLICIES {
        for value in *values {
            table.set(&format!("{field} {value}"), json!({ *field: value })).accepted();
        }
        for value in ["", "delete", "Keep"] {
            table.set(&format!("{field} {value:?}"), json!({ *field: value })).unreadable(field, NOT_LISTED);
        }
    }
    for suspend in [true, false] {
        table.set(&format!("suspend {suspend}"), json!({ "suspend": suspend })).accepted();
    }
    table.set("suspend as a text", json!({ "suspend": "true" })).unreadable("suspend", NOT_A);
    // The reading offline passes over a field that it does not know.
    table.set("a set's unknown field", json!({ "suspended": true })).server_only("suspended", UNKNOWN);
    table.process("a property under its CMDB name", json!({ "proc_num": 1 })).server_only("proc_num", UNKNOWN);
    table
        .selector("a service template's unknown field", json!({ "name": "web", "bizId": 2 }))
        .server_only("bizId", UNKNOWN);
}

fn unique_in_a_set(table: &Table) {
    let two = |first: Value, second: Value| json!({ "processes": [first, second] });
    table
        .set("a key twice", two(json!({ "name": "a", "funcName": "f" }), json!({ "name": "a", "funcName": "g" })))
        .refused("processes[1]", TWICE);
    table
        .set(
            "keys that differ by case",
            two(json!({ "name": "a", "funcName": "f" }), json!({ "name": "A", "funcName": "f" })),
        )
        .accepted();
    table
        .set(
            "a process name that is a key",
            two(json!({ "name": "a", "funcName": "f" }), json!({ "name": "b", "processName": "a", "funcName": "g" })),
        )
        .offline_only("processes[1].processName", "is that of process \"a\" already");
    table
        .set(
            "a process name twice",
            two(
                json!({ "name": "a", "processName": "x", "funcName": "f" }),
                json!({ "name": "b", "processName": "x", "funcName": "g" }),
            ),
        )
        .offline_only("processes[1].processName", "is that of process \"a\" already");
    table
        .set(
            "a key that is free because its process has another name",
            two(
                json!({ "name": "a", "processName": "x", "funcName": "f" }),
                json!({ "name": "b", "processName": "a", "funcName": "g" }),
            ),
        )
        .accepted();
    let pair = |name: &str, function: &str, regex: Value| {
        merged(json!({ "name": name, "funcName": function }), json!({ "startParamRegex": regex }))
    };
    table
        .set("a function and start parameter twice", two(pair("a", "f", json!("x")), pair("b", "f", json!("x"))))
        .offline_only("processes[1].startParamRegex", "together those of process \"a\" already");
    // CMDB compares an empty one that is stored; of an absent one it stores null, which it does not find.
    table
        .set("a function and an empty start parameter twice", two(pair("a", "f", json!("")), pair("b", "f", json!(""))))
        .offline_only("processes[1].startParamRegex", "together those of process \"a\" already");
    table
        .set("two start parameters of a function", two(pair("a", "f", json!("x")), pair("b", "f", json!("y"))))
        .accepted();
    table
        .set("a start parameter of two functions", two(pair("a", "f", json!("x")), pair("b", "g", json!("x"))))
        .accepted();
    table
        .set("a function twice without start parameter", two(pair("a", "f", json!(null)), pair("b", "f", json!(null))))
        .accepted();
    table
        .set("an empty start parameter beside another", two(pair("a", "f", json!("")), pair("b", "f", json!("x"))))
        .accepted();
    // CMDB refuses the create of the absent one (1113020), or its every update if it was there first.
    let beside = "that of process \"a\" of the same funcName is empty";
    table
        .set(
            "an absent start parameter after an empty one",
            two(pair("a", "f", json!("")), pair("b", "f", json!(null))),
        )
        .offline_only("processes[1].startParamRegex", beside);
    table
        .set(
            "an absent start parameter before an empty one",
            two(pair("b", "f", json!(null)), pair("a", "f", json!(""))),
        )
        .offline_only("processes[0].startParamRegex", beside);
    table
        .set(
            "an absent start parameter of another function",
            two(pair("a", "f", json!("")), pair("b", "g", json!(null))),
        )
        .accepted();
    let unmanaged = merged(pair("b", "f", json!(null)), json!({ "unmanaged": ["startParamRegex"] }));
    table.set("an unmanaged start parameter beside an empty one", two(pair("a", "f", json!("")), unmanaged)).accepted();
    // The operator's own temporary names.
    let temporary = "must not start with \"ptset-\"";
    table
        .set("a key like a temporary name", two(pair("ptset-x", "f", json!("x")), pair("b", "g", json!("x"))))
        .offline_only("processes[0].name", temporary);
    table
        .set(
            "a name like a temporary name",
            two(
                merged(pair("a", "f", json!("x")), json!({ "processName": "ptset-0123456789abcdef" })),
                pair("b", "g", json!("x")),
            ),
        )
        .offline_only("processes[0].processName", temporary);
    table
        .set(
            "a key like a temporary name, of a process with another name",
            two(merged(pair("ptset-x", "f", json!("x")), json!({ "processName": "x" })), pair("b", "g", json!("x"))),
        )
        .accepted();
}

fn service_templates(table: &Table) {
    let wish = json!({ "category": { "id": 2 } });
    table.selector("a service template by name", json!({ "name": "web" })).accepted();
    table.selector("a service template by id", json!({ "id": 5 })).accepted();
    table.selector("a service template by both", json!({ "id": 5, "name": "web" })).refused("", ONE_WAY);
    table.selector("a service template by neither", json!({})).refused("", ONE_WAY);
    table
        .selector("an id that would be created", json!({ "id": 5, "createIfMissing": wish }))
        .refused("", "createIfMissing needs name");
    table.selector("a name that would be created", json!({ "name": "web", "createIfMissing": wish })).accepted();
    for forbidden in
        ["a b", "a\tb", "a\u{c}b", "a|b", "a/b", "a:b", "a*b", "a,b", "a<b", "a>b", "a\"b", "a?b", "a#b", "a\\b"]
    {
        table
            .selector(
                &format!("the name {forbidden:?} that would be created"),
                json!({ "name": forbidden, "createIfMissing": wish }),
            )
            .refused("", NEW_NAME);
        table.selector(&format!("the name {forbidden:?} that exists"), json!({ "name": forbidden })).accepted();
    }
    // CMDB knows ASCII's white space only.
    for allowed in ["a\u{3000}b", "a\u{a0}b", "a\u{b}b", "a.b", "a'b", "a(b)", "a;b", "a&b", "a%b"] {
        table
            .selector(
                &format!("the name {allowed:?} that would be created"),
                json!({ "name": allowed, "createIfMissing": wish }),
            )
            .accepted();
    }
    table
        .selector("both, to be created", json!({ "id": 5, "name": "web", "createIfMissing": wish }))
        .refused("", ONE_WAY);
    table
        .selector("a wish without category", json!({ "name": "web", "createIfMissing": {} }))
        .unreadable("createIfMissing.category", ABSENT);
    table.selector("the largest id", json!({ "id": MAX_ID })).accepted();
    table.selector("the id 0", json!({ "id": 0 })).refused("id", NOT_LESS);
    table.selector("an id too large", json!({ "id": MAX_ID + 1 })).refused("id", NOT_MORE);
    // CMDB counts the characters of this name.
    table.selector("a name of 256 wide characters", json!({ "name": "\u{4e2d}".repeat(256) })).accepted();
    table
        .selector("a name of 257 wide characters", json!({ "name": "\u{4e2d}".repeat(257) }))
        .unreadable("name", TOO_LONG);
    table.selector("an empty name", json!({ "name": "" })).unreadable("name", TOO_SHORT);
    table.selector("a name with a blank inside", json!({ "name": "web site" })).accepted();
    table.selector("a name with a blank at its end", json!({ "name": "web " })).refused("name", WHITE_SPACE);
}

fn categories(table: &Table) {
    table.category("a category by id", json!({ "id": 1 })).accepted();
    table.category("a category by names", json!({ "parent": "a", "name": "b" })).accepted();
    for category in [
        json!({}),
        json!({ "name": "b" }),
        json!({ "parent": "a" }),
        json!({ "id": 2, "name": "b" }),
        json!({ "id": 2, "parent": "a" }),
        json!({ "id": 2, "parent": "a", "name": "b" }),
    ] {
        table.category(&format!("the category {category}"), category).refused("", CATEGORY);
    }
    table.category("the largest category id", json!({ "id": MAX_ID })).accepted();
    table.category("the category id 0", json!({ "id": 0 })).refused("id", NOT_LESS);
    table.category("a category id too large", json!({ "id": MAX_ID + 1 })).refused("id", NOT_MORE);
    for field in ["parent", "name"] {
        let case = |what: &str, text: String| {
            let names = merged(json!({ "parent": "a", "name": "b" }), json!({ field: text }));
            table.category(&format!("a category's {field} {what}"), names)
        };
        case("of 256 wide characters", "\u{4e2d}".repeat(256)).accepted();
        case("of 257 letters", "x".repeat(257)).unreadable(field, TOO_LONG);
        case("that is empty", String::new()).unreadable(field, TOO_SHORT);
    }
}

fn connection_references(table: &Table) {
    let case = |what: &str, reference: Value| {
        table.set(&format!("a connection {what}"), json!({ "connectionRef": reference }))
    };
    case("by name", json!({ "name": "cmdb" })).accepted();
    case("by kind and name", json!({ "kind": "CmdbConnection", "name": "cmdb.example-1" })).accepted();
    case("of 253 letters", json!({ "name": "x".repeat(253) })).accepted();
    case("of 254 letters", json!({ "name": "x".repeat(254) })).unreadable("connectionRef.name", TOO_LONG);
    case("without letters", json!({ "name": "" })).unreadable("connectionRef.name", TOO_SHORT);
    case("without name", json!({ "kind": "CmdbConnection" })).unreadable("connectionRef.name", ABSENT);
    case("of another kind", json!({ "kind": "Secret", "name": "x" })).unreadable("connectionRef.kind", NOT_LISTED);
    case("of another namespace", json!({ "namespace": "x", "name": "x" }))
        .server_only("connectionRef.namespace", UNKNOWN);
    for name in ["CMDB", "-a", "a-", "a_b", "a/b", "a ", "\u{e9}"] {
        case(&format!("{name:?}"), json!({ "name": name })).refused("connectionRef.name", NO_MATCH);
    }
}

fn updates(table: &Table) {
    let changed = |fields: Value| merged(minimal(), fields);
    let by_id = |id: i64| with_selector(json!({ "id": id }));
    let wish = |id: i64| with_selector(json!({ "name": "web", "createIfMissing": { "category": { "id": id } } }));
    table.update("nothing changes", minimal(), minimal()).accepted();
    table.update("a process is added", minimal(), changed(json!({ "processes": many(2) }))).accepted();
    table.update("every process changes", changed(json!({ "processes": many(9) })), minimal()).accepted();
    table.update("the interval changes", minimal(), changed(json!({ "resyncIntervalSeconds": 60 }))).accepted();
    table.update("the connection changes", minimal(), changed(json!({ "connectionRef": { "name": "x" } }))).accepted();
    table.update("the business changes", minimal(), changed(json!({ "bizId": 3 }))).refused("bizId", IMMUTABLE);
    table
        .update("the service template's name changes", minimal(), with_selector(json!({ "name": "api" })))
        .refused("serviceTemplate", IMMUTABLE);
    table.update("a name becomes an id", minimal(), by_id(5)).refused("serviceTemplate", IMMUTABLE);
    table.update("an id becomes a name", by_id(5), minimal()).refused("serviceTemplate", IMMUTABLE);
    table.update("the service template's id changes", by_id(5), by_id(6)).refused("serviceTemplate", IMMUTABLE);
    table.update("the id stays", by_id(5), by_id(5)).accepted();
    table.update("the wish to create is added", minimal(), wish(2)).accepted();
    table.update("the wish to create is changed", wish(2), wish(3)).accepted();
    table.update("the wish to create is taken away", wish(2), minimal()).accepted();
    table
        .update(
            "the name changes with a wish to create",
            minimal(),
            merged(
                wish(2),
                json!({ "bizId": 2, "serviceTemplate": {
            "name": "api", "createIfMissing": { "category": { "id": 2 } } } }),
            ),
        )
        .refused("serviceTemplate", IMMUTABLE);
    // A rule of creation holds for an update as well.
    table
        .update("a broken process is brought", minimal(), with_process(json!({ "user": " x" })))
        .refused("processes[0].user", WHITE_SPACE);
}

// Offline only the reading judges a connection: no command works on one without its API server.
fn connections(table: &Table) {
    table.connection("the least that is a connection", json!({})).accepted();
    for field in ["url", "credentialsSecretRef"] {
        table.connection(&format!("no {field} of a connection"), json!({ field: null })).unreadable(field, ABSENT);
    }
    table
        .connection("no name of a Secret", json!({ "credentialsSecretRef": {} }))
        .unreadable("credentialsSecretRef.name", ABSENT);
    let secret = |what: &str, name: &str| {
        table.connection(&format!("a Secret {what}"), json!({ "credentialsSecretRef": { "name": name } }))
    };
    secret("of 253 letters", &"x".repeat(253)).accepted();
    secret("of 254 letters", &"x".repeat(254)).server_only("credentialsSecretRef.name", TOO_LONG);
    secret("without letters", "").server_only("credentialsSecretRef.name", TOO_SHORT);
    secret("in capitals", "CMDB").server_only("credentialsSecretRef.name", NO_MATCH);
    let certificate = |what: &str, name: &str| {
        let tls = json!({ "clientCertificateSecretRef": { "name": name } });
        table.connection(&format!("a certificate's Secret {what}"), json!({ "tls": tls }))
    };
    let at = "tls.clientCertificateSecretRef.name";
    certificate("of 253 letters", &"x".repeat(253)).accepted();
    certificate("of 254 letters", &"x".repeat(254)).server_only(at, TOO_LONG);
    certificate("without letters", "").server_only(at, TOO_SHORT);
    certificate("in capitals", "TLS").server_only(at, NO_MATCH);
    table
        .connection("no name of a certificate's Secret", json!({ "tls": { "clientCertificateSecretRef": {} } }))
        .unreadable(at, ABSENT);
    let bundle = |what: &str, text: String| {
        table.connection(&format!("a CA bundle {what}"), json!({ "tls": { "caBundle": text } }))
    };
    bundle("of 65536 letters", "x".repeat(65_536)).accepted();
    bundle("of 65537 letters", "x".repeat(65_537)).server_only("tls.caBundle", TOO_LONG);
    bundle("without letters", String::new()).server_only("tls.caBundle", TOO_SHORT);
    for (field, values) in
        [("transport", ["Esb", "Gateway", "Direct"].as_slice()), ("schema", &["Auto", "Flat", "BindInfo"])]
    {
        for value in values {
            table.connection(&format!("{field} {value}"), json!({ field: value })).accepted();
        }
        table.connection(&format!("an unknown {field}"), json!({ field: "Other" })).unreadable(field, NOT_LISTED);
    }
    let account = |what: &str, text: String| {
        table.connection(&format!("a supplier account {what}"), json!({ "supplierAccount": text }))
    };
    account("of 64 letters", "x".repeat(64)).accepted();
    account("of 65 letters", "x".repeat(65)).server_only("supplierAccount", TOO_LONG);
    account("without letters", String::new()).server_only("supplierAccount", TOO_SHORT);
    table
        .connection("a supplier account as number", json!({ "supplierAccount": 0 }))
        .unreadable("supplierAccount", NOT_A);
    for seconds in [31, 300] {
        table.connection(&format!("a timeout of {seconds} s"), json!({ "timeoutSeconds": seconds })).accepted();
    }
    table.connection("a timeout of 30 s", json!({ "timeoutSeconds": 30 })).server_only("timeoutSeconds", NOT_LESS);
    table.connection("a timeout of 301 s", json!({ "timeoutSeconds": 301 })).server_only("timeoutSeconds", NOT_MORE);
    table.connection("no limits", json!({ "limits": {} })).accepted();
    let calls = |count: i32| {
        table.connection(&format!("{count} calls in flight"), json!({ "limits": { "maxConcurrent": count } }))
    };
    calls(1).accepted();
    calls(100).accepted();
    calls(0).server_only("limits.maxConcurrent", NOT_LESS);
    calls(101).server_only("limits.maxConcurrent", NOT_MORE);
    let rate = |rate: i32| {
        table.connection(&format!("{rate} calls a second"), json!({ "limits": { "requestsPerSecond": rate } }))
    };
    rate(1).accepted();
    rate(1000).accepted();
    rate(0).server_only("limits.requestsPerSecond", NOT_LESS);
    rate(1001).server_only("limits.requestsPerSecond", NOT_MORE);
    table.connection("a connection's unknown field", json!({ "bizId": 2 })).server_only("bizId", UNKNOWN);
}

fn addresses(table: &Table) {
    let case = |url: &str| {
        let shown: String = url.chars().take(40).collect();
        table.connection(&format!("the URL {shown:?} of {} letters", url.len()), json!({ "url": url }))
    };
    let long = |letters: usize| format!("https://cmdb.example.com/{}", "x".repeat(letters - 25));
    for url in
        ["http://cmdb.example.com:8080/base/", "https://[::1]:8443", "https://cmdb.example.com/a%20b", &long(2048)]
    {
        case(url).accepted();
    }
    for url in [
        "ftp://cmdb.example.com",
        "cmdb.example.com",
        "https://",
        "https:///base",
        "https://me:secret@cmdb.example.com",
        "https://cmdb.example.com/?a=b",
        "https://cmdb.example.com/#a",
        "https://cmdb.example.com/a b",
        " https://cmdb.example.com",
    ] {
        case(url).server_only("url", NO_MATCH);
    }
    case(&long(2049)).server_only("url", TOO_LONG);
    case("").server_only("url", TOO_SHORT);
}

/// Where the API server is asked.
/// What the rules say without an API server: the path, empty where it cannot even be read, and the text of each
/// complaint.
fn judge_offline(subject: &Subject) -> Result<(), Vec<(String, String)>> {
    fn read<T: serde::de::DeserializeOwned>(spec: &Value) -> Result<T, Vec<(String, String)>> {
        serde_json::from_value(spec.clone()).map_err(|error| vec![(String::new(), error.to_string())])
    }
    let violations = match subject {
        Subject::Set(spec) => check(&read(spec)?),
        Subject::Update(old, new) => {
            let (old, new): (ProcessTemplateSetSpec, ProcessTemplateSetSpec) = (read(old)?, read(new)?);
            check(&new).into_iter().chain(check_update(&old, &new)).collect()
        }
        Subject::Connection(spec) => {
            read::<CmdbConnectionSpec>(spec)?;
            Vec::new()
        }
        Subject::Shared(spec) => {
            read::<ClusterCmdbConnectionSpec>(spec)?;
            Vec::new()
        }
    };
    let said: Vec<_> = violations.into_iter().map(|violation| (violation.path, violation.message)).collect();
    if said.is_empty() { Ok(()) } else { Err(said) }
}

/// What is said if a judgement is not as the case wants it, which is a refusal with this text.
pub fn complaint(case: &Case, text: Option<&str>, judged: &Result<(), Vec<(String, String)>>) -> Option<String> {
    let fits = match (text, judged) {
        (None, Ok(())) => true,
        (Some(text), Err(said)) => {
            said.iter().any(|(path, message)| path.starts_with(&case.path) && message.contains(text))
        }
        _ => false,
    };
    (!fits).then(|| format!("{}: {} is to be {:?}, but: {judged:?}", case.name, case.path, case.verdict))
}

#[test]
fn the_offline_rules_judge_every_manifest_as_the_table_says() {
    let mut complaints = Vec::new();
    for case in table() {
        let judged = judge_offline(&case.subject);
        let text = match case.verdict {
            Accepted | ServerOnly(_) => None,
            Refused(text) | OfflineOnly(text) => Some(text),
            Unreadable(_) | AcceptedOnceStored => {
                if judged.is_ok() {
                    complaints.push(format!("{} is accepted offline", case.name));
                }
                continue;
            }
        };
        complaints.extend(complaint(&case, text, &judged));
    }
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}

#[test]
fn every_case_has_a_name_of_its_own_and_a_good_part_of_them_is_refused() {
    let table = table();
    let names: BTreeSet<&str> = table.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), table.len());
    let count = |of: fn(Verdict) -> bool| table.iter().filter(|case| of(case.verdict)).count();
    let accepted = count(|verdict| matches!(verdict, Accepted | AcceptedOnceStored));
    let offline_only = count(|verdict| matches!(verdict, OfflineOnly(_)));
    let server_only = count(|verdict| matches!(verdict, ServerOnly(_)));
    let (cases, refused) = (table.len(), table.len() - accepted);
    println!(
        "manifests: cases={cases} refused={refused} accepted={accepted} \
         (of the refused: by the server only {server_only}, offline only {offline_only})"
    );
    assert!(accepted >= 100 && refused >= 100);
}

/// Every schema of a kind with its path, in which `[]` stands for any index.
fn schemas(kind: &str) -> Vec<(String, Value)> {
    fn walk(path: String, schema: &Value, found: &mut Vec<(String, Value)>) {
        for (name, child) in schema["properties"].as_object().into_iter().flatten() {
            walk(format!("{path}.{name}"), child, found);
        }
        if let Some(items) = schema.get("items") {
            walk(format!("{path}[]"), items, found);
        }
        found.push((path, schema.clone()));
    }
    let crds = api::crds().unwrap();
    let (_, crd) = crds.iter().find(|(_, crd)| crd["spec"]["names"]["kind"] == kind).unwrap();
    let mut found = Vec::new();
    let root = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    walk("spec".to_owned(), root, &mut found);
    found
}

fn kind(case: &Case) -> &'static str {
    match case.subject {
        Subject::Set(_) | Subject::Update(..) => "ProcessTemplateSet",
        Subject::Connection(_) => "CmdbConnection",
        Subject::Shared(_) => "ClusterCmdbConnection",
    }
}

/// A path with `[]` for every index.
fn anywhere(path: &str) -> String {
    let mut parts = path.split('[');
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| format!("{path}[]{}", part.split_once(']').unwrap().1))
}

fn rule_messages(schema: &Value) -> impl Iterator<Item = &str> {
    schema["x-kubernetes-validations"].as_array().into_iter().flatten().map(|rule| rule["message"].as_str().unwrap())
}

/// What each rule of a schema is refused with, and where.
fn rules(path: &str, schema: &Value) -> Vec<(String, String)> {
    let words = [
        ("minimum", NOT_LESS),
        ("maximum", NOT_MORE),
        ("minLength", TOO_SHORT),
        ("maxLength", TOO_LONG),
        ("minItems", TOO_FEW),
        ("maxItems", TOO_MANY),
        ("pattern", NO_MATCH),
        ("enum", NOT_LISTED),
    ];
    let mut rules: Vec<(String, String)> = words
        .iter()
        .filter(|(word, _)| schema.get(*word).is_some())
        .map(|(_, text)| (path.to_owned(), (*text).to_owned()))
        .collect();
    if schema["x-kubernetes-list-type"] == "map" || schema["x-kubernetes-list-type"] == "set" {
        rules.push((format!("{path}[]"), TWICE.to_owned()));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        rules.push((format!("{path}.{}", name.as_str().unwrap()), ABSENT.to_owned()));
    }
    // One rule may say two things.
    let said = rule_messages(schema).flat_map(|message| message.split(", and "));
    rules.extend(said.map(|text| (path.to_owned(), text.to_owned())));
    rules
}

#[test]
fn every_rule_of_the_schema_refuses_a_case_and_every_field_is_accepted_in_one() {
    let table = table();
    let mut count = 0;
    let mut missing = Vec::new();
    for of in ["ProcessTemplateSet", "CmdbConnection", "ClusterCmdbConnection"] {
        let cases: Vec<&Case> = table.iter().filter(|case| kind(case) == of).collect();
        let refused: BTreeSet<(String, &str)> = cases
            .iter()
            .filter_map(|case| match case.verdict {
                Refused(text) | Unreadable(text) | ServerOnly(text) => Some((anywhere(&case.path), text)),
                Accepted | AcceptedOnceStored | OfflineOnly(_) => None,
            })
            .collect();
        let mut accepted = BTreeSet::new();
        for case in cases.iter().filter(|case| case.verdict == Accepted) {
            let (Subject::Set(spec) | Subject::Update(_, spec) | Subject::Connection(spec) | Subject::Shared(spec)) =
                &case.subject;
            given("spec".to_owned(), spec, &mut accepted);
        }
        let is_tried_elsewhere =
            |path: &str| of == "ClusterCmdbConnection" && shared_connections::is_of_both_kinds(path);
        for (path, schema) in schemas(of).into_iter().filter(|(path, _)| !is_tried_elsewhere(path)) {
            for (path, text) in rules(&path, &schema) {
                count += 1;
                if !refused.contains(&(path.clone(), text.as_str())) {
                    missing.push(format!("{of} {path} is never refused with: {text}"));
                }
            }
            if !accepted.contains(&path) {
                missing.push(format!("{of} {path} is never accepted"));
            }
        }
    }
    println!("manifests: rules={count}");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

fn given(path: String, value: &Value, found: &mut BTreeSet<String>) {
    for (name, child) in value.as_object().into_iter().flatten() {
        given(format!("{path}.{name}"), child, found);
    }
    for child in value.as_array().into_iter().flatten() {
        given(format!("{path}[]"), child, found);
    }
    found.insert(path);
}

#[test]
fn what_a_rule_says_stands_in_the_description_of_its_field() {
    let sentence = |text: &str| text.get(1..).unwrap_or_default().to_owned();
    let mut compared = 0;
    for case in table() {
        let path = anywhere(&case.path);
        let (Refused(text) | Unreadable(text) | ServerOnly(text)) = case.verdict else { continue };
        let Some((_, schema)) = schemas(kind(&case)).into_iter().find(|(at, _)| *at == path) else { continue };
        if rule_messages(&schema).any(|message| message.contains(text)) {
            let description = schema["description"].as_str().unwrap_or_default();
            assert!(description.contains(&sentence(text)), "{path}: {text:?} is not in {description:?}");
            compared += 1;
        }
    }
    assert!(compared >= 60, "{compared}");
}
