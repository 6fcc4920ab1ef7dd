//! Sending: one request for each call, bounded in time and size, with reads tried again and writes never.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use backon::{ExponentialBuilder, Retryable};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Identity, Response, Url};
use secrecy::ExposeSecret;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::classify::classify;
use super::fence::FencedResolver;
use super::gate::{Gate, Lane, Permit};
use super::wire::{Envelope, Success};
use super::{Config, Credentials, Error, Observer, Operation, Reply, Transport};

/// Largest answer that is read.
const BODY_BYTES: usize = 32 << 20;

/// A connection that was idle for so long may be one that a proxy is just closing: a write on it would be lost.
const IDLE: Duration = Duration::from_secs(15);

/// Sends calls.
pub struct Sender {
    http: reqwest::Client,
    transport: Transport,
    url: String,
    supplier_account: String,
    credentials: Credentials,
    timeout: Duration,
    gate: Arc<Gate>,
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
        config.fence.check(&url).map_err(unusable)?;
        let mut http = reqwest::Client::builder()
            .user_agent(concat!("process-template-operator/", env!("CARGO_PKG_VERSION")))
            .redirect(Policy::none())
            .retry(reqwest::retry::never())
            .http1_only()
            .pool_idle_timeout(IDLE)
            .connect_timeout(Duration::from_secs(10).min(config.timeout))
            .timeout(config.timeout);
        if config.fence.is_closed() {
            http = http.dns_resolver(FencedResolver(Arc::clone(&config.fence)));
        }
        if let Some(bundle) = &config.tls.ca_bundle {
            let certificates = Certificate::from_pem_bundle(bundle.as_bytes())
                .map_err(|_| unusable("tls.caBundle is no list of certificates in PEM".to_owned()))?;
            http = http.tls_certs_only(certificates);
        }
        if let Some(identity) = &config.tls.identity {
            let identity = Identity::from_pem(identity.expose_secret().as_bytes())
                .map_err(|_| unusable("the client certificate and key are not in PEM".to_owned()))?;
            http = http.identity(identity);
        }
        let http = http.build().map_err(|error| unusable(error.to_string()))?;
        Ok(Self {
            http,
            transport: config.transport,
            url: url.as_str().trim_end_matches('/').to_owned(),
            supplier_account: config.supplier_account,
            credentials: config.credentials,
            timeout: config.timeout,
            gate: Gate::new(config.max_concurrent),
            observer,
            prefix: std::hash::RandomState::new().build_hasher().finish(),
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

    /// Who we are.
    pub fn credentials(&self) -> &Credentials {
        &self.credentials
    }

    /// Sends a read: a few quick tries under one deadline. It runs from when the first may be sent: waiting behind calls
    /// of our own is no slowness of the server.
    pub async fn read<T: DeserializeOwned>(
        &self,
        operation: Operation,
        lane: Lane,
        parameters: &Map<String, Value>,
    ) -> Result<T, Error> {
        let tries = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(200))
            .with_factor(2.0)
            .with_max_times(2)
            .with_jitter();
        let transient = |error: &Error| matches!(error, Error::Unavailable { .. } | Error::OutcomeUnknown { .. });
        let mut first = Some(self.gate.enter(lane).await);
        let attempt = || {
            let permit = first.take();
            async move {
                let permit = match permit {
                    Some(permit) => permit,
                    None => self.gate.enter(lane).await,
                };
                self.once(permit, operation, parameters).await.map(|(data, _)| data)
            }
        };
        let read = attempt.retry(tries).when(transient);
        tokio::time::timeout(self.timeout, read).await.unwrap_or_else(|_| {
            let message = "no answer in time".to_owned();
            let reply = Reply { operation, code: None, http_status: None, message, request_id: None };
            Err(Error::OutcomeUnknown { reply })
        })
    }

    /// Sends a write, once. Gives the correlation ID too.
    pub async fn write<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
    ) -> Result<(T, String), Error> {
        self.once(self.gate.enter(Lane::Work).await, operation, parameters).await
    }

