//! A provider that misbehaves on command, in front of the real one.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use axum::http::HeaderMap;
use booking::payments::{
    Authorise, PaymentProvider, ProviderError, ProviderPayment, ProviderStatus, WebhookError, WebhookEvent,
};
use booking_domain::Money;

/// What goes wrong.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    /// Authorisations act, and their answer is lost.
    pub(crate) lose_authorise_answers: AtomicBool,
    /// Requests for money are refused as such.
    pub(crate) refuse_authorisations: AtomicBool,
    /// Authorisations never reach the provider.
    pub(crate) lose_authorisations: AtomicBool,
    /// So many captures act, and their answer is lost.
    pub(crate) lose_capture_answers: AtomicU32,
    /// Captures are refused for good.
    pub(crate) refuse_captures: AtomicBool,
    /// Captures never reach the provider.
    pub(crate) lose_captures: AtomicBool,
    /// So many milliseconds pass before an authorisation is sent.
    pub(crate) delay_authorise_ms: AtomicU64,
    /// The provider says that it is at it, whatever it has done.
    pub(crate) report_processing: AtomicBool,
    /// The provider says that a payment is for one cent more.
    pub(crate) report_other_amounts: AtomicBool,
    /// The provider finds nothing by our references.
    pub(crate) forget_references: AtomicBool,
    /// The provider finds nothing by its own ids.
    pub(crate) forget_payments: AtomicBool,
    /// When above 0: the provider says that it has taken this much and no more.
    pub(crate) report_captured: AtomicI64,
    /// So many questions are answered as if nothing had gone back yet.
    pub(crate) old_answers: AtomicU32,
    /// A refund that cannot be made is refused for good, as Stripe does it.
    pub(crate) refuse_refunds: AtomicBool,
    /// Nobody answers questions.
    pub(crate) lose_questions: AtomicBool,
    /// Nobody answers questions about this reference.
    pub(crate) lose_questions_of: Mutex<Option<String>>,
    /// The references, or the provider's ids, that were asked for and got no answer.
    unanswered: Mutex<Vec<String>>,
}

impl Faults {
    /// How many questions about a payment got no answer.
    pub(crate) fn unanswered(&self, payment: &str) -> usize {
        self.unanswered.lock().unwrap().iter().filter(|asked| *asked == payment).count()
    }
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

    fn is(&self, fault: fn(&Faults) -> &AtomicBool) -> bool {
        fault(&self.faults).load(Ordering::SeqCst)
    }

    /// Whether a question about a payment gets no answer; noted, if so.
    fn is_question_lost(&self, payment: &str) -> bool {
        let is_of_one = self.faults.lose_questions_of.lock().unwrap().as_deref() == Some(payment);
        let is_lost = is_of_one || self.is(|faults| &faults.lose_questions);
        if is_lost {
            self.faults.unanswered.lock().unwrap().push(payment.to_owned());
        }
        is_lost
    }

    /// What the provider says of a payment, bent.
    fn bent(&self, mut payment: ProviderPayment) -> ProviderPayment {
        if self.is(|faults| &faults.report_processing) {
            payment.status = ProviderStatus::Processing;
        }
        payment.amount += i64::from(self.is(|faults| &faults.report_other_amounts));
        let captured = self.faults.report_captured.load(Ordering::SeqCst);
        if captured > 0 {
            payment.captured = payment.captured.min(captured);
        }
        let less = |left: u32| left.checked_sub(1);
        if self.faults.old_answers.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less).is_ok() {
            payment.refunded = 0;
        }
        payment
    }
}

#[async_trait]
impl PaymentProvider for FaultyProvider {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    async fn authorise(&self, request: &Authorise) -> Result<ProviderPayment, ProviderError> {
        if self.is(|faults| &faults.refuse_authorisations) {
            return Err(ProviderError::Refused { status: 400, detail: "refused".to_owned() });
        }
        tokio::time::sleep(Duration::from_millis(self.faults.delay_authorise_ms.load(Ordering::SeqCst))).await;
        if self.is(|faults| &faults.lose_authorisations) {
            return Err(lost());
        }
        let answer = self.inner.authorise(request).await?;
        if self.is(|faults| &faults.lose_authorise_answers) { Err(lost()) } else { Ok(self.bent(answer)) }
    }

    async fn find(&self, reference: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        if self.is_question_lost(reference) {
            return Err(lost());
        }
        if self.is(|faults| &faults.forget_references) {
            return Ok(None);
        }
        Ok(self.inner.find(reference).await?.map(|payment| self.bent(payment)))
    }

    async fn get(&self, payment: &str) -> Result<Option<ProviderPayment>, ProviderError> {
        if self.is_question_lost(payment) {
            return Err(lost());
        }
        if self.is(|faults| &faults.forget_payments) {
            return Ok(None);
        }
        Ok(self.inner.get(payment).await?.map(|payment| self.bent(payment)))
    }

    async fn capture(&self, payment: &str, amount: Money) -> Result<ProviderPayment, ProviderError> {
        if self.is(|faults| &faults.lose_captures) {
            return Err(lost());
        }
        if self.is(|faults| &faults.refuse_captures) {
            return Err(ProviderError::Refused { status: 422, detail: "no".to_owned() });
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

    async fn refund(&self, payment: &str, amount: Money, key: &str) -> Result<ProviderPayment, ProviderError> {
        let answer = self.inner.refund(payment, amount, key).await;
        match answer {
            Err(ProviderError::Unknown(why)) if self.is(|faults| &faults.refuse_refunds) => {
                Err(ProviderError::Refused { status: 400, detail: why.to_string() })
            }
            answer => answer,
        }
    }

    fn parse_webhook(&self, raw: &[u8], headers: &HeaderMap, now_s: i64) -> Result<WebhookEvent, WebhookError> {
        self.inner.parse_webhook(raw, headers, now_s)
    }
}
