//! The step grants: which namespaces may touch which businesses through a cluster connection.

use std::collections::{BTreeMap, BTreeSet};

use super::step::{Problem, StepName, Steps};
use super::target::RelatedObjects;
use crate::api::{Grant, LabelExpression, LabelOperator, LabelSelection, NamespaceSelection};
use crate::cmdb::Touched;
use crate::controller;
use crate::controller::cover;
use crate::engine;

/// Takes the step grants: lists all of them, or those of a namespace, or says whether the namespace may touch a business.
pub fn check(
    grants: &[Grant],
    related: &RelatedObjects,
    namespace: Option<&str>,
    biz_id: Option<i64>,
    steps: &mut Steps,
) {
    if grants.is_empty() {
        let advice = "Add one to spec.grants: namespaces and bizIds.";
        return steps.failed(StepName::Grants, Problem::new("it grants nothing to anybody", advice));
    }

    let Some(namespace) = namespace else {
        let all = grants.iter().map(described).collect::<Vec<_>>().join("; ");
        return steps.ok_with_advice(
            StepName::Grants,
            all,
            "With -n NAMESPACE it is told what that namespace is granted.",
        );
    };

    let labels = match related.namespace_labels.get(namespace) {
        Some(Ok(labels)) => Some(labels.clone()),
        Some(Err(problem)) => return steps.failed(StepName::Grants, problem.clone()),
        None => None,
    };
    let hint = match (&labels, grants.iter().any(|grant| grant.namespaces.selector.is_some())) {
        (None, true) => "The namespace is not in the files: grants by label were judged as if it had none.",
        _ => "",
    };

    let granted = granted(grants, namespace, &labels.unwrap_or_default());
    match biz_id {
        Some(biz_id) if granted.contains(&biz_id) => {
            steps.ok_with_advice(
                StepName::Grants,
                format!("namespace {namespace:?} is granted business {biz_id}"),
                hint,
            );
        }
        Some(biz_id) => steps.failed(StepName::Grants, not_granted(namespace, biz_id, hint)),
        None if granted.is_empty() => {
            let advice = format!("Have a grant for it added to the connection. {hint}");
            let fact = format!("namespace {namespace:?} is granted nothing");
            steps.failed(StepName::Grants, Problem::new(fact, advice.trim_end()));
        }
        None => {
            steps.ok_with_advice(
                StepName::Grants,
                format!("namespace {namespace:?} is granted {}", businesses(&granted)),
                hint,
            );
        }
    }
}

fn granted(grants: &[Grant], namespace: &str, labels: &BTreeMap<String, String>) -> BTreeSet<i64> {
    let may_touch = |biz_id: i64| {
        let touched = Touched { biz_id, service_template_id: None, service_template_name: None };
        cover(grants, namespace, labels, touched)
    };
    grants.iter().flat_map(|grant| &grant.biz_ids).copied().filter(|biz_id| may_touch(*biz_id)).collect()
}

fn not_granted(namespace: &str, biz_id: i64, hint: &str) -> Problem {
    let error = controller::Error::Engine(engine::Error::NotGranted { biz_id, service_template: None });
    let fact = format!("namespace {namespace:?}: {error}");
    Problem::new(fact, format!("{} {hint}", error.advice()).trim_end())
}

fn described(grant: &Grant) -> String {
    let businesses = businesses(&grant.biz_ids.iter().copied().collect());
    let narrowed = grant.service_templates.as_ref().map_or_else(String::new, |chosen| {
        let names = chosen.match_names.iter().map(|name| format!("{name:?}"));
        let ids = chosen.match_ids.iter().map(ToString::to_string);
        format!(", service templates {}", names.chain(ids).collect::<Vec<_>>().join(", "))
    });
    format!("{}: {businesses}{narrowed}", namespaces(&grant.namespaces))
}

fn businesses(ids: &BTreeSet<i64>) -> String {
    let word = if ids.len() == 1 { "business" } else { "businesses" };
    format!("{word} {}", ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
}

fn namespaces(chosen: &NamespaceSelection) -> String {
    let names = chosen.match_names.iter().map(|name| format!("{name:?}"));
    let by_label = chosen.selector.as_ref().map(labels).filter(|labels| !labels.is_empty());
    let by_label = by_label.map(|labels| format!("those with {labels}"));
    let chosen: Vec<String> = names.chain(by_label).collect();
    if chosen.is_empty() { "no namespace".to_owned() } else { format!("namespaces {}", chosen.join(", ")) }
}

fn labels(selection: &LabelSelection) -> String {
    let equal = selection.match_labels.iter().map(|(key, value)| format!("{key}={value}"));
    let expressions = selection.match_expressions.iter().map(|LabelExpression { key, operator, values }| {
        let values = values.join(", ");
        match operator {
            LabelOperator::In => format!("{key} in ({values})"),
            LabelOperator::NotIn => format!("{key} notin ({values})"),
            LabelOperator::Exists => key.clone(),
            LabelOperator::DoesNotExist => format!("!{key}"),
        }
    });
    equal.chain(expressions).collect::<Vec<_>>().join(" and ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::namespaces;

    #[test]
    fn the_namespaces_of_a_grant_are_described_as_they_are_matched() {
        let description = |selection: Value| namespaces(&serde_json::from_value(selection).unwrap());
        assert_eq!(description(json!({ "matchNames": ["shop"] })), "namespaces \"shop\"");
        assert_eq!(description(json!({})), "no namespace");
        assert_eq!(description(json!({ "selector": {} })), "no namespace");
        let selector = json!({ "matchLabels": { "team": "shop" }, "matchExpressions": [{ "key": "frozen", "operator": "DoesNotExist" }] });
        assert_eq!(description(json!({ "selector": selector })), "namespaces those with team=shop and !frozen");
    }
}
