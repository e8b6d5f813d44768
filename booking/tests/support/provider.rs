//! A provider that misbehaves on command, in front of the real one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use async_trait::async_trait;
use booking::payments::{Authorise, PaymentProvider, ProviderError, ProviderPayment};
use booking_domain::Money;

/// What goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Authorisations act, and their answer is lost.
    pub(crate) lose_authorise_answers: AtomicBool,
    /// Authorisations never reach the provider.
    pub(crate) lose_authorisations: AtomicBool,
    /// So many captures act, and their answer is lost.
    pub(crate) lose_capture_answers: AtomicU32,
    /// Captures are refused.
    pub(crate) refuse_captures: AtomicBool,
    /// Nobody answers questions.
    pub(crate) lose_questions: AtomicBool,
}

#[derive(Debug)]
pub(crate) struct FaultyProvider {
    inner: Arc<dyn PaymentProvider>,
    faults: Arc<Faults>,
}

fn lost() -> ProviderError {
    ProviderError::Unknown("the answer was lost".into())
}

impl FaultyProvider {
    pub(crate) fn new(inner: Arc<dyn PaymentProvider>, faults: Arc<Faults>) -> Self {
        Self { inner, faults }
    }
}

#[async_trait]
impl PaymentProvider for FaultyProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        if self.faults.lose_authorisations.load(Ordering::SeqCst) {
            return Err(lost());
        }
        let answer = self.inner.authorise(request).await?;
        if self.faults.lose_authorise_answers.load(Ordering::SeqCst) { Err(lost()) } else { Ok(answer) }
    }

    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        if self.faults.lose_questions.load(Ordering::SeqCst) {
            return Err(lost());
        }
        self.inner.find(reference).await
    }

    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        if self.faults.refuse_captures.load(Ordering::SeqCst) {
            return Err(ProviderError::Refused { status: 409, detail: "no".to_owned() });
        }
        let answer = self.inner.capture(payment, amount).await?;
        let less = |left: u32| left.checked_sub(1);
        match self.faults.lose_capture_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less) {
            Ok(_) => Err(lost()),
            Err(_) => Ok(answer),
        }
    }

    async fn void(&self, payment: &str) -> Result<ProviderPayment, ProviderError> {
        self.inner.void(payment).await
    }

    async fn refund(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        self.inner.refund(payment, amount).await
    }
}
