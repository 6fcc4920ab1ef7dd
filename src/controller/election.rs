//! Holding the Lease: standing by until it is ours, renewing it while we work, also while the last work ends, and giving
//! it back then.

use std::sync::{Mutex, PoisonError};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::leader::{Move, Sight, Terms};
use crate::cmdb::Gate;

/// Whether this process leads, by its own clock: open from a renewal until the lease counts as lost.
#[derive(Debug, Default)]
pub struct Leadership {
    until: Mutex<Option<Instant>>,
}

impl Leadership {
    fn set(&self, until: Option<Instant>) {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner) = until;
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Gate for Leadership {
    fn is_open(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }
}

/// Whether this process leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It leads, or runs alone.
    Leads,
    /// Another leads.
    StandsBy,
    /// The lease cannot be had or looked at: why.
    Unknown(String),
}

/// One candidate for a lease.
pub struct Election {
    /// The API server; not through the gate that the lease opens.
    pub client: Client,
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who we are: no other process, and no earlier one of this pod, has the same.
    pub identity: String,
    /// How long a lease lasts.
    pub terms: Terms,
}

// The lease as we hold it: a renewal must find it so.
struct Held {
    lease: Lease,
    sent_at: Instant,
}

impl Election {
    /// Leads whenever the lease is ours, until `shutdown`: `work` is begun with a token that tells it to end, and ends when
    /// all that it had under way has ended. `stands` is told of each change.
    pub async fn run<W>(
        &self,
        leadership: &Leadership,
        stands: impl Fn(&Standing),
        work: impl Fn(CancellationToken) -> W,
        shutdown: &CancellationToken,
    ) where
        W: Future<Output = ()> + Send + 'static,
    {
        while let Some(held) = self.acquire(&stands, shutdown).await {
            leadership.set(Some(held.sent_at + self.terms.renew_deadline()));
            tracing::info!(lease = self.name, identity = self.identity, "leads");
            stands(&Standing::Leads);
            let held = self.hold(held, leadership, &stands, &work, shutdown).await;
            leadership.set(None);
            stands(&Standing::StandsBy);
            if let Some(held) = held {
                self.release(held).await;
            }
        }
    }

    // Until the lease is ours; None at the shutdown.
    async fn acquire(&self, stands: impl Fn(&Standing), shutdown: &CancellationToken) -> Option<Held> {
        let mut sight = Sight::default();
        while !shutdown.is_cancelled() {
            match self.try_acquire(&mut sight).await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => stands(&Standing::StandsBy),
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "the lease cannot be had and is tried again");
                    let lease = format!("lease {:?} of namespace {:?}", self.name, self.namespace);
                    stands(&Standing::Unknown(format!("{lease} cannot be had and is tried again: {error}")));
                }
            }
            tokio::select! {
                () = sleep(self.terms.retry() / 2) => {}
                () = shutdown.cancelled() => {}
            }
        }
        None
    }

    async fn try_acquire(&self, sight: &mut Sight) -> kube::Result<Option<Held>> {
        let leases = self.leases();
        let found = leases.get_opt(&self.name).await?;
        let lease = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let sent_at = Instant::now();
        let taken = match sight.evaluate(lease, &self.identity, sent_at) {
            Move::Wait => return Ok(None),
            Move::Create => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.taken(None)) };
                leases.create(&PostParams::default(), &lease).await
            }
            // The version of what was read guards it: of two who try, one is refused.
            Move::Take | Move::Renew => {
                let mut lease = found.unwrap_or_default();
                lease.spec = Some(self.taken(lease.spec.as_ref()));
                self.replace(&lease).await
            }
        };
        match taken {
            Ok(lease) => Ok(Some(Held { lease, sent_at })),
            Err(error) if is_conflict(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    // Works and renews until the work has ended; gives the lease if it is still ours then.
    async fn hold<W>(
        &self,
        mut held: Held,
        leadership: &Leadership,
        stands: impl Fn(&Standing),
        work: impl Fn(CancellationToken) -> W,
        shutdown: &CancellationToken,
    ) -> Option<Held>
    where
        W: Future<Output = ()> + Send + 'static,
    {
        let stop = shutdown.child_token();
        let mut working = tokio::spawn(work(stop.clone()));
        let mut is_ours = true;
        loop {
            tokio::select! {
                _ = &mut working => return is_ours.then_some(held),
                () = sleep(self.terms.retry()), if is_ours => {}
            }
            let lost_at = held.sent_at + self.terms.renew_deadline();
            // Paused for long, we may be the last to know.
            let renewed = if Instant::now() < lost_at { self.renew(&held).await } else { Ok(None) };
            match renewed {
                Ok(Some(renewed)) => {
                    held = renewed;
                    leadership.set(Some(held.sent_at + self.terms.renew_deadline()));
                }
                Err(error) if Instant::now() < lost_at => {
                    tracing::warn!(lease = self.name, %error, "the lease was not renewed and is tried again");
                }
                Ok(None) | Err(_) => {
                    tracing::error!(lease = self.name, "the lease is lost: nothing is written any more");
                    is_ours = false;
                    leadership.set(None);
                    stop.cancel();
                    stands(&Standing::StandsBy);
                }
            }
        }
    }

    // None: somebody else has it.
    async fn renew(&self, held: &Held) -> kube::Result<Option<Held>> {
        let mut lease = held.lease.clone();
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        let sent_at = Instant::now();
        let Ok(renewed) = timeout(self.terms.retry(), self.replace(&lease)).await else {
            return self.look(held).await;
        };
        match renewed {
            Ok(lease) => Ok(Some(Held { lease, sent_at })),
            // Our own last one may have come through without an answer.
            Err(error) if is_conflict(&error) => self.look(held).await,
            Err(error) => Err(error),
        }
    }

    // The lease as it is now, if it is ours; as old as it was.
    async fn look(&self, held: &Held) -> kube::Result<Option<Held>> {
        let lease = self.leases().get(&self.name).await?;
        let holder = lease.spec.as_ref().and_then(|spec| spec.holder_identity.as_deref());
        Ok((holder == Some(&self.identity)).then_some(Held { sent_at: held.sent_at, lease }))
    }

    async fn release(&self, held: Held) {
        let mut lease = held.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match timeout(self.terms.retry(), self.replace(&lease)).await {
            Ok(Ok(_)) => tracing::info!(lease = self.name, "the lease is given back"),
            Ok(Err(error)) => tracing::warn!(lease = self.name, %error, "the lease was not given back and will end"),
            Err(_) => tracing::warn!(lease = self.name, "the lease was not given back in time and will end"),
        }
    }

    fn taken(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(Timestamp::now());
        let transitions = before.and_then(|spec| spec.lease_transitions);
        LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.terms.duration().as_secs()).ok(),
            lease_transitions: Some(transitions.map_or(0, |count| count.saturating_add(1))),
            acquire_time: Some(now.clone()),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }

    // The version in it guards it.
    async fn replace(&self, lease: &Lease) -> kube::Result<Lease> {
        self.leases().replace(&self.name, &PostParams::default(), lease).await
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}
