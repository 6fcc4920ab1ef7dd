//! Who leads, decided from the Lease alone. Pure: told what time it is.
//!
//! Whether another's lease has ended is judged by how long its record has not changed before our own eyes, as client-go
//! does: the clocks of others are never compared with ours.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::LeaseSpec;
use tokio::time::Instant;

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

    /// Time between two renewals, and between two looks of who stands by.
    pub fn retry(self) -> Duration {
        self.duration * 2 / 15
    }
}

/// What is to be done about a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Move {
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
#[derive(Debug, Default)]
pub struct Sight {
    record: Option<LeaseSpec>,
    since: Option<Instant>,
}

impl Sight {
    /// What `me` is to do about the lease as it is now.
    pub fn evaluate(&mut self, lease: Option<&LeaseSpec>, me: &str, now: Instant) -> Move {
        let Some(lease) = lease else { return Move::Create };
        if self.record.as_ref() != Some(lease) {
            *self = Self { record: Some(lease.clone()), since: Some(now) };
        }
        let holder = lease.holder_identity.as_deref().unwrap_or_default();
        if holder == me {
            return Move::Renew;
        }
        let lasts =
            Duration::from_secs(lease.lease_duration_seconds.unwrap_or_default().try_into().unwrap_or_default());
        let has_ended = self.since.is_some_and(|since| now >= since + lasts);
        if holder.is_empty() || has_ended { Move::Take } else { Move::Wait }
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
        let (mut sight, now) = (Sight::default(), Instant::now());
        assert_eq!(sight.evaluate(None, "me", now), Move::Create);
        assert_eq!(sight.evaluate(Some(&lease("", 0)), "me", now), Move::Take);
        assert_eq!(sight.evaluate(Some(&lease("me", 0)), "me", now), Move::Renew);
    }

    #[test]
    fn anothers_lease_is_taken_only_when_it_has_not_changed_before_our_eyes_for_as_long_as_it_lasts() {
        let (mut sight, now) = (Sight::default(), Instant::now());
        let second = Duration::from_secs(1);
        assert_eq!(sight.evaluate(Some(&lease("other", 0)), "me", now), Move::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 0)), "me", now + second * 14), Move::Wait);
        // Renewed: whatever its times say, it lasts from now.
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 15), Move::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 29), Move::Wait);
        assert_eq!(sight.evaluate(Some(&lease("other", 1)), "me", now + second * 30), Move::Take);
    }

    #[test]
    fn a_leader_gives_up_before_any_other_may_take_its_lease() {
        let terms = Terms::of_seconds(15);
        assert_eq!((terms.renew_deadline(), terms.retry()), (Duration::from_secs(10), Duration::from_secs(2)));
        assert!(terms.renew_deadline() < terms.duration());
    }
}
