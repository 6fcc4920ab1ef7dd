//! The limiters in use, one for each URL and caller, and the budget for answers.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use super::caller::Caller;
use super::limiter::{Limiter, LimiterHandle};
use crate::cmdb::intake::budget::ReplyBudget;
use crate::cmdb::{LimiterReadings, Limits};

/// The limiters in use. All clients with the same URL and caller share one: the lowest of their limits, the rate that
/// was learned, and whether the endpoint is down. They shut down together.
#[derive(Debug)]
pub struct Limiters {
    shutdown: CancellationToken,
    by_endpoint: Mutex<HashMap<(String, Caller), Weak<Limiter>>>,
    replies: Arc<ReplyBudget>,
}

impl Default for Limiters {
    fn default() -> Self {
        Self::new(CancellationToken::new())
    }
}

impl Limiters {
    /// No limiters yet. After `shutdown`, they admit only calls that resolve a write whose outcome is unknown.
    pub fn new(shutdown: CancellationToken) -> Self {
        Self { shutdown, by_endpoint: Mutex::default(), replies: Arc::default() }
    }

    /// The state of all of them now.
    #[must_use]
    pub fn read(&self) -> LimiterReadings {
        let mut by_endpoint = self.by_endpoint.lock();
        by_endpoint.retain(|_, limiter| limiter.strong_count() > 0);
        let mut readings = LimiterReadings::default();
        for limiter in by_endpoint.values().filter_map(Weak::upgrade) {
            limiter.read(&mut readings);
        }
        readings
    }

    /// The budget for answers, which all clients share.
    pub(in crate::cmdb) fn replies(&self) -> &Arc<ReplyBudget> {
        &self.replies
    }

    /// Adds a client to the limiter of a normalised URL and a caller.
    pub(in crate::cmdb) fn join(&self, url: &str, caller: Caller, limits: Limits) -> LimiterHandle {
        let mut by_endpoint = self.by_endpoint.lock();
        by_endpoint.retain(|_, limiter| limiter.strong_count() > 0);
        let kept = by_endpoint.entry((url.to_owned(), caller)).or_default();
        let limiter = kept.upgrade().unwrap_or_else(|| {
            let limiter = Limiter::new(self.shutdown.clone());
            *kept = Arc::downgrade(&limiter);
            limiter
        });
        limiter.join(limits)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use secrecy::SecretString;

    use super::{Caller, Limiters};
    use crate::cmdb::{Credentials, Limits, UserCredential};

    const LIMITS: Limits = Limits { requests_per_second: 20, max_concurrent: 4 };

    fn caller(code: &str, secret: &str, trusts: Option<&str>) -> Caller {
        let (app_code, app_secret) = (code.to_owned(), SecretString::from(secret));
        let user = UserCredential::Username("ann".to_owned());
        Caller::of(&Credentials { app_code, app_secret, user }, trusts)
    }

    fn app(code: &str) -> Caller {
        caller(code, "secret", None)
    }

    #[test]
    fn clients_of_one_url_and_caller_share_a_limiter_until_the_last_is_dropped() {
        let limiters = Limiters::default();
        let first = limiters.join("https://a", app("x"), LIMITS);
        let second = limiters.join("https://a", app("x"), LIMITS);
        assert!(Arc::ptr_eq(&first, &second));
        for (url, caller) in [
            ("https://b", app("x")),
            ("https://a", app("y")),
            ("https://a", caller("x", "guessed", None)),
            ("https://a", caller("x", "secret", Some("another authority"))),
        ] {
            assert!(!Arc::ptr_eq(&limiters.join(url, caller, LIMITS), &first));
        }
        let kept = Arc::downgrade(&first);
        drop(first);
        assert!(kept.upgrade().is_some());
        drop(second);
        assert!(kept.upgrade().is_none());
        let _ = limiters.read();
        assert!(limiters.by_endpoint.lock().is_empty(), "unused limiters are forgotten");
    }
}
