//! Sends calls: one request for each call, bounded in time and size. Reads are retried, writes never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, trace_span};

use super::endpoint::Endpoint;
use super::http_client::HttpClient;
use super::login::{CurrentLogin, Login};
use super::{http_client, version};
use crate::cmdb::audit::{AuditRecord, Behalf, Subject};
use crate::cmdb::classify::is_out_of_reach;
use crate::cmdb::evidence::Oddity;
use crate::cmdb::grants::Authority;
use crate::cmdb::intake::budget::Share;
use crate::cmdb::limits::caller::Caller;
use crate::cmdb::limits::limiter::{CallOutcome, Permit, Rejected};
use crate::cmdb::limits::wait::Wait;
use crate::cmdb::wire::Data;
use crate::cmdb::{Config, Error, Observer, Operation, Priority, Reply, Transport, WriteGate};
use crate::outside::later;

/// Records in a span how its work finished: "ok", or the label of the error.
pub fn note_outcome(span: &Span, outcome: &str) {
    span.record("outcome", outcome);
    span.record("otel.status_code", if outcome == "ok" { "OK" } else { "ERROR" });
}

/// Most bytes of the cause of an outage that are shown with it.
const MAX_CAUSE_BYTES: usize = 400;

/// Sends the calls of one client.
pub struct Sender {
    login: CurrentLogin,
    endpoint: Endpoint,
    write_gate: Arc<dyn WriteGate>,
    observer: Arc<dyn Observer>,
    // The first part of every correlation ID of this client.
    id_prefix: u64,
    sent: AtomicU64,
}

impl Sender {
    /// A sender for a configuration. It sends nothing yet.
    pub fn new(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        http_client::base_url(&config)?;
        let http = http_client::build(&config)?;
        Self::with(config, http, observer)
    }

    /// A sender that sends with this HTTP client.
    pub fn with(config: Config, http: HttpClient, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        let (url, parsed_url) = http_client::base_url(&config)?;

        let caller = Caller::of(&config.credentials, config.tls.ca_bundle.as_deref());
        let limiter = config.limiters.join(&url, caller, config.limits);
        let has_certificate = config.tls.identity.is_some();
        let login = Login { http, has_certificate, credentials: config.credentials, limiter };

        Ok(Self {
            login: CurrentLogin::new(login),
            endpoint: Endpoint {
                url,
                parsed_url,
                url_policy: config.url_policy,
                transport: config.transport,
                supplier_account: config.supplier_account,
                timeout: config.timeout,
                replies: Arc::clone(config.limiters.replies()),
                owner: config.owner.into(),
            },
            write_gate: config.write_gate,
            observer,
            id_prefix: fastrand::u64(..),
            sent: AtomicU64::new(0),
        })
    }

    /// Normalised base URL.
    pub fn url(&self) -> &str {
        &self.endpoint.url
    }

    /// How CMDB is reached.
    pub fn transport(&self) -> Transport {
        self.endpoint.transport
    }

    /// The present login.
    pub fn login(&self) -> Arc<Login> {
        self.login.get()
    }

    /// Replaces the login by that of another sender.
    pub fn switch_login(&self, other: &Self) {
        self.login.set(other.login());
    }

