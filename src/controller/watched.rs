//! A set as the watch delivers it: one that cannot be read does not keep the others from being seen, and nothing is kept
//! that no reconcile looks at.
//!
//! kube's `DeserializeGuard` does the first only; with `managedFields`, of which it makes several copies, a set of ten
//! processes takes many times the memory.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::api::{ProcessTemplateSet, RECONCILE_REQUESTED_AT};

/// A set as the watch delivers it.
#[derive(Clone, Debug)]
pub struct Watched {
    /// The set; or why it cannot be read as one.
    pub set: Result<ProcessTemplateSet, Malformed>,
}

/// An object that cannot be read as a set.
#[derive(Clone, Debug)]
pub struct Malformed {
    /// What can be read of it.
    pub metadata: ObjectMeta,
    /// Why.
    pub reason: String,
}

#[derive(Deserialize)]
struct Raw {
    #[serde(default)]
    metadata: Metadata,
    #[serde(default)]
    spec: Value,
    #[serde(default)]
    status: Value,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    generation: Option<i64>,
    deletion_timestamp: Option<Time>,
    annotations: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for Watched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Raw { metadata, spec, status } = Raw::deserialize(deserializer)?;
        let requested_at = metadata.annotations.into_iter().filter(|(name, _)| name == RECONCILE_REQUESTED_AT);
        let requested_at: BTreeMap<String, String> = requested_at.collect();
        let metadata = ObjectMeta {
            name: metadata.name,
            namespace: metadata.namespace,
            uid: metadata.uid,
            resource_version: metadata.resource_version,
            generation: metadata.generation,
            deletion_timestamp: metadata.deletion_timestamp,
            annotations: Some(requested_at).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        };
        let read = serde_json::from_value(spec).and_then(|spec| Ok((spec, serde_json::from_value(status)?)));
        let set = match read {
            Ok((spec, status)) => Ok(ProcessTemplateSet { metadata, spec, status }),
            Err(error) => Err(Malformed { metadata, reason: error.to_string() }),
        };
        Ok(Self { set })
    }
}

impl Resource for Watched {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        ProcessTemplateSet::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        ProcessTemplateSet::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        ProcessTemplateSet::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        ProcessTemplateSet::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        self.set.as_ref().map_or_else(|malformed| &malformed.metadata, |set| &set.metadata)
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        self.set.as_mut().map_or_else(|malformed| &mut malformed.metadata, |set| &mut set.metadata)
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::Watched;

    #[test]
    fn an_object_of_another_shape_still_has_its_name_and_says_why() {
        let object = json!({ "metadata": { "name": "web", "generation": 3 }, "spec": { "bizId": "two" } });
        let watched: Watched = serde_json::from_value(object).unwrap();
        assert_eq!(watched.name_any(), "web");
        let malformed = watched.set.unwrap_err();
        assert!(malformed.reason.contains("two"), "{}", malformed.reason);
    }

    #[test]
    fn only_the_annotation_that_asks_for_a_reconcile_is_kept() {
        let object = json!({
            "metadata": { "name": "web", "managedFields": [{ "manager": "x" }], "annotations": {
                "kubectl.kubernetes.io/last-applied-configuration": "long",
                "cmdb.bk.tencent.com/reconcile-requested-at": "now",
            } },
            "spec": { "bizId": 2, "serviceTemplate": { "id": 1 }, "processes": [] },
        });
        let watched: Watched = serde_json::from_value(object).unwrap();
        assert_eq!(watched.annotations().len(), 1);
        assert!(watched.set.unwrap().metadata.managed_fields.is_none());
    }
}
