//! The URLs and addresses that connections may use. Every user who may create a connection makes the operator send
//! requests, so that without a policy they could reach what only the operator can.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use hyper_util::client::legacy::connect::dns::Name;
use parking_lot::RwLock;
use reqwest::Url;
use tower::Service;
use url::Host;

use crate::cmdb::ConnectFailure;

/// Addresses of the services that tell a machine of a cloud its credentials, where they are not link-local.
const METADATA: &[IpAddr] = &[
    // Alibaba Cloud, Azure, Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS, Google Cloud, Oracle Cloud, Scaleway.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x00c1, 0, 0, 0, 0, 0xa9fe, 0xa9fe)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0042, 0, 0, 0, 0, 0, 0x0042)),
];

/// The URLs and addresses that connections may use. Clones share the forbidden addresses.
#[derive(Clone, Debug, Default)]
pub struct UrlPolicy {
    rules: Option<Rules>,
}

#[derive(Clone, Debug, Default)]
struct Rules {
    // Normalised prefixes of the permitted URLs. Empty: every https URL. `None`: every URL.
    urls: Option<Vec<Url>>,
    // The addresses of the Kubernetes API server, as they are now.
    forbidden: Arc<RwLock<Vec<IpAddr>>>,
}

impl UrlPolicy {
    /// No restriction.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Permits URLs below one of these, or every https URL if the list is empty. This machine, link-local addresses,
    /// those of cloud metadata and the forbidden addresses are never permitted.
    ///
    /// # Errors
    /// When one of the URLs is not valid.
    pub fn around(urls: &[String], forbidden: Vec<IpAddr>) -> Result<Self, String> {
        let parse = |url: &String| Url::parse(url).map_err(|error| format!("{url:?} is no URL: {error}"));
        let urls = urls.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { rules: Some(Rules { urls: Some(urls), forbidden: Arc::new(RwLock::new(forbidden)) }) })
    }

    /// The policy for cluster-wide connections, which only administrators may create: every URL is permitted, plain
    /// http too. The forbidden addresses stay forbidden.
    #[must_use]
    pub fn for_any_url(&self) -> Self {
        let rules = |rules: &Rules| Rules { urls: None, forbidden: Arc::clone(&rules.forbidden) };
        Self { rules: self.rules.as_ref().map(rules) }
    }

    /// Replaces the forbidden addresses, also for connections that are there already.
    pub fn forbid(&self, addresses: Vec<IpAddr>) {
        if let Some(rules) = &self.rules {
            *rules.forbidden.write() = addresses;
        }
    }

    /// Checks the URL of a connection.
    ///
    /// # Errors
    /// Why it is not permitted.
    pub(in crate::cmdb) fn check(&self, url: &Url) -> Result<(), String> {
        let Some(rules) = &self.rules else { return Ok(()) };
        match rules.urls.as_deref() {
            Some([]) if url.scheme() != "https" => return Err("this operator takes only https URLs".to_owned()),
            Some(urls @ [_, ..]) if !urls.iter().any(|allowed| is_below(url, allowed)) => {
                return Err("the URL is none of those that this operator may be led to".to_owned());
            }
            _ => {}
        }
        let address = match url.host() {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        };
        match address {
            Some(address) if !self.permits(address) => Err(ConnectFailure::Forbidden.to_string()),
            _ => Ok(()),
        }
    }

    // Whether a connection may be opened to this address, or to one that it stands for.
    fn permits(&self, address: IpAddr) -> bool {
        let Some(rules) = &self.rules else { return true };
        let forbidden = rules.forbidden.read();
        let forbidden: Vec<IpAddr> = forbidden.iter().chain(METADATA).flat_map(|other| forms(*other)).collect();
        forms(address).into_iter().all(|form| !is_local(form) && !forbidden.contains(&form))
    }
}

// This machine, its link, and what is no single machine.
fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let is_this_network = matches!(address.octets(), [0, ..]);
            address.is_loopback()
                || address.is_link_local()
                || address.is_broadcast()
                || address.is_multicast()
                || is_this_network
        }
        IpAddr::V6(address) => {
            let is_site_local = matches!(address.segments(), [first, ..] if first & 0xffc0 == 0xfec0);
            address.is_loopback()
                || address.is_unspecified()
                || address.is_unicast_link_local()
                || address.is_multicast()
                || is_site_local
        }
    }
}

// An address, and the IPv4 addresses that it may lead to: an IPv6 address can contain one in several ways, and a network
// may translate each.
fn forms(address: IpAddr) -> Vec<IpAddr> {
    let mut forms = vec![address.to_canonical()];
    let IpAddr::V6(address) = address else { return forms };
    let [s0, s1, s2, s3, s4, s5, s6, s7] = address.segments();
    let [.., b6, b7, _, b9, b10, _, _, _, _, _] = address.octets();
    let ipv4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)).into();
    let last = ipv4(s6, s7);
    match [s0, s1, s2, s3, s4, s5] {
        // Compatible (::/96), mapped (::ffff:0:0/96), translated (::ffff:0:0:0/96), NAT64 (64:ff9b::/96).
        [0, 0, 0, 0, 0, 0 | 0xffff] | [0, 0, 0, 0, 0xffff, 0] | [0x64, 0xff9b, 0, 0, 0, 0] => forms.push(last),
        // NAT64 of a network's own (64:ff9b:1::/48), which may put it in two places.
        [0x64, 0xff9b, 1, ..] => {
            forms.push(last);
            forms.push(Ipv4Addr::new(b6, b7, b9, b10).into());
        }
        // 6to4.
        [0x2002, high, low, ..] => forms.push(ipv4(high, low)),
        // Teredo: its server, and the inverted client.
        [0x2001, 0, high, low, ..] => {
            forms.push(ipv4(high, low));
            forms.push(ipv4(!s6, !s7));
        }
        _ => {}
    }
    // ISATAP.
    if matches!([s4, s5], [0 | 0x200, 0x5efe]) {
        forms.push(last);
    }
    forms
}

