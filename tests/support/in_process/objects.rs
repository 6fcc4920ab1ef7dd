//! What the miniature API server keeps: objects, their versions, and every change.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

// Only the order of objects matters, and their uids have it.
const MOMENT: &str = "2026-01-01T00:00:00Z";

/// Where an object is; without a name, a collection; without a namespace too, that of all namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Empty for the core group.
    pub group: String,
    pub plural: String,
    pub namespace: String,
    pub name: String,
}

impl Place {
    pub fn new(group: &str, plural: &str, namespace: &str, name: &str) -> Self {
        let [group, plural, namespace, name] = [group, plural, namespace, name].map(str::to_owned);
        Self { group, plural, namespace, name }
    }

    fn holds(&self, other: &Self) -> bool {
        self.group == other.group
            && self.plural == other.plural
            && (self.namespace.is_empty() || self.namespace == other.namespace)
    }
}

/// What an object must be to be changed.
#[derive(Debug, Default)]
pub struct Expected {
    uid: Option<String>,
    resource_version: Option<String>,
}

impl Expected {
    /// What the metadata of a request name.
    pub fn of(request: &Value) -> Self {
        let named = |key: &str| request["metadata"][key].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        Self { uid: named("uid"), resource_version: named("resourceVersion") }
    }

    fn holds(&self, object: &Value) -> bool {
        let is = |key: &str, expected: &Option<String>| {
            expected.as_deref().is_none_or(|expected| object["metadata"][key] == *expected)
        };
        is("uid", &self.uid) && is("resourceVersion", &self.resource_version)
    }
}

/// Why something is not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    NotFound,
    AlreadyExists,
    Conflict,
    Unsupported,
}

/// A change, as a watch tells it.
pub struct Change {
    pub version: u64,
    pub place: Place,
    pub type_: &'static str,
    pub object: Arc<Value>,
}

/// All objects.
#[derive(Default)]
pub struct Objects {
    version: u64,
    by_place: BTreeMap<Place, Arc<Value>>,
    changes: Vec<Change>,
}

impl Objects {
    /// The version of the last change.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn get(&self, place: &Place) -> Result<Arc<Value>, Refusal> {
        self.by_place.get(place).cloned().ok_or(Refusal::NotFound)
    }

    pub fn list(&self, collection: &Place) -> Vec<Arc<Value>> {
        let here = self.by_place.iter().filter(|(place, _)| collection.holds(place));
        here.map(|(_, object)| Arc::clone(object)).collect()
    }

    /// How many changes there were up to a version.
    pub fn changes_until(&self, version: u64) -> usize {
        self.changes.partition_point(|change| change.version <= version)
    }

    /// The changes of a collection after so many of all.
    pub fn changes_after(&self, count: usize, collection: &Place) -> (usize, impl Iterator<Item = &Change>) {
        (self.changes.len(), self.changes[count..].iter().filter(|change| collection.holds(&change.place)))
    }

    pub fn create(&mut self, place: &Place, mut object: Value) -> Result<Arc<Value>, Refusal> {
        let (mut place, next) = (place.clone(), self.version + 1);
        if place.name.is_empty() {
            let metadata = &object["metadata"];
            place.name = match metadata["name"].as_str() {
                Some(name) => name.to_owned(),
                None => format!("{}{next}", metadata["generateName"].as_str().unwrap()),
            };
        }
        if self.by_place.contains_key(&place) {
            return Err(Refusal::AlreadyExists);
        }
        // Null in the objects of the cluster.
        let namespace = Some(&place.namespace).filter(|namespace| !namespace.is_empty());
        merge(
            &mut object["metadata"],
            &json!({
                "name": place.name, "namespace": namespace, "uid": format!("uid-{next:09}"), "generation": 1,
                "creationTimestamp": MOMENT,
            }),
        );
        // An object of the cluster has none.
        if place.namespace.is_empty() {
            object["metadata"]["namespace"] = Value::Null;
        }
        Ok(self.store(&place, "ADDED", object))
    }

    /// Changes an object if it is as expected; its generation moves with its spec.
    pub fn update(
        &mut self,
        place: &Place,
        expected: &Expected,
        change: impl FnOnce(&mut Value),
    ) -> Result<Arc<Value>, Refusal> {
        let standing = self.get(place)?;
        if !expected.holds(&standing) {
            return Err(Refusal::Conflict);
        }
        let mut object = Value::clone(&standing);
        change(&mut object);
        for kept in ["name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp"] {
            object["metadata"][kept] = standing["metadata"][kept].clone();
        }
        if object == *standing {
            return Ok(standing);
        }
        if object["spec"] != standing["spec"] {
            object["metadata"]["generation"] = json!(standing["metadata"]["generation"].as_u64().unwrap() + 1);
        }
        let is_leaving = !object["metadata"]["deletionTimestamp"].is_null();
        Ok(if is_leaving && !is_held(&object) {
            self.remove(place, object)
        } else {
            self.store(place, "MODIFIED", object)
        })
    }

    pub fn delete(&mut self, place: &Place) -> Result<Arc<Value>, Refusal> {
        let standing = self.get(place)?;
        if is_held(&standing) {
            let leave = |object: &mut Value| object["metadata"]["deletionTimestamp"] = json!(MOMENT);
            return self.update(place, &Expected::default(), leave);
        }
        Ok(self.remove(place, Value::clone(&standing)))
    }

    fn store(&mut self, place: &Place, type_: &'static str, object: Value) -> Arc<Value> {
        let object = self.note(place, type_, object);
        self.by_place.insert(place.clone(), Arc::clone(&object));
        object
    }

    fn remove(&mut self, place: &Place, object: Value) -> Arc<Value> {
        self.by_place.remove(place);
        self.note(place, "DELETED", object)
    }

    fn note(&mut self, place: &Place, type_: &'static str, mut object: Value) -> Arc<Value> {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
        let object = Arc::new(object);
        let (version, place) = (self.version, place.clone());
        self.changes.push(Change { version, place, type_, object: Arc::clone(&object) });
        object
    }
}

fn is_held(object: &Value) -> bool {
    object["metadata"]["finalizers"].as_array().is_some_and(|finalizers| !finalizers.is_empty())
}

/// A JSON merge patch (RFC 7386).
pub fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(target) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}
