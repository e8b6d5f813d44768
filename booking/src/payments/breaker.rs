//! Leaving a provider alone that does not answer.
//!
//! After some calls in a row without an answer the provider counts as down: calls fail at once, as never made.
//! After a pause one call tries it; its answer closes the breaker, its silence begins another pause. Who would begin
//! something for the sake of a call enters first, and only one enters after a pause. What time it is comes from outside,
//! so the rules are tested without waiting.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use booking_domain::Money;
use http::HeaderMap;

use super::{Authorise, PaymentProvider, ProviderError, ProviderPayment, WebhookError, WebhookEvent};

/// When calls may be made.
#[derive(Debug)]
pub struct Breaker {
    failures: u32,
    pause: Duration,
    call: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Calls are made; so many in a row had no answer.
    Closed { failed: u32 },
    /// No calls until then.
    Open { until: Instant },
    /// One call tries; should it be lost, another may from then on. Somebody may have entered whose call is still to
    /// come: the next call tries then, whoever makes it.
    Trying { until: Instant, is_to_come: bool },
}

/// Leave to begin what needs a call. One that comes to no call is given back when it ends.
#[derive(Debug)]
pub struct Turn(Option<(Arc<Breaker>, Instant)>);

impl Drop for Turn {
    fn drop(&mut self) {
        let Some((breaker, until)) = self.0.take() else { return };
        let mut state = breaker.state.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(*state, State::Trying { until: theirs, is_to_come: true } if theirs == until) {
            // Its pause was over.
            *state = State::Open { until: until - breaker.trial() };
        }
    }
}

impl Breaker {
    /// A breaker that opens after `failures` and stays open for `pause`; a `call` takes no longer than this.
    #[must_use]
    pub const fn new(failures: u32, pause: Duration, call: Duration) -> Self {
        Self { failures, pause, call, state: Mutex::new(State::Closed { failed: 0 }) }
    }

    /// How long one call is left to try alone.
    fn trial(&self) -> Duration {
        self.pause.max(self.call)
    }

    /// Whether the provider counts as down: a call now would fail without being made.
    #[must_use]
    pub fn is_open(&self, now: Instant) -> bool {
        match *self.state.lock().unwrap_or_else(PoisonError::into_inner) {
            State::Closed { .. } => false,
            State::Open { until } | State::Trying { until, .. } => now < until,
        }
    }

    /// Leave to begin what needs a call; `None` while the provider counts as down, and while another tries it.
    #[must_use]
    pub fn enter(self: &Arc<Self>, now: Instant) -> Option<Turn> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => Some(Turn(None)),
            State::Open { until } | State::Trying { until, .. } if now < until => None,
            State::Open { .. } | State::Trying { .. } => {
                let until = now + self.trial();
                *state = State::Trying { until, is_to_come: true };
                Some(Turn(Some((Arc::clone(self), until))))
            }
        }
    }

    /// Whether a call may be made now.
    fn admit(&self, now: Instant) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => true,
            State::Open { until } | State::Trying { until, is_to_come: false } if now < until => false,
            State::Open { .. } | State::Trying { .. } => {
                *state = State::Trying { until: now + self.trial(), is_to_come: false };
                true
            }
        }
    }

    fn note(&self, answered: bool, now: Instant) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, answered) {
            (_, true) => State::Closed { failed: 0 },
            (State::Closed { failed }, false) if failed + 1 < self.failures => State::Closed { failed: failed + 1 },
            (State::Closed { .. }, false) => {
                tracing::error!("the payment provider does not answer; it is left alone for a while");
                metrics::counter!("usher_booking_provider_outages_total").increment(1);
                State::Open { until: now + self.pause }
            }
            (State::Open { .. } | State::Trying { .. }, false) => State::Open { until: now + self.pause },
        };
        let open = !matches!(*state, State::Closed { .. });
        metrics::gauge!("usher_booking_provider_down").set(f64::from(u8::from(open)));
    }
}

/// A provider behind a breaker.
#[derive(Debug)]
pub struct Guarded {
    inner: Arc<dyn PaymentProvider>,
    breaker: Arc<Breaker>,
}

