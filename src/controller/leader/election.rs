//! Holding the Lease: standing by until it is ours, renewing it while we work, also while the last work ends, and giving
//! it back then. No call for it is waited for longer than a lease allows.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client};
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lease::{LeaseAction, LeaseObserver, Terms};
use super::state::LeadershipState;
use crate::cmdb::WriteGate;
use crate::controller::tasks::{TaskResult, outcome};

/// Whether this process leads, by its own clock: open from a renewal until the lease counts as lost.
#[derive(Debug, Default)]
pub struct Leadership {
    until: Mutex<Option<Instant>>,
}

impl Leadership {
    fn set(&self, until: Option<Instant>) {
        *self.until.lock() = until;
    }

    fn until(&self) -> Option<Instant> {
        *self.until.lock()
    }
}

impl WriteGate for Leadership {
    fn is_open(&self) -> bool {
        self.until().is_some_and(|until| Instant::now() < until)
    }
}

/// One candidate for a lease.
pub struct Election {
    /// The API server; not through the gate that the lease opens, and without repeating calls on its own.
    pub client: Client,
    /// Namespace of the lease.
    pub namespace: String,
    /// Name of the lease.
    pub name: String,
    /// Who we are: no other process, and no earlier one of this pod, has the same.
    pub identity: String,
    /// How long a lease lasts.
    pub terms: Terms,
    /// The work that was started under the lease, and that has not ended.
    pub working: TaskTracker,
}

/// Why a call for the lease failed.
#[derive(Debug, thiserror::Error)]
enum CallError {
    /// The API server refused it, or could not be reached.
    #[error(transparent)]
    Api(#[from] kube::Error),
    /// The API server did not answer in time.
    #[error("the Kubernetes API server did not answer in time")]
    Late,
}

// The lease as we hold it: a renewal must find it so.
struct Held {
    lease: Lease,
    sent_at: Instant,
}

impl Election {
    /// Leads whenever the lease is ours, until `shutdown`: `work` is started with a token that stops it, and ends when all that
    /// it had in flight has ended. `report_standing` is called on each change.
    ///
    /// # Errors
    /// When the work failed. The lease is given back then.
    pub async fn run<W>(
        &self,
        leadership: &Leadership,
        report_standing: impl Fn(&LeadershipState),
        work: impl Fn(CancellationToken) -> W,
        shutdown: &CancellationToken,
    ) -> TaskResult
    where
        W: Future<Output = TaskResult> + Send + 'static,
    {
        while let Some(held) = self.acquire(&report_standing, shutdown).await {
            leadership.set(Some(held.sent_at + self.terms.renew_deadline()));
            tracing::info!(lease = self.name, identity = self.identity, "leads");
            report_standing(&LeadershipState::Leads);
            let (held, worked) = self.hold(held, leadership, &report_standing, &work, shutdown).await;
            leadership.set(None);
            report_standing(&LeadershipState::StandsBy);
            if let Some(held) = held {
                self.release(held).await;
            }
            worked?;
            self.pause(self.terms.retry(), shutdown).await;
        }
        Ok(())
    }

    /// Gives the lease back if it is ours: for a holder that has failed. Waits for the work first, which `shutdown` must have
    /// stopped.
    pub async fn give_back(&self, leadership: &Leadership) {
        self.working.close();
        self.working.wait().await;
        leadership.set(None);
        match self.look().await {
            Ok(Some(lease)) => self.release(Held { lease, sent_at: Instant::now() }).await,
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(lease = self.name, %error, "the lease could not be given back and will expire");
            }
        }
    }

    // Until the lease is ours; None at the shutdown.
    async fn acquire(&self, report_standing: impl Fn(&LeadershipState), shutdown: &CancellationToken) -> Option<Held> {
        let mut sight = LeaseObserver::new(self.terms);
        while !shutdown.is_cancelled() {
            match self.try_acquire(&mut sight).await {
                Ok(Some(held)) => return Some(held),
                Ok(None) => report_standing(&LeadershipState::StandsBy),
                Err(error) => {
                    tracing::warn!(lease = self.name, %error, "the lease cannot be had and is tried again");
                    let lease = format!("lease {:?} of namespace {:?}", self.name, self.namespace);
                    report_standing(&LeadershipState::Unknown(format!(
                        "{lease} cannot be had and is tried again: {error}"
                    )));
                }
            }
            self.pause(self.terms.look(), shutdown).await;
        }
        None
    }

    async fn pause(&self, time: Duration, shutdown: &CancellationToken) {
        let _ = timeout(time, shutdown.cancelled()).await;
    }

