//! A set as the watch delivers it: one that cannot be read does not keep the others from being seen, and nothing is kept
//! that no reconcile looks at.
//!
//! kube's `DeserializeGuard` does the first only; with `managedFields`, of which it makes several copies, a set of ten
//! processes takes many times the memory. Kept as text, it takes a fraction of what it takes once read.
//!
//! Of a set whose text is larger than [`LARGEST_KEPT`], only what the index, the schedule, other sets and metrics need is
//! kept: its claims. Its reconcile reads the object from the API server ([`super::read::whole`]).

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::status::memory;
use crate::api::{ProcessTemplateSet, ProcessTemplateSetStatus, RECONCILE_REQUESTED_AT, ServiceTemplateSelector};
use crate::controller::connection::name::ConnectionName;
use crate::controller::reason::Reason;
use crate::outside::json_integer;
use crate::plan::{Desired, Memory};

/// Largest text of a set that is kept, in bytes.
pub const LARGEST_KEPT: usize = 64 * 1024;

// Longest value of the annotation that asks for a reconcile, and most finalizers, that are kept of a large set.
const SHORT_ANNOTATION: usize = 256;
const FEW_FINALIZERS: usize = 8;

/// A set as the watch delivers it.
#[derive(Clone, Debug)]
pub struct StoredSet {
    metadata: ObjectMeta,
    // None: the set is large.
    text: Option<Text>,
    size: usize,
    reason: Option<Reason>,
    pending: usize,
    deletes: bool,
    claims: Arc<OnceLock<Option<Claims>>>,
}

/// A set as the API server stores it, with its text whatever its size.
#[derive(Debug)]
pub struct WholeSet(StoredSet);

#[derive(Clone, Debug)]
struct Text {
    spec: Box<str>,
    status: Box<str>,
}

/// What a set claims in CMDB.
#[derive(Clone, Debug)]
pub struct Claims {
    /// `bk_biz_id`
    pub biz_id: i64,
    /// The service template that it names.
    pub service_template: ServiceTemplateSelector,
    /// The connection that it names.
    pub connection: ConnectionName,
    /// The process names that it wants, by key.
    pub processes: BTreeMap<String, String>,
    /// What its status remembers.
    pub memory: Memory,
    /// Normalised URL of the CMDB that it was reconciled with last.
    pub endpoint: Option<String>,
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
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
    finalizers: Option<Vec<String>>,
    annotations: BTreeMap<String, String>,
}

impl<'de> Deserialize<'de> for StoredSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let WholeSet(set) = WholeSet::deserialize(deserializer)?;
        Ok(if set.size > LARGEST_KEPT { set.without_text() } else { set })
    }
}

impl<'de> Deserialize<'de> for WholeSet {
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
            creation_timestamp: metadata.creation_timestamp,
            deletion_timestamp: metadata.deletion_timestamp,
            finalizers: metadata.finalizers,
            annotations: Some(requested_at).filter(|annotations| !annotations.is_empty()),
            ..ObjectMeta::default()
        };
        let ready =
            status["conditions"].as_array().into_iter().flatten().find(|condition| condition["type"] == "Ready");
        let reason = ready.and_then(|ready| ready["reason"].as_str()).and_then(Reason::of_set);
        let deletes = spec["deletionPolicy"] == "Delete";
        let pending = status["pending"].as_array().map_or(0, Vec::len);
        let text = Text { spec: spec.to_string().into(), status: status.to_string().into() };
        let texts = metadata.annotations.iter().flat_map(BTreeMap::values).chain(metadata.finalizers.iter().flatten());
        let size = text.spec.len() + text.status.len() + texts.map(String::len).sum::<usize>();
        Ok(Self(StoredSet { metadata, text: Some(text), size, reason, pending, deletes, claims: Arc::default() }))
    }
}

impl Text {
    // Process names by key, of those processes that have one.
    fn process_names(&self) -> BTreeMap<String, String> {
        let spec: Value = serde_json::from_str(&self.spec).unwrap_or_default();
        let processes = spec["processes"].as_array().into_iter().flatten();
        let named = processes.filter_map(|process| {
            let key = process["name"].as_str()?;
            Some((key.to_owned(), process["processName"].as_str().unwrap_or(key).to_owned()))
        });
        named.collect()
    }