    async fn once<T: DeserializeOwned>(
        &self,
        _permit: Permit,
        operation: Operation,
        parameters: &Map<String, Value>,
    ) -> Result<(T, String), Error> {
        let mut told = Told { observer: &*self.observer, operation, begun: Instant::now(), outcome: "outcome_unknown" };
        let result = self.exchange(operation, parameters).await;
        told.outcome = result.as_ref().map_or_else(Error::label, |_| "ok");
        drop(told);
        if let Err(error) = &result {
            let request_id = error.reply().and_then(|reply| reply.request_id.as_deref());
            tracing::debug!(operation = operation.as_str(), %error, request_id, "a call failed");
        }
        result
    }

    async fn exchange<T: DeserializeOwned>(
        &self,
        operation: Operation,
        parameters: &Map<String, Value>,
    ) -> Result<(T, String), Error> {
        let call = self.transport.call(operation, parameters, &self.credentials, &self.supplier_account)?;
        let id = format!("{:016x}-{}", self.prefix, self.sent.fetch_add(1, Ordering::Relaxed));
        let request = self
            .http
            .request(call.method, format!("{}{}", self.url, call.path))
            .headers(call.headers)
            .header("X-Request-Id", &id)
            .header("X-Bkapi-Request-Id", &id)
            .json(&call.body);
        let response = request.send().await.map_err(|error| not_sent(operation, &error, &id))?;
        let status = response.status().as_u16();
        let retry_after = retry_after(&response);
        let header_id = header(&response, "X-Bkapi-Request-Id").or_else(|| header(&response, "X-Request-Id"));
        let bytes = bounded(operation, response, &id).await?;
        let reply = |code, message: &str, request_id: Option<&str>| Reply {
            operation,
            code,
            http_status: Some(status),
            message: message.to_owned(),
            request_id: request_id.map(str::to_owned).or_else(|| header_id.clone()).or_else(|| Some(id.clone())),
        };
        // A redirect is none of CMDB's answers, whatever it says.
        let envelope = serde_json::from_slice::<Envelope>(&bytes).ok().filter(|_| !(300..400).contains(&status));
        let Some(envelope) = envelope else {
            let message = format!("HTTP status {status} with a body that is not CMDB's");
            return Err(classify(reply(None, &message, None), retry_after));
        };
        if !envelope.is_success() {
            let message = self.credentials.masked(envelope.message().unwrap_or("no message"));
            return Err(classify(reply(envelope.code(), &message, envelope.request_id()), retry_after));
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
struct Told<'a> {
    observer: &'a dyn Observer,
    operation: Operation,
    begun: Instant,
    outcome: &'static str,
}

impl Drop for Told<'_> {
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

fn unanswered(operation: Operation, message: &str, id: &str) -> Error {
    Error::OutcomeUnknown { reply: Reply::none(operation, message, id) }
}

// Without a connection nothing was sent; after that, nobody knows.
fn not_sent(operation: Operation, error: &reqwest::Error, id: &str) -> Error {
    if error.is_builder() {
        return Error::Configuration { message: "the request could not be built".to_owned() };
    }
    if error.is_connect() {
        let message = if error.is_timeout() { "no connection in time" } else { "no connection" };
        return Error::Unavailable { reply: Reply::none(operation, message, id) };
    }
    unanswered(operation, if error.is_timeout() { "no answer in time" } else { "the connection broke" }, id)
}

async fn bounded(operation: Operation, mut response: Response, id: &str) -> Result<Vec<u8>, Error> {
    let mut bytes = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if bytes.len() + chunk.len() <= BODY_BYTES => bytes.extend_from_slice(&chunk),
            Ok(Some(_)) => {
                let http_status = Some(response.status().as_u16());
                let reply = Reply::none(operation, "the answer is larger than any of CMDB's", id);
                return Err(Error::Protocol { reply: Reply { http_status, ..reply } });
            }
            Ok(None) => return Ok(bytes),
            Err(_) => return Err(unanswered(operation, "the connection broke within the answer", id)),
        }
    }
}

fn header(response: &Response, name: &str) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(str::to_owned)
}

// The gateway says how many seconds of its window are left.
fn retry_after(response: &Response) -> Option<Duration> {
    header(response, "X-Bkapi-RateLimit-Reset")?.trim().parse().ok().map(Duration::from_secs)
}