// Whether scheme, host and port are the same, and the path is the same or below.
fn is_below(url: &Url, allowed: &Url) -> bool {
    let path = allowed.path().trim_end_matches('/');
    let below = url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    url.origin() == allowed.origin() && below
}

/// Resolves host names and leaves out the addresses that are not permitted. The URL alone cannot be checked for that: a
/// name may resolve to any address, and to another one tomorrow.
#[derive(Clone, Debug)]
pub(in crate::cmdb) struct PolicyResolver(pub Arc<UrlPolicy>);

impl PolicyResolver {
    async fn resolve(self, host: &str) -> Result<Vec<SocketAddr>, ConnectFailure> {
        let found = tokio::net::lookup_host((host, 0)).await.map_err(|_| ConnectFailure::Unresolved)?;
        let permitted: Vec<SocketAddr> = found.filter(|address| self.0.permits(address.ip())).collect();
        if permitted.is_empty() { Err(ConnectFailure::Forbidden) } else { Ok(permitted) }
    }
}

impl Service<Name> for PolicyResolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = ConnectFailure;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectFailure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectFailure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let resolver = self.clone();
        Box::pin(async move { resolver.resolve(name.as_str()).await.map(Vec::into_iter) })
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use reqwest::Url;

    use super::UrlPolicy;

    fn may(policy: &UrlPolicy, url: &str) -> bool {
        policy.check(&Url::parse(url).unwrap()).is_ok()
    }

    #[test]
    fn without_a_list_every_https_url_but_no_local_address_is_permitted() {
        let api_server: IpAddr = "10.96.0.1".parse().unwrap();
        let policy = UrlPolicy::around(&[], vec![api_server]).unwrap();
        for url in [
            "https://bkapi.example.com",
            "https://bkapi.example.com:8443/api/bk-cmdb/prod",
            "https://10.0.0.7",
            "https://[2a00::7]",
            "https://[fd00::7]",
            "https://[64:ff9b::10.0.0.7]",
        ] {
            assert!(may(&policy, url), "{url}");
        }
        for url in [
            "http://bkapi.example.com",
            "https://127.0.0.1",
            "https://127.8.8.8:8443",
            "https://[::1]",
            "https://[::ffff:127.0.0.1]",
            "https://0.0.0.0",
            "https://169.254.169.254",
            "https://[fe80::1]",
            "https://10.96.0.1",
            "https://[::ffff:10.96.0.1]",
            "https://2130706433",
            "https://0x7f.1",
            "https://[::127.0.0.1]",
            "https://[::10.96.0.1]",
            "https://[64:ff9b::169.254.169.254]",
            "https://[64:ff9b::10.96.0.1]",
            "https://[64:ff9b:1::10.96.0.1]",
            "https://[64:ff9b:1:a60:0:100::]",
            "https://[2002:a60:1::1]",
            "https://[2002:7f00:1::]",
            "https://[2001:0:a9fe:a9fe::1]",
            "https://[2001:0:1:2:3:4:f59f:fffe]",
            "https://[2a00::5efe:10.96.0.1]",
            "https://[::ffff:0:10.96.0.1]",
            "https://[fd00:ec2::254]",
            "https://[fd20:ce::254]",
            "https://[fe80::a9fe:a9fe]",
            "https://[fec0::1]",
            "https://[ff02::1]",
            "https://100.100.100.200",
            "https://[::ffff:100.100.100.200]",
            "https://168.63.129.16",
            "https://0.1.2.3",
            "https://255.255.255.255",
            "https://224.0.0.1",
        ] {
            assert!(!may(&policy, url), "{url}");
        }
    }

    #[test]
    fn the_api_server_is_forbidden_at_the_addresses_that_it_has_now() {
        let policy = UrlPolicy::around(&[], vec!["10.96.0.1".parse().unwrap()]).unwrap();
        let shared = policy.for_any_url();
        policy.forbid(vec!["192.0.2.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        for policy in [&policy, &shared] {
            assert!(may(policy, "https://10.96.0.1"));
            assert!(!may(policy, "https://192.0.2.7:6443") && !may(policy, "https://[2001:db8::7]:6443"));
            assert!(!may(policy, "https://[64:ff9b::c000:207]"));
        }
    }

    #[test]
    fn with_a_list_only_urls_below_one_of_it_are_permitted() {
        let urls = ["https://bkapi.example.com/api/bk-cmdb".to_owned(), "http://esb.example.com:8080/".to_owned()];
        let policy = UrlPolicy::around(&urls, Vec::new()).unwrap();
        for url in [
            "https://bkapi.example.com/api/bk-cmdb/prod",
            "https://BKAPI.example.com:443/api/bk-cmdb",
            "http://esb.example.com:8080/x",
        ] {
            assert!(may(&policy, url), "{url}");
        }
        for url in [
            "https://bkapi.example.com/api/bk-cmdb-other",
            "https://bkapi.example.com/api/bk-cmdb/../other",
            "https://bkapi.example.com.evil.example",
            "https://bkapi.example.com:8443/api/bk-cmdb",
            "http://bkapi.example.com/api/bk-cmdb",
            "http://esb.example.com",
        ] {
            assert!(!may(&policy, url), "{url}");
        }
    }

    #[tokio::test]
    async fn a_name_that_resolves_to_this_machine_is_rejected() {
        let policy = std::sync::Arc::new(UrlPolicy::around(&[], Vec::new()).unwrap());
        let resolved = super::PolicyResolver(policy).resolve("localhost").await;
        assert!(resolved.is_err());
    }
}