    // What the status remembers, whatever else it says.
    fn status_leniently(&self) -> ProcessTemplateSetStatus {
        if let Ok(Some(status)) = serde_json::from_str(&self.status) {
            return status;
        }
        let status: Value = serde_json::from_str(&self.status).unwrap_or_default();
        let entries = |name: &str| status[name].as_array().cloned().unwrap_or_default().into_iter();
        let process = |mut entry: Value| {
            let known = ["name", "id", "createdAt", "createdBy", "replacementId", "processName", "appliedHash"];
            entry.as_object_mut()?.retain(|name, _| known.contains(&name.as_str()));
            entry["state"] = "Unknown".into();
            serde_json::from_value(entry).ok()
        };
        ProcessTemplateSetStatus {
            endpoint: status["endpoint"].as_str().map(str::to_owned),
            service_template_id: json_integer(&status["serviceTemplateId"]),
            processes: entries("processes").filter_map(process).collect(),
            pending: entries("pending").filter_map(|entry| serde_json::from_value(entry).ok()).collect(),
            ..ProcessTemplateSetStatus::default()
        }
    }
}

impl WholeSet {
    /// The set with its text.
    pub fn into_set(self) -> StoredSet {
        self.0
    }
}

impl StoredSet {
    // What is kept of a large set.
    fn without_text(mut self) -> Self {
        let _ = self.claims();
        self.text = None;
        let is_short =
            |annotations: &BTreeMap<String, String>| annotations.values().all(|text| text.len() <= SHORT_ANNOTATION);
        self.metadata.annotations = self.metadata.annotations.filter(is_short);
        if let Some(finalizers) = &mut self.metadata.finalizers {
            finalizers.truncate(FEW_FINALIZERS);
        }
        self
    }

    /// Whether its text is kept: if not, its reconcile reads it from the API server.
    pub fn is_whole(&self) -> bool {
        self.text.is_some()
    }

    /// Size of its text, kept or not, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What is kept of it, in bytes of text.
    pub fn kept_bytes(&self) -> usize {
        let claims = self.claims.get().and_then(Option::as_ref).map_or(0, Claims::bytes);
        claims + if self.is_whole() { self.size } else { 0 }
    }

    fn text(&self) -> Result<&Text, serde_json::Error> {
        self.text.as_ref().ok_or_else(|| serde::de::Error::custom("the set is too large to be kept"))
    }

    /// The set; or why it cannot be read as one.
    ///
    /// # Errors
    /// When the spec or the status has another shape than that of this version, or when its text is not kept.
    pub fn read(&self) -> Result<ProcessTemplateSet, serde_json::Error> {
        let text = self.text()?;
        Ok(ProcessTemplateSet {
            metadata: self.metadata.clone(),
            spec: serde_json::from_str(&text.spec)?,
            status: serde_json::from_str(&text.status)?,
        })
    }

    /// The same where only that is read which a deletion and other sets need: where the templates are, and what is remembered of
    /// them. It has no processes.
    ///
    /// # Errors
    /// When even that cannot be read.
    pub fn read_leniently(&self) -> Result<ProcessTemplateSet, serde_json::Error> {
        let text = self.text()?;
        let Value::Object(mut spec) = serde_json::from_str(&text.spec)? else { return self.read() };
        spec.retain(|name, _| ["bizId", "serviceTemplate", "connectionRef", "deletionPolicy"].contains(&name.as_str()));
        spec.insert("processes".to_owned(), Value::Array(Vec::new()));
        Ok(ProcessTemplateSet {
            metadata: self.metadata.clone(),
            spec: serde_json::from_value(Value::Object(spec))?,
            status: Some(text.status_leniently()),
        })
    }

    /// The reason of condition Ready, if it is one of ours.
    pub fn reason(&self) -> Option<Reason> {
        self.reason
    }

    /// How many creates its status announces.
    pub fn pending(&self) -> usize {
        self.pending
    }

    /// Whether its next reconcile calls CMDB: one that is being deleted, and leaves its templates or has none, does not.
    pub fn needs_cmdb(&self) -> bool {
        let status = || self.text.as_ref().and_then(|text| serde_json::from_str(&text.status).ok());
        self.metadata.deletion_timestamp.is_none() || self.deletes && !memory::has_made_nothing(status().as_ref())
    }

    /// What the set claims. Of one that cannot be read as this version knows it, what can be read; None when it does not say where
    /// its templates are.
    pub fn claims(&self) -> Option<&Claims> {
        let claims = || {
            let (set, processes) = match self.read() {
                Ok(set) => {
                    let processes = Desired::process_names(&set.spec);
                    (set, processes)
                }
                Err(_) => (self.read_leniently().ok()?, self.text().ok()?.process_names()),
            };
            let (memory, made_in) = memory::from_status(&set.status.unwrap_or_default());
            Some(Claims {
                biz_id: set.spec.biz_id,
                connection: ConnectionName::of_set(self.metadata.namespace.as_deref().unwrap_or_default(), &set.spec),
                processes,
                service_template: set.spec.service_template,
                memory,
                endpoint: made_in.endpoint,
            })
        };
        self.claims.get_or_init(claims).as_ref()
    }
}

