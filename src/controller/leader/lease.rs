//! Who leads, decided from the Lease alone. Pure: told what time it is.
//!
//! Whether another's lease has ended is judged by how long its record has not changed before our own eyes, as client-go
//! does: the clocks of others are never compared with ours.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

use crate::outside;

/// How long a lease lasts, and what follows from that; the proportions are those of client-go (15 s, 10 s, 2 s).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    duration: Duration,
}

impl Terms {
    /// Terms of a lease that lasts so many seconds.
    pub fn of_seconds(seconds: u16) -> Self {
        Self { duration: Duration::from_secs(seconds.into()) }
    }

    /// Time without a renewal after which another may take the lease.
    pub fn duration(self) -> Duration {
        self.duration
    }

    /// Time after the last renewal was sent until the leader itself takes the lease for lost: earlier than any other.
    pub fn renew_deadline(self) -> Duration {
        self.duration * 2 / 3
    }

    /// Time between two renewals.
    pub fn retry(self) -> Duration {
        self.duration * 2 / 15
    }

    /// Time between two looks of who stands by: a lease that is given back is taken within a second.
    pub fn look(self) -> Duration {
        (self.retry() / 2).min(Duration::from_secs(1))
    }

    /// How long one call for the lease may take: one that is lost leaves time for another before the lease is.
    pub fn call(self) -> Duration {
        self.renew_deadline() / 2
    }
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaseAction {
    /// There is none: make it.
    Create,
    /// It is nobody's, or its holder has let it end: take it.
    Take,
    /// It is ours: renew it.
    Renew,
    /// It is another's.
    Wait,
}

/// The lease as it was last seen to change.
#[derive(Debug)]
pub struct LeaseObserver {
    terms: Terms,
    seen: Option<(LeaseSpec, Instant)>,
}

impl LeaseObserver {
    /// Nothing seen yet.
    pub fn new(terms: Terms) -> Self {
        Self { terms, seen: None }
    }

    /// What `me` is to do about the lease as it is now.
    pub fn evaluate(&mut self, lease: Option<&LeaseSpec>, me: &str, now: Instant) -> LeaseAction {
        if let Some(lease) = lease
            && self.seen.as_ref().is_none_or(|(seen, _)| seen != lease)
        {
            self.seen = Some((lease.clone(), now));
        }
        let Some((seen, since)) = &self.seen else { return LeaseAction::Create };
        let holder = seen.holder_identity.as_deref().unwrap_or_default();
        if holder == me && lease.is_some() {
            return LeaseAction::Renew;
        }
        // A record that does not say how long it lasts is taken to last as long as ours.
        let lasts = seen.lease_duration_seconds.and_then(outside::lease).unwrap_or(self.terms.duration());
        // Who held a lease that was deleted may not know it yet.
        let is_free = holder.is_empty() || holder == me || now >= *since + lasts;
        match lease {
            _ if !is_free => LeaseAction::Wait,
            Some(_) => LeaseAction::Take,
            None => LeaseAction::Create,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(holder: &str, transitions: i32) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            lease_transitions: Some(transitions),
            ..LeaseSpec::default()
        }
    }

    #[test]
    fn a_lease_is_made_taken_when_free_and_renewed_when_ours() {
        let (mut sight, now) = (LeaseObserver::new(Terms::of_seconds(15)), Instant::now());
        assert_eq!(sight.evaluate(None, "me", now), LeaseAction::Create);
        assert_eq!(sight.evaluate(Some(&lease("", 0)), "me", now), LeaseAction::Take);
        assert_eq!(sight.evaluate(Some(&lease("me", 0)), "me", now), LeaseAction::Renew);
    }

    #[test]
    fn anothers_lease_is_taken_only_when_it_has_not_changed_before_our_eyes_for_as_long_as_it_lasts() {
        let (mut sight, now) = (LeaseObserver::new(Terms::of_seconds(15)), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(sight.evaluate(Some(&lease("other", 0)), "me", now), LeaseAction::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 0)), "me", now + second * 14), LeaseAction::Wait);
        // Renewed: whatever its times say, it lasts from now.
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 15), LeaseAction::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 29), LeaseAction::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 30), LeaseAction::Take);
    }

    #[test]
    fn a_lease_that_is_deleted_is_made_only_when_its_holder_must_have_given_up() {
        let (mut sight, now) = (LeaseObserver::new(Terms::of_seconds(15)), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(sight.evaluate(Some(&lease("other", 0)), "me", now), LeaseAction::Wait);
        assert_eq!(sight.evaluate(None, "me", now + second * 14), LeaseAction::Wait);
        assert_eq!(sight.evaluate(None, "me", now + second * 15), LeaseAction::Create);
    }

    #[test]
    fn a_lease_that_does_not_say_how_long_it_lasts_lasts_as_long_as_ours() {
        let (mut sight, now) = (LeaseObserver::new(Terms::of_seconds(15)), Instant::now());
        let silent = LeaseSpec { lease_duration_seconds: None, ..lease("other", 0) };
        assert_eq!(sight.evaluate(Some(&silent), "me", now), LeaseAction::Wait);
        assert_eq!(sight.evaluate(Some(&silent), "me", now + Duration::from_secs(15)), LeaseAction::Take);
    }

    #[test]
    fn a_leader_gives_up_before_any_other_may_take_its_lease() {
        let terms = Terms::of_seconds(15);
        assert_eq!((terms.renew_deadline(), terms.retry()), (Duration::from_secs(10), Duration::from_secs(2)));
        assert!(terms.renew_deadline() < terms.duration());
    }
}
