//! Builds the client of a connection from what it says and its Secrets, and lets newer credentials take over.

use std::sync::Arc;

use tokio::time::Instant;

use super::build::{Bounds, read_identity};
use super::entry::Live;
use super::last_answer::AnswerObserver;
use super::lookup::Found;
use super::name::ConnectionName;
use super::secrets::Secrets;
use crate::cmdb::{self, Observer};
use crate::controller::error::Error;
use crate::engine::BareConnection;

/// Wakes a connection over which CMDB's answers have turned from good to bad, or back.
pub type TurnedConnection = Arc<dyn Fn(&ConnectionName) + Send + Sync>;

/// What the clients of all connections have in common.
pub struct ClientBuilder {
    observer: Arc<dyn Observer>,
    bounds: Bounds,
    shared_bounds: Bounds,
    turned: TurnedConnection,
}

impl ClientBuilder {
    /// A builder of clients within these bounds. A connection of the cluster may lead to any URL but the forbidden ones.
    pub fn new(bounds: Bounds, observer: Arc<dyn Observer>, turned: TurnedConnection) -> Self {
        let for_any_url = Arc::new(bounds.url_policy.for_any_url());
        Self { observer, shared_bounds: Bounds { url_policy: for_any_url, ..bounds.clone() }, bounds, turned }
    }

    /// The normalised URL that a connection leads to, from the one that it says.
    ///
    /// # Errors
    /// Why it may not lead there.
    pub fn url(&self, name: &ConnectionName, said: &str) -> Result<String, String> {
        cmdb::normalised_url(said, &self.bounds_of(name).url_policy)
    }

    /// The client of a connection as it is now; `last`: the one that was built before. Where only credentials have changed, CMDB is
    /// asked with the new ones first, about this business.
    ///
    /// # Errors
    /// Why there is none.
    pub async fn build(
        &self,
        name: &ConnectionName,
        found: &Found,
        secrets: &Secrets,
        last: Option<&Live>,
        biz_id: i64,
    ) -> Result<Live, Error> {
        let last = last.filter(|last| last.spec_key == found.key);
        if let Some(last) = last.filter(|last| last.secrets_key == secrets.key()) {
            return Ok(Live { pending_credentials_error: None, ..last.clone() });
        }
        let live = self.candidate(name, found, secrets)?;
        Ok(match last {
            Some(last) => succeed(last, live, biz_id).await,
            None => live,
        })
    }

    // The connection as it is now, which CMDB was not asked over yet.
    fn candidate(&self, name: &ConnectionName, found: &Found, secrets: &Secrets) -> Result<Live, Error> {
        let description = &found.source.description;
        let (spec_key, secrets_key) = (found.key.clone(), secrets.key());
        let Secrets { secret, certificate } = secrets;
        let credentials = description.read_credentials(secret)?;
        let identity = match (&description.certificate, certificate) {
            (Some(reference), Some(certificate)) => Some(read_identity(&reference.name, certificate)?),
            _ => None,
        };
        let bounds = self.bounds_of(name).clone();
        let (turned, of) = (Arc::clone(&self.turned), name.clone());
        let answers = Arc::new(AnswerObserver::new(Arc::clone(&self.observer), Box::new(move || turned(&of))));
        let invalid = |reason| Error::ConnectionInvalid { connection: name.clone(), reason };
        let key = format!("{spec_key} {secrets_key}");
        let candidate = description.connect(credentials, identity, bounds, key, answers.clone()).map_err(invalid)?;
        let credentials_version = secret.metadata.resource_version.clone().unwrap_or_default();
        let built_at = Instant::now();
        Ok(Live {
            connection: candidate,
            source: found.source.clone(),
            credentials_version,
            pending_credentials_error: None,
            built_at,
            spec_key,
            secrets_key,
            answers,
        })
    }

    fn bounds_of(&self, name: &ConnectionName) -> &Bounds {
        if name.is_shared() { &self.shared_bounds } else { &self.bounds }
    }
}

// Newer credentials take over once CMDB has answered to them; until then those go on that worked.
async fn succeed(last: &Live, candidate: Live, biz_id: i64) -> Live {
    match candidate.connection.client.check(biz_id).await {
        Ok(()) => {
            let client = last.connection.client.clone();
            client.switch_login(&candidate.connection.client);
            tracing::info!(url = client.url(), "changed credentials are in use");
            let connection = BareConnection { client, ..candidate.connection };
            Live { connection, answers: Arc::clone(&last.answers), ..candidate }
        }
        Err(cmdb::Error::Ending { .. }) => last.clone(),
        Err(error) => {
            tracing::warn!(%error, "changed credentials are not taken into use; those before them are");
            Live { pending_credentials_error: Some(Arc::new(error)), ..last.clone() }
        }
    }
}