    /// Sends a read: a few quick attempts under one deadline, which starts when the first attempt is admitted. Time in
    /// our own queue does not count as slowness of the server. Each attempt asks `authority`.
    pub async fn read<T: Data>(
        &self,
        operation: Operation,
        priority: Priority,
        parameters: &Map<String, Value>,
        authority: Authority<'_>,
    ) -> Result<T, Error> {
        let backoff = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_factor(2.0)
            .with_max_times(2)
            .with_jitter();

        let mut first = Some(self.admit(operation, priority, authority).await?);
        let deadline = later(Instant::now(), self.endpoint.timeout);
        let attempt = || {
            let first = first.take();
            async move {
                let admitted = match first {
                    Some(admitted) => admitted,
                    None => self.admit(operation, priority, authority).await?,
                };
                self.read_admitted(admitted, (operation, priority), parameters, authority, deadline).await
            }
        };

        let is_worth_retrying = |error: &Error| {
            let is_transient = matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. });
            is_transient && self.login().limiter.down().is_none()
        };
        let read = timeout_at(deadline, attempt.retry(backoff).when(is_worth_retrying)).await;
        read.unwrap_or_else(|_| Err(no_answer_in_time(operation)))
    }

    /// Sends a read without retries.
    pub async fn read_once<T: Data>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
        authority: Authority<'_>,
    ) -> Result<T, Error> {
        let admitted = self.admit(operation, Priority::Interactive, authority).await?;
        let deadline = later(Instant::now(), self.endpoint.timeout);
        self.read_admitted(admitted, (operation, Priority::Interactive), parameters, authority, deadline).await
    }

    // Sends it again only where credentials that were replaced meanwhile were refused: that says nothing of those in use now.
    async fn read_admitted<T: Data>(
        &self,
        mut admitted: (Arc<Login>, Permit),
        (operation, priority): (Operation, Priority),
        parameters: &Map<String, Value>,
        authority: Authority<'_>,
        deadline: Instant,
    ) -> Result<T, Error> {
        loop {
            let (login, permit) = admitted;
            let id = self.next_id();
            let read = self.once(&login, permit, (operation, &id), parameters, Some(deadline)).await;
            let is_outdated = !Arc::ptr_eq(&login, &self.login());
            if !(is_outdated && matches!(read, Err(Error::Authentication { .. }))) {
                return read.map(|(data, _)| data);
            }
            admitted = self.admit(operation, priority, authority).await?;
        }
    }

    /// The version of CMDB, if the transport can ask for it and the server answers.
    pub async fn version(&self) -> Option<String> {
        if !self.endpoint.transport.has_version() {
            return None;
        }
        let login = self.login();
        // Its failure says nothing about the calls: the permit is dropped without an outcome.
        let _permit = login.limiter.admit(Priority::Interactive, Wait::of_none()).await.ok()?;
        let mut share = Share::new(&self.endpoint.replies, &self.endpoint.owner);
        version::ask(&login.http, &self.endpoint.url, &mut share).await
    }

    /// Sends a write, once, if `authority` lets it, and records it in the audit log. `ids` returns the IDs of what was
    /// written, from the answer, or what is odd about it.
    pub async fn write<T: Data>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
        authority: Authority<'_>,
        (behalf, subject): (&Behalf, Subject),
        ids: impl FnOnce(&T) -> Result<Vec<i64>, Oddity>,
    ) -> Result<T, Error> {
        let (login, permit) = self.admit(operation, Priority::Interactive, authority).await?;

        // Check the gate last: the call may have been queued for long.
        if !self.write_gate.is_open() {
            return Err(Error::Halted { operation });
        }
        authority.wait().sent_at.note();

        let id = self.next_id();
        let to = (self.endpoint.url.as_str(), self.endpoint.transport);
        let record = AuditRecord::new(operation, to, &login.credentials, &id, behalf, subject);
        let mut result = self.once(&login, permit, (operation, &id), parameters, None).await;
        // The caller lists before it sends anything again.
        if let Err(Error::Authentication { were_replaced, .. }) = &mut result {
            *were_replaced = !Arc::ptr_eq(&login, &self.login());
        }
        let result = result.and_then(|(data, id)| match ids(&data) {
            Ok(ids) => Ok((data, (ids, id))),
            Err(odd) => Err(odd.error_of(operation)),
        });
        record.finish(result.as_ref().map(|(_, written)| written.clone()).map_err(Clone::clone));
        result.map(|(data, _)| data)
    }

    // The correlation ID of the next request.
    fn next_id(&self) -> String {
        format!("{:016x}-{}", self.id_prefix, self.sent.fetch_add(1, Ordering::Relaxed))
    }

    // Waits for the limiter, then asks whether the call may still be made. The login is the one at the time of admission:
    // if it was switched meanwhile to one with another limiter, that limiter has to admit the call.
    async fn admit(
        &self,
        operation: Operation,
        priority: Priority,
        authority: Authority<'_>,
    ) -> Result<(Arc<Login>, Permit), Error> {
        loop {
            let admitted = self.login().limiter.admit(priority, authority.wait()).await;
            let permit = admitted.map_err(|rejected| error_of(operation, rejected))?;
            let login = self.login();
            if Arc::ptr_eq(permit.limiter(), &login.limiter) {
                authority.check(operation)?;
                return Ok((login, permit));
            }
        }
    }

    // Sends one request that was admitted, and reports the outcome to observer, trace, limiter and log.
    async fn once<T: Data>(
        &self,
        login: &Login,
        permit: Permit,
        (operation, id): (Operation, &str),
        parameters: &Map<String, Value>,
        deadline: Option<Instant>,
    ) -> Result<(T, String), Error> {
        let mut call =
            CallGuard { observer: &*self.observer, operation, started: Instant::now(), outcome: "outcome_unknown" };
        let span = trace_span!(target: "traces", "call", otel.name = operation.as_str(), otel.kind = "client",
                               operation = operation.as_str(), correlation_id = id, outcome = Empty,
                               otel.status_code = Empty);

        // Send.
        let mut quota = None;
        let exchange = self.endpoint.exchange(login, (operation, id), parameters, &mut quota).instrument(span.clone());
        let mut result = match deadline {
            Some(deadline) => {
                timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(no_answer_in_time(operation)))
            }
            None => exchange.await,
        };

        // Report to the observer and the trace.
        call.outcome = result.as_ref().map_or_else(Error::label, |_| "ok");
        note_outcome(&span, call.outcome);
        drop(call);

        // Report to the limiter.
        match &result {
            // Nothing was sent.
            Err(Error::Configuration { .. }) => drop(permit),
            Err(Error::Throttled { .. }) => permit.finish(CallOutcome::Throttled, quota),
            Err(Error::Unavailable { reply, .. } | Error::OutcomeUnknown { reply }) if is_out_of_reach(reply) => {
                let was_probe = permit.probes_endpoint();
                permit.finish(CallOutcome::NotReached(&reply.message), quota);
                note_down(operation, &mut result, login.limiter.down(), was_probe);
            }
            Ok(_) | Err(_) => permit.finish(CallOutcome::Reached, quota),
        }

        // Report to the log.
        if let Err(error) = &result {
            let request_id = error.reply().and_then(|reply| reply.request_id.as_deref());
            tracing::debug!(operation = operation.as_str(), %error, request_id, "a call failed");
        }
        result
    }
}