    async fn try_acquire(&self, sight: &mut LeaseObserver) -> Result<Option<Held>, CallError> {
        let leases = self.leases();
        let found = self.in_time(leases.get_opt(&self.name)).await?;
        let lease = found.as_ref().and_then(|lease| lease.spec.as_ref());
        let sent_at = Instant::now();
        let taken = match sight.evaluate(lease, &self.identity, sent_at) {
            LeaseAction::Wait => return Ok(None),
            LeaseAction::Create => {
                let metadata = ObjectMeta { name: Some(self.name.clone()), ..ObjectMeta::default() };
                let lease = Lease { metadata, spec: Some(self.taken(None)) };
                self.in_time(leases.create(&PostParams::default(), &lease)).await
            }
            // The version of what was read guards it: of two who try, one is refused.
            LeaseAction::Take | LeaseAction::Renew => {
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

    // Works and renews until the work has ended; gives the lease if it is still ours then, and how the work ended.
    async fn hold<W>(
        &self,
        mut held: Held,
        leadership: &Leadership,
        report_standing: impl Fn(&LeadershipState),
        work: impl Fn(CancellationToken) -> W,
        shutdown: &CancellationToken,
    ) -> (Option<Held>, TaskResult)
    where
        W: Future<Output = TaskResult> + Send + 'static,
    {
        let stop = shutdown.child_token();
        let mut working = self.working.spawn(work(stop.clone()));
        let mut is_ours = true;
        let mut next = held.sent_at + self.terms.retry();
        loop {
            tokio::select! {
                biased;
                ended = &mut working => {
                    return (is_ours.then_some(held), outcome("controller", ended, &stop));
                }
                () = sleep_until(next), if is_ours => {}
            }
            next = Instant::now() + self.terms.retry();
            let lost_at = held.sent_at + self.terms.renew_deadline();
            // Paused for long, we may be the last to know.
            let renewed = if Instant::now() < lost_at {
                timeout_at(lost_at, self.renew(&held)).await.unwrap_or(Err(CallError::Late))
            } else {
                Ok(None)
            };
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
                    report_standing(&LeadershipState::StandsBy);
                }
            }
        }
    }

    // None: somebody else has it, or it is gone.
    async fn renew(&self, held: &Held) -> Result<Option<Held>, CallError> {
        let mut lease = held.lease.clone();
        let renew_time = MicroTime(Timestamp::now());
        if let Some(spec) = &mut lease.spec {
            spec.renew_time = Some(renew_time.clone());
        }
        let sent_at = Instant::now();
        match self.replace(&lease).await {
            Ok(lease) => Ok(Some(Held { lease, sent_at })),
            // Our own last one, or this one, may have come through without an answer.
            Err(error) if is_conflict(&error) || matches!(error, CallError::Late) => {
                let found = self.look().await?;
                Ok(found.map(|lease| {
                    let has_come = time_of(&lease) == Some(renew_time.0.as_microsecond());
                    Held { lease, sent_at: if has_come { sent_at } else { held.sent_at } }
                }))
            }
            Err(error) if is_missing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    // The lease as it is now, if it is ours.
    async fn look(&self) -> Result<Option<Lease>, CallError> {
        let found = self.in_time(self.leases().get_opt(&self.name)).await?;
        let holder = |lease: &Lease| lease.spec.as_ref().and_then(|spec| spec.holder_identity.clone());
        Ok(found.filter(|lease| holder(lease).as_ref() == Some(&self.identity)))
    }

    async fn release(&self, held: Held) {
        let mut lease = held.lease;
        if let Some(spec) = &mut lease.spec {
            spec.holder_identity = Some(String::new());
            spec.renew_time = Some(MicroTime(Timestamp::now()));
        }
        match self.replace(&lease).await {
            Ok(_) => tracing::info!(lease = self.name, "the lease is given back"),
            Err(error) => tracing::warn!(lease = self.name, %error, "the lease was not given back and will end"),
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
    async fn replace(&self, lease: &Lease) -> Result<Lease, CallError> {
        self.in_time(self.leases().replace(&self.name, &PostParams::default(), lease)).await
    }

    async fn in_time<T>(&self, call: impl Future<Output = kube::Result<T>>) -> Result<T, CallError> {
        Ok(timeout(self.terms.call(), call).await.map_err(|_| CallError::Late)??)
    }

    fn leases(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }
}

fn time_of(lease: &Lease) -> Option<i64> {
    Some(lease.spec.as_ref()?.renew_time.as_ref()?.0.as_microsecond())
}

fn is_conflict(error: &CallError) -> bool {
    matches!(error, CallError::Api(kube::Error::Api(status)) if status.code == 409)
}

fn is_missing(error: &CallError) -> bool {
    matches!(error, CallError::Api(kube::Error::Api(status)) if status.code == 404)
}

#[cfg(test)]
mod tests;
