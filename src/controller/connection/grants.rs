//! The fence around a shared connection: which namespaces may touch which businesses through it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::api::core::v1::Namespace;
use kube::core::{DeserializeGuard, Expression, PartialObjectMeta, Selector, SelectorExt as _};
use kube::runtime::reflector::{ObjectRef, Store};

use crate::api::{
    ClusterCmdbConnection, Grant, LabelExpression, LabelOperator, LabelSelection, NamespaceSelection,
    ServiceTemplateSelection,
};
use crate::cmdb;
use crate::cmdb::{Refusal, Touched};

// Every namespace carries it, set by the API server (Kubernetes 1.22).
const NAME_LABEL: &str = "kubernetes.io/metadata.name";

/// The grants of one shared connection to one namespace, as the watches have them at the time of asking.
pub struct LiveGrants {
    /// Name of the connection.
    pub connection: String,
    /// The namespace.
    pub namespace: String,
    /// The connections, with their grants.
    pub connections: Store<DeserializeGuard<ClusterCmdbConnection>>,
    /// The namespaces, with their labels.
    pub namespaces: Store<PartialObjectMeta<Namespace>>,
}

impl fmt::Debug for LiveGrants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("LiveGrants").field("connection", &self.connection).finish_non_exhaustive()
    }
}

impl cmdb::Grants for LiveGrants {
    fn refusal(&self, touched: Touched<'_>) -> Option<Refusal> {
        (!self.are_covering(touched)).then_some(Refusal::NotGranted)
    }
}

impl LiveGrants {
    fn are_covering(&self, touched: Touched<'_>) -> bool {
        let Some(connection) = self.connections.get(&ObjectRef::new(&self.connection)) else { return false };
        let Ok(connection) = &connection.0 else { return false };
        let Some(namespace) = self.namespaces.get(&ObjectRef::new(&self.namespace)) else { return false };
        let labels = namespace.metadata.labels.clone().unwrap_or_default();
        cover(&connection.spec.grants, &self.namespace, &labels, touched)
    }
}

/// Whether one of the grants lets a namespace with these labels touch it.
#[must_use]
pub fn cover(grants: &[Grant], namespace: &str, labels: &BTreeMap<String, String>, touched: Touched<'_>) -> bool {
    grants.iter().any(|grant| {
        grant.biz_ids.contains(&touched.biz_id)
            && names_namespace(&grant.namespaces, namespace, labels)
            && grant.service_templates.as_ref().is_none_or(|chosen| names_service_template(chosen, touched))
    })
}

fn names_namespace(chosen: &NamespaceSelection, namespace: &str, labels: &BTreeMap<String, String>) -> bool {
    let is_matched = |selection: &LabelSelection| {
        // Elsewhere in Kubernetes an empty selector matches all, and values are asked for; here a slip would open the fence.
        let lacks_values = |expression: &LabelExpression| {
            matches!(expression.operator, LabelOperator::In | LabelOperator::NotIn) && expression.values.is_empty()
        };
        if *selection == LabelSelection::default() || selection.match_expressions.iter().any(lacks_values) {
            return false;
        }
        let mut labels = labels.clone();
        labels.insert(NAME_LABEL.to_owned(), namespace.to_owned());
        selector(selection).matches(&labels)
    };
    chosen.match_names.iter().any(|name| name == namespace) || chosen.selector.as_ref().is_some_and(is_matched)
}

fn selector(selection: &LabelSelection) -> Selector {
    let labels = selection.match_labels.iter().map(|(key, value)| Expression::Equal(key.clone(), value.clone()));
    let expressions = selection.match_expressions.iter().map(|LabelExpression { key, operator, values }| {
        let (key, values) = (key.clone(), values.iter().cloned().collect());
        match operator {
            LabelOperator::In => Expression::In(key, values),
            LabelOperator::NotIn => Expression::NotIn(key, values),
            LabelOperator::Exists => Expression::Exists(key),
            LabelOperator::DoesNotExist => Expression::DoesNotExist(key),
        }
    });
    labels.chain(expressions).collect()
}