// Reports a call to the observer when it is dropped, so that a call whose future is dropped is reported too.
struct CallGuard<'a> {
    observer: &'a dyn Observer,
    operation: Operation,
    started: Instant,
    outcome: &'static str,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.observer.call_finished(self.operation, self.outcome, self.started.elapsed());
    }
}

// The error of a call that the limiter rejected.
fn error_of(operation: Operation, rejected: Rejected) -> Error {
    match rejected {
        Rejected::Busy(retry_after) => Error::Busy { operation, retry_after },
        Rejected::ShuttingDown | Rejected::Superseded => Error::Ending { operation },
        Rejected::Down(cause, retry_after) => {
            let cause = cause.get(..cause.floor_char_boundary(MAX_CAUSE_BYTES)).unwrap_or_default();
            let message = format!("no answer lately ({cause}), so the call was not made");
            Error::Unavailable { reply: Reply::local(operation, message), retry_after: Some(retry_after) }
        }
        Rejected::QuotaExhausted(retry_after) => {
            let message = "nothing is left of the quota; it was not sent".to_owned();
            Error::Throttled { reply: Reply::local(operation, message), retry_after: Some(retry_after) }
        }
    }
}

// Adds to an error when an endpoint that is down is probed again. The error of the probe itself becomes that of the
// calls which were rejected meanwhile, so that a status does not change between the two.
fn note_down<T>(
    operation: Operation,
    result: &mut Result<T, Error>,
    down: Option<(String, Duration)>,
    was_probe: bool,
) {
    let (Some((cause, wait)), Err(error)) = (down, result) else { return };
    match error {
        Error::OutcomeUnknown { .. } if operation.is_write() => {}
        Error::OutcomeUnknown { .. } | Error::Unavailable { .. } if was_probe => {
            *error = error_of(operation, Rejected::Down(cause, wait));
        }
        Error::Unavailable { retry_after, .. } => *retry_after = Some(wait),
        _ => {}
    }
}

fn no_answer_in_time(operation: Operation) -> Error {
    Error::OutcomeUnknown { reply: Reply::local(operation, "no answer in time".to_owned()) }
}
