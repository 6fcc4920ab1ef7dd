//! Names of objects.

use kube::Resource;
use kube::runtime::reflector::ObjectRef;

/// Namespace and name of an object of one kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName {
    /// Namespace; empty for an object of the cluster.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ObjectName {
    /// The name of a reference.
    pub fn of<K: Resource<DynamicType = ()>>(reference: &ObjectRef<K>) -> Self {
        Self { namespace: reference.namespace.clone().unwrap_or_default(), name: reference.name.clone() }
    }

    /// A reference to the object of this name.
    pub fn reference<K: Resource<DynamicType = ()>>(&self) -> ObjectRef<K> {
        let reference = ObjectRef::new(&self.name);
        if self.namespace.is_empty() { reference } else { reference.within(&self.namespace) }
    }
}