impl Guarded {
    /// Puts a breaker before a provider.
    #[must_use]
    pub fn new(inner: Arc<dyn PaymentProvider>, breaker: Arc<Breaker>) -> Self {
        Self { inner, breaker }
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, ProviderError>> + Send) -> Result<T, ProviderError> {
        if !self.breaker.admit(Instant::now()) {
            return Err(ProviderError::NotAsked);
        }
        let answer = call.await;
        let answered = !matches!(answer, Err(ProviderError::Unknown(_)));
        self.breaker.note(answered, Instant::now());
        answer
    }
}

#[async_trait]
impl PaymentProvider for Guarded {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        self.call(self.inner.authorise(request)).await
    }

    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        self.call(self.inner.find(reference)).await
    }

    async fn get(&self, payment: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        self.call(self.inner.get(payment)).await
    }

    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        self.call(self.inner.capture(payment, amount)).await
    }

    async fn void(&self, payment: &str) -> Result<ProviderPayment, ProviderError> {
        self.call(self.inner.void(payment)).await
    }

    async fn refund(&self, payment: &str, amount: Money, key: &str) -> Result<ProviderPayment, ProviderError> {
        self.call(self.inner.refund(payment, amount, key)).await
    }

    fn parse_webhook(&self, raw: &[u8], headers: &HeaderMap, now_s: i64) -> Result<WebhookEvent, WebhookError> {
        self.inner.parse_webhook(raw, headers, now_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_failures_in_a_row_and_lets_one_call_try() {
        let pause = Duration::from_secs(2);
        let (breaker, start) = (Breaker::new(3, pause, Duration::from_secs(1)), Instant::now());
        let at = |ms: u64| start + Duration::from_millis(ms);
        for answered in [false, false, true, false, false] {
            assert!(breaker.admit(at(0)));
            breaker.note(answered, at(0));
        }
        assert!(!breaker.is_open(at(0)), "an answer in between starts the count anew");
        breaker.note(false, at(0));
        assert!(breaker.is_open(at(1999)) && !breaker.admit(at(1999)));
        assert!(!breaker.is_open(at(2000)));
        assert!(breaker.admit(at(2000)), "one tries");
        assert!(breaker.is_open(at(2001)) && !breaker.admit(at(2001)), "the others wait for it");
        breaker.note(false, at(2500));
        assert!(!breaker.admit(at(4499)) && breaker.admit(at(4500)));
        breaker.note(true, at(4600));
        assert!(breaker.admit(at(4600)) && breaker.admit(at(4600)));
    }

    #[test]
    fn a_try_that_is_lost_does_not_keep_it_open_for_ever() {
        // As long as a call may take it is waited for.
        for (pause_s, call_s, tries_s) in [(2, 1, 2), (2, 10, 10)] {
            let seconds = Duration::from_secs;
            let (breaker, start) = (Breaker::new(1, seconds(pause_s), seconds(call_s)), Instant::now());
            breaker.note(false, start);
            let later = start + seconds(3);
            assert!(breaker.admit(later) && !breaker.admit(later));
            assert!(!breaker.admit(later + seconds(tries_s) - Duration::from_millis(1)));
            assert!(breaker.admit(later + seconds(tries_s)));
        }
    }

    #[test]
    fn one_enters_after_a_pause_and_its_call_tries() {
        let (second, start) = (Duration::from_secs(1), Instant::now());
        let breaker = Arc::new(Breaker::new(1, second, second));
        assert!(breaker.enter(start).is_some() && breaker.enter(start).is_some(), "all may while calls are answered");
        breaker.note(false, start);
        assert!(breaker.enter(start).is_none());
        let later = start + second;
        let turn = breaker.enter(later).expect("one enters");
        assert!(breaker.enter(later).is_none(), "and no other");
        // It came to no call: the next may.
        drop(turn);
        let turn = breaker.enter(later).expect("the next enters");
        assert!(breaker.admit(later), "its call tries");
        assert!(!breaker.admit(later) && breaker.enter(later).is_none(), "no other does");
        drop(turn);
        assert!(breaker.enter(later).is_none(), "the call is on its way");
        breaker.note(true, later);
        assert!(breaker.enter(later).is_some() && breaker.enter(later).is_some());
    }
}