impl Claims {
    // Size of its texts, in bytes.
    fn bytes(&self) -> usize {
        let Memory { items, intents, .. } = &self.memory;
        let processes = self.processes.iter().map(|(key, name)| key.len() + name.len());
        let optional = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let items = items.iter().map(|(key, item)| {
            key.len() + item.process_name.len() + optional(&item.applied_hash) + optional(&item.created_by)
        });
        let intents = intents
            .iter()
            .map(|(key, intent)| key.len() + intent.process_name.len() + intent.hash.len() + optional(&intent.user));
        processes.chain(items).chain(intents).sum()
    }
}

impl Resource for StoredSet {
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
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use kube::ResourceExt;
    use serde_json::json;

    use super::{LARGEST_KEPT, Reason, StoredSet, WholeSet};
    use serde_json::Value;

    // A set of ten processes with texts of this many bytes.
    fn large(name: &str, bytes: usize) -> Value {
        let text = "x".repeat(bytes / 10);
        let processes =
            (0..10).map(|number| json!({ "name": format!("p{number}"), "funcName": "run", "startCmd": text }));
        json!({
            "metadata": {
                "namespace": "shop", "name": name, "uid": name,
                "finalizers": (0..2000).map(|number| format!("example.org/finalizer-{number}")).collect::<Value>(),
                "annotations": { "cmdb.bk.tencent.com/reconcile-requested-at": text },
            },
            "spec": { "bizId": 2, "serviceTemplate": { "id": 1 }, "processes": processes.collect::<Value>() },
        })
    }

    #[test]
    fn what_is_kept_of_large_sets_is_small() {
        let text = large("web", 1 << 20).to_string();
        let sets: Vec<StoredSet> = (0..140).map(|_| serde_json::from_str(&text).unwrap()).collect();
        let kept: usize = sets.iter().map(StoredSet::kept_bytes).sum();
        println!("large: sets={} set_bytes={} kept_bytes={kept}", sets.len(), sets[0].size());
        assert!(kept <= 140 * 1024, "{kept}");
        let set = &sets[0];
        assert!(set.size() > 1 << 20 && !set.is_whole());
        let metadata = format!("{:?}", set.metadata).len();
        assert!(metadata < 4096, "{metadata}");
        assert_eq!(set.claims().unwrap().processes.len(), 10, "other sets see what it claims");
    }

    #[test]
    fn a_large_set_is_whole_when_it_is_read_from_the_api_server_and_a_small_one_always() {
        let object = large("web", 1 << 20);
        let WholeSet(whole) = serde_json::from_value(object.clone()).unwrap();
        assert!(whole.is_whole());
        let spec = serde_json::to_value(whole.read().unwrap().spec).unwrap();
        assert_eq!(spec["processes"][9]["startCmd"], object["spec"]["processes"][9]["startCmd"]);
        assert!(serde_json::from_value::<StoredSet>(object).unwrap().read().is_err());
        let mut small = large("web", LARGEST_KEPT / 2);
        small["metadata"]["finalizers"] = json!([]);
        assert!(serde_json::from_value::<StoredSet>(small).unwrap().read().is_ok());
    }

    #[test]
    fn an_object_of_another_shape_still_has_its_name_and_says_why() {
        let object = json!({ "metadata": { "name": "web", "generation": 3 }, "spec": { "bizId": "two" } });
        let watched: StoredSet = serde_json::from_value(object).unwrap();
        assert_eq!(watched.name_any(), "web");
        let reason = watched.read().unwrap_err().to_string();
        assert!(reason.contains("two"), "{reason}");
    }

    #[test]
    fn what_its_status_says_is_told_without_reading_it() {
        let status = json!({
            "conditions": [{ "type": "Stalled", "reason": "Other" }, { "type": "Ready", "reason": "Conflict" }],
            "pending": [{}, {}],
        });
        let watched: StoredSet =
            serde_json::from_value(json!({ "metadata": {}, "spec": {}, "status": status })).unwrap();
        assert_eq!((watched.reason(), watched.pending()), (Some(Reason::Conflict), 2));
        let strange = json!({ "status": { "conditions": [{ "type": "Ready", "reason": "Somebody" }] } });
        for object in [json!({}), json!({ "status": { "conditions": 7 } }), strange] {
            let watched: StoredSet = serde_json::from_value(object).unwrap();
            assert_eq!((watched.reason(), watched.pending()), (None, 0));
        }
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
        let watched: StoredSet = serde_json::from_value(object).unwrap();
        assert_eq!(watched.annotations().len(), 1);
        assert!(watched.read().unwrap().metadata.managed_fields.is_none());
    }
}
