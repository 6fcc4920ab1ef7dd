//! Sending: one request for each call, bounded in time and size, with reads tried again and writes never.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use backon::{ExponentialBuilder, Retryable};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Response, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tokio::time::{Instant, timeout_at};
use tracing::field::Empty;
use tracing::{Instrument as _, Span, trace_span};

use super::body::read_bounded;
use super::login::{CurrentLogin, Login};
use super::url_policy::PolicyResolver;
use super::version;
use crate::cmdb::audit::{AuditRecord, Behalf, Subject};
use crate::cmdb::classify::{classify, is_out_of_reach};
use crate::cmdb::limits::caller::Caller;
use crate::cmdb::limits::limiter::{CallOutcome, Permit, Rejected};
use crate::cmdb::limits::quota::Quota;
use crate::cmdb::wire::{Envelope, Success};
use crate::cmdb::{Config, ConnectFailure, Error, Observer, Operation, Priority, Reply, Transport, WriteGate};

/// Largest answer that is read.
const BODY_BYTES: usize = 32 << 20;

/// A connection that was idle for so long may be one that a proxy is just closing: a write on it would be lost.
const IDLE: Duration = Duration::from_secs(15);

/// Time to connect: no longer than from when a leader takes its lease for lost until another may take it, by the usual
/// 15 s of a lease.
const CONNECT: Duration = Duration::from_secs(5);

/// Notes in its span how something ended: "ok", or the label of what stopped it.
pub fn note_outcome(span: &Span, outcome: &str) {
    span.record("outcome", outcome);
    span.record("otel.status_code", if outcome == "ok" { "OK" } else { "ERROR" });
}

/// Sends calls.
pub struct Sender {
    login: CurrentLogin,
    transport: Transport,
    url: String,
    supplier_account: String,
    timeout: Duration,
    write_gate: Arc<dyn WriteGate>,
    observer: Arc<dyn Observer>,
    // Begins every correlation ID of this client.
    prefix: u64,
    sent: AtomicU64,
}

