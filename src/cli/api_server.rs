//! The addresses of the Kubernetes API server, as they are now: no connection may lead to them.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::Api;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::cmdb::UrlPolicy;

/// Time between two reads.
const INTERVAL: Duration = Duration::from_secs(30);

/// Timeout of a read.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Where the API server publishes its own endpoints, which are on the nodes.
const NAMESPACE: &str = "default";
const NAME: &str = "kubernetes";

/// How the API server is reached, by names and addresses.
#[derive(Clone, Debug)]
pub struct ApiServer {
    hosts: Vec<String>,
}

impl ApiServer {
    /// The API server of a configuration, and that of the pod.
    pub fn of(config: &kube::Config) -> Self {
        let hosts = std::env::var("KUBERNETES_SERVICE_HOST").into_iter();
        let hosts = hosts.chain(config.cluster_url.host().map(str::to_owned));
        Self { hosts: hosts.map(|host| host.trim_matches(['[', ']']).to_owned()).collect() }
    }

    /// The addresses of its hosts.
    ///
    /// # Errors
    /// When one of them does not resolve.
    pub async fn addresses(&self) -> anyhow::Result<Vec<IpAddr>> {
        let mut addresses = Vec::new();
        for host in &self.hosts {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await;
            let found =
                found.with_context(|| format!("the address of the Kubernetes API server, {host:?}, is not known"))?;
            addresses.extend(found.map(|address| address.ip()));
        }
        Ok(addresses)
    }

    /// Keeps a policy up to date until the shutdown. What cannot be read stays as it was.
    pub async fn watch(self, client: kube::Client, policy: UrlPolicy, shutdown: CancellationToken) {
        let slices: Api<EndpointSlice> = Api::namespaced(client, NAMESPACE);
        let (mut hosts, mut endpoints) = (Vec::new(), Vec::new());
        loop {
            if let Ok(Ok(found)) = timeout(TIMEOUT, self.addresses()).await {
                hosts = found;
            }
            match timeout(TIMEOUT, slices.get_opt(NAME)).await {
                Ok(Ok(slice)) => endpoints = slice.map(addresses).unwrap_or_default(),
                Ok(Err(error)) => tracing::debug!(%error, "the endpoints of the API server could not be read"),
                Err(_) => {}
            }
            // Before the first answer, the addresses of the start hold.
            if !hosts.is_empty() {
                policy.forbid(hosts.iter().chain(&endpoints).copied().collect());
            }
            tokio::select! {
                () = sleep(INTERVAL) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

fn addresses(slice: EndpointSlice) -> Vec<IpAddr> {
    let addresses = slice.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses);
    addresses.filter_map(|address| address.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use k8s_openapi::api::discovery::v1::EndpointSlice;
    use serde_json::json;

    use super::addresses;

    #[test]
    fn the_endpoints_of_the_api_server_are_addresses() {
        let slice: EndpointSlice = serde_json::from_value(json!({
            "addressType": "IPv4",
            "endpoints": [
                { "addresses": ["192.0.2.7", "192.0.2.8"] },
                { "addresses": ["2001:db8::7", "a.example.com"] },
            ],
        }))
        .unwrap();
        let found: Vec<String> = addresses(slice).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["192.0.2.7", "192.0.2.8", "2001:db8::7"]);
    }
}
