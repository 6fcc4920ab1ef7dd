//! Stores of watched objects.

use std::time::Duration;

use kube::Resource;
use kube::runtime::reflector::Store;

/// Waits for the first list of a watch.
pub async fn ready<K>(store: &Store<K>)
where
    K: Resource<DynamicType = ()> + Clone + 'static,
{
    // kube 5.0 wakes only one of the tasks that wait.
    let again = Duration::from_millis(200);
    while tokio::time::timeout(again, store.wait_until_ready()).await.is_err() {}
}
