//! The rules. Lower-case names are those of kube-api-linter, which reads Go only; the others are those of the
//! crd-schema-checker and of the API conventions. What is not here stands elsewhere: whether a change is compatible in
//! `crd_changes`, the cost of rules with the API server itself, how descriptions begin in `crds`.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use test_support::schemas::{Schema, schemas};

/// A CRD and the schemas in it that are of our making.
pub struct Crd {
    pub whole: Value,
    pub schemas: Vec<Schema>,
}

impl Crd {
    pub fn new(whole: Value) -> Self {
        let mut schemas = schemas(&whole);
        // A condition is a type of Kubernetes.
        schemas.retain(|schema| !schema.path.starts_with(".status.conditions[]"));
        Self { whole, schemas }
    }

    fn version(&self) -> &Value {
        &self.whole["spec"]["versions"][0]
    }

    fn root(&self) -> &Value {
        &self.version()["schema"]["openAPIV3Schema"]
    }

    // The paths of the schemas for which something holds.
    fn paths(&self, is_wrong: impl Fn(&Schema) -> bool) -> Vec<String> {
        self.schemas.iter().filter(|schema| is_wrong(schema)).map(|schema| schema.path.clone()).collect()
    }

    // The same for the names of fields.
    fn names(&self, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
        self.paths(|schema| schema.field().is_some_and(&is_wrong))
    }
}

/// What a rule is called, and where it finds something wrong.
pub type Rule = (&'static str, fn(&Crd) -> Vec<String>);

pub const RULES: &[Rule] = &[
    ("arrayofstruct", arrayofstruct),
    ("conditions", conditions),
    ("defaultorrequired", defaultorrequired),
    ("integers", integers),
    ("jsontags", jsontags),
    ("maxlength", maxlength),
    ("minlength", minlength),
    ("nobools", nobools),
    ("nodurations", nodurations),
    ("nofloats", nofloats),
    ("nomaps", nomaps),
    ("nonullable", nonullable),
    ("nophase", nophase),
    ("noreferences", noreferences),
    ("notimestamp", notimestamp),
    ("requiredfields", requiredfields),
    ("ssatags", ssatags),
    ("statusoptional", statusoptional),
    ("statussubresource", statussubresource),
    ("MustHaveStatus", must_have_status),
    ("NoMaps", no_maps),
    ("Bounds", bounds),
    ("NoSpelledOutDefaults", no_spelled_out_defaults),
];

fn names(value: &Value) -> Vec<&str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

fn is_object_list(schema: &Schema) -> bool {
    schema.kind() == "array" && schema.schema["items"]["type"] == "object"
}

// An object in a list has a field that must be there.
fn arrayofstruct(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| is_object_list(schema) && names(&schema.schema["items"]["required"]).is_empty())
}

// A status has conditions, a list of Kubernetes' own type that is keyed by it.
fn conditions(crd: &Crd) -> Vec<String> {
    let conditions = &crd.root()["properties"]["status"]["properties"]["conditions"];
    let required = names(&conditions["items"]["required"]);
    let is_right = conditions["type"] == "array"
        && conditions["x-kubernetes-list-type"] == "map"
        && conditions["x-kubernetes-list-map-keys"] == json!(["type"])
        && ["lastTransitionTime", "message", "reason", "status", "type"].iter().all(|name| required.contains(name));
    let elsewhere = crd.paths(|schema| schema.field() == Some("conditions") && schema.path != ".status.conditions");
    let wrong = (!is_right).then(|| ".status.conditions".to_owned());
    wrong.into_iter().chain(elsewhere).collect()
}

// What has a default need not be there.
fn defaultorrequired(crd: &Crd) -> Vec<String> {
    let both = crd.schemas.iter().flat_map(|schema| {
        let of_required = names(&schema.schema["required"]).into_iter();
        of_required
            .filter(|name| schema.schema["properties"][name].get("default").is_some())
            .map(|name| format!("{}.{name}", schema.path))
    });
    both.collect()
}

fn integers(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| {
        let format = schema.schema["format"].as_str().unwrap_or_default();
        schema.kind() == "integer" && !["int32", "int64"].contains(&format)
    })
}

fn jsontags(crd: &Crd) -> Vec<String> {
    static CAMEL_CASE: LazyLock<Regex> = LazyLock::new(|| Regex::new("^[a-z][a-z0-9]*(?:[A-Z][a-z0-9]*)*$").unwrap());
    crd.names(|name| !CAMEL_CASE.is_match(name))
}

// A text whose length its values decide already.
fn is_closed(schema: &Schema) -> bool {
    schema.has(&["enum"]) || schema.schema["format"] == "date-time"
}

fn maxlength(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| match schema.kind() {
        "string" => !is_closed(schema) && !schema.has(&["maxLength"]),
        "array" => !schema.has(&["maxItems"]),
        _ => false,
    })
}

fn minlength(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| match schema.kind() {
        "string" => !is_closed(schema) && !schema.has(&["minLength"]),
        "array" => !schema.has(&["minItems"]),
        "object" => names(&schema.schema["required"]).is_empty() && !schema.has(&["minProperties"]),
        _ => false,
    })
}

