//! Hostile answers: well-formed, and wrong.

use serde_json::{Value, json};

use super::{Behaviour, behaviour_of};
use crate::hostile::bodies::{only, quoted};
use crate::hostile::objects::{FEW, MANY, Meanwhile, Objects};
use crate::hostile::script::{
    Request, Script, Step, body, changed, every_other, polite, refusal, text, throttled, with_headers,
};

const THIRTY: Objects = Objects { sets: 30, ..FEW };

const IDS: &[i64] = &[-1, 0, i64::MAX, i64::MIN, 1, 1];

fn only_writes(request: &Request, script: impl FnOnce() -> Script) -> Script {
    if request.is_list() { polite() } else { script() }
}

fn each_item(answer: &mut Value, change: impl Fn(usize, &mut Value)) {
    for (nth, item) in answer["data"]["info"].as_array_mut().into_iter().flatten().enumerate() {
        change(nth, item);
    }
}

fn in_another_scope(_: &Request, answer: &mut Value) {
    each_item(answer, |_, item| {
        item["bk_biz_id"] = json!(7);
        item["service_template_id"] = json!(1);
    });
}

fn with_wrong_ids(_: &Request, answer: &mut Value) {
    each_item(answer, |nth, item| item["id"] = json!(IDS[nth % IDS.len()]));
}

fn with_another_value(request: &Request, answer: &mut Value) {
    if request.is("list_proc_template") {
        let value = json!({ "value": "other", "as_default_value": true });
        each_item(answer, |_, item| item["property"]["bk_start_param_regex"] = value.clone());
    }
}

fn without_items(request: &Request, answer: &mut Value) {
    if request.is_list() {
        answer["data"]["info"] = json!([]);
    }
}

fn with_wrong_count(request: &Request, answer: &mut Value) {
    answer["data"]["count"] = match request.number % 3 {
        0 => json!(u64::MAX),
        1 => json!(0),
        _ => json!(-1),
    };
}

pub const ANSWERS: &[Behaviour] = &[
    behaviour_of("throttles", |_| throttled(""), Objects { sets: 12, ..FEW }),
    behaviour_of("throttles-many", |_| throttled(""), MANY),
    behaviour_of("throttles-writes", |request| only_writes(request, || throttled("")), THIRTY),
    behaviour_of(
        "throttles-while-sets-are-edited",
        |_| throttled(""),
        Objects { sets: 40, meanwhile: Meanwhile::EditSets(10), ..FEW },
    ),
    behaviour_of(
        "refuses-credentials",
        |_| refusal(1_306_000, quoted(vec![text("User authentication failed")])),
        THIRTY,
    ),
    behaviour_of("refuses-with-401", |_| with_headers("401 Unauthorized", "", vec![text("no")]), THIRTY),
    behaviour_of(
        "fails-every-other-call",
        |request| every_other(request, || with_headers("502 Bad Gateway", "", vec![text("<html>")])),
        THIRTY,
    ),
    behaviour_of(
        "refuses-credentials-every-other-call",
        |request| every_other(request, || refusal(1_306_000, quoted(vec![text("User authentication failed")]))),
        THIRTY,
    ),
    behaviour_of(
        "fails-writes",
        |request| only_writes(request, || refusal(1_199_999, quoted(vec![text("no")]))),
        THIRTY,
    ),
    behaviour_of("loses-answers-of-writes", |request| only_writes(request, || vec![Step::Unsaid, Step::Close]), THIRTY),
    behaviour_of(
        "stores-nothing",
        |request| only_writes(request, || body(vec![text(r#"{"result":true,"code":0,"message":"","data":[1,2]}"#)])),
        THIRTY,
    ),
    behaviour_of("no-data", |_| body(vec![text(r#"{"result":true,"code":0,"message":"","data":null}"#)]), THIRTY),
    behaviour_of("wrong-scope", |_| changed(in_another_scope), THIRTY),
    behaviour_of("wrong-ids", |_| changed(with_wrong_ids), THIRTY),
    behaviour_of(
        "ids-beyond-i64",
        |_| changed(|_, answer| each_item(answer, |_, item| item["id"] = json!(u64::MAX))),
        THIRTY,
    ),
    behaviour_of("wrong-count", |_| changed(with_wrong_count), THIRTY),
    behaviour_of("values-never-stick", |_| changed(with_another_value), THIRTY),
    behaviour_of("items-come-and-go", |request| every_other(request, || changed(without_items)), THIRTY),
    behaviour_of(
        "process-lists-fail",
        |request| only(request, "list_proc_template", || refusal(1_199_017, quoted(vec![text("no")]))),
        THIRTY,
    ),
];
