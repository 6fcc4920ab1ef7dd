//! The client of a connection: it can find out whether CMDB takes its credentials, and nothing else.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::grants::Authority;
use super::whole_list::PAGE;
use super::wire::List;
use super::{Config, Error, Observer, Operation, Priority, ServiceCategory, Transport};
use crate::cmdb::http::sender::Sender;

/// A client of one CMDB, which acts for no set. It can neither list what a business has nor write: those calls belong to
/// [`GrantedClient`](super::GrantedClient), which is made of a client and grants, and asks them before each request.
///
/// ```
/// # use std::sync::Arc;
/// # use process_template_operator::cmdb::{Behalf, Client, GrantedClient, Grants, Priority};
/// async fn list(client: Client, grants: Arc<dyn Grants>, set: Behalf) -> usize {
///     let client = GrantedClient::new(client, grants, set);
///     client.list_service_templates(Priority::Interactive, 2).await.map_or(0, |listed| listed.len())
/// }
/// ```
///
/// Without grants the same does not compile:
///
/// ```compile_fail,E0599
/// # use process_template_operator::cmdb::{Client, Priority};
/// async fn list(client: Client) -> usize {
///     client.list_service_templates(Priority::Interactive, 2).await.map_or(0, |listed| listed.len())
/// }
/// ```
///
/// Nor does a granted client whose grants somebody has put in by hand:
///
/// ```compile_fail,E0451
/// # use std::sync::Arc;
/// # use process_template_operator::cmdb::{GrantedClient, Unbounded};
/// fn widen(client: GrantedClient) -> GrantedClient {
///     GrantedClient { grants: Arc::new(Unbounded), ..client }
/// }
/// ```
///
/// Clones share everything.
#[derive(Clone)]
pub struct Client {
    sender: Arc<Sender>,
    // Most items of a page that the server takes, as far as it has said so.
    page_limit: Arc<AtomicUsize>,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("url", &self.url()).finish_non_exhaustive()
    }
}

impl Client {
    /// A client. It sends nothing yet.
    ///
    /// # Errors
    /// [`Error::Configuration`] when the URL cannot be used.
    pub fn new(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        Ok(Self::of(Sender::new(config, observer)?))
    }

    /// A client that gets scripted answers.
    #[cfg(test)]
    pub(in crate::cmdb) fn scripted(
        config: Config,
        observer: Arc<dyn Observer>,
        script: super::http::scripted::Script,
    ) -> Result<Self, Error> {
        let http = super::http::http_client::HttpClient::scripted(script);
        Ok(Self::of(Sender::with(config, http, observer)?))
    }

    /// Normalised base URL.
    #[must_use]
    pub fn url(&self) -> &str {
        self.sender.url()
    }

    /// How CMDB is reached.
    #[must_use]
    pub fn transport(&self) -> Transport {
        self.sender.transport()
    }

    /// Replaces the login by that of another client of the same URL and transport: credentials, client certificate and
    /// limiter. All requests from now on use it, also the retries of calls in flight.
    pub fn switch_login(&self, other: &Self) {
        self.sender.switch_login(&other.sender);
    }

    /// The present rate, in requests per second: adapted to the server, at most the limit, and 0 while its quota is
    /// exhausted.
    #[must_use]
    pub fn learned_rate(&self) -> f64 {
        self.sender.login().limiter.rate()
    }

    /// Checks that CMDB is reachable and accepts the credentials, by a read that every user may make. An error of CMDB
    /// itself about the business counts as success: the business may be 0.
    pub async fn check(&self, biz_id: i64) -> Result<(), Error> {
        let operation = Operation::ListServiceCategories;
        let parameters = of_business(biz_id);
        let read = self.sender.read(operation, Priority::Interactive, &parameters, Authority::own());
        match read.await.map(|_: List<ServiceCategory>| ()) {
            Ok(()) | Err(Error::Invalid { .. } | Error::NotFound { .. } | Error::Conflict { .. }) => Ok(()),
            // The permission to see a business is not checked here.
            Err(Error::Permission { reply }) if reply.is_from_cmdb() => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Makes the read of [`check`](Self::check) without retries, and returns its error as it is, whichever server
    /// answered.
    pub async fn try_once(&self, biz_id: i64) -> Result<(), Error> {
        let operation = Operation::ListServiceCategories;
        let tried = self.sender.read_once::<List<IgnoredAny>>(operation, &of_business(biz_id), Authority::own()).await;
        tried.map(|_| ())
    }

    /// The version of CMDB, as its own API server reports it. `None` over other transports, and when it does not
    /// answer.
    pub async fn version(&self) -> Option<String> {
        self.sender.version().await
    }

    pub(super) fn sender(&self) -> &Sender {
        &self.sender
    }

    pub(super) fn page_limit(&self) -> &AtomicUsize {
        &self.page_limit
    }

    fn of(sender: Sender) -> Self {
        Self { sender: Arc::new(sender), page_limit: Arc::new(AtomicUsize::new(PAGE)) }
    }
}

fn of_business(biz_id: i64) -> Map<String, Value> {
    Map::from_iter([("bk_biz_id".to_owned(), biz_id.into())])
}