fn nobools(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| schema.kind() == "boolean")
}

// A duration is a whole number with its unit in the name.
fn nodurations(crd: &Crd) -> Vec<String> {
    static DURATION: LazyLock<Regex> =
        LazyLock::new(|| Regex::new("(?i)duration|interval|timeout|period|delay|seconds").unwrap());
    crd.paths(|schema| {
        let is_named_so = schema.field().is_some_and(|name| DURATION.is_match(name));
        schema.schema["format"] == "duration" || (schema.kind() == "string" && is_named_so)
    })
}

fn nofloats(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| {
        let format = schema.schema["format"].as_str().unwrap_or_default();
        schema.kind() == "number" || ["float", "double"].contains(&format)
    })
}

fn is_map(schema: &Schema) -> bool {
    schema.has(&["additionalProperties"])
}

// Labels and their like, texts by text, are the one map.
fn nomaps(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| is_map(schema) && schema.schema["additionalProperties"]["type"] != "string")
}

fn no_maps(crd: &Crd) -> Vec<String> {
    crd.paths(is_map)
}

fn nonullable(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| schema.has(&["nullable"]))
}

fn has_word(name: &str, word: &str) -> bool {
    name.to_lowercase().contains(word)
}

fn nophase(crd: &Crd) -> Vec<String> {
    crd.names(|name| has_word(name, "phase"))
}

fn noreferences(crd: &Crd) -> Vec<String> {
    crd.names(|name| has_word(name, "reference"))
}

fn notimestamp(crd: &Crd) -> Vec<String> {
    crd.names(|name| has_word(name, "timestamp"))
}

// What must be there is a field that there is.
fn requiredfields(crd: &Crd) -> Vec<String> {
    let unknown = crd.schemas.iter().flat_map(|schema| {
        let of_required = names(&schema.schema["required"]).into_iter();
        of_required
            .filter(|name| schema.schema["properties"].get(name).is_none())
            .map(|name| format!("{}.{name}", schema.path))
    });
    unknown.collect()
}

// A list says how two who write it share it.
fn ssatags(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| {
        let keys = names(&schema.schema["x-kubernetes-list-map-keys"]);
        let required = names(&schema.schema["items"]["required"]);
        schema.kind() == "array"
            && match schema.schema["x-kubernetes-list-type"].as_str() {
                Some("atomic") => false,
                Some("set") => is_object_list(schema),
                Some("map") => {
                    !is_object_list(schema) || keys.is_empty() || keys.iter().any(|key| !required.contains(key))
                }
                _ => true,
            }
    })
}

fn statusoptional(crd: &Crd) -> Vec<String> {
    let root = names(&crd.root()["required"]).into_iter().filter(|name| *name == "status");
    let within = names(&crd.root()["properties"]["status"]["required"]).into_iter();
    root.map(|name| format!(".{name}")).chain(within.map(|name| format!(".status.{name}"))).collect()
}

fn statussubresource(crd: &Crd) -> Vec<String> {
    let (has_status, has_subresource) =
        (crd.root()["properties"].get("status").is_some(), crd.version()["subresources"].get("status").is_some());
    if has_status == has_subresource { Vec::new() } else { vec![".status".to_owned()] }
}

fn must_have_status(crd: &Crd) -> Vec<String> {
    let has = crd.root()["properties"].get("status").is_some();
    if has { Vec::new() } else { vec![".status".to_owned()] }
}

// What people write has bounds: numbers too, and nothing of a type that nobody knows.
fn bounds(crd: &Crd) -> Vec<String> {
    crd.paths(|schema| {
        let is_bounded = match schema.kind() {
            "integer" => schema.has(&["minimum", "maximum"]),
            "string" | "array" | "boolean" | "object" => true,
            "" if schema.schema["x-kubernetes-int-or-string"] == true => {
                schema.has(&["minimum", "maximum", "maxLength", "pattern"])
            }
            "" => schema.schema["x-kubernetes-preserve-unknown-fields"] == true,
            _ => false,
        };
        schema.path.starts_with(".spec") && !is_bounded
    })
}

// The API server drops these, and what it drops is a difference for ever to who compares.
fn no_spelled_out_defaults(crd: &Crd) -> Vec<String> {
    let spec = &crd.whole["spec"];
    let mut wrong = Vec::new();
    let mut note = |is_wrong: bool, path: &str| {
        if is_wrong {
            wrong.push(path.to_owned());
        }
    };
    note(crd.whole.get("status").is_some(), "status");
    note(crd.whole["metadata"].get("creationTimestamp").is_some(), "metadata.creationTimestamp");
    note(spec.get("preserveUnknownFields").is_some(), "spec.preserveUnknownFields");
    for list in ["categories", "shortNames"] {
        note(spec["names"][list] == json!([]), &format!("spec.names.{list}"));
    }
    for column in crd.version()["additionalPrinterColumns"].as_array().into_iter().flatten() {
        note(column["priority"] == 0, &format!("column {}", column["name"].as_str().unwrap_or_default()));
    }
    note(crd.version()["deprecated"] == false, "deprecated");
    wrong
}