fn names_service_template(chosen: &ServiceTemplateSelection, touched: Touched<'_>) -> bool {
    let Touched { service_template_id, service_template_name, .. } = touched;
    let is_any_of_the_business = service_template_id.is_none() && service_template_name.is_none();
    is_any_of_the_business
        || service_template_id.is_some_and(|id| chosen.match_ids.contains(&id))
        || service_template_name.is_some_and(|name| chosen.match_names.iter().any(|other| other == name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::cover;
    use crate::api::Grant;
    use crate::cmdb::Touched;

    fn covers(grants: Value, namespace: &str, labels: &[(&str, &str)], touched: Touched<'_>) -> bool {
        let grants: Vec<Grant> = serde_json::from_value(grants).unwrap();
        let labels: BTreeMap<String, String> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        cover(&grants, namespace, &labels, touched)
    }

    const BUSINESS: Touched<'_> = Touched { biz_id: 2, service_template_id: None, service_template_name: None };
    const WEB: Touched<'_> = Touched { biz_id: 2, service_template_id: Some(5), service_template_name: Some("web") };

    #[test]
    fn without_a_grant_nobody_may_touch_anything() {
        assert!(!covers(json!([]), "shop", &[], BUSINESS));
        assert!(!covers(json!([{ "namespaces": {}, "bizIds": [2] }]), "shop", &[], BUSINESS));
    }

    #[test]
    fn a_grant_covers_its_namespaces_in_its_businesses_and_no_others() {
        let grants = json!([{ "namespaces": { "matchNames": ["shop"] }, "bizIds": [2, 7] }]);
        assert!(covers(grants.clone(), "shop", &[], BUSINESS));
        assert!(covers(grants.clone(), "shop", &[], WEB));
        assert!(!covers(grants.clone(), "shop-2", &[], WEB));
        assert!(!covers(grants, "shop", &[], Touched { biz_id: 3, ..WEB }));
    }

    #[test]
    fn namespaces_are_chosen_by_labels_too() {
        let by = |selector: Value| json!([{ "namespaces": { "selector": selector }, "bizIds": [2] }]);
        let team = json!({ "matchLabels": { "team": "shop" } });
        assert!(covers(by(team.clone()), "any", &[("team", "shop")], WEB));
        assert!(!covers(by(team), "any", &[("team", "bank")], WEB));
        assert!(!covers(by(json!({})), "any", &[], WEB));
        let all = json!({ "matchExpressions": [{ "key": "kubernetes.io/metadata.name", "operator": "Exists" }] });
        assert!(covers(by(all), "any", &[], WEB));
        let one_of = json!({ "matchExpressions": [
            { "key": "team", "operator": "In", "values": ["shop", "bank"] },
            { "key": "frozen", "operator": "DoesNotExist" },
        ] });
        assert!(covers(by(one_of.clone()), "any", &[("team", "bank")], WEB));
        assert!(!covers(by(one_of.clone()), "any", &[("team", "bank"), ("frozen", "")], WEB));
        assert!(!covers(by(one_of), "any", &[], WEB));
        for operator in ["In", "NotIn"] {
            let of_none = json!({ "matchExpressions": [{ "key": "team", "operator": operator }] });
            assert!(!covers(by(of_none), "any", &[("team", "shop")], WEB), "{operator} without values");
        }
        let by_name = json!({ "matchLabels": { "kubernetes.io/metadata.name": "shop" } });
        assert!(covers(by(by_name.clone()), "shop", &[], WEB));
        // A label that claims another name does not count.
        assert!(!covers(by(by_name), "bank", &[("kubernetes.io/metadata.name", "shop")], WEB));
    }

    #[test]
    fn a_grant_may_be_narrowed_to_service_templates_by_name_or_id() {
        let to = |chosen: Value| json!([{ "namespaces": { "matchNames": ["shop"] }, "bizIds": [2], "serviceTemplates": chosen }]);
        assert!(covers(to(json!({ "matchNames": ["web"] })), "shop", &[], WEB));
        assert!(covers(to(json!({ "matchIds": [5] })), "shop", &[], WEB));
        assert!(!covers(to(json!({ "matchNames": ["db"], "matchIds": [6] })), "shop", &[], WEB));
        assert!(!covers(to(json!({})), "shop", &[], WEB));
        // The business may be looked at, to find them.
        assert!(covers(to(json!({ "matchIds": [6] })), "shop", &[], BUSINESS));
    }
}
