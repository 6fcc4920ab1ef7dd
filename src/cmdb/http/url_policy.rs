//! The URLs and addresses that connections may use. Every user who may create a connection makes the operator send
//! requests, so that without a policy they could reach what only the operator can.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::Host;

use crate::cmdb::ConnectFailure;

/// The URLs and addresses that connections may use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlPolicy {
    rules: Option<Rules>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Rules {
    // Normalised prefixes of the permitted URLs. Empty: every https URL. `None`: every URL.
    urls: Option<Vec<Url>>,
    forbidden: Vec<IpAddr>,
}

impl UrlPolicy {
    /// No restriction.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Permits URLs below one of these, or every https URL if the list is empty. This machine, link-local addresses and
    /// the forbidden addresses are never permitted.
    ///
    /// # Errors
    /// When one of the URLs is not valid.
    pub fn around(urls: &[String], forbidden: Vec<IpAddr>) -> Result<Self, String> {
        let parse = |url: &String| Url::parse(url).map_err(|error| format!("{url:?} is no URL: {error}"));
        let urls = urls.iter().map(parse).collect::<Result<_, _>>()?;
        Ok(Self { rules: Some(Rules { urls: Some(urls), forbidden }) })
    }

    /// The policy for cluster-wide connections, which only administrators may create: every URL is permitted, plain
    /// http too. The forbidden addresses stay forbidden.
    #[must_use]
    pub fn for_any_url(&self) -> Self {
        let rules = |rules: &Rules| Rules { urls: None, forbidden: rules.forbidden.clone() };
        Self { rules: self.rules.as_ref().map(rules) }
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

    // Whether a connection may be opened to this address.
    fn permits(&self, address: IpAddr) -> bool {
        let Some(rules) = &self.rules else { return true };
        let address = address.to_canonical();
        let is_local = match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_link_local() || address.is_unspecified(),
            IpAddr::V6(address) => address.is_loopback() || address.is_unspecified() || is_link_local(address),
        };
        !is_local && !address.is_multicast() && !rules.forbidden.iter().any(|other| other.to_canonical() == address)
    }

    /// Whether it restricts addresses, so that host names have to be resolved by [`PolicyResolver`].
    pub(in crate::cmdb) fn is_restricted(&self) -> bool {
        self.rules.is_some()
    }
}

fn is_link_local(address: Ipv6Addr) -> bool {
    address.segments()[0] & 0xffc0 == 0xfe80
}

// Whether scheme, host and port are the same, and the path is the same or below.
fn is_below(url: &Url, allowed: &Url) -> bool {
    let path = allowed.path().trim_end_matches('/');
    let below = url.path().strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    url.origin() == allowed.origin() && below
}

/// Resolves host names and leaves out the addresses that are not permitted. The URL alone cannot be checked for that: a
/// name may resolve to any address, and to another one tomorrow.
pub(in crate::cmdb) struct PolicyResolver(pub Arc<UrlPolicy>);

impl Resolve for PolicyResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let policy = Arc::clone(&self.0);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let permitted: Vec<SocketAddr> = found.into_iter().filter(|address| policy.permits(address.ip())).collect();
            if permitted.is_empty() {
                return Err(ConnectFailure::Forbidden.into());
            }
            Ok(Box::new(permitted.into_iter()) as Addrs)
        })
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
        for url in ["https://bkapi.example.com", "https://bkapi.example.com:8443/api/bk-cmdb/prod", "https://10.0.0.7"]
        {
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
        ] {
            assert!(!may(&policy, url), "{url}");
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
        use reqwest::dns::Resolve;
        let policy = std::sync::Arc::new(UrlPolicy::around(&[], Vec::new()).unwrap());
        let resolved = super::PolicyResolver(policy).resolve("localhost".parse().unwrap()).await;
        assert!(resolved.is_err());
    }
}