impl Sender {
    /// A sender for a configuration.
    pub fn new(config: Config, observer: Arc<dyn Observer>) -> Result<Self, Error> {
        // Does nothing where the program has chosen one already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let unusable = |message: String| Error::Configuration { message };
        let url = normalised(&config.url).map_err(unusable)?;
        config.url_policy.check(&url).map_err(unusable)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("process-template-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_idle_timeout(IDLE)
            .connect_timeout(CONNECT.min(config.timeout))
            .timeout(config.timeout);
        if config.url_policy.is_closed() {
            http = http.dns_resolver(PolicyResolver(Arc::clone(&config.url_policy)));
        }
        if let Some(bundle) = &config.tls.ca_bundle {
            // A text without any is read as an empty list, which would trust nobody.
            let certificates = Certificate::from_pem_bundle(bundle.as_bytes()).ok().filter(|list| !list.is_empty());
            let certificates =
                certificates.ok_or_else(|| unusable("tls.caBundle is no list of certificates in PEM".to_owned()))?;
            http = http.tls_certs_only(certificates);
        }
        if let Some(identity) = &config.tls.identity {
            let identity = Identity::from_pem(identity.expose_secret().as_bytes())
                .map_err(|_| unusable("the client certificate and key are not in PEM".to_owned()))?;
            http = http.identity(identity);
        }
        let has_certificate = config.tls.identity.is_some();
        let http = http.build().map_err(|error| unusable(error.to_string()))?;
        let url = url.as_str().trim_end_matches('/').to_owned();
        let credentials = config.credentials;
        let caller = Caller::of(&credentials, config.tls.ca_bundle.as_deref());
        let limiter = config.limiters.join(&url, caller, config.limits);
        Ok(Self {
            login: CurrentLogin::new(Login { http, has_certificate, credentials, limiter }),
            transport: config.transport,
            url,
            supplier_account: config.supplier_account,
            timeout: config.timeout,
            write_gate: config.write_gate,
            observer,
            prefix: fastrand::u64(..),
            sent: AtomicU64::new(0),
        })
    }

    /// Normalised base URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How CMDB is reached.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// Who we are at present.
    pub fn login(&self) -> Arc<Login> {
        self.login.get()
    }

    /// From now on with the login of another.
    pub fn switch_login(&self, other: &Self) {
        self.login.set(other.login());
    }

    /// Sends a read: a few quick tries under one deadline. It runs from when the first may be sent: waiting behind calls
    /// of our own is no slowness of the server.
    pub async fn read<T: DeserializeOwned>(
        &self,
        operation: Operation,
        priority: Priority,
        parameters: &Map<String, Value>,
    ) -> Result<T, Error> {
        let tries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_factor(2.0)
            .with_max_times(2)
            .with_jitter();
        let mut first = Some(self.enter(operation, priority).await?);
        let deadline = Instant::now() + self.timeout;
        let attempt = || {
            let first = first.take();
            async move {
                let (login, permit) = match first {
                    Some(entered) => entered,
                    None => self.enter(operation, priority).await?,
                };
                let id = self.next_id();
                let call = self.once(&login, permit, (operation, &id), parameters, Some(deadline));
                call.await.map(|(data, _)| data)
            }
        };
        let is_worth_another = |error: &Error| {
            let is_transient = matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. });
            is_transient && self.login().limiter.down().is_none()
        };
        let read = timeout_at(deadline, attempt.retry(tries).when(is_worth_another)).await;
        read.unwrap_or_else(|_| Err(unanswered_in_time(operation)))
    }

    /// Sends a read, once: what comes of it tells of this one try.
    pub async fn read_once<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
    ) -> Result<T, Error> {
        let (login, permit) = self.enter(operation, Priority::Interactive).await?;
        let deadline = Instant::now() + self.timeout;
        let id = self.next_id();
        let read = self.once(&login, permit, (operation, &id), parameters, Some(deadline)).await;
        read.map(|(data, _)| data)
    }

    /// The version that CMDB's own API server tells, if it does.
    pub async fn version(&self) -> Option<String> {
        if self.transport != Transport::Direct {
            return None;
        }
        let login = self.login();
        // A failure here says nothing about the calls.
        let _permit = login.limiter.admit(Priority::Interactive).await.ok()?;
        version::ask(&login.http, &self.url).await
    }

    /// Sends a write, once, and has it in the audit log; `ids`: of what was written, by what CMDB answers.
    pub async fn write<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
        (behalf, subject): (&Behalf, Subject),
        ids: impl FnOnce(&T) -> Vec<i64>,
    ) -> Result<T, Error> {
        let (login, permit) = self.enter(operation, Priority::Interactive).await?;
        if !self.write_gate.is_open() {
            return Err(Error::Halted { operation });
        }
        let id = self.next_id();
        let to = (self.url.as_str(), self.transport);
        let line = AuditRecord::new(operation, to, &login.credentials, &id, behalf, subject);
        let result = self.once(&login, permit, (operation, &id), parameters, None).await;
        line.ended(result.as_ref().map(|(data, id)| (ids(data), id.clone())).map_err(Clone::clone));
        result.map(|(data, _)| data)
    }

    // The correlation ID of a request.
    fn next_id(&self) -> String {
        format!("{:016x}-{}", self.prefix, self.sent.fetch_add(1, Ordering::Relaxed))
    }

    // Waits for the call's turn; the login is that of the moment when it has come.
    async fn enter(&self, operation: Operation, priority: Priority) -> Result<(Arc<Login>, Permit), Error> {
        loop {
            let entered = self.login().limiter.admit(priority).await;
            let permit = entered.map_err(|refusal| refused(operation, refusal))?;
            let login = self.login();
            if Arc::ptr_eq(permit.limiter(), &login.limiter) {
                return Ok((login, permit));
            }
        }
    }

    async fn once<T: DeserializeOwned>(
        &self,
        login: &Login,
        permit: Permit,
        (operation, id): (Operation, &str),
        parameters: &Map<String, Value>,
        deadline: Option<Instant>,
    ) -> Result<(T, String), Error> {
        let mut told =
            CallGuard { observer: &*self.observer, operation, begun: Instant::now(), outcome: "outcome_unknown" };
        let mut quota = None;
        let span = trace_span!(target: "traces", "call", otel.name = operation.as_str(), otel.kind = "client",
                               operation = operation.as_str(), correlation_id = id, outcome = Empty,
                               otel.status_code = Empty);
        let exchange = self.exchange(login, (operation, id), parameters, &mut quota).instrument(span.clone());
        let mut result = match deadline {
            Some(deadline) => {
                timeout_at(deadline, exchange).await.unwrap_or_else(|_| Err(unanswered_in_time(operation)))
            }
            None => exchange.await,
        };
        told.outcome = result.as_ref().map_or_else(Error::label, |_| "ok");
        note_outcome(&span, told.outcome);
        drop(told);
        match &result {
            // Nothing was sent.
            Err(Error::Configuration { .. }) => drop(permit),
            Err(Error::Throttled { .. }) => permit.finish(CallOutcome::Throttled, quota),
            Err(Error::Unavailable { reply, .. } | Error::OutcomeUnknown { reply }) if is_out_of_reach(reply) => {
                let was_down = permit.probes_endpoint();
                permit.finish(CallOutcome::NotReached(&reply.message), quota);
                tell_down(operation, &mut result, login.limiter.down(), was_down);
            }
            Ok(_) | Err(_) => permit.finish(CallOutcome::Reached, quota),
        }
        if let Err(error) = &result {
            let request_id = error.reply().and_then(|reply| reply.request_id.as_deref());
            tracing::debug!(operation = operation.as_str(), %error, request_id, "a call failed");
        }
        result
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        login: &Login,
        (operation, id): (Operation, &str),
        parameters: &Map<String, Value>,
        quota: &mut Option<Quota>,
    ) -> Result<(T, String), Error> {
        let call = self.transport.call(operation, parameters, &login.credentials, &self.supplier_account)?;
        let request = login
            .http
            .request(call.method, format!("{}{}", self.url, call.path))
            .headers(call.headers)
            .header("X-Request-Id", id)
            .header("X-Bkapi-Request-Id", id)
            .json(&call.body);
        let response = request.send().await.map_err(|error| not_sent(operation, &error, id, login.has_certificate))?;
        let status = response.status().as_u16();
        let reset = number(&response, "X-Bkapi-RateLimit-Reset").map(Duration::from_secs);
        let limit = number(&response, "X-Bkapi-RateLimit-Limit");
        let remaining = number(&response, "X-Bkapi-RateLimit-Remaining");
        let told = |remaining| reset.map(|reset| Quota { limit, remaining, reset });
        *quota = remaining.and_then(told);
        let header_id = header(&response, "X-Bkapi-Request-Id").or_else(|| header(&response, "X-Request-Id"));
        let bytes = body(operation, response, id).await?;
        // Even what should be an ID may repeat a secret.
        let theirs = |request_id: &str| login.credentials.redacted(request_id);
        let reply = |code, message: &str, request_id: Option<&str>| Reply {
            operation,
            code,
            http_status: Some(status),
            message: message.to_owned(),
            request_id: request_id.or(header_id.as_deref()).map(theirs).or_else(|| Some(id.to_owned())),
            obstacle: None,
        };
        // A redirect is none of CMDB's answers, whatever it says.
        let envelope = serde_json::from_slice::<Envelope>(&bytes).ok().filter(|_| !(300..400).contains(&status));
        let Some(envelope) = envelope else {
            let message = format!("HTTP status {status} with a body that is not CMDB's");
            return Err(classify(reply(None, &message, None), reset));
        };
        if !envelope.is_success() {
            let message = login.credentials.redacted(envelope.message().unwrap_or("no message"));
            let error = classify(reply(envelope.code(), &message, envelope.request_id()), reset);
            if matches!(error, Error::Throttled { .. }) {
                // Who says only when to go on has nothing left.
                *quota = told(remaining.unwrap_or_default());
            }
            return Err(error);
        }
        let request_id = reply(None, "", envelope.request_id()).request_id.unwrap_or_default();
        if let Ok(success) = serde_json::from_slice::<Success<T>>(&bytes) {
            Ok((success.data, request_id))
        } else {
            let reply = reply(Some(0), "a success whose data have another form", Some(&request_id));
            Err(Error::Protocol { reply })
        }
    }
}

