//! How often the verdict on a connection may change in its status, so that a CMDB that answers well and badly in turn does not
//! cost the API server a write for each turn. Pure.
//!
//! # Flow
//! Changes of the verdict are counted as long as each follows the one before within two minutes. The first three are written at
//! once: two outages cost nothing. After that
//! * Ready turns False at once, but True only when all answers have been good for a while;
//! * while it is False, another reason or message is written only when the last change was a while ago.
//!
//! The while is three seconds at first, and twice as long after every second change, up to a minute.
//!
//! # Guarantees
//! * Ready is never True while CMDB fails, and what is written last is what CMDB answered last.
//! * A CMDB that flaps for ever costs a dozen writes in the first minutes and two a minute at most after that. Flaps that are
//!   shorter than the while cost none: the connection is not Ready until they end.
//!
//! # Caveats
//! After flaps of many seconds the connection is Ready up to a minute after CMDB is. A reconcile that somebody requests with the
//! annotation does not wait.

use std::time::Duration;

use tokio::time::Instant;

// Changes of the verdict with less than this between them belong together.
const TOGETHER: Duration = Duration::from_mins(2);

// How many of them are written at once.
const AT_ONCE: u32 = 3;

// The shortest and the longest wait after that.
const WAIT: (Duration, Duration) = (Duration::from_secs(3), Duration::from_mins(1));

/// The changes of one connection's verdict.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steadiness {
    changed_at: Option<Instant>,
    // Changes that followed one another, without the first.
    followed: u32,
}

impl Steadiness {
    /// Notes that the status now has another verdict.
    pub fn note_change(&mut self) {
        let is_rapid = self.changed_at.is_some_and(|before| before.elapsed() < TOGETHER);
        self.followed = if is_rapid { self.followed.saturating_add(1) } else { 0 };
        self.changed_at = Some(Instant::now());
    }

    /// What is left of the wait before Ready may turn True, when all answers have been good for so long.
    pub fn until_good(&self, good_for: Duration) -> Option<Duration> {
        left(self.wait(), good_for)
    }

    /// What is left of the wait before a connection that is not Ready may give another reason.
    pub fn until_reworded(&self) -> Option<Duration> {
        left(self.wait(), self.changed_at?.elapsed())
    }

    fn wait(&self) -> Duration {
        let is_over = self.changed_at.is_none_or(|changed_at| changed_at.elapsed() >= TOGETHER);
        let Some(more) = self.followed.checked_sub(AT_ONCE).filter(|_| !is_over) else { return Duration::ZERO };
        let (shortest, longest) = WAIT;
        shortest.saturating_mul(2_u32.saturating_pow(more / 2)).min(longest)
    }
}

fn left(wait: Duration, passed: Duration) -> Option<Duration> {
    wait.checked_sub(passed).filter(|left| !left.is_zero())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::advance;

    use super::Steadiness;

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_with_rapid_changes_and_ends_with_them() {
        let mut steadiness = Steadiness::default();
        let mut waits = Vec::new();
        for _ in 0..14 {
            steadiness.note_change();
            waits.push(steadiness.until_good(Duration::ZERO).unwrap_or_default().as_secs());
        }
        assert_eq!(waits, [0, 0, 0, 3, 3, 6, 6, 12, 12, 24, 24, 48, 48, 60]);
        assert_eq!(steadiness.until_good(Duration::from_secs(59)), Some(Duration::from_secs(1)));
        assert_eq!(steadiness.until_good(Duration::from_mins(1)), None);
        assert_eq!(steadiness.until_reworded(), Some(Duration::from_mins(1)));
        advance(Duration::from_mins(1)).await;
        assert_eq!(steadiness.until_reworded(), None);
        advance(Duration::from_mins(1)).await;
        assert_eq!(steadiness.until_good(Duration::ZERO), None);
        steadiness.note_change();
        assert_eq!(steadiness.until_good(Duration::ZERO), None);
    }
}
