//! The CRDs under the rules that linters of Kubernetes APIs have.

mod rules;

use std::collections::BTreeSet;

use process_template_operator::api;
use rules::{Crd, RULES};
use serde_json::{Value, json};

/// Where a rule is not kept, and why.
struct Waiver {
    rule: &'static str,
    /// A path; with a star at its end, also everything below.
    path: &'static str,
    reason: &'static str,
}

const WAIVERS: &[Waiver] = &[
    Waiver { rule: "nobools", path: ".spec.processes[].autoStart", reason: "auto_start of CMDB is a boolean" },
    Waiver { rule: "nobools", path: ".spec.processes[].bindInfo[].enable", reason: "enable of CMDB is a boolean" },
    Waiver {
        rule: "nobools",
        path: ".spec.processes[].extraProperties[].asDefaultValue",
        reason: "as_default_value of CMDB is a boolean",
    },
    Waiver { rule: "nobools", path: ".spec.suspend", reason: "CronJob and all of Flux have it so" },
    Waiver { rule: "nobools", path: ".status.madeNothing", reason: "it is true or absent: there is no third state" },
    Waiver {
        rule: "NoMaps",
        path: ".spec.grants[].namespaces.selector.matchLabels",
        reason: "a label selector, as Kubernetes writes it",
    },
    Waiver {
        rule: "maxlength",
        path: ".spec.grants[].namespaces.selector.matchLabels{}",
        reason: "no rule reads it, and a label has at most 63 characters: a longer text matches nothing",
    },
    Waiver { rule: "maxlength", path: ".status*", reason: "the operator alone writes it" },
    Waiver { rule: "minlength", path: ".status*", reason: "what is absent was not seen" },
    Waiver {
        rule: "minlength",
        path: ".spec.processes[].*",
        reason: "empty is a value in CMDB, and a list may name nothing: generated manifests are full of both",
    },
    Waiver { rule: "minlength", path: ".spec.locked", reason: "a list may name nothing" },
    Waiver { rule: "minlength", path: ".spec.unlocked", reason: "a list may name nothing" },
    Waiver { rule: "minlength", path: ".spec.unmanaged", reason: "a list may name nothing" },
    Waiver { rule: "minlength", path: ".spec.serviceTemplate", reason: "a CEL rule wants exactly one of two" },
    Waiver {
        rule: "minlength",
        path: ".spec.serviceTemplate.createIfMissing.category",
        reason: "a CEL rule wants one, or the other two",
    },
    Waiver { rule: "minlength", path: ".spec.grants*", reason: "empty is said to mean nobody, and opens nothing" },
    Waiver { rule: "minlength", path: ".spec.limits", reason: "empty says the same as absent" },
    Waiver { rule: "minlength", path: ".spec.tls", reason: "empty says the same as absent" },
];

impl Waiver {
    fn covers(&self, rule: &str, path: &str) -> bool {
        let is_there = match self.path.strip_suffix('*') {
            Some(start) => path.starts_with(start),
            None => path == self.path,
        };
        self.rule == rule && is_there
    }
}

/// A rule that is not kept, in a file, at a path.
type Finding = (&'static str, &'static str, String);

fn judge(file: &'static str, crd: Value) -> Vec<Finding> {
    let crd = Crd::new(crd);
    RULES.iter().flat_map(|(name, rule)| rule(&crd).into_iter().map(move |path| (*name, file, path))).collect()
}

/// What of the findings is waived, what is not, and the waivers of nothing.
fn weigh(found: Vec<Finding>, waivers: &[Waiver]) -> (Vec<Finding>, Vec<Finding>, Vec<&Waiver>) {
    let unused = waivers.iter().filter(|waiver| !found.iter().any(|(rule, _, path)| waiver.covers(rule, path)));
    let unused = unused.collect();
    let (waived, left) =
        found.into_iter().partition(|(rule, _, path)| waivers.iter().any(|waiver| waiver.covers(rule, path)));
    (waived, left, unused)
}

#[test]
fn the_crds_keep_every_rule_but_where_a_waiver_says_why_not() {
    let crds = api::crds().unwrap();
    let count = crds.len();
    let found = crds.into_iter().flat_map(|(file, crd)| judge(file, crd)).collect();
    let (waived, left, unused) = weigh(found, WAIVERS);
    for (rule, file, path) in &left {
        println!("{rule}: {file} {path}");
    }
    for waiver in &unused {
        println!("waives nothing: {} at {}: {}", waiver.rule, waiver.path, waiver.reason);
    }
    assert!(left.is_empty() && unused.is_empty(), "these findings, and waivers of nothing");
    println!("crd lint: rules={} crds={count} waived={} findings={}", RULES.len(), waived.len(), left.len());
}