// Tells the observer of a call that ends, also of one that is given up.
struct CallGuard<'a> {
    observer: &'a dyn Observer,
    operation: Operation,
    begun: Instant,
    outcome: &'static str,
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.observer.call_finished(self.operation, self.outcome, self.begun.elapsed());
    }
}

// Scheme and host in lower case, no default port: one name for one CMDB.
fn normalised(url: &str) -> Result<Url, String> {
    // Not shown: it may hold a password.
    let parsed = Url::parse(url).map_err(|error| format!("the URL is none: {error}"))?;
    let plain = parsed.username().is_empty()
        && parsed.password().is_none()
        && parsed.query().is_none()
        && parsed.fragment().is_none()
        && parsed.has_host();
    if !plain || !["http", "https"].contains(&parsed.scheme()) {
        return Err("the URL must be http or https, with a host, without user, query and fragment".to_owned());
    }
    Ok(parsed)
}

// What is told of a call that was not sent.
fn refused(operation: Operation, refusal: Rejected) -> Error {
    match refusal {
        Rejected::Busy(retry_after) => Error::Busy { operation, retry_after },
        Rejected::ShuttingDown => Error::Ending { operation },
        Rejected::Down(cause, retry_after) => {
            let message = format!("no answer lately ({cause}), so the call was not made");
            Error::Unavailable { reply: Reply::local(operation, message), retry_after: Some(retry_after) }
        }
        Rejected::QuotaExhausted(retry_after) => {
            let message = "nothing is left of the quota; it was not sent".to_owned();
            Error::Throttled { reply: Reply::local(operation, message), retry_after: Some(retry_after) }
        }
    }
}