#[test]
fn a_waiver_covers_what_it_names_and_one_of_nothing_is_told() {
    let waiver = |path| Waiver { rule: "nobools", path, reason: "it is one" };
    let waivers = [waiver(".spec.a"), waiver(".spec.b*"), waiver(".spec.gone")];
    let found = |rule, path: &str| (rule, "file", path.to_owned());
    let (waived, left, unused) = weigh(
        vec![
            found("nobools", ".spec.a"),
            found("nobools", ".spec.a.b"),
            found("nobools", ".spec.b[].c"),
            found("nomaps", ".spec.a"),
        ],
        &waivers,
    );
    assert_eq!(waived, [found("nobools", ".spec.a"), found("nobools", ".spec.b[].c")]);
    assert_eq!(left, [found("nobools", ".spec.a.b"), found("nomaps", ".spec.a")]);
    assert_eq!(unused.iter().map(|waiver| waiver.path).collect::<Vec<_>>(), [".spec.gone"]);
}

// One that keeps every rule.
fn clean() -> Value {
    let string = json!({ "type": "string", "minLength": 1, "maxLength": 9 });
    let item = json!({ "type": "object", "required": ["key"], "properties": { "key": string } });
    let condition = json!({
        "type": "object", "required": ["lastTransitionTime", "message", "reason", "status", "type"],
        "properties": { "type": { "type": "string" } },
    });
    json!({
        "metadata": { "name": "things.example.com" },
        "spec": {
            "names": { "categories": ["things"], "shortNames": ["th"] },
            "versions": [{
                "name": "v1",
                "additionalPrinterColumns": [{ "name": "Age" }],
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object", "required": ["spec"],
                    "properties": {
                        "spec": { "type": "object", "required": ["count", "list"], "properties": {
                            "count": { "type": "integer", "format": "int32", "minimum": 0, "maximum": 9 },
                            "text": string,
                            "list": {
                                "type": "array", "minItems": 1, "maxItems": 9, "items": item,
                                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["key"],
                            },
                        } },
                        "status": { "type": "object", "minProperties": 1, "properties": {
                            "conditions": {
                                "type": "array", "minItems": 1, "maxItems": 9, "items": condition,
                                "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"],
                            },
                        } },
                    },
                } },
            }],
        },
    })
}