// When an endpoint that is down is tried again. Who finds it still down is told what all others are.
fn tell_down<T>(operation: Operation, result: &mut Result<T, Error>, down: Option<(String, Duration)>, was_down: bool) {
    let (Some((cause, wait)), Err(error)) = (down, result) else { return };
    match error {
        Error::OutcomeUnknown { .. } if operation.is_write() => {}
        Error::OutcomeUnknown { .. } | Error::Unavailable { .. } if was_down => {
            *error = refused(operation, Rejected::Down(cause, wait));
        }
        Error::Unavailable { retry_after, .. } => *retry_after = Some(wait),
        _ => {}
    }
}

fn unanswered_in_time(operation: Operation) -> Error {
    Error::OutcomeUnknown { reply: Reply::local(operation, "no answer in time".to_owned()) }
}

fn unanswered(operation: Operation, message: &str, id: &str) -> Error {
    Error::OutcomeUnknown { reply: Reply::unanswered(operation, message, id) }
}

// Without a connection nothing was sent; after that, nobody knows.
fn not_sent(operation: Operation, error: &reqwest::Error, id: &str, has_certificate: bool) -> Error {
    if error.is_builder() {
        return Error::Configuration { message: "the request could not be built".to_owned() };
    }
    let obstacle = ConnectFailure::of(error, has_certificate);
    let message = match (obstacle, error.is_connect(), error.is_timeout()) {
        (Some(obstacle), _, _) => obstacle.to_string(),
        (None, true, true) => "no connection in time".to_owned(),
        (None, true, false) => "no connection".to_owned(),
        (None, false, true) => "no answer in time".to_owned(),
        (None, false, false) => "the connection broke".to_owned(),
    };
    let reply = Reply { obstacle, ..Reply::unanswered(operation, &message, id) };
    // The endpoint is there, and does not know us.
    if matches!(obstacle, Some(ConnectFailure::CertificateWanted | ConnectFailure::CertificateRefused)) {
        return Error::Authentication { reply };
    }
    if error.is_connect() { Error::Unavailable { reply, retry_after: None } } else { Error::OutcomeUnknown { reply } }
}

async fn body(operation: Operation, response: Response, id: &str) -> Result<Vec<u8>, Error> {
    let http_status = Some(response.status().as_u16());
    match read_bounded(response, BODY_BYTES).await {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => {
            let reply = Reply::unanswered(operation, "the answer is larger than any of CMDB's", id);
            Err(Error::Protocol { reply: Reply { http_status, ..reply } })
        }
        Err(_) => Err(unanswered(operation, "the connection broke within the answer", id)),
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

fn number(response: &Response, name: &str) -> Option<u64> {
    header(response, name)?.trim().parse().ok()
}