// A rule, what is put where (null: nothing), and where the rule finds that.
fn bad_schemas() -> Vec<(&'static str, &'static str, Value, &'static str)> {
    let string_list = json!({ "type": "array", "maxItems": 1, "minItems": 1, "items": { "type": "string" } });
    let list = |kind: &str| {
        json!({ "type": "array", "items": { "type": "object" }, "x-kubernetes-list-type": kind,
                "x-kubernetes-list-map-keys": ["key"] })
    };
    let typed = |kind: &str| json!({ "type": kind });
    let map = |kind: &str| json!({ "type": "object", "additionalProperties": { "type": kind } });
    vec![
        ("arrayofstruct", "/properties/spec/properties/list/items/required", Value::Null, ".spec.list"),
        ("conditions", "/properties/status/properties/conditions", Value::Null, ".status.conditions"),
        (
            "conditions",
            "/properties/status/properties/conditions/x-kubernetes-list-type",
            json!("atomic"),
            ".status.conditions",
        ),
        (
            "conditions",
            "/properties/status/properties/conditions/items/required",
            json!(["type"]),
            ".status.conditions",
        ),
        ("conditions", "/properties/spec/properties/conditions", string_list.clone(), ".spec.conditions"),
        ("defaultorrequired", "/properties/spec/properties/count/default", json!(1), ".spec.count"),
        ("integers", "/properties/spec/properties/count/format", json!("uint32"), ".spec.count"),
        ("integers", "/properties/spec/properties/count/format", Value::Null, ".spec.count"),
        ("jsontags", "/properties/spec/properties/bk_biz_id", typed("string"), ".spec.bk_biz_id"),
        ("jsontags", "/properties/spec/properties/Upper", typed("string"), ".spec.Upper"),
        ("maxlength", "/properties/spec/properties/text/maxLength", Value::Null, ".spec.text"),
        ("maxlength", "/properties/spec/properties/list/maxItems", Value::Null, ".spec.list"),
        ("maxlength", "/properties/spec/properties/strings", string_list.clone(), ".spec.strings[]"),
        ("minlength", "/properties/spec/properties/text/minLength", Value::Null, ".spec.text"),
        ("minlength", "/properties/spec/properties/list/minItems", Value::Null, ".spec.list"),
        ("minlength", "/properties/spec/required", Value::Null, ".spec"),
        ("nobools", "/properties/spec/properties/on", typed("boolean"), ".spec.on"),
        ("nodurations", "/properties/spec/properties/refreshInterval", typed("string"), ".spec.refreshInterval"),
        ("nodurations", "/properties/spec/properties/text/format", json!("duration"), ".spec.text"),
        ("nofloats", "/properties/spec/properties/ratio", typed("number"), ".spec.ratio"),
        ("nomaps", "/properties/spec/properties/map", map("object"), ".spec.map"),
        ("nonullable", "/properties/spec/properties/text/nullable", json!(false), ".spec.text"),
        ("nophase", "/properties/status/properties/setPhase", typed("string"), ".status.setPhase"),
        ("noreferences", "/properties/spec/properties/secretReference", typed("object"), ".spec.secretReference"),
        ("notimestamp", "/properties/status/properties/syncTimestamp", typed("string"), ".status.syncTimestamp"),
        ("requiredfields", "/properties/spec/required", json!(["gone"]), ".spec.gone"),
        ("ssatags", "/properties/spec/properties/list/x-kubernetes-list-type", Value::Null, ".spec.list"),
        ("ssatags", "/properties/spec/properties/list", list("set"), ".spec.list"),
        ("ssatags", "/properties/spec/properties/list", list("map"), ".spec.list"),
        ("ssatags", "/properties/spec/properties/list/x-kubernetes-list-map-keys", json!([]), ".spec.list"),
        ("statusoptional", "/required", json!(["status"]), ".status"),
        ("statusoptional", "/properties/status/required", json!(["conditions"]), ".status.conditions"),
        ("statussubresource", "/properties/status", Value::Null, ".status"),
        ("MustHaveStatus", "/properties/status", Value::Null, ".status"),
        ("NoMaps", "/properties/spec/properties/map", map("string"), ".spec.map"),
        ("Bounds", "/properties/spec/properties/count/maximum", Value::Null, ".spec.count"),
        ("Bounds", "/properties/spec/properties/anything", json!({}), ".spec.anything"),
        (
            "Bounds",
            "/properties/spec/properties/port",
            json!({ "x-kubernetes-int-or-string": true, "maxLength": 5 }),
            ".spec.port",
        ),
    ]
}

fn put(value: &mut Value, path: &str, new: Value) {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let parent = value.pointer_mut(parent).unwrap_or_else(|| panic!("no {path}"));
    if new.is_null() {
        parent.as_object_mut().unwrap().remove(name).unwrap();
    } else {
        parent[name] = new;
    }
}

#[test]
fn every_rule_finds_what_it_is_there_for() {
    assert_eq!(judge("clean", clean()), []);
    let mut shown = BTreeSet::new();
    for (rule, path, new, expected) in bad_schemas() {
        let mut crd = clean();
        put(&mut crd, &format!("/spec/versions/0/schema/openAPIV3Schema{path}"), new);
        let found = judge("bad", crd);
        assert!(found.contains(&(rule, "bad", expected.to_owned())), "{rule} at {expected}: {found:#?}");
        shown.insert(rule);
    }
    let spelled_out = [
        ("/status", json!({}), "status"),
        ("/metadata/creationTimestamp", json!("now"), "metadata.creationTimestamp"),
        ("/spec/preserveUnknownFields", json!(false), "spec.preserveUnknownFields"),
        ("/spec/names/categories", json!([]), "spec.names.categories"),
        ("/spec/names/shortNames", json!([]), "spec.names.shortNames"),
        ("/spec/versions/0/additionalPrinterColumns/0/priority", json!(0), "column Age"),
        ("/spec/versions/0/deprecated", json!(false), "deprecated"),
    ];
    for (path, new, expected) in spelled_out {
        let mut crd = clean();
        put(&mut crd, path, new);
        assert_eq!(judge("bad", crd), [("NoSpelledOutDefaults", "bad", expected.to_owned())]);
        shown.insert("NoSpelledOutDefaults");
    }
    assert_eq!(shown, RULES.iter().map(|(name, _)| *name).collect());
}
